"""Chooses the recorded prompts: random prompts, selected by number, whose greedy answers have wide margins.

Owns the candidates and the choice. A candidate is a number; `picks.json` holds the chosen number per case and length,
made by `make.py --search`, so that making the fixtures needs no search.
"""

import json
from pathlib import Path

import numpy as np

import reference

PICKS = Path(__file__).parent / "picks.json"
# More candidates find wider margins; longer prompts cost more each, and so do quantized models.
NUM_CANDIDATES = {7: 4096, 33: 2048, 513: 128}
QUANTIZED_SHARE = 0.125
HALF_PRECISION_SHARE = 0.25
# Narrow margins mostly show early: a short run of all candidates selects those for a full run.
NUM_HEAT_TOKENS = 12
HEAT_SURVIVORS = 0.25
MIN_SURVIVORS = 16
MIN_DISTINCT = 16
LONGEST_REPEAT = 6


def candidate(case, length, number):
    """Prompt `number` of a case. One-token prompts are simply the token itself."""
    if length == 1:
        return [number]
    vocab_size = case.full_config()["vocab_size"]
    return np.random.default_rng([case.seed, length, number]).integers(vocab_size, size=length).tolist()


def read_picks():
    return json.loads(PICKS.read_text()) if PICKS.exists() else {}


def chosen(case):
    """Length to prompt, for the lengths of the case."""
    picks = read_picks()[case.name]
    return {length: candidate(case, length, picks[str(length)]) for length in case.lengths}


def best_candidate(case, length, model, exact_model):
    """The number whose smallest margin is widest, among those whose answer is varied and stable.

    The race is run in float32, since half precision is emulated on most CPUs; `model` itself must then agree.
    """
    racer = exact_model if case.agrees_with_float32 else model
    numbers = survivors(case, length, racer)
    answer = reference.greedy(racer, [candidate(case, length, number) for number in numbers])
    for row in np.argsort(-answer.margins.min(axis=1)):
        prompt, tokens = candidate(case, length, numbers[row]), answer.tokens[row]
        if not is_varied(tokens) or not is_stable(model, prompt, tokens):
            continue
        if reference.influence(exact_model, prompt) > reference.MIN_INFLUENCE:
            return numbers[row], float(answer.margins[row].min())
    raise SystemExit(f"{case.name}: no candidate of {length} tokens has a varied and stable answer")


def num_candidates(case, length):
    share = QUANTIZED_SHARE if case.quantization else 1
    share *= 1 if case.agrees_with_float32 else HALF_PRECISION_SHARE
    return int(share * NUM_CANDIDATES[length])


def survivors(case, length, model):
    if length == 1:
        return list(range(case.full_config()["vocab_size"]))
    count = num_candidates(case, length)
    heat = reference.greedy(model, [candidate(case, length, number) for number in range(count)], NUM_HEAT_TOKENS)
    order = np.argsort(-heat.margins.min(axis=1))
    return order[: max(MIN_SURVIVORS, int(count * HEAT_SURVIVORS))].tolist()


def is_stable(model, prompt, tokens):
    """Whether the model, in its own precision, chooses the tokens that float32 arithmetic chose."""
    logits = reference.forced_logits(model, prompt, tokens.tolist())
    return bool((logits.argmax(axis=1) == tokens).all())


def is_varied(tokens):
    """An answer that loops, or has few different tokens, would hide an engine that reads wrong positions."""
    tokens = tokens.tolist()
    runs = [tuple(tokens[start : start + LONGEST_REPEAT]) for start in range(len(tokens) - LONGEST_REPEAT + 1)]
    return len(set(tokens)) >= MIN_DISTINCT and len(set(runs)) == len(runs)
