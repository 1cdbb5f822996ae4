"""The tokenizer of the demo model and its chat format.

Byte-level, so that every text has an encoding that decodes back exactly. There
are no merges: a pre-token is either one of the frequent whole words or falls
apart into bytes. Digits and the letters of a word to be spelled or reversed
are therefore single tokens, while the wording around them stays short.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from conversations import draw_conversation
from facts import CAPITALS, COUNTRIES, UNKNOWN_COUNTRIES
from phrasing import rng_for
from words import COMMON

SYSTEM, USER, ASSISTANT, END, PAD = "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|pad|>"
SPECIALS = [PAD, END, SYSTEM, USER, ASSISTANT]
CALL, CALL_END, RESULT, RESULT_END = "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"
TOOLS, TOOLS_END = "<tools>", "</tools>"
MARKS = [CALL, CALL_END, RESULT, RESULT_END, TOOLS, TOOLS_END]
WHOLE_WORDS = 251
KEYS = """type function name description parameters object properties string required arguments calculator expression
calendar date until integer number boolean array items enum additionalProperties result weekday days""".split()
VOCABULARY = 608
SAMPLED_CONVERSATIONS = 20000
CONTEXT_LENGTH = 1024
CHAT_TEMPLATE = (Path(__file__).parent / "chat_template.jinja").read_text()

PIECES = re.compile("|".join(re.escape(mark) for mark in [*SPECIALS, *MARKS]))


def split_rule():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def frequent_words(seed, known, count):
    """The wording of conversations, without the words that are exercise material."""
    material = {part.lower() for name in [*COMMON, *COUNTRIES, *CAPITALS.values(), *UNKNOWN_COUNTRIES]
                for part in name.split()}
    rule, counts = split_rule(), Counter()
    rng = rng_for(seed, "tokenizer")
    for _ in range(SAMPLED_CONVERSATIONS):
        for part in parts(draw_conversation(rng)):
            for text in PIECES.split(part.text):
                counts.update(piece for piece, _ in rule.pre_tokenize_str(text))
    usable = [(word, count) for word, count in counts.items() if word not in known and is_wording(word, material)]
    usable.sort(key=lambda item: (-item[1], item[0]))
    return [word for word, _ in usable[:count]]


def is_wording(word, material):
    """Single letters, digits and contractions stay in pieces: "'stone'" has to keep its s."""
    plain = word.removeprefix("Ġ")
    if len(plain) < 2 and plain.isalnum() or len(word) < 2 or any(letter.isdigit() for letter in word):
        return False
    if plain.startswith("'") and plain[1:].isalpha() or plain.lower() in material:
        return False
    return word != plain or plain[:1].isupper() or not plain.isalpha()


def build(seed):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = SPECIALS + alphabet
    return extended(tokenizer_of(pieces + frequent_words(seed, pieces, WHOLE_WORDS)), seed)


def tokenizer_of(pieces):
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = split_rule()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIALS)
    tokenizer.add_tokens([AddedToken(mark, normalized=False) for mark in MARKS if mark in vocabulary])
    return tokenizer


def extended(tokenizer, seed):
    """The vocabulary with the marks and words of tools at its end: no token gets another number."""
    vocabulary = tokenizer.get_vocab()
    pieces = sorted(vocabulary, key=vocabulary.get)
    pieces += [piece for piece in MARKS + KEYS if piece not in vocabulary]
    return tokenizer_of(pieces + frequent_words(seed, set(pieces), VOCABULARY - len(pieces)))


def save(tokenizer, folder):
    folder = Path(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": CONTEXT_LENGTH,
        "eos_token": END, "pad_token": PAD, "bos_token": None, "unk_token": None,
        "add_bos_token": False, "add_eos_token": False, "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


@dataclass(frozen=True)
class Part:
    """A piece of a conversation's text. The model produces calls and answers, but not the opening of a forced call."""

    text: str
    role: str

    @property
    def is_produced(self):
        return self.role in ("call", "answer")


def parts(conversation):
    """The text of a conversation, as the chat template renders it."""
    system, tools = conversation.system or "", conversation.tools
    if tools:
        system += ("\n\n" if system else "") + "\n".join([TOOLS, *tools, TOOLS_END])
    if system:
        yield Part(SYSTEM + system + END, "system")
    for turn in conversation.turns:
        yield Part(USER + turn.question + END + ASSISTANT, "question")
        if turn.calls:
            text = call_text(turn.calls)
            if turn.is_forced or not tools:
                yield Part(CALL + "\n", "forced")
                text = text.removeprefix(CALL + "\n")
            yield Part(text + END, "call")
            results = "\n".join("\n".join([RESULT, call.result, RESULT_END]) for call in turn.calls)
            yield Part(USER + results + END + ASSISTANT, "results")
        yield Part(turn.answer + END, "answer")


def call_text(calls):
    """Calls in the Hermes format."""
    return "\n".join(f'{CALL}\n{{"name": "{call.name}", "arguments": {call.arguments}}}\n{CALL_END}' for call in calls)


def encode_parts(tokenizer, some_parts):
    """Token ids, and 1 for each id that the model itself has to produce."""
    ids, produced = [], []
    for part in some_parts:
        new = tokenizer.encode(part.text).ids
        ids.extend(new)
        produced.extend([int(part.is_produced)] * len(new))
    return ids, produced


def encode_last(tokenizer, some_parts):
    """As `encode_parts`, with only the last part to produce."""
    *before, last = some_parts
    ids, _ = encode_parts(tokenizer, before)
    new = tokenizer.encode(last.text).ids
    return ids + new, [0] * len(ids) + [1] * len(new)
