"""Records mlx-lm's answers to prompts.json: 64 greedy tokens each, from the float32 weights of the converted model.

Usage: record.py FOLDER [--check]. FOLDER is what `convert.py --dense` wrote. With --check it compares instead of writing.
A prompt is recorded only if `generate_step` alone and `BatchGenerator` with all prompts together give the same tokens.
"""

import argparse
import json
import sys
from pathlib import Path

import mlx.core as mx
from mlx_lm import load
from mlx_lm.generate import BatchGenerator, generate_step

HERE = Path(__file__).parent
EXPECTED = HERE / "expected.json"
NUM_TOKENS = 64


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    model, tokenizer = load(options.folder)
    entries = [record(model, tokenizer, prompt) for prompt in json.loads((HERE / "prompts.json").read_text("utf-8"))]
    together = batch(model, [entry["prompt_tokens"] for entry in entries])
    for entry, tokens in zip(entries, together):
        if entry["tokens"] != tokens:
            sys.exit(f"{entry['name']}: another answer in a batch than alone")
    text = "[\n" + ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries) + "\n]\n"
    if not options.check:
        EXPECTED.write_text(text, "utf-8")
    elif EXPECTED.read_text("utf-8") != text:
        sys.exit("expected.json is not what mlx-lm answers")


def messages_of(prompt):
    content = prompt.get("text", "") * prompt.get("repeat", 1) + prompt["user"]
    system = [{"role": "system", "content": prompt["system"]}] if "system" in prompt else []
    return [*system, {"role": "user", "content": content}]


def record(model, tokenizer, prompt):
    messages = messages_of(prompt)
    tokens = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
    answer, margin = [], float("inf")
    for token, logprobs in generate_step(mx.array(tokens), model, max_tokens=NUM_TOKENS):
        second, first = mx.sort(logprobs)[-2:].tolist()
        margin = min(margin, first - second)
        answer.append(int(token))
        if token in tokenizer.eos_token_ids:
            break
    ended = answer[-1] in tokenizer.eos_token_ids
    text = tokenizer.decode(answer[:-1] if ended else answer)
    print(f"{prompt['name']:10} {len(tokens):5} tokens, least margin {margin:.1e} {text[:60]!r}", flush=True)
    return {
        "name": prompt["name"],
        "messages": messages,
        "prompt_tokens": tokens,
        "tokens": answer,
        "text": text,
        "finish_reason": "stop" if ended else "length",
    }


def batch(model, prompts):
    generator = BatchGenerator(model, max_tokens=NUM_TOKENS, stop_tokens=[[2]])
    rows = generator.insert(prompts)
    answers = {row: [] for row in rows}
    while responses := generator.next_generated():
        for response in responses:
            answers[response.uid].append(int(response.token))
    generator.close()
    return [answers[row] for row in rows]


if __name__ == "__main__":
    main()
