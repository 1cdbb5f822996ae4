"""The texts of the walk models: rings of text fragments. Each fragment is one token and is always followed by the next.

Owns the texts. A ring is entered through its first fragment, which a prompt ends with, and holds what one kind of test
needs: characters in pieces, stop strings in pieces, an end token at a known distance. No fragment stands in two rings.
"""

from dataclasses import dataclass

BEGIN, END, END_OF_TURN = "<|begin|>", "<|end|>", "<|eot|>"
SYSTEM, USER, ASSISTANT = "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL_TOKENS = (BEGIN, END, END_OF_TURN, SYSTEM, USER, ASSISTANT)
END_TOKENS = (END, END_OF_TURN)

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CHAT_MESSAGES = [{"role": "system", "content": " count"}, {"role": "user", "content": " loop"}]


@dataclass(frozen=True)
class Ring:
    """Fragments are bytes of text, or the name of a special token."""

    name: str
    shows: str
    fragments: tuple


def words(text):
    return tuple(f" {word}".encode() for word in text.split())


def single_bytes(text):
    return tuple(bytes([byte]) for byte in text.encode())


RINGS = (
    Ring(
        "count", "the end token after a known number of steps: enter at any of the words",
        (*words("count ten nine eight seven six five four three two one"), END),
    ),
    Ring(
        "chat", "the answer to any chat prompt, ended by the second end token",
        (ASSISTANT, b"It", b" is", b" nineteen", b".", END_OF_TURN),
    ),
    Ring(
        "loop", "varied text that never ends",
        words(
            "loop alfa bravo charlie delta echo foxtrot golf hotel india juliett kilo lima mike november oscar papa"
            " quebec romeo sierra tango uniform victor whiskey xray yankee zulu"
        ),
    ),
    Ring(
        "bytes", "characters of two, three and four bytes, one token a byte",
        (b" bytes", *single_bytes("é漢🙂"), b" whole"),
    ),
    Ring(
        "broken", "an unfinished character and a byte that starts none: both become U+FFFD",
        (b" broken", b"\xe2", b"\x81", b" then", b"\xbf", b" on"),
    ),
    Ring(
        "stop", 'a near miss of "STOP", then "STOP" over three tokens, then "END" in the middle of a token',
        (b" stop", b" ST", b"AY", b" S", b"TO", b"P", b" after", b" beforeENDafter", b" last"),
    ),
    Ring("lines", "white space, which must arrive as it is", (b" lines", b"\n", b"  ", b"\n\n", b"indented", b"\t")),
    Ring("special", "a special token amid text, which has no text of its own", (b" special", USER, b" visible")),
)

# Tokens with a part of a character and other bytes: only a byte-level vocabulary has them.
SPLIT_RING = Ring(
    "split", "characters that begin in one token and end in the next",
    (b" split", b" caf\xc3", b"\xa9s \xf0\x9f", b"\x9a\x80", b" joined"),
)
