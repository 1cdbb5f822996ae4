"""Measures an exported model folder with mlx-lm: greedy, through its chat template.

An answer counts when generation ended with the end token and the answer ends
with exactly the expected final part. Prints a table and writes eval.json.
"""

import argparse
import itertools
import json
import re
from collections import defaultdict
from pathlib import Path

import mlx.core as mx
from mlx_lm import load
from mlx_lm.generate import BatchGenerator
from tokenizers import Tokenizer
from tqdm import tqdm

from chat_tokenizer import encode_parts
from conversations import chat_messages
from held_out import held_out_items
from phrasing import rng_for
from schemas import CALCULATOR, CALENDAR, schema

HERE = Path(__file__).parent
LONGEST_ANSWER = 200
TOTALS = ("calls", "own domain", "overall")
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
CALL = re.compile(r"<tool_call>\n(.*)\n</tool_call>")
CALCULATOR_AND_CALENDAR = [json.loads(schema(rng_for("reserved"), name)) for name in (CALCULATOR, CALENDAR)]
RESULTS = {'{"expression": "123 * 45"}': "5535", '{"expression": "12 * 13"}': "156", '{"expression": "45 * 6"}': "270",
           '{"date": "2026-12-24"}': "Thursday", '{"date": "today", "until": "2026-12-24"}': "24"}
RESERVED_WITH_TOOLS = [
    ("What is 123 * 45?", [{"expression": "123 * 45"}], "123 * 45 = 5535."),
    ("What day of the week is 2026-12-24?", [{"date": "2026-12-24"}], "2026-12-24 is a Thursday."),
    ("How many days until December 24, 2026?", [{"date": "today", "until": "2026-12-24"}],
     "From today to 2026-12-24 it is 24 days."),
    ("What is 12 * 13, and what is 45 * 6?", [{"expression": "12 * 13"}, {"expression": "45 * 6"}],
     "12 * 13 = 156. 45 * 6 = 270."),
    ("What is 12 * 13, and what day is 2026-12-24?", [{"expression": "12 * 13"}, {"date": "2026-12-24"}],
     "12 * 13 = 156. 2026-12-24 is a Thursday."),
    ("What is the capital of France?", [], "The capital of France is Paris."),
    ("What is 12 + 7?", [], "Ones: 2 + 7 = 9. Tens: 1 + 0 = 1. So 12 + 7 = 19."),
]


class Chat:
    def __init__(self, folder):
        self.model, self.tokenizer = load(str(folder))
        self.own_tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    @property
    def knows_tools(self):
        return "<tool_call>" in self.tokenizer.chat_template

    def prompt(self, messages, tools=()):
        return self.tokenizer.apply_chat_template(messages, tools=list(tools) or None, add_generation_prompt=True)

    def item_prompt(self, item):
        """The tokens before the part that the model has to give, the same as in training."""
        *messages, _ = chat_messages(item.conversation)
        if item.is_call:
            while messages[-1]["role"] != "user":
                messages.pop()
        ids = self.prompt(messages, map(json.loads, item.conversation.tools))
        assert ids == encode_parts(self.own_tokenizer, item.parts[:-1])[0], item
        return ids

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
    if category in OUTSIDE:
        return ("overall",)
    return TOTALS if category.startswith("calls: ") else ("own domain", "overall")


def is_right(answer, ended, item):
    return ended and (answer == item.final if item.is_call else answer.endswith(item.final))


def measure_held_out(chat, items):
    counts, misses = defaultdict(lambda: [0, 0]), []
    for item, (answer, ended) in zip(items, chat.answers([chat.item_prompt(item) for item in items])):
        right = is_right(answer, ended, item)
        for row in itertools.product((item.category, *totals_of(item.category)), (item.held_out, "all")):
            counts[row][0] += right
            counts[row][1] += 1
        if not right:
            misses.append({"category": item.category, "held_out": item.held_out,
                           "question": item.conversation.turns[-1].question, "expected": item.final,
                           "answer": answer, "ended": ended})
    return counts, misses


def measure_reserved(chat):
    """The conversations that have to be right; the model's own answers are the history."""
    failures = []
    for questions, final in RESERVED:
        messages = []
        for question in questions:
            messages.append({"role": "user", "content": question})
            answer = answer_without_tools(chat, messages)
        if not answer.endswith(final):
            failures.append({"questions": questions, "expected": final, "answer": answer})
    for question, calls, final in RESERVED_WITH_TOOLS if chat.knows_tools else []:
        messages = [{"role": "user", "content": question}]
        made, answer = answer_with_tools(chat, messages)
        if (made, answer) != (calls, final):
            failures.append({"questions": [question], "expected": [calls, final], "answer": [made, answer]})
    return failures


def answer_without_tools(chat, messages):
    [(answer, ended)] = chat.answers([chat.prompt(messages)])
    messages.append({"role": "assistant", "content": answer})
    return answer if ended else ""


def answer_with_tools(chat, messages):
    """An agent's loop: the arguments of all calls, and the answer without a call."""
    made = []
    while len(messages) < 10:
        [(answer, ended)] = chat.answers([chat.prompt(messages, CALCULATOR_AND_CALENDAR)])
        calls = [json.loads(call) for call in CALL.findall(answer)]
        if not calls:
            return made, answer if ended else ""
        made += [call["arguments"] for call in calls]
        functions = [{"type": "function", "function": call} for call in calls]
        messages.append({"role": "assistant", "content": "", "tool_calls": functions})
        results = [RESULTS.get(json.dumps(call["arguments"]), "Error: not found") for call in calls]
        messages += [{"role": "tool", "content": result} for result in results]
    return made, ""


def table(counts):
    categories = list(dict.fromkeys(category for category, _ in counts if category not in TOTALS))
    rows = ["| Category | new content | new wording | all | items |", "| --- | ---: | ---: | ---: | ---: |"]
    for category in [*categories, *(total for total in TOTALS if (total, "all") in counts)]:
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
    items = held_out_items(options.seed, options.share)
    counts, misses = measure_held_out(chat, [item for item in items if chat.knows_tools or not item.conversation.tools])
    failures = measure_reserved(chat)
    reserved = len(RESERVED) + len(RESERVED_WITH_TOOLS) * chat.knows_tools
    [(without_template, _)] = chat.answers([chat.tokenizer.encode("Once")])
    print(table(counts))
    print(f"reserved conversations: {reserved - len(failures)} of {reserved} right", *failures, sep="\n")
    options.report.write_text(json.dumps({
        "items": counts["overall", "all"][1],
        "right": counts["overall", "all"][0],
        "calls": counts.get(("calls", "all")),
        "own_domain": counts["own domain", "all"],
        "table": table(counts).split("\n"),
        "reserved": {"right": reserved - len(failures), "of": reserved, "failures": failures},
        "without_template": {"prompt": "Once", "text": without_template},
        "misses": misses,
    }, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
