"""The walk models: greedy decoding follows a fixed permutation of the vocabulary, whatever the arithmetic.

Owns their weights and `walk.json`. Attention and MLP add nothing (their output projections are zero), so the last
hidden state is the embedding of the last token; row next(t) of the output head is the embedding of t.
"""

from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from mlx_lm.utils import load as load_with_tokenizer

import folder as model_folder
import reference
import rings
import walk_tokenizers
import weights

HIDDEN = 32
# Embeddings are rows of +1 and -1, so a logit is a count of agreeing signs: HIDDEN for the next token, at most this
# for all others. The gap of 20 makes even sampling at temperature 1 follow the walk all but once in a million steps.
MAX_OTHER_LOGIT = 12
SEED = 100
# Like published models, these pad their embeddings beyond the tokenizer's last id.
VOCAB_MULTIPLE = 32


@dataclass(frozen=True)
class Walk:
    name: str
    make_tokenizer: Callable
    spell: Callable
    rings: tuple
    # Published models keep the second end token and the template in different places. Each walk model has one variant.
    with_generation_config: bool

    def tokenizer(self):
        fragments = [fragment for ring in self.rings for fragment in ring.fragments if isinstance(fragment, bytes)]
        return self.make_tokenizer(fragments)


WALKS = (
    Walk(
        "walk-byte-level", walk_tokenizers.byte_level, walk_tokenizers.spell_byte_level,
        (*rings.RINGS, rings.SPLIT_RING), with_generation_config=True,
    ),
    Walk(
        "walk-byte-fallback", walk_tokenizers.byte_fallback, walk_tokenizers.spell_byte_fallback,
        rings.RINGS, with_generation_config=False,
    ),
)


def write_walk(walk, path):
    """Writes the folder and returns how many walks it documents, each confirmed by mlx-lm."""
    path.mkdir(parents=True, exist_ok=True)
    tokenizer = walk.tokenizer()
    vocab_size = -(-tokenizer.get_vocab_size() // VOCAB_MULTIPLE) * VOCAB_MULTIPLE
    token_rings = [[token_of(walk, tokenizer, fragment) for fragment in ring.fragments] for ring in walk.rings]
    successors = permutation(token_rings, vocab_size)
    write_files(walk, path, tokenizer, successors)
    model, wrapper = load_with_tokenizer(str(path))
    entries = [describe(ring, tokens, wrapper) for ring, tokens in zip(walk.rings, token_rings, strict=True)]
    for entry in entries:
        answer = reference.greedy(model, [entry["prompt_tokens"]], len(entry["tokens"]))
        assert answer.tokens[0].tolist() == entry["tokens"], f"mlx-lm leaves the walk {entry['name']}"
    end_tokens = [tokenizer.token_to_id(name) for name in rings.END_TOKENS]
    logits = {"best_logit": HIDDEN, "other_logits_at_most": MAX_OTHER_LOGIT}
    document = {"end_tokens": end_tokens, **logits, "walks": entries, "next": successors}
    model_folder.write_json(path / "walk.json", document, indent=None)
    return len(entries)


def token_of(walk, tokenizer, fragment):
    token = tokenizer.token_to_id(fragment if isinstance(fragment, str) else walk.spell(fragment))
    assert token is not None, f"{fragment!r} is not in the vocabulary"
    return token


def permutation(token_rings, vocab_size):
    """Token to the token after it. Tokens in no ring, padding included, make one last ring in order of id."""
    used = [token for ring in token_rings for token in ring]
    assert len(used) == len(set(used)), "a token stands in two rings"
    successors = [0] * vocab_size
    for ring in [*token_rings, sorted(set(range(vocab_size)) - set(used))]:
        for token, following in zip(ring, [*ring[1:], ring[0]], strict=True):
            successors[token] = following
    return successors


def write_files(walk, path, tokenizer, successors):
    config = {**walk_config(tokenizer, len(successors)), **end_token_config(walk, path, tokenizer)}
    model_folder.write_config(path, config)
    model_folder.write_weights(path, walk_weights(config, successors))
    settings = {"bos_token": rings.BEGIN, "eos_token": rings.END}
    if walk.with_generation_config:
        settings["chat_template"] = rings.CHAT_TEMPLATE
    else:
        (path / "chat_template.jinja").write_text(rings.CHAT_TEMPLATE)
    model_folder.write_tokenizer(path, tokenizer, **settings)


def walk_config(tokenizer, vocab_size):
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "vocab_size": vocab_size,
        "max_position_embeddings": 1024,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "bos_token_id": tokenizer.token_to_id(rings.BEGIN),
    }


