"""Side (c): mlx-lm in process, greedy: `generate_step` for one prompt, `BatchGenerator` for several.

Run by overhead.mjs with the model folder as its argument; job.mjs has the protocol.
"""

import json
import sys
import time

import mlx.core as mx
from mlx_lm import load
from mlx_lm.generate import BatchGenerator, generate_step


def main(path):
    model, _tokenizer = load(path)
    print("{}", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        prompts = [prompt["tokens"] for prompt in job["prompts"]]
        answer = alone if len(prompts) == 1 else together
        print(json.dumps(answer(model, prompts, job["numTokens"])), flush=True)


def alone(model, prompts, num_tokens):
    begin = time.perf_counter()
    tokens, first_ms = [], None
    for token, _logprobs in generate_step(mx.array(prompts[0]), model, max_tokens=num_tokens):
        first_ms = first_ms or milliseconds_since(begin)
        tokens.append(int(token))
    return {"firstMs": [first_ms], "totalMs": milliseconds_since(begin), "answers": [tokens]}


def together(model, prompts, num_tokens):
    begin = time.perf_counter()
    generator = BatchGenerator(model, max_tokens=num_tokens)
    rows = generator.insert(prompts)
    answers, first_ms = {row: [] for row in rows}, {}
    while responses := generator.next_generated():
        for response in responses:
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
