// `mlx-serving completion`: scripts for shells, made from the tree of commands.

import type { Command } from 'commander'
import { wrongUsage } from './exits'
import { printLine } from './terminal'

interface Entry {
  readonly name: string
  readonly description: string
  readonly flags: readonly { name: string; description: string; choices: readonly string[] }[]
}

export async function completion(shell: string, root: Command): Promise<void> {
  const write = SHELLS.get(shell)
  if (write === undefined) throw wrongUsage(`there are no completions for ${shell}`, 'known are: bash, zsh, fish')
  await printLine(write(root.commands.map(entryOf(root))))
}

function entryOf(root: Command): (command: Command) => Entry {
  return command => ({
    name: command.name(),
    description: command.description(),
    flags: [...command.options, ...root.options].flatMap(option =>
      option.long ? [{ name: option.long, description: option.description, choices: option.argChoices ?? [] }] : [],
    ),
  })
}

const SHELLS: ReadonlyMap<string, (entries: readonly Entry[]) => string> = new Map(Object.entries({ bash, zsh, fish }))

const flagsOf = ({ flags }: Entry) => flags.map(({ name }) => name).join(' ')

function bash(entries: readonly Entry[]): string {
  const cases = entries.map(entry => `    ${entry.name}) words="${flagsOf(entry)}" ;;`)
  return `_mlx_serving() {
  local words current="\${COMP_WORDS[COMP_CWORD]}"
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${entries.map(({ name }) => name).join(' ')}" -- "$current"))
    return
  fi
  case "\${COMP_WORDS[1]}" in
${cases.join('\n')}
  esac
  case "$current" in
    -*) COMPREPLY=($(compgen -W "$words" -- "$current")) ;;
  esac
}
complete -o default -F _mlx_serving mlx-serving`
}

function zsh(entries: readonly Entry[]): string {
  const commands = entries.map(({ name, description }) => `    ${quoted(`${name}:${description}`)}`)
  const cases = entries.map(
    ({ name, flags }) =>
      `    ${name}) _arguments ${flags.map(flag => quoted(`${flag.name}[${plain(flag.description)}]`)).join(' ')} '*:file:_files' ;;`,
  )
  return `#compdef mlx-serving
_mlx_serving() {
  local -a commands=(
${commands.join('\n')}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  shift words
  (( CURRENT-- ))
  case "\${words[1]}" in
${cases.join('\n')}
  esac
}
if [ "$funcstack[1]" = "_mlx_serving" ]; then _mlx_serving "$@"; else compdef _mlx_serving mlx-serving; fi`
}

function fish(entries: readonly Entry[]): string {
  const lines = entries.flatMap(({ name, description, flags }) => [
    `complete -c mlx-serving -f -n __fish_use_subcommand -a ${name} -d ${quoted(description)}`,
    ...flags.map(({ name: flag, description: text, choices }) => {
      const values = choices.length > 0 ? ` -xa ${quoted(choices.join(' '))}` : ''
      return `complete -c mlx-serving -n '__fish_seen_subcommand_from ${name}' -l ${flag.slice(2)} -d ${quoted(text)}${values}`
    }),
  ])
  return lines.join('\n')
}

/** A text in single quotes, which shells take as it is. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}

/** Without the characters that have a meaning in specifications of zsh. */
function plain(text: string): string {
  return text.replace(/[[\]:]/g, ' ')
}
