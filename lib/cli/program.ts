// The commands of `mlx-serving` with their options and help. The code of a command is loaded when it runs, so that help and
// completions are immediate and need no addon.

import { Command, CommanderError, Option } from 'commander'
import type { BenchOptions } from './bench'
import { exitOf, reportFailure, SilentFailure, showStacks, WRONG_USAGE, wrongUsage } from './exits'
import type { ServeCommandOptions } from './serve'
import { beColourless, beQuiet, endWithReader, note, paint, printable } from './terminal'
import { real, several, whole, wholes } from './values'

const { version } = require('../../package.json') as { version: string }

interface Global {
  readonly quiet?: boolean
}

/** Errors of commander after which there is nothing more to say. */
const SHOWN: ReadonlySet<string> = new Set(['commander.helpDisplayed', 'commander.version', 'commander.help'])

const EXITS = `
Exit codes:
  0  done                           5  it does not fit the memory, or the context of the model
  1  failed                         6  this platform or installation cannot run models
  2  wrong usage or option        124  the time of --timeout has passed
  3  no such model, or not usable 130  ended by Ctrl-C; 0 at the end of serve and chat
  4  the download failed          143  ended by SIGTERM; 0 at the end of serve

Models are a name of the Hugging Face hub (mlx-community/Qwen3-4B-4bit), a folder, or demo for the small
bundled model, which is also the default. Variables: HF_TOKEN, HF_HUB_CACHE, HF_HUB_OFFLINE, HF_ENDPOINT,
MLX_SERVING_*, NO_COLOR.`

/** Runs a command line. Sets the exit code, and lets the process end by itself, so that all output is written. */
export async function main(args: readonly string[]): Promise<void> {
  endWithReader()
  // These are in force before the command line is read: it may be wrong.
  const isDebug = isGiven(args, '--debug')
  if (isDebug) showStacks()
  if (isGiven(args, '--no-color')) beColourless()
  showWarnings(isDebug)
  process.exitCode = await execute(args)
}

/** Whether a command line has an option. After `--` it has arguments only. */
function isGiven(args: readonly string[], option: string): boolean {
  const end = args.indexOf('--')
  return args.slice(0, end < 0 ? undefined : end).includes(option)
}

async function execute(args: readonly string[]): Promise<number> {
  try {
    await program().parseAsync(args, { from: 'user' })
    return 0
  } catch (error) {
    // Help and version end as errors, too. Help that was not asked for stands for a missing command.
    if (error instanceof CommanderError && SHOWN.has(error.code)) return error.exitCode === 0 ? 0 : WRONG_USAGE
    const failure = error instanceof CommanderError ? usageError(error) : error
    if (!(failure instanceof SilentFailure)) reportFailure(failure)
    return exitOf(failure)
  }
}

function usageError({ message }: CommanderError): Error {
  const text = message.replace(/^error: /, '')
  return wrongUsage(text, text.includes('Did you mean') ? undefined : 'see --help')
}

/** Warnings of this package as one line each; those of Node.js are for developers. */
function showWarnings(isDebug: boolean): void {
  process.removeAllListeners('warning')
  process.on('warning', warning => {
    const isOwn = warning.name === 'MlxServingWarning'
    if (isOwn || isDebug) note(`${paint('yellow', 'warning', process.stderr)}: ${printable(warning.message)}`)
  })
}

/** The tree of commands. */
export function program(): Command {
  const root = new Command('mlx-serving')
    .description('Runs language models on this machine: MLX inside a Node.js process.')
    .version(version)
    .option('--debug', 'show the stack of an error')
    .option('-q, --quiet', 'no progress and no notes on stderr')
    .option('--no-color', 'no colours, whatever variables say')
    .exitOverride()
    .configureOutput({ outputError: () => {} })
    .showSuggestionAfterError()
    .hook('preAction', command => {
      if (command.opts<Global>().quiet) beQuiet()
    })
    .addHelpText('after', EXITS)
  root.helpCommand('help [command]', 'show the help of a command')
  for (const add of [
    addRun,
    addChat,
    addServe,
    addPull,
    addList,
    addRemove,
    addShow,
    addFit,
    addBench,
    addDoctor,
    addCompletion,
  ])
    add(root)
  return root
}

/** Options of the engine. */
function withEngine(command: Command): Command {
  return command
    .option('--config <file>', 'a runtime file in YAML, with options of the engine')
    .addOption(new Option('--preset <preset>', 'what to tune for').choices(['latency', 'balanced', 'throughput']))
    .addOption(new Option('--precision <precision>', 'the type of computations').choices(['auto', 'model']))
    .option('--simulated <profile>', 'a simulated device instead of MLX, such as instant')
}

