// `npm run build:darwin`: the addon for Apple silicon, built on any machine.

import { buildAddon } from './addon.mjs'
import { main } from './failure.mjs'
import { platformNamed } from './repository.mjs'

await main(() => buildAddon(platformNamed('darwin-arm64')))
