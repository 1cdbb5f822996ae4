// Makes messages of lines: a message is one line, a block between lines of `"""`, or lines that end with a backslash.

const FENCE = '"""'

export class MessageLines {
  #lines: string[] = []
  #isBlock = false

  /** Whether a message has begun and has not ended. */
  get isOpen(): boolean {
    return this.#isBlock || this.#lines.length > 0
  }

  /** Adds a line. Returns the message if it is complete. */
  add(line: string): string | undefined {
    if (this.#isBlock) return this.#addToBlock(line)
    if (!this.isOpen && line.trimStart().startsWith(FENCE)) {
      this.#isBlock = true
      const rest = line.trimStart().slice(FENCE.length)
      return rest === '' ? undefined : this.#addToBlock(rest)
    }
    const isContinued = line.endsWith('\\')
    this.#lines.push(isContinued ? line.slice(0, -1) : line)
    return isContinued ? undefined : this.end()
  }

  /** Adds a line of a longer text as it is. The message stays open. */
  addRaw(line: string): undefined {
    this.#lines.push(line)
    return undefined
  }

  /** Ends the message, also in the middle of a block. */
  end(): string {
    const message = this.#lines.join('\n')
    this.#lines = []
    this.#isBlock = false
    return message
  }

  #addToBlock(line: string): string | undefined {
    const isLast = line.trimEnd().endsWith(FENCE)
    const text = isLast ? line.trimEnd().slice(0, -FENCE.length) : line
    if (text !== '' || !isLast) this.#lines.push(text)
    return isLast ? this.end() : undefined
  }
}
