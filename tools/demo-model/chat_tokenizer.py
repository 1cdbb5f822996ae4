"""The tokenizer of the demo model and its chat format.

Byte-level, so that every text has an encoding that decodes back exactly. There
are no merges: a pre-token is either one of the frequent whole words or falls
apart into bytes. Digits and the letters of a word to be spelled or reversed
are therefore single tokens, while the wording around them stays short.
"""

import json
from collections import Counter
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from conversations import draw_conversation
from facts import CAPITALS, COUNTRIES, UNKNOWN_COUNTRIES
from phrasing import rng_for
from words import COMMON

SYSTEM, USER, ASSISTANT, END, PAD = "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|pad|>"
SPECIALS = [PAD, END, SYSTEM, USER, ASSISTANT]
WHOLE_WORDS = 251
SAMPLED_CONVERSATIONS = 20000
CONTEXT_LENGTH = 1024
CHAT_TEMPLATE = ("{% for message in messages %}"
                 "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
                 "{% endfor %}"
                 "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}")


def split_rule():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def frequent_words(seed):
    """The wording of questions and answers, without the words that are exercise material."""
    material = {part.lower() for name in [*COMMON, *COUNTRIES, *CAPITALS.values(), *UNKNOWN_COUNTRIES]
                for part in name.split()}
    rule, counts = split_rule(), Counter()
    rng = rng_for(seed, "tokenizer")
    for _ in range(SAMPLED_CONVERSATIONS):
        for turn in draw_conversation(rng)[1]:
            for text in (turn.question, turn.answer):
                counts.update(piece for piece, _ in rule.pre_tokenize_str(text))
    usable = [(word, count) for word, count in counts.items() if is_wording(word, material)]
    usable.sort(key=lambda item: (-item[1], item[0]))
    return [word for word, _ in usable[:WHOLE_WORDS]]


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
    pieces = SPECIALS + alphabet + frequent_words(seed)
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = split_rule()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIALS)
    return tokenizer


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


def encode_conversation(tokenizer, system, turns):
    """Token ids of a chat, and 1 for each id that the model itself has to produce."""
    ids, produced = [], []

    def append(text, is_answer):
        new = tokenizer.encode(text).ids
        ids.extend(new)
        produced.extend([int(is_answer)] * len(new))

    if system:
        append(SYSTEM + system + END, False)
    for turn in turns:
        append(USER + turn.question + END + ASSISTANT, False)
        append(turn.answer + END, True)
    return ids, produced


def encode_prompt(tokenizer, turns, question, system=None):
    ids, _ = encode_conversation(tokenizer, system, turns)
    return ids + tokenizer.encode(USER + question + END + ASSISTANT).ids
