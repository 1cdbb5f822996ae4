"""Batches of conversations of similar length, so that little of them is padding.

A stream is a function of its name and the step alone: after a restart, training
goes on with exactly the batches it had not seen.
"""

import torch

from conversations import draw_conversation
from phrasing import rng_for
from chat_tokenizer import CONTEXT_LENGTH, PAD, encode_parts, parts

IGNORED = -100
BATCHES_PER_POOL = 64


def pool_of_batches(tokenizer, stream, pool, tokens_per_batch):
    rng = rng_for(*stream, pool)
    examples, tokens = [], 0
    while tokens < BATCHES_PER_POOL * tokens_per_batch:
        example = encode_parts(tokenizer, parts(draw_conversation(rng)))
        examples.append(tuple(part[:CONTEXT_LENGTH] for part in example))
        tokens += len(examples[-1][0])
    examples.sort(key=lambda example: len(example[0]))
    batches = [[] for _ in range(BATCHES_PER_POOL)]
    before = 0
    for example in examples:
        batches[before * BATCHES_PER_POOL // tokens].append(example)
        before += len(example[0])
    rng.shuffle(batches)
    return [padded(tokenizer, batch) for batch in batches]


def padded(tokenizer, examples):
    """Ids and next-token targets; only tokens that the model produces are targets."""
    length = max(len(ids) for ids, _ in examples)
    inputs = torch.full((len(examples), length), tokenizer.token_to_id(PAD))
    targets = torch.full((len(examples), length), IGNORED)
    for row, (ids, produced) in enumerate(examples):
        inputs[row, :len(ids)] = torch.tensor(ids)
        shifted = [token if own else IGNORED for token, own in zip(ids, produced)][1:]
        targets[row, :len(shifted)] = torch.tensor(shifted)
    return inputs, targets


def training_batches(tokenizer, stream, step, tokens_per_batch):
    """Yields inputs and targets, from the given step on."""
    pool, skip = divmod(step, BATCHES_PER_POOL)
    while True:
        yield from pool_of_batches(tokenizer, stream, pool, tokens_per_batch)[skip:]
        pool, skip = pool + 1, 0
