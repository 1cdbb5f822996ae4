// The bill of materials names everything that is shipped: crates, libraries and packages, each with its licence.

import { expect, test } from 'vitest'
import { billOfMaterials } from './sbom.mjs'

test('every part has a name, a unique address and a licence', async () => {
  const { bomFormat, components, dependencies } = await billOfMaterials()
  expect(bomFormat).toBe('CycloneDX')
  for (const { name, purl, licenses } of components) {
    expect([name, purl, licenses[0].expression]).toEqual([
      expect.any(String),
      expect.stringMatching(/^pkg:/),
      expect.any(String),
    ])
    expect(licenses[0].expression).not.toMatch(/\/|^$/)
  }
  const refs = components.map(part => part['bom-ref'])
  expect(new Set(refs).size).toBe(refs.length)
  const parts = dependencies.filter(({ ref }) => /darwin|linux/.test(ref)).map(({ dependsOn }) => dependsOn)
  expect(parts).toEqual([
    expect.arrayContaining(['pkg:generic/MLX@0.32.2']),
    expect.arrayContaining(['pkg:generic/OpenBLAS']),
  ])
  expect(refs).toEqual(expect.arrayContaining([expect.stringMatching(/^pkg:cargo\/tokenizers@/)]))
  expect(dependencies[0].dependsOn).toEqual(expect.arrayContaining([expect.stringMatching(/^pkg:npm\/yaml@/)]))
})
