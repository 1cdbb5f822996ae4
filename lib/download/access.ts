// How the hub is reached, and where its files are cached. The variables are those of the Hugging Face tools, so that a model
// that `hf download` has fetched is found here, and the other way round.

import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'
import { errorOf } from '../errors'

/** Seconds without a byte, after which a request is tried again. */
const DEFAULT_TIMEOUT_S = 10

export interface Access {
  /** The address of the hub, without a slash at its end. */
  readonly endpoint: string
  /** Sent to the hub only, never to an address that it redirects to. */
  readonly token: string | undefined
  readonly cacheFolder: string
  /** Whether no request may be sent. */
  readonly isOffline: boolean
  readonly timeoutMs: number
}

type Environment = Readonly<Record<string, string | undefined>>

/** Reads the variables. `token` overrides theirs. */
export function accessOf(token: string | undefined, environment: Environment = process.env): Access {
  const home =
    environment.HF_HOME || path.join(environment.XDG_CACHE_HOME || path.join(homedir(), '.cache'), 'huggingface')
  return {
    endpoint: endpointOf(environment),
    token: token ?? tokenOf(environment, home),
    cacheFolder: environment.HF_HUB_CACHE || environment.HUGGINGFACE_HUB_CACHE || path.join(home, 'hub'),
    isOffline: isSet(environment.HF_HUB_OFFLINE),
    timeoutMs: timeoutOf(environment) * 1000,
  }
}

function endpointOf({ HF_ENDPOINT: text }: Environment): string {
  const endpoint = text || 'https://huggingface.co'
  const isHttp = URL.canParse(endpoint) && /^https?:$/.test(new URL(endpoint).protocol)
  if (!isHttp) throw wrong('HF_ENDPOINT', 'must be the address of a hub, such as https://huggingface.co', endpoint)
  return endpoint.replace(/\/+$/, '')
}

function tokenOf(environment: Environment, home: string): string | undefined {
  const token = environment.HF_TOKEN || environment.HUGGING_FACE_HUB_TOKEN
  if (token) return token.trim()
  if (isSet(environment.HF_HUB_DISABLE_IMPLICIT_TOKEN)) return undefined
  try {
    return readFileSync(environment.HF_TOKEN_PATH || path.join(home, 'token'), 'utf8').trim() || undefined
  } catch {
    // Without a login there is no file. Public models need no token.
    return undefined
  }
}

function timeoutOf({ HF_HUB_DOWNLOAD_TIMEOUT: text }: Environment): number {
  if (!text) return DEFAULT_TIMEOUT_S
  const seconds = Number(text)
  if (seconds > 0 && seconds <= 3600) return seconds
  throw wrong('HF_HUB_DOWNLOAD_TIMEOUT', 'must be a number of seconds above 0, up to 3600', text)
}

/** As the Hugging Face tools read a switch. */
function isSet(text: string | undefined): boolean {
  return ['1', 'ON', 'YES', 'TRUE'].includes(text?.toUpperCase() ?? '')
}

function wrong(name: string, must: string, value: string): Error {
  return errorOf('ConfigError', `\`${name}\` ${must}, not ${JSON.stringify(value)}`, { param: name })
}
