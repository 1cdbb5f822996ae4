"""Renders chat templates as `transformers` does and records the results; `--check` compares with the recorded ones.

The templates are written for this purpose, in the shapes of published ones. A tokenizer object without a model is all
that `apply_chat_template` needs.
"""

import argparse
import json
import sys
from datetime import datetime
from pathlib import Path

import jinja2
import transformers
from chat_conversations import CONVERSATIONS
from chat_expressions import EXPRESSIONS, FORMATS, MORE_EXPRESSIONS, MORE_STATEMENTS_ALONE, STATEMENTS, VARIABLES, of_values
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

FOLDER = Path(__file__).parent / "chat"
RECORD = FOLDER / "rendered.json"
NOW = datetime(2025, 3, 7, 16, 5, 9)
EPOCH = datetime(1970, 1, 1)


class Clock(datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with what is recorded, and write nothing")
    options = parser.parse_args()
    text = recorded()
    if not options.check:
        RECORD.write_text(text)
        return 0
    is_same = RECORD.read_text() == text
    print("the recorded renderings are " + ("current" if is_same else "not what transformers renders"))
    return 0 if is_same else 1


def recorded():
    chat_template_utils.datetime = Clock
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>")),
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    )
    templates = sorted((FOLDER / "templates").glob("*.jinja"))
    record = {
        "transformers": transformers.__version__,
        "now": int((NOW - EPOCH).total_seconds()),
        "conversations": CONVERSATIONS,
        "templates": {path.stem: renderings(tokenizer, path.read_text()) for path in templates},
        "variables": VARIABLES,
        "sources": {source: rendered(tokenizer, source, EXPRESSION_CHAT) for source in sources()},
        "dates": {text: NOW.strftime(text) for text in FORMATS},
    }
    lines = json.dumps(record, ensure_ascii=True, indent=1)
    return lines + "\n"


EXPRESSION_CHAT = {**CONVERSATIONS["question"], "variables": VARIABLES}


def sources():
    expressions = ["{{ " + expression + " }}" for expression in EXPRESSIONS + MORE_EXPRESSIONS]
    return expressions + STATEMENTS + MORE_STATEMENTS_ALONE + list(of_values())


def renderings(tokenizer, template):
    chats = {name: chat for name, chat in CONVERSATIONS.items() if chat.get("only", "") in template}
    return {name: rendered(tokenizer, template, chat) for name, chat in chats.items()}


def rendered(tokenizer, template, chat):
    """The prompt, or the message of `raise_exception`, or nothing if the template fails otherwise."""
    continues = chat.get("continue", False)
    try:
        return {
            "text": tokenizer.apply_chat_template(
                chat["messages"],
                tools=chat.get("tools"),
                chat_template=template,
                add_generation_prompt=not continues,
                continue_final_message=continues,
                tokenize=False,
                **chat.get("variables", {}),
            )
        }
    except jinja2.TemplateError as error:
        # `raise_exception` raises the base class itself.
        return {"refused": error.message} if type(error) is jinja2.TemplateError else {"fails": True}
    except Exception:
        return {"fails": True}


if __name__ == "__main__":
    sys.exit(main())
