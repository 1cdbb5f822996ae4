// docs/benchmarks.md: the results of `npm run bench --docs` as a page. All of it is written here, so that figures and words agree.

import { costs } from './goals.mjs'
import { goalRows, loadRows, markdown, questionRows, titleOf } from './report.mjs'
import { LOADS } from './workloads.mjs'

/** The page. */
export function pageOf(results, goals, about) {
  return `${[head(about), ...results.map(section), target(goals), method(results)].join('\n\n')}\n`
}

const head = ({ date, machine, memory, load, node, version, mlx }) => `# Benchmarks

\`npm run bench\` runs a standard set of workloads, in less than ten minutes: 50 questions, requests that repeat, a mixed load, 100 users
at once, and a spike. \`npm run bench -- --docs\` also writes this page. [bench/README.md](../bench/README.md) has the other benchmarks:
against mlx-lm and node-llama-cpp, against a bare loop on MLX, start, sampling, families of models;
[scheduler-results.md](scheduler-results.md) compares policies of the scheduler.

${markdown([
  { run: 'date', value: date.slice(0, 10) },
  { run: 'machine', value: `${machine}, ${memory}` },
  { run: 'load average at the end', value: load },
  { run: 'versions', value: `mlx-serving ${version}, MLX ${mlx}, Node.js ${node.slice(1)}` },
])}

Two engines take turns at the same requests: one with default options, and a *plain engine*, which runs one request at a time and
shares no answers (\`MLX_GPU_SCHEDULER=off\`, caches off). Figures are medians, with the quartiles of the pairs in brackets. Two
figures in a cell are those of the engine and of the plain engine.`

function section(result) {
  return `## ${titleOf(result.device)[0].toUpperCase()}${titleOf(result.device).slice(1)}

50 questions of 50 tokens, one after another:

${markdown(questionRows(result))}
${result.device === 'simulated' ? `\n${bareText(result)}\n` : ''}
Loads. *Answers/s* counts from the first request to the last answer; of the spike, its 60 requests only.

${markdown(loadRows(result))}

![Answers over time, the engine against the plain engine](benchmarks/${result.device}.svg)`
}

function bareText(result) {
  const { bare, overhead, addedFirstMs, lost } = costs(result)
  const [first, total] = [bare.firstMs, bare.totalMs].map(value => value.toFixed(2))
  return `The device alone takes ${first} ms to the first token and ${total} ms for an answer. The engine adds ${addedFirstMs[1].toFixed(2)} ms to the
first token and ${overhead[1].toFixed(2)} % to an answer: the wake of a thread and of a promise, and the device's sleep, which is as exact as the
timers of a machine. Its throughput differs from that of the plain engine by ${signed(-lost[1])} %, in blocks of ten questions.`
}

const signed = value => `${value < 0 ? '-' : '+'}${Math.abs(value).toFixed(2)}`

const target = goals => `## Targets

${markdown(goalRows(goals))}

*Met*: the median meets the target. *Missed*: neither the median nor a quartile does. *Open*: anything between.`

const method = results => `## Workloads

${markdown(LOADS.map(({ name, what }) => ({ load: name, what })))}

* A request has a prompt of 32 tokens and an answer of 50, at temperature 0, unless the table says otherwise. Answers do not end
  earlier.
* Caches are emptied before each round, and no round repeats requests of another.
* The time of an output token is the mean of one answer, after its first token; *p95* is over answers.
* The simulated device takes the time of an M3 Max for each step, in real time, and computes nothing. Everything else is the engine
  that runs with MLX. The bundled model has 0.75 M parameters: its steps take fractions of a millisecond on a CPU, so that this part
  measures the engine more than the model.
* The plain engine takes the same time for one request. It differs only when requests overlap or repeat.${results.length === 2 ? '' : '\n* Only one device ran.'}`
