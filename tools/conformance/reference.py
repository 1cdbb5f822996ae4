"""Runs mlx-lm: greedy tokens, logits, and the margin between the best and the second-best token.

Owns every run of a model. The plain loop here is what gets recorded; mlx-lm's `generate_step` and `BatchGenerator`
must agree with it, so that a fixture never holds an accident of one code path.
"""

from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map
from mlx_lm.generate import BatchGenerator, generate_step
from mlx_lm.models.cache import make_prompt_cache

NUM_TOKENS = 64
# If a prompt token moves the logits by less than ten times the tolerance, a test could miss its loss.
MIN_INFLUENCE = 1e-3
NUM_INFLUENCE_POSITIONS = 33

# On the CPU `mx.compile` runs a C++ compiler; the recorded numbers must not depend on which one is installed.
mx.disable_compile()


@dataclass
class Answer:
    """Greedy runs of equal length, one row per prompt."""

    tokens: np.ndarray  # (rows, num_tokens)
    margins: np.ndarray  # (rows, num_tokens): (best - second) / largest magnitude, of each step's logits
    logits: np.ndarray  # (rows, vocabulary): after the last prompt token, whole prompt in one forward


def greedy(model, prompts, num_tokens=NUM_TOKENS):
    """Runs prompts of one length together: the whole prompt in one forward, then a token at a time."""
    cache = make_prompt_cache(model)
    inputs = mx.array(prompts)
    steps, margins, first = [], [], None
    for _ in range(num_tokens):
        logits = model(inputs, cache=cache)[:, -1].astype(mx.float32)
        inputs = mx.argmax(logits, axis=-1)[:, None]
        mx.eval(logits, inputs)
        rows = np.array(logits)
        first = rows if first is None else first
        steps.append(np.array(inputs)[:, 0])
        margins.append(relative_margin(rows))
    return Answer(np.stack(steps, axis=1), np.stack(margins, axis=1), first)


def relative_margin(logits):
    second, best = np.partition(logits, -2, axis=-1)[:, -2:].T
    return (best - second) / np.abs(logits).max(axis=-1)


def last_logits(model, prompt):
    return np.array(model(mx.array([prompt]))[0, -1].astype(mx.float32))


def relative_difference(logits, other):
    return float(np.abs(logits - other).max() / np.abs(logits).max())


def in_float32(model):
    """Makes the same weights compute in float32. Quantized layers keep their bits; scales and offsets widen."""

    def widen(value):
        return value.astype(mx.float32) if mx.issubdtype(value.dtype, mx.floating) else value

    model.update(tree_map(widen, model.parameters()))
    return model


def forced_logits(model, prompt, tokens):
    """The logits of each greedy step in one forward over the whole sequence: (NUM_TOKENS, vocabulary)."""
    sequence = mx.array([[*prompt, *tokens[:-1]]])
    return np.array(model(sequence)[0, len(prompt) - 1 :].astype(mx.float32))


def influence(model, prompt):
    """The smallest change of the last logits, relative to their scale, when one prompt token is replaced by its neighbour.

    Long prompts are tried at evenly spread positions.
    """
    positions = np.unique(np.linspace(0, len(prompt) - 1, NUM_INFLUENCE_POSITIONS).astype(int))
    before = last_logits(model, prompt)
    vocab_size = len(before)

    def replaced(position):
        changed = list(prompt)
        changed[position] = (changed[position] + 1) % vocab_size
        return changed

    return min(relative_difference(before, last_logits(model, replaced(position))) for position in positions)


def step_tokens(model, prompt):
    steps = generate_step(mx.array(prompt), model, max_tokens=NUM_TOKENS)
    return [int(token) for token, _ in steps]


def batch_tokens(model, prompts):
    """Greedy tokens of prompts of different lengths, run together by mlx-lm's continuous batching."""
    generator = BatchGenerator(model, max_tokens=NUM_TOKENS)
    answers = {uid: [] for uid in generator.insert(prompts)}
    while responses := generator.next_generated():
        for response in responses:
            answers[response.uid].append(int(response.token))
    generator.close()
    return list(answers.values())
