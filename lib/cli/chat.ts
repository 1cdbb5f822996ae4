// `mlx-serving chat`: a conversation on a terminal. Ctrl-C stops an answer, a second one leaves.

import { writeFile } from 'node:fs/promises'
import type { GenerateParams, GenerateResult, Generation, Message } from '../../index'
import { Editor } from './editor'
import { exitOf, Interrupted, reportFailure, SilentFailure, wrongUsage } from './exits'
import { bytes, count, duration, pairs, prefixHits } from './figures'
import { figuresOf, stream } from './run'
import { type AnswerOptions, inSession, type Session, samplingOf } from './session'
import { note, paint, printable, printLine } from './terminal'

/** What can be written instead of a message. */
const COMMANDS = {
  '/help': 'shows this',
  '/stats': 'figures of the last answer and of the conversation',
  '/clear': 'forgets the conversation; the system message stays',
  '/system TEXT': 'changes the system message; without a text there is none',
  '/undo': 'forgets the last question and its answer',
  '/save FILE': 'writes the conversation: Markdown for a name in .md, else JSON',
  '/exit': 'leaves, as Ctrl-D does',
}
const NAMES = Object.keys(COMMANDS).map(name => name.split(' ')[0] ?? '')

export async function chat(options: AnswerOptions): Promise<void> {
  await inSession(options, session => new Chat(session, options).run())
}

/** A question with its answer. */
interface Turn {
  readonly messages: readonly Message[]
  /** Tokens of the conversation up to the end of the answer. */
  readonly numTokens: number
}

class Chat {
  readonly #session: Session
  readonly #options: AnswerOptions
  readonly #editor: Editor
  readonly #isTerminal = process.stdin.isTTY === true && process.stdout.isTTY === true
  #system: string | undefined
  #turns: readonly Turn[] = []
  #last: GenerateResult | undefined
  #running: Generation | undefined
  /** Whether the next Ctrl-C leaves. */
  #isLeaving = false
  #isDone = false
  /** The last failure of a message or of a command. */
  #failure: unknown

  constructor(session: Session, options: AnswerOptions) {
    this.#session = session
    this.#options = options
    this.#system = options.system
    this.#editor = new Editor({ onInterrupt: wasTyping => this.#interrupt(wasTyping), commands: NAMES })
  }

