// Reads messages from a terminal or a pipe. On a terminal, lines can be edited, and what is typed while an answer streams is
// kept for the next message, without an echo into the answer. Pasted text is one message, whatever lines it has.

import { createInterface, type Interface } from 'node:readline'
import { Writable } from 'node:stream'
import { MessageLines } from './messages'

const PROMPT = '> '
const CONTINUED = '. '
/** Asks a terminal to mark what is pasted, and not to. */
const MARK_PASTES = ['\u001b[?2004h', '\u001b[?2004l'] as const

export interface EditorOptions {
  /** Ctrl-C. Called with whether a message was begun, which is dropped. */
  readonly onInterrupt: (wasTyping: boolean) => void
  /** Words that Tab completes at the start of a message. */
  readonly commands: readonly string[]
}

/** Stdout for the line editor: it drops what is written while an answer streams. */
class Echo extends Writable {
  isMuted = false

  get columns(): number {
    return process.stdout.columns
  }

  override _write(chunk: Buffer, _: BufferEncoding, done: () => void): void {
    if (!this.isMuted) process.stdout.write(chunk)
    done()
  }
}

export class Editor {
  readonly #echo = new Echo()
  readonly #interface: Interface
  readonly #lines = new MessageLines()
  readonly #isTerminal = process.stdin.isTTY === true && process.stdout.isTTY === true
  readonly #messages: string[] = []
  #isPasting = false
  #isEnded = false
  #waiting: ((message: string | undefined) => void) | undefined

  constructor({ onInterrupt, commands }: EditorOptions) {
    this.#interface = createInterface({
      input: process.stdin,
      output: this.#echo,
      terminal: this.#isTerminal,
      prompt: PROMPT,
      completer: (line: string) => [commands.filter(command => line !== '' && command.startsWith(line)), line],
    })
    this.#interface.on('line', line => this.#add(line))
    this.#interface.on('close', () => this.#end())
    this.#interface.on('SIGINT', () => onInterrupt(this.#drop()))
    if (this.#isTerminal) this.#markPastes()
  }

  /** The next message; `undefined` at the end of the input. */
  next(): Promise<string | undefined> {
    const message = this.#messages.shift()
    if (message !== undefined || this.#isEnded) return Promise.resolve(message)
    this.#echo.isMuted = false
    this.#showPrompt()
    return new Promise(resolve => {
      this.#waiting = resolve
    })
  }

  /** Shows the prompt again, after other output. */
  refresh(): void {
    if (this.#waiting !== undefined) this.#showPrompt()
  }

  /** Ends the input: a waiting `next` gets `undefined`. */
  close(): void {
    this.#interface.close()
  }

  #add(line: string): void {
    // The last line of a pasted text has no line break, so it stays in the line editor.
    const message = this.#isPasting ? this.#lines.addRaw(line) : this.#lines.add(line)
    if (message !== undefined) this.#deliver(message)
    else if (this.#waiting !== undefined && !this.#isPasting) this.#showPrompt()
  }

  #deliver(message: string): void {
    const resolve = this.#waiting
    this.#waiting = undefined
    // What is typed from here on is kept, and shown with the next prompt.
    this.#echo.isMuted = true
    if (resolve === undefined) this.#messages.push(message)
    else resolve(message)
  }

  #end(): void {
    this.#isEnded = true
    if (this.#isTerminal) process.stdout.write(MARK_PASTES[1])
    if (this.#lines.isOpen) this.#deliver(this.#lines.end())
    this.#waiting?.(undefined)
    this.#waiting = undefined
  }

  /** Drops the message that was begun. */
  #drop(): boolean {
    const wasTyping = this.#interface.line !== '' || this.#lines.isOpen
    this.#lines.end()
    this.#interface.write(null, { ctrl: true, name: 'e' })
    this.#interface.write(null, { ctrl: true, name: 'u' })
    return wasTyping
  }

  #showPrompt(): void {
    if (!this.#isTerminal) return
    this.#interface.setPrompt(this.#lines.isOpen ? CONTINUED : PROMPT)
    this.#interface.prompt(true)
  }

  #markPastes(): void {
    process.stdout.write(MARK_PASTES[0])
    process.stdin.on('keypress', (_: string | undefined, key: { name?: string } | undefined) => {
      if (key?.name === 'paste-start') this.#isPasting = true
      if (key?.name === 'paste-end') this.#isPasting = false
    })
  }
}
