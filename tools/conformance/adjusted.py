"""Records mlx-lm's answers with logits processors: biases, and a penalty on repetition.

Owns `adjusted.json`: greedy tokens by prompt and setting. Penalties on presence and frequency are not here: mlx-lm
counts the last tokens of prompt and answer, the engine all tokens of the answer, as OpenAI's API does.
"""

import fixture
import folder as model_folder
import mlx.core as mx
import numpy as np
import reference
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.sample_utils import make_logits_processors

CASE = "base"
# A margin below this, about twenty roundings, could give another token on another platform.
MIN_MARGIN = 2e-5
SETTINGS = [
    {"repetition_penalty": 1.3, "repetition_context_size": 20},
    {"repetition_penalty": 2.0, "repetition_context_size": 3},
    {"repetition_penalty": 0.9, "repetition_context_size": 50},
    {"logit_bias": {5: 0.5, 17: -1.0, 40: 0.25}},
    {"logit_bias": {5: 0.5, 17: -1.0}, "repetition_penalty": 1.5, "repetition_context_size": 10},
]


def write_adjusted(path, prompts):
    """Records the answers to `prompts` (length to tokens) under each setting; returns how many there are."""
    model = fixture.load(path)
    entries = [record(model, prompt, setting) for prompt in prompts.values() for setting in SETTINGS]
    model_folder.write_json(path / "adjusted.json", {"answers": entries}, indent=None)
    return len(entries)


def record(model, prompt, setting):
    processors = make_logits_processors(**setting)
    cache, inputs, said, margins = make_prompt_cache(model), mx.array([prompt]), list(prompt), []
    for _ in range(reference.NUM_TOKENS):
        logits = model(inputs, cache=cache)[:, -1].astype(mx.float32)
        for processor in processors:
            logits = processor(mx.array(said), logits)
        inputs = mx.argmax(logits, axis=-1)[:, None]
        mx.eval(inputs, logits)
        margins.append(float(reference.relative_margin(np.array(logits))[0]))
        said.append(int(inputs.item()))
    fixture.require(min(margins) > MIN_MARGIN, f"{setting}: two tokens are only {min(margins):.1e} apart")
    bias = [[token, value] for token, value in setting.get("logit_bias", {}).items()]
    return {
        "prompt_tokens": prompt,
        "greedy_tokens": said[len(prompt) :],
        "logit_bias": bias,
        "repetition_penalty": setting.get("repetition_penalty", 1.0),
        "repetition_context": setting.get("repetition_context_size", 20),
    }
