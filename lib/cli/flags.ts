// The options of the command line by the names that the API gives them, so that errors of the engine and of the server name what
// a person has typed. The texts of the errors are made where they are thrown.

import type { MlxServingError } from '../errors'

/** Options that `serve` alone has. */
const OF_SERVER: ReadonlyMap<string, string> = new Map([
  ['keys', '--keys'],
  ['allowAnonymous', '--allow-anonymous'],
  ['origins', '--origin'],
  ['aliases', '--alias'],
  ['host', '--host'],
  ['port', '--port'],
])

const FLAGS: ReadonlyMap<string, string> = new Map([
  ...OF_SERVER,
  ['backend', '--simulated'],
  ['configFile', '--config'],
  ['revision', '--revision'],
  ['maxTokens', '--max-tokens'],
  ['temperature', '--temperature'],
  ['topP', '--top-p'],
  ['topK', '--top-k'],
  ['minP', '--min-p'],
  ['repetitionPenalty', '--repetition-penalty'],
  ['seed', '--seed'],
  ['stopSequences', '--stop'],
  ['structured', '--schema'],
  ['schema', '--schema'],
  ['timeoutMs', '--timeout'],
])

/** The message of an error about a param, with the options of the command line in place of the names of the API. */
export function withFlags({ message, param }: MlxServingError): string {
  if (param === undefined || !FLAGS.has(rootOf(param))) return message
  return message.replace(/`([\w.[\]]+)`/g, (quoted, name: string) => {
    const flag = FLAGS.get(rootOf(name))
    return flag === undefined ? quoted : `\`${flag}\``
  })
}

/** Whether an error is about an option that `serve` alone has. */
export function isOfServer({ param }: MlxServingError): boolean {
  return param !== undefined && OF_SERVER.has(rootOf(param))
}

/** `origins` of `origins[0]`. */
function rootOf(param: string): string {
  return /^\w*/.exec(param)?.[0] ?? ''
}
