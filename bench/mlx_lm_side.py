"""Side (c): mlx-lm in process: `generate_step` for one prompt, `BatchGenerator` for several. Greedy, unless the job has params.

Run with the model folder as its argument; job.mjs has the protocol.
"""

import json
import sys
import time

import mlx.core as mx
from mlx_lm import load
from mlx_lm.generate import BatchGenerator, generate_step
from mlx_lm.sample_utils import make_logits_processors, make_sampler

GATHER_QMM = mx.gather_qmm


def gather_qmm(*arguments, global_scale=None, **named):
    """What mlx-lm 0.32.2 calls. mlx 0.32.2 has no `global_scale`, which affine quantization does not use."""
    if global_scale is not None:
        raise ValueError("mlx 0.32.2 has no global scale")
    return GATHER_QMM(*arguments, **named)


mx.gather_qmm = gather_qmm


def main(path):
    model, _tokenizer = load(path)
    print("{}", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        prompts = [prompt["tokens"] for prompt in job["prompts"]]
        answer = alone if len(prompts) == 1 else together
        drawing = drawing_by(job.get("params", {}))
        print(json.dumps(answer(model, prompts, job["numTokens"], drawing)), flush=True)


def drawing_by(params):
    """mlx-lm's counterparts of these sampling parameters: a sampler, logits processors, and a reader of log-probabilities."""
    mx.random.seed(params.get("seed", 0))
    sampler = make_sampler(
        temp=params.get("temperature", 0.0),
        top_p=params.get("topP", 0.0),
        min_p=params.get("minP", 0.0),
        top_k=params.get("topK", 0),
    )
    bias = {int(token): value for token, value in params.get("logitBias", {}).items()}
    processors = make_logits_processors(
        logit_bias=bias or None,
        repetition_penalty=params.get("repetitionPenalty"),
        presence_penalty=params.get("presencePenalty"),
        frequency_penalty=params.get("frequencyPenalty"),
    )
    return sampler, processors, reader_of(params.get("logprobs"))


def reader_of(num_top):
    """Reads the log-probabilities of the most probable tokens. mlx-lm has computed those of all tokens."""

    def read(logprobs):
        top = mx.argpartition(-logprobs, num_top - 1)[:num_top]
        return top.tolist(), logprobs[top].tolist()

    return read if num_top else lambda _logprobs: None


def alone(model, prompts, num_tokens, drawing):
    sampler, processors, read_logprobs = drawing
    begin = time.perf_counter()
    tokens, first_ms = [], None
    prompt = mx.array(prompts[0])
    steps = generate_step(prompt, model, max_tokens=num_tokens, sampler=sampler, logits_processors=processors)
    for token, logprobs in steps:
        read_logprobs(logprobs)
        first_ms = first_ms or milliseconds_since(begin)
        tokens.append(int(token))
    return {"firstMs": [first_ms], "totalMs": milliseconds_since(begin), "answers": [tokens]}


def together(model, prompts, num_tokens, drawing):
    sampler, processors, read_logprobs = drawing
    begin = time.perf_counter()
    generator = BatchGenerator(model, max_tokens=num_tokens)
    rows = generator.insert(prompts, samplers=[sampler] * len(prompts), logits_processors=[processors] * len(prompts))
    answers, first_ms = {row: [] for row in rows}, {}
    while responses := generator.next_generated():
        for response in responses:
            read_logprobs(response.logprobs)
            first_ms.setdefault(response.uid, milliseconds_since(begin))
            answers[response.uid].append(int(response.token))
    total_ms = milliseconds_since(begin)
    generator.close()
    return {
        "firstMs": [first_ms[row] for row in rows],
        "totalMs": total_ms,
        "answers": [answers[row] for row in rows],
    }


def milliseconds_since(begin):
    return 1000 * (time.perf_counter() - begin)


if __name__ == "__main__":
    main(sys.argv[1])
