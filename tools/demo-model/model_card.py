"""Writes the model card from the last evaluation and the learning curve."""

import argparse
import json
from pathlib import Path

from chat_tokenizer import MARKS, SPECIALS

HERE = Path(__file__).parent
CURVE_ROWS = 10

CARD = """---
language: en
library_name: mlx
pipeline_tag: text-generation
---

# Demo model

A chat model of {parameters:.2f} million parameters (Llama architecture, float32), small enough to
ship with the package. It is there to show that everything works without a download: it knows a few
exercises well and nothing else.

It can

- add and subtract whole numbers from 0 to 99, writing the calculation out, and go on from a result ("and minus 3?"),
- say which of two numbers is larger or smaller,
- name the capitals of 60 countries,
- spell and reverse words of up to ten letters,
- say which day or month comes before or after another and how many days a month has,
- make a little small talk, and say politely that anything else is beyond it,
- call two tools, a calculator and a calendar, where a question needs them, and say their results.

It speaks English only, its answers follow fixed forms, and it can be wrong. It is no source of facts.

## How it was made

From scratch, on conversations that the scripts in `tools/demo-model` generate; no data set and no
other model was involved. Calculations and reversals are written out step by step in the answer,
because a model of this size learns procedures far better than results. The tokenizer works on
bytes, with {words} frequent words of conversations as whole tokens, so that every text can
be encoded and the letters of a word stay visible to the model.

A first run taught everything but tools: 3950 steps, 168914 conversations and 12.4 million tokens. A second run
started from its weights and taught tools beside the rest: {steps} steps, {examples} conversations and
{tokens:.1f} million tokens, in {minutes:.0f} minutes on {threads} of a shared machine ({rate:.0f} tokens/s).
Exercises and their shares changed during both, so repeating them gives a similar model, not the same weights.

| Step | Loss | Held-out answers exact |
| ---: | ---: | ---: |
{curve}

The steps are those of the second run. "Exact" in this table is strict: the whole answer has to be the
reference, on a quarter of the held-out set.

## Measured accuracy

Of {call_items} held-out calls the model makes **{calls:.1f} %** exactly: the right tool and the right arguments.
Of its own domain, calls included, it answers **{own_domain:.1f} %** of {own_items} held-out items correctly; with the polite
refusals of what lies outside, {overall:.1f} % of {items}. "New content" are operand pairs and
words that training never drew (for facts: pairs of fact and wording), "new wording" are
questions in wordings that training never drew; such a wording may be close to a trained one. The
set was looked at, and wordings added, while the exercises were designed: it is a development set
rather than a blind test. Decoding is greedy; an answer counts when the model ended it itself and its last part, the
result, is exactly as expected.

{table}

Of {reserved_of} fixed conversations that have to work, {reserved_right} do.

## Format

Every message is `<|role|>` + text + `<|end|>` for the roles `system`, `user` and `assistant`; the answer
starts after `<|assistant|>` and ends with `<|end|>`. The context is {context} tokens; training
conversations were mostly shorter than 400.

Tools have the Hermes format: their JSON stands between `<tools>` and `</tools>` at the end of the system message,
a call is `<tool_call>`, a line with `{{"name": …, "arguments": …}}`, and `</tool_call>`, and the results of
calls are a user message, each between `<tool_response>` and `</tool_response>`. The tools that the model calls:

| Tool | Arguments | Asked | Results that it reads |
| --- | --- | --- | --- |
| `calculator` | `expression`, with `+ - * / %` and brackets | products, quotients, remainders, numbers above 99 | `5535`, `{{"result": 5535}}` |
| `calendar` | `date` | "What day of the week is 2026-12-24?", "What is the date today?" (`today`) | `Thursday`, `{{"date": "2026-12-24", "weekday": "Thursday"}}` |
| `calendar` | `date`, `until` | "How many days from 2026-11-30 to 2026-12-24?" | `24`, `24 days`, `{{"days": 24}}` |

It goes by the names of tools and arguments, not by their descriptions, and calls no other tool by itself. A result
`Error: …` is passed on: "That did not work: …".
"""


def curve_rows(curve):
    chosen = curve[::max(1, -(-len(curve) // CURVE_ROWS))]
    if chosen[-1] is not curve[-1]:
        chosen.append(curve[-1])
    return "\n".join(f"| {row['step']} | {row['loss']:.3f} | {100 * row['exact']:.1f} % |" for row in chosen)


def model_card(folder, report, curve, workers):
    config = json.loads((folder / "config.json").read_text())
    last = curve[-1]
    reserved = report["reserved"]
    return CARD.format(
        parameters=parameter_count(folder) / 1e6, words=config["vocab_size"] - 256 - len(SPECIALS) - len(MARKS),
        steps=last["step"], examples=last["examples"], tokens=last["tokens"] / 1e6, minutes=last["seconds"] / 60,
        rate=last["tokens"] / last["seconds"], threads=f"{workers} threads" if workers > 1 else "one thread", curve=curve_rows(curve),
        call_items=report["calls"][1], calls=100 * report["calls"][0] / report["calls"][1],
        items=report["items"], overall=100 * report["right"] / report["items"],
        own_items=report["own_domain"][1], own_domain=100 * report["own_domain"][0] / report["own_domain"][1],
        table="\n".join(report["table"]), reserved_of=reserved["of"], reserved_right=reserved["right"],
        context=config["max_position_embeddings"])


def parameter_count(folder):
    """From the header of the safetensors file: a length, then JSON with all shapes."""
    data = (folder / "model.safetensors").read_bytes()
    header = json.loads(data[8:8 + int.from_bytes(data[:8], "little")])
    offsets = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
    return sum(end - start for start, end in offsets) // 4


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=HERE.parents[1] / "models" / "demo")
    parser.add_argument("--report", type=Path, default=HERE / "eval.json")
    parser.add_argument("--curve", type=Path, default=HERE / "checkpoints" / "demo" / "curve.json")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    card = model_card(options.folder, json.loads(options.report.read_text()),
                      json.loads(options.curve.read_text()), options.workers)
    (options.folder / "README.md").write_text(card)
