"""Question wording: what varies between two ways of asking the same thing.

Owns the hold-out rule (which contents and wordings training never sees) and
the surface noise (case, punctuation, typing slips) that goes on top.
"""

import hashlib
import random
import re
from dataclasses import dataclass

HOLD_OUT_ONE_IN = 9

# Wordings that users are sure to type, so that they are not withheld from training.
ALWAYS_TRAINED = {"{a}+{b}", "{a}+{b}=?", "{a} - {b} =", "{a} minus {b}?", "Good", "Bye!", "Bye bye", "No", "That is right",
                  "Are you human?", "What are you good at?", "Make me laugh.", "Why?", "How?", "I am sad"}

OPENERS = ["Please ", "Hey, ", "Hi! ", "OK, ", "So ", "Now ", "Tell me: ", "Quick question: ",
           "Can you help? ", "I wonder: ", "Next: ", "Hello, "]
SLOT = re.compile(r"(\{\w+\})")


@dataclass(frozen=True)
class Call:
    """A tool call, `arguments` as JSON text, and what the tool returns."""

    name: str
    arguments: str
    result: str


@dataclass(frozen=True)
class Turn:
    """One question with its answer; `final` is the part that has to be exact.

    With `calls`, the model first calls tools and answers from their results. A forced call is one that the model
    would not make by itself: what it learns is which call it is.
    """

    question: str
    answer: str
    final: str
    calls: tuple[Call, ...] = ()
    is_forced: bool = False

    @classmethod
    def whole(cls, question, answer, calls=(), is_forced=False):
        return cls(question, answer, answer, tuple(calls), is_forced)


def is_held_out(kind, key):
    digest = hashlib.blake2b(f"{kind}:{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % HOLD_OUT_ONE_IN == 0


class Phrasings:
    """A list of wordings with slots, split once into trained and held-out ones."""

    def __init__(self, name, templates):
        held_out = [t for t in templates if is_held_out(name, t) and t not in ALWAYS_TRAINED] or templates[-1:]
        self.unseen = held_out
        self.trained = [t for t in templates if t not in held_out]

    def ask(self, rng, unseen=False, **slots):
        return word_question(rng, self.unseen if unseen else self.trained, slots)


def word_question(rng, templates, slots):
    return fill(vary(rng, rng.choice(templates)), slots)


def fill(template, slots):
    return SLOT.sub(lambda match: str(slots[match.group(1)[1:-1]]), template)


def vary(rng, template):
    """Adds an opener and changes case and punctuation, never inside a slot."""
    if rng.random() < 0.12:
        template = rng.choice(OPENERS) + lower_first(template)
    pieces = SLOT.split(template)
    draw = rng.random()
    if draw < 0.12:
        pieces = [lower_first(pieces[0])] + pieces[1:]
    elif draw < 0.30:
        pieces = [piece if SLOT.match(piece) else piece.lower() for piece in pieces]
    elif draw < 0.33:
        pieces = [piece if SLOT.match(piece) else piece.upper() for piece in pieces]
    if rng.random() < 0.05:
        index = rng.choice([i for i in range(0, len(pieces), 2)])
        pieces[index] = slip(rng, pieces[index])
    return end_mark(rng, "".join(pieces))


def end_mark(rng, text):
    draw = rng.random()
    if draw < 0.20:
        return text.rstrip("?.!")
    if draw < 0.23 and text[-1:] in "?.!":
        return text + text[-1]
    if draw < 0.26:
        return text + " "
    return text


def lower_first(text):
    keeps_case = text[:2] in ("I ", "I'")
    return text if keeps_case else text[:1].lower() + text[1:]


def slip(rng, text):
    """One typing slip: a letter lost, doubled or exchanged with the next one."""
    if len(text) < 5:
        return text
    at = rng.randrange(1, len(text) - 2)
    if not (text[at].isalpha() and text[at + 1].isalpha()):
        return text
    middle = rng.choice(["", text[at] * 2, text[at + 1] + text[at]])
    return text[:at] + middle + text[at + (2 if len(middle) == 2 and middle[0] != text[at] else 1):]


def rng_for(*parts):
    """A random generator whose stream depends on `parts` alone."""
    return random.Random(":".join(map(str, parts)))
