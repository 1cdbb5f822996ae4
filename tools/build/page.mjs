// README.md and CHANGELOG.md as a package has them. The registry shows a README without the repository around it, so links into
// the repository become absolute, and parts between `<!-- in a checkout -->` and `<!-- end -->` are left out. pack.mjs writes
// the pages; release.mjs refuses a package whose pages do not stand alone.

import { Failure } from './failure.mjs'

/** The files of a package in which links are made absolute. */
export const PAGES = ['README.md', 'CHANGELOG.md']

const IN_A_CHECKOUT = /<!-- in a checkout -->\n.*?<!-- end -->\n+/gs
/** The end of a link, or a whole picture, and its target. */
const TARGET = /(!\[[^\]]*\]|\])\((?!https?:|#)([^)\s]+)\)/g
const ADDRESS = /^https:\/\/[\w.-]+(\/[\w.-]+){2,}$/
const INSTALL = 'npm install mlx-serving\n'

/** A page as it is packed. Without the `address` of the repository its links stay relative. */
export function packedPage(text, { address, version }) {
  const own = text.replace(IN_A_CHECKOUT, '')
  if (address === undefined) return own
  const absolute = (_, begin, path) => `${begin}(${address}/${begin === ']' ? 'blob' : 'raw'}/v${version}/${path})`
  return outsideCode(own, prose => prose.replace(TARGET, absolute))
}

/** Where the registry links to. */
export function addressesOf(address) {
  if (address === undefined) return {}
  if (!ADDRESS.test(address) || address.endsWith('.git')) {
    throw new Failure(`The repository is given as https://HOST/OWNER/NAME, not as ${address}.`)
  }
  return {
    homepage: `${address}#readme`,
    bugs: `${address}/issues`,
    repository: { type: 'git', url: `git+${address}.git` },
  }
}

/** Why the pages of a package do not stand alone. `pages` has texts by the names of `PAGES`. */
export function pageProblems(manifest, pages) {
  const missing = ['homepage', 'bugs', 'repository'].filter(field => manifest[field] === undefined)
  const [readme] = PAGES.map(name => pages[name])
  return [
    ...missing.map(field => `package.json has no ${field}`),
    ...Object.entries(pages).flatMap(([name, text]) => [
      ...relativeIn(text).map(path => `${name} links to ${path}, which the package does not show`),
      ...(/unreleased/i.test(text) ? [`${name} calls something unreleased`] : []),
    ]),
    ...(firstCode(readme) === INSTALL ? [] : [`the first code in README.md must be ${INSTALL.trim()}`]),
  ]
}

function relativeIn(text) {
  const paths = []
  outsideCode(text, prose => {
    paths.push(...[...prose.matchAll(TARGET)].map(([, , path]) => path))
    return prose
  })
  return paths
}

const firstCode = text => /^```\w*\n(.*?)^```/ms.exec(text)?.[1]

const outsideCode = (text, change) =>
  text
    .split(/(^```.*?^```)/ms)
    .map((part, index) => (index % 2 === 0 ? change(part) : part))
    .join('')
