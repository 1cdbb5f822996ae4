import { expect, test } from 'vitest'
import { screenAfter } from './screen.mjs'

const text = rows => rows.map(runs => runs.map(run => run.text).join(''))

test('each line is a row, and empty rows at the end are left out', () => {
  expect(text(screenAfter('one\r\ntwo  \r\n\r\n'))).toEqual(['one', 'two'])
})

test('a row that is rewritten shows its last text', () => {
  const live = '\u001b[Kfirst a\n\u001b[Ksecond\n\u001b[2A\u001b[Kfirst b\n\u001b[Ks\n'
  expect(text(screenAfter(live.replaceAll('\n', '\r\n')))).toEqual(['first b', 's'])
})

test('neighbouring characters of one style are one run', () => {
  expect(screenAfter('\u001b[1mbold\u001b[0m plain \u001b[2mdim\u001b[22m')).toEqual([
    [
      { text: 'bold', styles: ['bold'] },
      { text: ' plain ', styles: [] },
      { text: 'dim', styles: ['dim'] },
    ],
  ])
})

test('an unknown escape sequence is an error', () => {
  expect(() => screenAfter('\u001b[3;4Hx')).toThrow('unknown escape sequence')
  expect(() => screenAfter('a\u001b]0;title\u0007')).toThrow('unknown escape sequence')
})