  /** Answers messages until the input ends or the process is to end. */
  async run(): Promise<void> {
    const { model, signal } = this.#session
    if (this.#isTerminal)
      note(
        `${paint('bold', printable(model.id), process.stderr)}: /help lists the commands, """ begins a block of lines`,
      )
    const stop = () => this.#editor.close()
    signal.addEventListener('abort', stop)
    try {
      while (!this.#isDone) {
        const message = await this.#editor.next()
        if (message === undefined) break
        this.#isLeaving = false
        if (message.trim() !== '') await this.#take(message)
      }
      if (signal.reason instanceof Interrupted) throw signal.reason
      // A person has seen the errors; a script sees the exit code alone.
      if (this.#failure !== undefined && !this.#isTerminal) {
        throw new SilentFailure('a message failed', exitOf(this.#failure))
      }
    } finally {
      signal.removeEventListener('abort', stop)
      this.#editor.close()
      if (this.#isTerminal) await printLine()
    }
  }

  /** Runs a command, or answers a message. An error ends neither the conversation nor the command. */
  async #take(message: string): Promise<void> {
    const [, name = '', rest = ''] = /^(\/\S*)\s*(.*)$/s.exec(message.trim()) ?? []
    try {
      if (name === '' || name.startsWith('//')) await this.#answer(name === '' ? message : message.trim().slice(1))
      else await this.#command(name, rest)
    } catch (error) {
      if (this.#session.signal.aborted) throw error
      this.#failure = error
      reportFailure(error)
    }
  }

  async #answer(content: string): Promise<void> {
    const { engine, model, signal } = this.#session
    const question: Message = { role: 'user', content }
    const messages = [...this.#messages(), question]
    const params = { model, messages, ...samplingOf(this.#options) } as GenerateParams
    this.#running = engine.generate(params, { signal })
    try {
      await stream(this.#running)
      const result = await this.#running
      this.#last = result
      for (const warning of result.warnings ?? []) note(paint('yellow', printable(warning), process.stderr))
      // Of an answer that was stopped, the part so far stays in the conversation.
      const turn = { messages: [question, messageOf(result)], numTokens: result.usage.totalTokens }
      this.#turns = [...this.#turns, turn]
    } finally {
      this.#running = undefined
    }
  }

  /** The conversation, with the system message if there is one. */
  #messages(): Message[] {
    const before: Message[] = this.#system === undefined ? [] : [{ role: 'system', content: this.#system }]
    return [...before, ...this.#turns.flatMap(({ messages }) => messages)]
  }

  async #command(name: string, rest: string): Promise<void> {
    switch (name) {
      case '/help':
        return printLine(pairs(Object.entries(COMMANDS)))
      case '/stats':
        return this.#stats()
      case '/clear':
        this.#turns = []
        return note('the conversation is empty')
      case '/system':
        this.#system = rest === '' ? undefined : rest
        return note(rest === '' ? 'there is no system message' : 'the system message is changed')
      case '/undo':
        this.#turns = this.#turns.slice(0, -1)
        return note(`${2 * this.#turns.length} messages are left`)
      case '/save':
        return this.#save(rest)
      case '/exit':
      case '/bye':
      case '/quit':
        this.#isDone = true
        return
      default:
        throw wrongUsage(`there is no command ${name}`, '/help lists them, and // begins a message with a slash')
    }
  }

  async #stats(): Promise<void> {
    const { model, engine } = this.#session
    const { generatedTokens, promptTokens, kvBytes, cache } = engine.stats()
    if (this.#last !== undefined) await printLine(figuresOf(this.#last, process.stdout))
    const used = this.#turns.at(-1)?.numTokens ?? 0
    await printLine(
      pairs([
        ['model', `${model.id} (${model.family}, ${model.computeType})`],
        ['messages', count(2 * this.#turns.length)],
        ['context', `${count(used)} of ${count(model.contextLength)} tokens`],
        ['prompt tokens', count(promptTokens)],
        ['prefix cache', `${count(cache.prefix.tokensReused)} prompt tokens reused, ${prefixHits(cache.prefix)}`],
        ['answer tokens', count(generatedTokens)],
        ['KV memory', bytes(kvBytes)],
        ['last answer', this.#last === undefined ? 'none' : duration(this.#last.timings.totalMs)],
      ]),
    )
  }

  async #save(file: string): Promise<void> {
    if (file === '') throw wrongUsage('/save needs the name of a file', '/save FILE')
    const messages = this.#messages()
    const markdown = () => messages.map(({ role, content }) => `## ${role}\n\n${content}\n`).join('\n')
    await writeFile(file, file.endsWith('.md') ? markdown() : `${JSON.stringify(messages, null, 2)}\n`)
    note(`saved ${messages.length} messages in ${printable(file)}`)
  }

  /** Ctrl-C stops the answer and drops the message that is being typed. If none was typed, the next Ctrl-C ends the command. */
  #interrupt(wasTyping: boolean): void {
    if (this.#isLeaving) {
      this.#running?.cancel()
      this.#isDone = true
      this.#editor.close()
      return
    }
    this.#isLeaving = !wasTyping
    this.#running?.cancel()
    if (this.#isLeaving) note(paint('dim', '\nCtrl-C again leaves', process.stderr))
    this.#editor.refresh()
  }
}

function messageOf({ text, reasoning }: GenerateResult): Message {
  return { role: 'assistant', content: text, ...(reasoning !== undefined && { reasoning }) }
}
