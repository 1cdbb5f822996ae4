"""Records the log-probabilities that mlx-lm reports while it generates.

Owns `logprobs.safetensors`: for each prompt, by its length, the log-probability of every token of the vocabulary at each
of the first greedy tokens, as `generate_step` yields them beside the token.
"""

import fixture
import folder as model_folder
import mlx.core as mx
from mlx_lm.generate import generate_step

CASE = "base"
FILE = "logprobs.safetensors"
NUM_TOKENS = 16


def write_logprobs(path, prompts):
    """Records them for `prompts` (length to tokens); returns how many tokens there are."""
    model = fixture.load(path)
    rows = {f"logprobs.{length}": record(model, prompt) for length, prompt in prompts.items()}
    model_folder.save_tensors(path / FILE, rows)
    return NUM_TOKENS * len(rows)


def record(model, prompt):
    steps = generate_step(mx.array(prompt), model, max_tokens=NUM_TOKENS)
    rows = mx.stack([logprobs.astype(mx.float32) for _token, logprobs in steps])
    sums = mx.exp(rows).sum(axis=1)
    fixture.require(bool(mx.allclose(sums, mx.ones_like(sums), atol=1e-5)), "probabilities do not add up to 1")
    return rows
