// /v1/completions through the client of OpenAI, and the refusal of /v1/embeddings.

import OpenAI, { BadRequestError } from 'openai'
import { expect, test } from 'vitest'
import { post, refusalOf, type Served, served } from './serving.js'
import { failure, M3_MAX, simulated, until, withMlx } from './support.js'

const clientOf = ({ url }: { url: string }) => new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 })
const ask = (server: Served, params: object = {}) =>
  clientOf(server).completions.create({ model: server.model.id, prompt: 'Once upon', ...params, stream: false })

test('a text is continued, whole and as a stream with the same text and usage', async () => {
  const server = await served(await withMlx())
  const whole = await ask(server)
  expect(whole).toMatchObject({ object: 'text_completion', choices: [{ index: 0, logprobs: null }] })
  expect(whole.usage?.completion_tokens).toBeLessThanOrEqual(16)
  const stream = await clientOf(server).completions.create({
    model: 'demo',
    prompt: 'Once upon',
    stream: true,
    stream_options: { include_usage: true },
  })
  const chunks = []
  for await (const chunk of stream) chunks.push(chunk)
  expect(chunks.map(({ choices }) => choices[0]?.text ?? '').join('')).toBe(whole.choices[0].text)
  expect(chunks.at(-1)).toMatchObject({ choices: [], usage: whole.usage })
})

test('several prompts, as texts or token ids, are answered in order', async () => {
  const server = await served(await withMlx())
  const texts = ['Once upon', 'What is']
  const both = await ask(server, { prompt: texts, n: 2 })
  expect(both.choices.map(({ index }) => index)).toEqual([0, 1, 2, 3])
  const single = await Promise.all(texts.map(prompt => ask(server, { prompt })))
  expect(both.choices[0].text).toBe(single[0].choices[0].text)
  expect(both.choices[2].text).toBe(single[1].choices[0].text)
  expect(both.usage?.prompt_tokens).toBe(single[0].usage!.prompt_tokens + single[1].usage!.prompt_tokens)
  const tokens = [...(await server.engine.tokenize({ model: server.model, text: texts[0] }))]
  expect((await ask(server, { prompt: tokens })).choices[0].text).toBe(single[0].choices[0].text)
  expect((await ask(server, { prompt: [tokens, tokens] })).choices[1].text).toBe(single[0].choices[0].text)
})

test('log-probabilities are lists of one length, with the offset of each token', async () => {
  const server = await served(await withMlx())
  const [{ text, logprobs }] = (await ask(server, { logprobs: 2, max_tokens: 5, ignore: 1 })).choices
  const { tokens = [], token_logprobs, top_logprobs, text_offset = [] } = logprobs!
  expect([token_logprobs?.length, top_logprobs?.length, text_offset.length]).toEqual(Array(3).fill(tokens.length))
  expect(text.slice(text_offset[1])).toBe(
    tokens
      .slice(1)
      .join('')
      .slice(0, text.length - text_offset[1]),
  )
})

test('wrong values are errors that name them', async () => {
  const server = await served(await simulated())
  const wrong = [
    [{ prompt: [] }, 'prompt'],
    [{ prompt: [1, 'a'] }, 'prompt[0]'],
    [{ prompt: [[1.5]] }, 'prompt[0]'],
    [{ echo: true }, 'echo'],
    [{ suffix: 'x' }, 'suffix'],
    [{ best_of: 2 }, 'best_of'],
  ] as const
  for (const [params, param] of wrong) {
    const error = await failure(ask(server, params))
    expect(error).toBeInstanceOf(BadRequestError)
    expect(error).toMatchObject({ param })
  }
  const response = await post(`${server.url}/v1/completions`, { prompt: ['a', 'b'], stream: true })
  expect(await refusalOf(response)).toMatchObject({ status: 400, param: 'stream' })
})

test('one prompt that fails ends the work for the others', async () => {
  const server = await served(await simulated(M3_MAX))
  const { engine } = server
  // The other answer takes more than 6 s, unless it is cancelled.
  const params = { prompt: ['good', 'long '.repeat(100_000)], max_tokens: 1_000, ignore_eos: true }
  const error = await failure(ask(server, params))
  expect(error).toMatchObject({ status: 400, code: 'context_length_exceeded' })
  await until(() => engine.stats().preparing + engine.stats().queued + engine.stats().running === 0)
  expect(engine.stats().completed).toBe(0)
})

test('embeddings are refused with the reason', async () => {
  const { url } = await served(await simulated())
  const response = await post(`${url}/v1/embeddings`, { input: 'x' })
  expect(await refusalOf(response)).toMatchObject({
    status: 404,
    code: 'not_supported',
    message: expect.stringContaining('embedding'),
  })
})
