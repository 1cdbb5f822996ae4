// The process of a soak. Prints one line of JSON for each hour with its figures, one for each violation, and one at its end.
// Its argument is JSON: kind ('simulated' or 'mlx'), requestsPerHour, hours or minutes, seed, leakBytes.

import { generator } from '../prompts.mjs'
import { lostPermits } from './checks.mjs'
import { MAX_PENDING, openEngine, PARK_TIMEOUT_MS } from './engines.mjs'
import { runHour } from './hour.mjs'
import { measureProcess, watchProcess, watchStalls } from './watch.mjs'
import { WAYS } from './ways.mjs'

/** Violations beyond these are only counted. */
const MOST_VIOLATIONS = 40

const plan = JSON.parse(process.argv[2])
const print = line => process.stdout.write(`${JSON.stringify(line)}\n`)
const begin = performance.now()
const seconds = () => (performance.now() - begin) / 1000

const soak = soakOf(plan)
watchProcess(what => soak.violated([what]))
soak.resident = await openEngine(plan.kind)
for (let hour = 0; !isOver(hour); hour++) {
  await runHour(soak, hour, plan.requestsPerHour)
  soak.leak()
  print({
    hour: hour + 1,
    seconds: seconds(),
    requests: soak.numEnded,
    part: partDone(hour + 1),
    ...(await measureProcess()),
  })
}
soak.violated(await lostPermits(soak.resident, MAX_PENDING))
await soak.resident.engine.shutdown()
if (soak.pending.size > 0) soak.violated([`calls without an end: ${[...soak.pending].join(', ')}`])
print({ endings: soak.endings, numViolations: soak.numViolations, requests: soak.numEnded, seconds: seconds() })

function isOver(hour) {
  return plan.minutes === undefined ? hour >= plan.hours : seconds() >= 60 * plan.minutes
}

function partDone(hour) {
  return Math.min(1, plan.minutes === undefined ? hour / plan.hours : seconds() / 60 / plan.minutes)
}

/** What an hour needs: random numbers, a way drawn by weight, and places to count in. */
function soakOf({ kind, requestsPerHour, seed, leakBytes }) {
  const next = generator(seed)
  const ways = WAYS.filter(way => kind === 'simulated' || !way.isSimulated)
  const tickets = ways.flatMap(way => Array.from({ length: way.weight }, () => way))
  const leaked = []
  return {
    kind,
    requestsPerHour,
    stalls: watchStalls(PARK_TIMEOUT_MS / 2),
    next,
    draw: () => tickets[next(tickets.length)],
    pending: new Map(),
    endings: {},
    numEnded: 0,
    numViolations: 0,
    began(name) {
      this.pending.set(name, (this.pending.get(name) ?? 0) + 1)
    },
    ended(name, ending) {
      const rest = this.pending.get(name) - 1
      if (rest > 0) this.pending.set(name, rest)
      else this.pending.delete(name)
      this.endings[name] ??= {}
      this.endings[name][ending] = (this.endings[name][ending] ?? 0) + 1
      this.numEnded++
    },
    violated(all) {
      for (const violation of all) if (++this.numViolations <= MOST_VIOLATIONS) print({ violation })
    },
    /** A leak on purpose, which shows that the soak finds one. */
    leak() {
      if (leakBytes > 0) leaked.push(Buffer.alloc(leakBytes * requestsPerHour, 1))
    },
  }
}