/** Options of commands that load a model. */
function withModel(command: Command): Command {
  return withEngine(
    command
      .option('-m, --model <model>', 'a name of the hub, a folder, or demo (default: demo, the bundled model)')
      .option('--revision <revision>', 'a branch, tag or commit of the model on the hub'),
  )
}

/** Options of commands that generate answers. */
function withSampling(command: Command): Command {
  return withModel(command)
    .option('-s, --system <text>', 'the system message')
    .option('-n, --max-tokens <number>', 'end the answer after this many tokens (default: 512)', whole(1))
    .option('-t, --temperature <number>', 'how random the answer is, from 0 to 2', real(0, 2))
    .option('--top-p <number>', 'sample from the most probable tokens of this share', real(0, 1))
    .option('--top-k <number>', 'sample from this many of the most probable tokens', whole(0))
    .option('--min-p <number>', 'sample from tokens this times as probable as the best', real(0, 1))
    .option('--repetition-penalty <number>', 'make recent tokens less likely', real(0.01, 10))
    .option('--seed <number>', 'make a sampled answer reproducible', whole(0))
    .option('--stop <text>', 'end the answer at this text; may be repeated', several)
}

function addRun(root: Command): void {
  withSampling(root.command('run').argument('[prompt...]', 'the question; a - stands for the text on stdin'))
    .description('answer one question, streamed to stdout')
    .option('--raw', 'continue the prompt as plain text, without chat template and --system')
    .option('--schema <file>', 'the answer is JSON that matches this JSON schema')
    .option('--timeout <seconds>', 'fail after this time', real(0.001, 86_400))
    .option('--stats', 'figures of the answer on stderr, also with --quiet')
    .option('--json', 'the whole result as one JSON object')
    .addHelpText(
      'after',
      `
Examples:
  mlx-serving run "What is 12 + 7?"
  mlx-serving run -m mlx-community/Qwen3-4B-4bit "Why is the sky blue?" --stats
  mlx-serving run "Summarize this text:" - < notes.txt
  git diff | mlx-serving run -m ./models/qwen3 "Write a commit message for" -
  mlx-serving run "Name a city" --schema city.json --json | jq .parsed

Without a prompt, stdin is the prompt.`,
    )
    .action(async (words: string[], options: object) => (await import('./run.js')).run(words, options))
}

function addChat(root: Command): void {
  withSampling(root.command('chat'))
    .description('hold a conversation on this terminal')
    .addHelpText(
      'after',
      `
Examples:
  mlx-serving chat
  mlx-serving chat -m mlx-community/Qwen3-4B-4bit -s "Answer in one sentence."

Ctrl-C stops an answer, a second one leaves. A message of several lines stands between lines of """, or its lines
end with \\; pasted text is one message. /help lists the commands of the conversation.`,
    )
    .action(async (options: object) => (await import('./chat.js')).chat(options))
}

function addServe(root: Command): void {
  withEngine(
    root
      .command('serve')
      .description('serve models over HTTP, with the APIs of OpenAI, Anthropic and Ollama')
      .option('-m, --model <model>', 'a name of the hub, a folder, or demo; may be repeated', several),
  )
    .option('-p, --port <port>', 'the port; 0 takes a free one', whole(0, 65_535), 8080)
    .option('--host <address>', 'the address to listen on', '127.0.0.1')
    .option('--keys <file>', 'a file with an API key on each line')
    .option('--allow-anonymous', 'serve everybody who reaches a host beyond loopback')
    .option('--origin <origin>', 'a web page that may use the server; may be repeated', several)
    .option('--alias <name=model>', 'another name for a model; * for every unknown name; may be repeated', several)
    .option('--max-tokens <number>', 'the most tokens of an answer', whole(1))
    .option('--timeout <seconds>', 'the deadline of an answer', real(0.001, 86_400))
    .option('--dashboard [port]', 'a live page for this machine (default port: 8090)', whole(0, 65_535))
    .addHelpText(
      'after',
      `
Examples:
  mlx-serving serve -m mlx-community/Qwen3-4B-4bit
  mlx-serving serve -m ./models/qwen3 --alias gpt-4o=qwen3 --port 8000
  mlx-serving serve -m ./models/qwen3 --host 0.0.0.0 --keys keys.txt
  mlx-serving serve -m ./models/qwen3 --dashboard

Prints the address. Ctrl-C and SIGTERM close the server when its answers have ended, a second one at once.`,
    )
    .action(async (options: ServeCommandOptions) => (await import('./serve.js')).serve(options))
}

