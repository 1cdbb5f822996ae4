// Checks the links and paths in the documentation: every relative link leads to a file and a heading, and every path in backticks
// exists, from the repository's root or from one of the folders that pages abbreviate. A path is a file name with a folder, or a
// folder with a slash at its end.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Failure } from './failure.mjs'
import { at, pages } from './repository.mjs'

/** Folders from which pages name files. */
const ROOTS = ['', 'src', 'src/executor/mlx', 'docs', 'bench', 'tools/build', 'tools/conformance']
const LINK = /\]\((?!https?:)([^)\s]*)\)/g
const NAME = /`((?:[\w.-]+\/)+(?:[\w.-]+\.(?:rs|mjs|ts|py|cpp|h|md|json|yml))?)`/g
/** Results of builds, and folders of model files. */
const ABSENT = /^(dist|target|node_modules|additional_chat_templates)\//

const readmes = () =>
  ['bench', ...readdirSync(at('tools')).map(name => `tools/${name}`)]
    .map(folder => `${folder}/README.md`)
    .filter(page => existsSync(at(page)))

/** Fails with all links and file names that lead nowhere. */
export function checkPaths() {
  const broken = [...pages(), ...readmes()].flatMap(page => brokenIn(page, readFileSync(at(page), 'utf8')))
  if (broken.length > 0) throw new Failure(broken.join('\n'))
}

/** The links and file names of a page that lead nowhere. */
export function brokenIn(page, text) {
  const prose = text.replace(/^```.*?^```/gms, '')
  const links = [...prose.matchAll(LINK)].map(([, link]) => link).filter(link => !leadsTo(page, link))
  const names = [...prose.matchAll(NAME)].map(([, name]) => name).filter(name => !isThere(name))
  return [...links, ...names].map(path => `${page}: ${path} is not there`)
}

function leadsTo(page, link) {
  const [path, heading] = link.split('#')
  const file = path === '' ? page : join(dirname(page), path)
  if (!existsSync(at(file))) return false
  return heading === undefined || headingsOf(readFileSync(at(file), 'utf8')).includes(heading)
}

/** The anchors of headings, as GitHub makes them. */
const headingsOf = text =>
  [...text.matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
    title
      .toLowerCase()
      .replace(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  )

const isThere = name => ABSENT.test(name) || ROOTS.some(root => existsSync(at(root, name)))