def end_token_config(walk, path, tokenizer):
    """Both end tokens in config.json, or one there and both in generation_config.json, which then counts."""
    both = [tokenizer.token_to_id(name) for name in rings.END_TOKENS]
    if not walk.with_generation_config:
        return {"eos_token_id": both}
    model_folder.write_json(path / "generation_config.json", {"eos_token_id": both, "do_sample": False})
    return {"eos_token_id": both[0]}


def walk_weights(config, successors):
    """Norms of one, an embedding, a permuted head, zeros elsewhere: every value is exact in float16."""
    embedding = sign_rows(len(successors))
    head = np.empty_like(embedding)
    head[successors] = embedding
    given = {"model.embed_tokens.weight": embedding, "lm_head.weight": head}

    def value(name, shape):
        return given.get(name, np.ones(shape) if "norm" in name else np.zeros(shape))

    shapes = weights.parameter_shapes(weights.new_model(config))
    return {name: mx.array(value(name, shape)).astype(mx.float16) for name, shape in shapes}


def sign_rows(num_rows):
    """Random rows of +1 and -1, none of which agrees with another in more than the allowed number of signs."""
    random = np.random.default_rng(SEED)
    rows = np.empty((num_rows, HIDDEN))
    filled = 0
    while filled < num_rows:
        row = random.choice([-1.0, 1.0], size=HIDDEN)
        if (rows[:filled] @ row <= MAX_OTHER_LOGIT).all():
            rows[filled] = row
            filled += 1
    return rows


def describe(ring, tokens, tokenizer):
    """The tokens and the text that follow each prompt. A ring without an end token is walked once."""
    prompt = prompt_of(ring, tokenizer)
    following = tokens[1:] if ends(ring) else [*tokens[1:], tokens[0]]
    pieces = stream(prompt["prompt_tokens"], following, tokenizer)
    text = "".join(pieces)
    assert text == continuation(prompt["prompt_tokens"], following, tokenizer)
    return {
        "name": ring.name,
        "shows": ring.shows,
        **prompt,
        "tokens": following,
        "ends": ends(ring),
        "text": text,
        "text_alone": tokenizer.decode(following, skip_special_tokens=True),
        "pieces": pieces,
    }


def ends(ring):
    return ring.fragments[-1] in rings.END_TOKENS


def prompt_of(ring, tokenizer):
    if ring.fragments[0] != rings.ASSISTANT:
        text = ring.fragments[0].decode()
        return {"prompt": text, "prompt_tokens": tokenizer.encode(text)}
    text = tokenizer.apply_chat_template(rings.CHAT_MESSAGES, add_generation_prompt=True, tokenize=False)
    tokens = tokenizer.encode(text, add_special_tokens=False)
    return {"messages": rings.CHAT_MESSAGES, "prompt": text, "prompt_tokens": tokens}


def stream(prompt_tokens, tokens, tokenizer):
    """The new text after each token when text is held back while it ends inside a character."""
    pieces, shown = [], ""
    for count in range(1, len(tokens) + 1):
        text = continuation(prompt_tokens, tokens[:count], tokenizer).rstrip("\ufffd")
        pieces.append(text[len(shown) :])
        shown = max(shown, text, key=len)
    return pieces


def continuation(prompt_tokens, tokens, tokenizer):
    """The text of `tokens` after the prompt, with the space before the first word."""
    before = tokenizer.decode(prompt_tokens, skip_special_tokens=True)
    return tokenizer.decode([*prompt_tokens, *tokens], skip_special_tokens=True)[len(before) :]
