// A logger that records its messages.

import type { Logger } from 'mlx-serving'
import { expect } from 'vitest'

export type Line = [level: keyof Logger, message: string]

export function recorder(): { lines: Line[]; logger: Logger } {
  const lines: Line[] = []
  const write =
    (level: keyof Logger) =>
    (message: string, ...rest: unknown[]) => {
      expect(rest).toEqual([])
      lines.push([level, message])
    }
  return {
    lines,
    logger: { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') },
  }
}
