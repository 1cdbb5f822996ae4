// `node tools/build/schema.mjs`: writes runtime.schema.json, with which editors complete and check runtime files, from the
// addon's own list of options. With `--check` it only compares the file with what it would write.

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { build } from './build.mjs'
import { fieldsOf } from './declared.mjs'
import { Failure, main } from './failure.mjs'
import { fileKeys, options } from './options.mjs'
import { at } from './repository.mjs'

const FILE = at('runtime.schema.json')

/** The schema as an object: sections of keys, and the same sections for each environment. */
export function schema() {
  const settings = section()
  for (const { key, option, isDeprecated } of fileKeys()) add(settings, key, leaf(option, isDeprecated))
  const environments = {
    description:
      'Values for one environment, by its name in the variable NODE_ENV. They override those for all environments.',
    type: ['object', 'null'],
    additionalProperties: settings,
  }
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'Runtime file of mlx-serving',
    ...settings,
    properties: { ...settings.properties, environments },
  }
}

/** A section. It may be left empty. */
const section = () => ({ type: ['object', 'null'], additionalProperties: false, properties: {} })

function add(settings, key, value) {
  const names = key.split('.')
  const last = names.pop()
  let place = settings
  for (const name of names) {
    place.properties[name] ??= section()
    place = place.properties[name]
  }
  place.properties[last] = value
}

/** A key. Without a value it is left out. */
function leaf(name, isDeprecated) {
  const option = options().find(option => option.name === name)
  const better = fileKeys().find(({ option }) => option === name).key
  const text = isDeprecated ? `Deprecated: use ${better}.` : (option?.text ?? textOf(name))
  return {
    description: text.replaceAll('`', ''),
    ...(isDeprecated && { deprecated: true }),
    ...(option?.default !== undefined && { default: option.default }),
    ...valuesOf(option),
  }
}

function valuesOf(option) {
  if (option === undefined) return { type: ['string', 'null'], minLength: 1 }
  const { isSwitch, isWhole, names, min, max } = option
  if (isSwitch) return { enum: [true, false, 'on', 'off', null] }
  if (names) return { enum: [...names, null] }
  return { type: [isWhole ? 'integer' : 'number', 'null'], minimum: min, maximum: max }
}

/** The text of an option that is not in the engine's own table. */
const textOf = name => fieldsOf('EngineOptions').find(field => field.name === name).text

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  await main(async () => {
    await build()
    const text = `${JSON.stringify(schema(), null, 2)}\n`
    if (!process.argv.includes('--check')) writeFileSync(FILE, text)
    else if (!existsSync(FILE) || readFileSync(FILE, 'utf8') !== text) {
      throw new Failure('runtime.schema.json differs from the options. Run: node tools/build/schema.mjs')
    }
  })
}
