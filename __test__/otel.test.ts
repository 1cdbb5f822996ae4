// Spans of generations, through the SDK of OpenTelemetry: parents, phases, attributes, and what a failure looks like.

import { context, SpanStatusCode, trace } from '@opentelemetry/api'
import {
  InMemorySpanExporter,
  NodeTracerProvider,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-node'
import { instrument } from 'mlx-serving/otel'
import { afterAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { failure, INSTANT, M3_MAX, sharing, simulated } from './support.js'

const exporter = new InMemorySpanExporter()
const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
provider.register()
const tracer = trace.getTracer('test')

beforeEach(() => exporter.reset())
afterAll(() => provider.shutdown())

const msOf = ([seconds, nanos]: ReadableSpan['startTime']) => seconds * 1e3 + nanos / 1e6
const isGeneration = ({ name }: ReadableSpan) => name.endsWith(' demo')

/** The spans of generations, in the order of their ends. */
const generations = () => exporter.getFinishedSpans().filter(isGeneration)

const childrenOf = (span: ReadableSpan) => {
  const { spanId } = span.spanContext()
  return exporter.getFinishedSpans().filter(({ parentSpanContext }) => parentSpanContext?.spanId === spanId)
}

test('a generation is a span with its params and its usage, without any text', async () => {
  const { engine, model } = await simulated(M3_MAX)
  instrument(engine)
  const sampling = {
    maxTokens: 5,
    temperature: 0.5,
    topP: 0.9,
    topK: 40,
    seed: 7,
    frequencyPenalty: 0.1,
    presencePenalty: 0.2,
  }
  const messages = [{ role: 'user' as const, content: 'a secret question' }]
  const result = await engine.generate({ model, messages, ignoreEos: true, ...sampling })
  const [span] = generations()
  expect(span.name).toBe('chat demo')
  expect(span.attributes).toEqual({
    'gen_ai.operation.name': 'chat',
    'gen_ai.provider.name': 'mlx-serving',
    'gen_ai.request.model': 'demo',
    'gen_ai.output.type': 'text',
    'gen_ai.request.max_tokens': 5,
    'gen_ai.request.temperature': 0.5,
    'gen_ai.request.top_p': 0.9,
    'gen_ai.request.top_k': 40,
    'gen_ai.request.seed': 7,
    'gen_ai.request.frequency_penalty': 0.1,
    'gen_ai.request.presence_penalty': 0.2,
    'gen_ai.response.id': result.id,
    'gen_ai.response.finish_reasons': ['length'],
    'gen_ai.response.time_to_first_chunk': result.timings.ttftMs / 1000,
    'gen_ai.usage.input_tokens': result.usage.inputTokens,
    'gen_ai.usage.cache_read.input_tokens': 0,
    'gen_ai.usage.output_tokens': 5,
    'gen_ai.usage.reasoning.output_tokens': 0,
    'mlx_serving.served': 'computed',
  })
  expect(span.status.code).toBe(SpanStatusCode.UNSET)
})

test('queue, prefill and decode are children that follow each other inside the span', async () => {
  const { engine, model } = await simulated(M3_MAX)
  instrument(engine)
  const { timings } = await engine.generate({ model, prompt: 'Once', maxTokens: 20, ignoreEos: true })
  const [span] = generations()
  const phases = childrenOf(span)
  expect(phases.map(({ name }) => name)).toEqual(['queue', 'prefill', 'decode'])
  const durations = phases.map(({ startTime, endTime }) => msOf(endTime) - msOf(startTime))
  const expected = [timings.queueMs, timings.prefillMs, timings.decodeMs]
  for (const [index, ms] of expected.entries()) expect(durations[index]).toBeCloseTo(ms, 1)
  expect(phases[0].startTime).toEqual(span.startTime)
  expect(phases[1].startTime).toEqual(phases[0].endTime)
  expect(phases[2].startTime).toEqual(phases[1].endTime)
  expect(msOf(phases[2].endTime)).toBeLessThanOrEqual(msOf(span.endTime))
})

describe('the parent', () => {
  test('is the span that is active where generate is called', async () => {
    const { engine, model } = await simulated()
    instrument(engine)
    const ask = (name: string) =>
      tracer.startActiveSpan(name, async span => {
        await engine.generate({ model, prompt: name, maxTokens: 3 })
        // The context of the caller continues after the answer.
        expect(trace.getSpan(context.active())).toBe(span)
        for await (const _ of engine.createGenerator({ model, prompt: name, maxTokens: 3 }));
        span.end()
        return span.spanContext()
      })
    const parents = await Promise.all([ask('first'), ask('second')])
    const spans = generations()
    expect(spans).toHaveLength(4)
    for (const parent of parents) {
      const own = spans.filter(span => span.parentSpanContext?.spanId === parent.spanId)
      expect(own).toHaveLength(2)
      for (const span of own) expect(span.spanContext().traceId).toBe(parent.traceId)
    }
  })

  test('is absent without an active span', async () => {
    const { engine, model } = await simulated()
    instrument(engine)
    await engine.generate({ model, prompt: 'Once', maxTokens: 3 })
    expect(generations().map(({ parentSpanContext }) => parentSpanContext)).toEqual([undefined])
  })
})

test('a shared answer has the way in which it was served', async () => {
  const { engine, model } = await sharing()
  instrument(engine)
  const params = { model, prompt: 'Once', maxTokens: 6 }
  await engine.generate(params)
  const { usage } = await engine.generate(params)
  const [first, second] = generations()
  expect([first, second].map(({ attributes }) => attributes['mlx_serving.served'])).toEqual(['computed', 'cached'])
  expect(second.attributes['gen_ai.usage.cache_read.input_tokens']).toBe(usage.inputTokens)
})

test('several answers are one span with all their tokens and ends', async () => {
  const { engine, model } = await simulated()
  instrument(engine)
  const { choices = [] } = await engine.generate({
    model,
    prompt: 'Once',
    maxTokens: 4,
    n: 3,
    temperature: 1,
    ignoreEos: true,
  })
  expect(generations().map(({ attributes }) => attributes)).toEqual([
    expect.objectContaining({
      'gen_ai.operation.name': 'text_completion',
      'gen_ai.request.choice.count': 3,
      'gen_ai.response.finish_reasons': ['length', 'length', 'length'],
      'gen_ai.usage.output_tokens': 12,
      'gen_ai.usage.input_tokens': choices[0].usage.inputTokens,
    }),
  ])
})

test('a schema makes the output JSON', async () => {
  const { engine, model } = await simulated()
  instrument(engine)
  await engine.generate({ model, prompt: 'Once', maxTokens: 40, structured: { schema: { type: 'boolean' } } })
  expect(generations()[0].attributes['gen_ai.output.type']).toBe('json')
})

describe('an end', () => {
  test('by a failure of the device is an error with its code', async () => {
    const faults = [{ step: 0, kind: 'collect' as const }]
    const { engine, model } = await simulated(INSTANT, {
      retry: { enabled: false },
      backend: { simulated: INSTANT, faults },
    })
    instrument(engine)
    const { message } = await failure(engine.generate({ model, prompt: 'Once' }))
    const [span] = generations()
    expect(span.attributes).toMatchObject({ 'error.type': 'BackendError' })
    expect(span.status).toEqual({ code: SpanStatusCode.ERROR, message })
    expect(childrenOf(span)).toEqual([])
  })

  test('by a refusal is an error with its code', async () => {
    const { engine, model } = await simulated(M3_MAX, { scheduler: { maxPending: 1 } })
    instrument(engine)
    const first = engine.generate({ model, prompt: 'Once', maxTokens: 2 })
    await failure(engine.generate({ model, prompt: 'Twice', maxTokens: 2 }))
    await first
    expect(generations().map(({ attributes }) => attributes['error.type'])).toEqual(['Overloaded', undefined])
  })

  test('by the caller is no error', async () => {
    const { engine, model } = await simulated(M3_MAX)
    instrument(engine)
    const params = { model, prompt: 'Once', maxTokens: 500, ignoreEos: true }
    for await (const _ of engine.generate(params)) break
    const abort = new AbortController()
    const aborted = engine.generate(params, { signal: abort.signal })
    abort.abort()
    await failure(aborted)
    for (const { attributes, status } of generations()) {
      expect(attributes['gen_ai.response.finish_reasons']).toEqual(['cancelled'])
      expect(attributes).not.toHaveProperty('error.type')
      expect(status.code).toBe(SpanStatusCode.UNSET)
    }
    expect(generations()).toHaveLength(2)
  })
})

test('two generations with one id have a span each', async () => {
  const { engine, model } = await simulated()
  instrument(engine)
  const ask = (prompt: string) => engine.generate({ model, prompt, maxTokens: 3 }, { id: 'same' })
  await Promise.all([ask('one'), ask('other')])
  expect(generations().map(({ attributes }) => attributes['gen_ai.response.id'])).toEqual(['same', 'same'])
})

test('after the end of the instrumentation, running spans are completed and no new span begins', async () => {
  const { engine, model } = await simulated(M3_MAX)
  const off = vi.spyOn(engine, 'off')
  const end = instrument(engine)
  const running = engine.generate({ model, prompt: 'Once', maxTokens: 10 })
  end()
  expect(off.mock.calls.map(([event]) => event)).toEqual(['generation:started'])
  const later = engine.generate({ model, prompt: 'Twice', maxTokens: 2 })
  await Promise.all([running, later])
  expect(generations().map(({ attributes }) => attributes['gen_ai.response.id'])).toEqual([running.id])
  expect(off.mock.calls.map(([event]) => event)).toEqual(['generation:started', 'generation:completed'])
  await engine.generate({ model, prompt: 'Thrice', maxTokens: 2 })
  expect(generations()).toHaveLength(1)
})

test('another tracer makes the spans', async () => {
  const other = new InMemorySpanExporter()
  const own = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(other)] })
  const { engine, model } = await simulated()
  instrument(engine, { tracer: own.getTracer('own') })
  await engine.generate({ model, prompt: 'Once', maxTokens: 3 })
  expect(other.getFinishedSpans().filter(isGeneration)).toHaveLength(1)
  expect(generations()).toEqual([])
})
