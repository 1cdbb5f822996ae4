"""mlx-lm's side of prefix.mjs: one request at a time, with the prompt cache that its server has. The cache keeps the last prompt
with its answer; the next prompt keeps the common beginning and reads the rest.

Run with the model folder as its argument. Each line of stdin is a job { prompt, numTokens, reuse }; each line of stdout a result.
"""

import json
import sys
import time

import mlx.core as mx
from mlx_lm import load
from mlx_lm.generate import generate_step
from mlx_lm.models.cache import make_prompt_cache, trim_prompt_cache


def main(path):
    model, _tokenizer = load(path)
    print("{}", flush=True)
    kept = {"tokens": [], "cache": None}
    for line in sys.stdin:
        print(json.dumps(answer(model, json.loads(line), kept)), flush=True)


def answer(model, job, kept):
    begin = time.perf_counter()
    prompt, tokens, first_ms = job["prompt"], [], None
    common = common_beginning(prompt[:-1], kept["tokens"]) if job["reuse"] else 0
    if common == 0:
        kept["cache"] = make_prompt_cache(model)
    else:
        trim_prompt_cache(kept["cache"], len(kept["tokens"]) - common)
    steps = generate_step(mx.array(prompt[common:]), model, max_tokens=job["numTokens"], prompt_cache=kept["cache"])
    for token, _logprobs in steps:
        first_ms = first_ms or (time.perf_counter() - begin) * 1e3
        tokens.append(int(token))
    # Positions that the cache holds: a token that was sampled last may not have been read.
    held = kept["cache"][0].offset
    kept["tokens"] = (prompt + tokens)[:held]
    return {"firstMs": first_ms, "tokens": tokens, "computed": len(prompt) - common}


def common_beginning(one, other):
    count = 0
    for left, right in zip(one, other):
        if left != right:
            break
        count += 1
    return count


main(sys.argv[1])
