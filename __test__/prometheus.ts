// Reads the text of `engine.metrics()` as a scraper does.

import { createRequire } from 'node:module'

/** A line of the text: a value with its labels. */
export interface Sample {
  name: string
  labels: Record<string, string>
  value: number
}

interface Parsed {
  name: string
  metrics: { value: string; labels?: Record<string, string> }[]
}

const parse: (text: string) => Parsed[] = createRequire(__filename)('parse-prometheus-text-format')

/** One scrape. */
export class Scrape {
  readonly samples: Sample[]
  /** The type of each family. */
  readonly types: Map<string, string>

  constructor(readonly text: string) {
    const declared = text.matchAll(/^# TYPE (\S+) (\S+)$/gm)
    this.types = new Map([...declared].map(([, name, type]) => [name, type]))
    // The parser merges histograms that differ in labels, and knows the names of counters of an older format. Without types it
    // returns each line.
    const untyped = text.replaceAll(/^# TYPE .*\n/gm, '')
    this.samples = parse(untyped).flatMap(({ name, metrics }) =>
      metrics.map(({ value, labels = {} }) => ({ name, labels, value: Number(value) })),
    )
  }

  /** The samples of a name with these labels. */
  all(name: string, labels: Record<string, string> = {}): Sample[] {
    const has = (sample: Sample) => Object.entries(labels).every(([label, value]) => sample.labels[label] === value)
    return this.samples.filter(sample => sample.name === name && has(sample))
  }

  /** The sum of these samples. */
  sum(name: string, labels?: Record<string, string>): number {
    return this.all(name, labels).reduce((total, { value }) => total + value, 0)
  }
}
