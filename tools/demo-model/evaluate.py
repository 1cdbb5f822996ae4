"""Measures an exported model folder with mlx-lm: greedy, through its chat template.

An answer counts when generation ended with the end token and the answer ends
with exactly the expected final part. Prints a table and writes eval.json.
"""

import argparse
import itertools
import json
from collections import defaultdict
from pathlib import Path

import mlx.core as mx
from mlx_lm import load
from mlx_lm.generate import BatchGenerator
from tqdm import tqdm

from conversations import chat_messages
from held_out import held_out_items

HERE = Path(__file__).parent
LONGEST_ANSWER = 200
TOTALS = ("own domain", "overall")
# Questions whose right answer is that the model cannot answer them.
OUTSIDE = ("out of domain", "beyond arithmetic", "unknown capitals")
RESERVED = [
    (["What is 12 + 7?"], "12 + 7 = 19."),
    (["What is 20 + 3?"], "20 + 3 = 23."),
    (["What is 47 + 35?"], "47 + 35 = 82."),
    (["What is the capital of France?"], "The capital of France is Paris."),
    (["What is the capital of Japan?"], "The capital of Japan is Tokyo."),
    (["Spell the word 'cat'."], "c-a-t."),
    (["Reverse the word 'stone'."], "'enots'."),
    (["Which is larger, 17 or 71?"], "71 is larger than 17."),
    (["What day comes after Monday?"], "Tuesday comes after Monday."),
    (["Hello!"], "What is 12 + 7?"),
    (["Who are you?"], "days and months."),
    (["What is 12 + 7?", "and minus 3?"], "19 - 3 = 16."),
]


class Chat:
    def __init__(self, folder):
        self.model, self.tokenizer = load(str(folder))

    def prompt(self, messages):
        return self.tokenizer.apply_chat_template(messages, add_generation_prompt=True)

    def answers(self, prompts):
        """For each prompt the greedy answer, and whether it ended by itself; several at a time."""
        ends = [[token] for token in self.tokenizer.eos_token_ids]
        generator = BatchGenerator(self.model, stop_tokens=ends, max_tokens=LONGEST_ANSWER)
        order = generator.insert(prompts)
        tokens, ended = {uid: [] for uid in order}, {}
        with tqdm(total=len(prompts), unit="answer", mininterval=5) as bar:
            while responses := generator.next_generated():
                for response in responses:
                    if response.finish_reason != "stop":
                        tokens[response.uid].append(response.token)
                    if response.finish_reason is not None:
                        ended[response.uid] = response.finish_reason == "stop"
                        bar.update()
        generator.close()
        return [(self.tokenizer.decode(tokens[uid]), ended[uid]) for uid in order]


def totals_of(category):
    """The sums a category counts in: what the model is for, and that with the refusals of everything else."""
    return ("overall",) if category in OUTSIDE else TOTALS


def is_right(answer, ended, final):
    return ended and answer.endswith(final)


def measure_held_out(chat, items):
    counts, misses = defaultdict(lambda: [0, 0]), []
    prompts = [chat.prompt(chat_messages(None, item.history, item.turn.question)) for item in items]
    for item, (answer, ended) in zip(items, chat.answers(prompts)):
        right = is_right(answer, ended, item.turn.final)
        for row in itertools.product((item.category, *totals_of(item.category)), (item.held_out, "all")):
            counts[row][0] += right
            counts[row][1] += 1
        if not right:
            misses.append({"category": item.category, "held_out": item.held_out, "question": item.turn.question,
                           "expected": item.turn.final, "answer": answer, "ended": ended})
    return counts, misses


def measure_reserved(chat):
    """The conversations that have to be right; the model's own answers are the history."""
    failures = []
    for questions, final in RESERVED:
        messages = []
        for question in questions:
            messages.append({"role": "user", "content": question})
            [(answer, ended)] = chat.answers([chat.prompt(messages)])
            messages.append({"role": "assistant", "content": answer})
        if not is_right(answer, ended, final):
            failures.append({"questions": questions, "expected": final, "answer": answer})
    return failures


def table(counts):
    categories = list(dict.fromkeys(category for category, _ in counts if category not in TOTALS))
    rows = ["| Category | new content | new wording | all | items |", "| --- | ---: | ---: | ---: | ---: |"]
    for category in [*categories, *TOTALS]:
        cells = [percentage(counts.get((category, kind))) for kind in ("content", "phrasing", "all")]
        rows.append(f"| {category} | {' | '.join(cells)} | {counts[category, 'all'][1]} |")
    return "\n".join(rows)


def percentage(count):
    return f"{100 * count[0] / count[1]:.1f} %" if count else "-"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=HERE.parents[1] / "models" / "demo")
    parser.add_argument("--seed", type=int, default=1, help="the seed the model was trained with")
    parser.add_argument("--share", type=float, default=1.0, help="share of the held-out set, for a quick look")
    parser.add_argument("--report", type=Path, default=HERE / "eval.json")
    options = parser.parse_args()
    mx.set_default_device(mx.cpu)
    chat = Chat(options.folder)
    counts, misses = measure_held_out(chat, held_out_items(options.seed, options.share))
    failures = measure_reserved(chat)
    [(without_template, _)] = chat.answers([chat.tokenizer.encode("Once")])
    print(table(counts))
    print(f"reserved conversations: {len(RESERVED) - len(failures)} of {len(RESERVED)} right", *failures, sep="\n")
    options.report.write_text(json.dumps({
        "items": counts["overall", "all"][1],
        "right": counts["overall", "all"][0],
        "own_domain": counts["own domain", "all"],
        "table": table(counts).split("\n"),
        "reserved": {"right": len(RESERVED) - len(failures), "of": len(RESERVED), "failures": failures},
        "without_template": {"prompt": "Once", "text": without_template},
        "misses": misses,
    }, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
