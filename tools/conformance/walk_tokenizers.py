"""The two tokenizers of the walk models: byte-level BPE (as Llama 3, Qwen) and BPE with byte fallback (as Llama 2).

Owns how a fragment is spelled as a token. There are no merges: a word that is in the vocabulary is one token, anything
else falls apart into bytes, so every text can be a prompt.
"""

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

import rings

META_SPACE = "\u2581"
UNKNOWN = "<unk>"


def byte_level(fragments):
    spellings = [spell_byte_level(bytes([byte])) for byte in range(256)]
    spellings += [spell_byte_level(fragment) for fragment in fragments if len(fragment) > 1]
    vocabulary = {spelling: token for token, spelling in enumerate(spellings)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return with_special_tokens(tokenizer)


def byte_fallback(fragments):
    spellings = [UNKNOWN, *(f"<0x{byte:02X}>" for byte in range(256)), META_SPACE]
    spellings += [spelling for fragment in fragments if (spelling := spell_byte_fallback(fragment)) not in spellings]
    vocabulary = {spelling: token for token, spelling in enumerate(spellings)}
    tokenizer = Tokenizer(
        models.BPE(vocabulary, [], ignore_merges=True, byte_fallback=True, unk_token=UNKNOWN, fuse_unk=True)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=META_SPACE, prepend_scheme="first")
    # The last decoder strips the space before the first word, which is not part of the text.
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(META_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return with_special_tokens(tokenizer)


def with_special_tokens(tokenizer):
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in rings.SPECIAL_TOKENS])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{rings.BEGIN} $A", special_tokens=[(rings.BEGIN, tokenizer.token_to_id(rings.BEGIN))]
    )
    return tokenizer


def spell_byte_level(fragment):
    return "".join(BYTE_SYMBOLS[byte] for byte in fragment)


def spell_byte_fallback(fragment):
    try:
        return fragment.decode().replace(" ", META_SPACE)
    except UnicodeDecodeError:
        (byte,) = fragment  # only whole characters and single bytes have a spelling
        return f"<0x{byte:02X}>"


def byte_symbols():
    """The stand-in of each byte in a byte-level vocabulary: itself if printable, else the next from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(0x100 + place) for place, byte in enumerate(others)}


BYTE_SYMBOLS = byte_symbols()