function addPull(root: Command): void {
  root
    .command('pull')
    .argument('<name>', 'the name of a model of the hub: owner/name')
    .description('download a model of the hub into the cache')
    .option('--revision <revision>', 'a branch, tag or commit (default: main)')
    .option('--json', 'name, folder and size as JSON')
    .addHelpText(
      'after',
      `
Examples:
  mlx-serving pull mlx-community/Qwen3-4B-4bit
  mlx-serving pull mlx-community/Qwen3-4B-4bit --revision 1a2b3c4
  folder=$(mlx-serving pull --quiet mlx-community/Qwen3-4B-4bit)

Prints the folder. A download that was ended goes on where it was. Every file is checked by its hash.`,
    )
    .action(async (name: string, options: object) => (await import('./pull.js')).pull(name, options))
}

function addList(root: Command): void {
  root
    .command('list')
    .alias('ls')
    .description('list the models of this machine')
    .option('--json', 'as JSON')
    .action(async (options: object) => (await import('./list.js')).list(options))
}

function addRemove(root: Command): void {
  root
    .command('rm')
    .argument('<name>', 'the name of a model in the cache: owner/name')
    .description('remove a model from the cache')
    .option('-y, --yes', 'do not ask')
    .option('--json', 'name and freed bytes as JSON')
    .action(async (name: string, options: object) => (await import('./list.js')).remove(name, options))
}

function addShow(root: Command): void {
  root
    .command('show')
    .argument('[model]', 'a name in the cache, or a folder (default: the bundled model)')
    .description('show the files of a model and what its requests may have')
    .option('--template', 'print the chat template alone')
    .option('--tensors', 'every tensor with its type and shape')
    .option('--json', 'as JSON, with the whole config.json')
    .action(async (model: string | undefined, options: object) => (await import('./show.js')).show(model, options))
}

function addFit(root: Command): void {
  root
    .command('fit')
    .argument('[model]', 'a name of the hub, or a folder (default: the bundled model)')
    .description('say whether a model fits the memory, and how many requests')
    .option('--revision <revision>', 'a branch, tag or commit of the model on the hub')
    .option('--memory <GiB>', 'the memory of another machine (default: that of this one)', real(0.001, 65_536))
    .addOption(new Option('--device <device>', 'where it computes (default: as here)').choices(['gpu', 'cpu']))
    .option('--rows <number>', 'fail unless this many requests fit (default: 1)', whole(1))
    .option('--context <tokens>', 'fail unless requests of this length fit (default: 1024)', whole(1))
    .option('--json', 'as JSON')
    .addHelpText(
      'after',
      `
Examples:
  mlx-serving fit mlx-community/Qwen3-4B-4bit
  mlx-serving fit mlx-community/Qwen3-30B-A3B-4bit --device gpu --memory 32
  mlx-serving fit ./models/qwen3 --rows 8 --context 4096 && mlx-serving chat -m ./models/qwen3

Nothing is downloaded but config.json. docs/memory.md has the formulas.`,
    )
    .action(async (model: string | undefined, options: object) => (await import('./fit.js')).fit(model, options))
}

function addBench(root: Command): void {
  withModel(root.command('bench'))
    .description('measure a model: tokens a second by the requests at the same time')
    .option('-c, --concurrency <list>', 'requests at the same time', wholes(1, 512), [1, 2, 4, 8, 16])
    .option('--rounds <number>', 'requests of each concurrent caller', whole(1, 10_000), 4)
    .option('--prompt-tokens <number>', 'tokens of each prompt', whole(8, 1_000_000), 32)
    .option('-n, --max-tokens <number>', 'tokens of each answer', whole(2), 64)
    .option('--duplicates <share>', 'measure again with this share of repeated requests', real(0, 0.99), 0.5)
    .option('--svg <file>', 'draw the rates')
    .option('--json', 'as JSON')
    .addHelpText(
      'after',
      `
Examples:
  mlx-serving bench -m mlx-community/Qwen3-4B-4bit
  mlx-serving bench --concurrency 1,8,32 --duplicates 0 --json
  mlx-serving bench -m ./models/qwen3 --svg rates.svg

All answers have the same length. The rate counts the tokens of all answers, from the first call to the last token.`,
    )
    .action(async (options: BenchOptions) => (await import('./bench.js')).bench(options))
}

function addDoctor(root: Command): void {
  root
    .command('doctor')
    .description('check this machine, with a remedy for each problem')
    .option('--json', 'as JSON')
    .action(async (options: object) => (await import('./doctor.js')).doctor(options))
}

function addCompletion(root: Command): void {
  root
    .command('completion')
    .argument('<shell>', 'bash, zsh or fish')
    .description('print a script that completes commands and options')
    .addHelpText(
      'after',
      `
Examples:
  mlx-serving completion bash >> ~/.bashrc
  mlx-serving completion zsh > "\${fpath[1]}/_mlx-serving"
  mlx-serving completion fish > ~/.config/fish/completions/mlx-serving.fish`,
    )
    .action(async (shell: string) => (await import('./completion.js')).completion(shell, program()))
}
