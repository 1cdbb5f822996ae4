// Lists the crates that are shipped: cargo's metadata, followed from this package along run-time dependencies.

import { quiet } from './command.mjs'
import { platforms } from './repository.mjs'

/** Crates whose code ends up in the addon of any platform, by name. */
export async function shippedCrates() {
  const found = new Map()
  for (const target of platforms()) {
    const args = ['metadata', '--locked', '--format-version', '1', '--filter-platform', target.triple]
    for (const crate of linkedFrom(JSON.parse(await quiet('cargo', args)))) found.set(crate.id, crate)
  }
  return [...found.values()].sort((a, b) => (`${a.name} ${a.version}` < `${b.name} ${b.version}` ? -1 : 1))
}

/** Follows normal dependencies from this package. A macro runs in the compiler, so it and its dependencies are not shipped. */
function linkedFrom({ packages, resolve }) {
  const crates = new Map(packages.map(crate => [crate.id, crate]))
  const needs = new Map(resolve.nodes.map(node => [node.id, node.deps]))
  const seen = new Set()
  const visit = id => {
    if (seen.has(id) || isMacro(crates.get(id))) return
    seen.add(id)
    const normal = needs.get(id).filter(need => need.dep_kinds.some(({ kind }) => kind === null))
    for (const { pkg } of normal) visit(pkg)
  }
  visit(resolve.root)
  return [...seen].map(id => crates.get(id)).filter(crate => crate.source !== null)
}

const isMacro = crate => crate.targets.some(({ kind }) => kind.includes('proc-macro'))
