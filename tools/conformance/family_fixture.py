"""Makes one family case: a model folder from its seed, and a file with mlx-lm's answers.

Owns the shape of `families/<case>.json`. The folder is temporary: tests make it again from the file.
"""

import tempfile
from pathlib import Path

import folder as model_folder
import mlx.core as mx
import mlx.nn as nn
import numpy as np
import reference
import seeded
from fixture import FLOAT32_TOLERANCE, MIN_MATTER, load, require
from mlx.utils import tree_flatten
from mlx_lm.models.base import create_causal_mask
from mlx_lm.utils import _get_classes, dequantize_model

# Digits of a float32 in JSON.
DIGITS = 7
# Other arithmetic moves each of two logits by up to the tolerance, so margins by twice that.
CLEAR = 2
NUM_CANDIDATES = {None: 160, (4, 32): 800}
# The part of them that runs in the case's own type, all together.
NUM_FINALISTS = 8
LIVE_CANDIDATES = 16
LIVE_FINALISTS = 2
MIN_DISTINCT = 8
# The largest effect of half precision on logits, where it cannot be measured.
HALF_TOLERANCE = 1e-2


GATHER_QMM = mx.gather_qmm


def gather_qmm(*arguments, global_scale=None, **named):
    """Accepts the call of mlx-lm. mlx 0.32.2 has no `global_scale`, which affine quantization does not use."""
    require(global_scale is None, "a global scale")
    return GATHER_QMM(*arguments, **named)


mx.gather_qmm = gather_qmm


class Windowed(nn.Module):
    """A layer of mlx-lm that sees the last `window` positions instead of all."""

    def __init__(self, layer, window):
        super().__init__()
        self.layer = layer
        self.window = window
        self.use_sliding = False

    def __call__(self, x, mask=None, cache=None):
        offset = 0 if cache is None else cache.offset
        return self.layer(x, create_causal_mask(x.shape[1], offset, window_size=self.window), cache)


def tensors_of(case):
    """The tensors of a case, quantized where mlx-lm would quantize them."""
    config = {key: value for key, value in case.full_config().items() if value is not None}
    architecture, arguments = _get_classes(config)
    model = architecture(arguments.from_dict(config))
    if case.quantization:
        bits, group = case.quantization

        def choose(path, module):
            if case.router_quantization and path.endswith("mlp.gate"):
                bits, group = case.router_quantization
                return {"bits": bits, "group_size": group}
            return hasattr(module, "to_quantized")

        nn.quantize(model, group_size=group, bits=bits, class_predicate=choose)
    shapes = {name: value.shape for name, value in tree_flatten(model.parameters())}
    if config.get("tie_word_embeddings"):
        shapes = {name: shape for name, shape in shapes.items() if not name.startswith("lm_head")}
    if case.has_single_experts:
        shapes = apart(shapes)
    return seeded.tensors_of(shapes, case)


def apart(shapes):
    """Stacked experts as single tensors under their separate names."""
    single = {}
    for name, shape in shapes.items():
        if "switch_mlp" not in name:
            single[name] = shape
            continue
        for expert in range(shape[0]):
            single[name.replace("switch_mlp", f"experts.{expert}")] = shape[1:]
    return single


def write_folder(case, tensors, path, changes=None):
    config = {key: value for key, value in {**case.full_config(), **(changes or {})}.items() if value is not None}
    model_folder.write_config(path, config)
    model_folder.save_tensors(path / "model.safetensors", {tensor.name: tensor.values(case.seed) for tensor in tensors})


def load_windowed(case, path):
    model = load(path)
    window = case.full_config().get("sliding_window")
    for index in case.windowed:
        model.model.layers[index] = Windowed(model.model.layers[index], window)
    return model


def in_float32(model):
    """The same weights in float32. Dequantized, which gives the same numbers in a fraction of the time."""
    return dequantize_model(reference.in_float32(model))


def make(case, is_live=False):
    """The contents of the case's file. A live model gets fewer candidates, and its answers end at the first narrow margin."""
    tensors = tensors_of(case)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary)
        write_folder(case, tensors, path)
        model, exact = load_windowed(case, path), in_float32(load_windowed(case, path))
        model = exact if case.is_recorded_in_float32 else model
        prompts = [record(case, length, (model, exact), is_live) for length in case.lengths]
        if not is_live:  # Of a live model that may differ in half precision: what counts is the plain loop.
            check_batch(case, model, prompts)
        check_matters(case, tensors, path, prompts[-1]["prompt_tokens"])
    return {
        "case": case.name,
        "shows": case.shows,
        "seed": case.seed,
        "config": {key: value for key, value in case.full_config().items() if value is not None},
        "tensors": [tensor.to_json() for tensor in tensors],
        "prompts": prompts,
    }


def record(case, length, models, is_live):
    """The entry of the candidate of this length whose answer has wide margins for longest."""
    model, exact = models
    vocab = case.full_config()["vocab_size"]
    count = LIVE_CANDIDATES if is_live else NUM_CANDIDATES[case.quantization]
    candidates = np.random.default_rng([case.seed, length]).integers(vocab, size=(count, length)).tolist()
    raced = reference.greedy(exact, candidates)
    varied = [len(set(tokens)) >= MIN_DISTINCT for tokens in raced.tokens.tolist()]
    finalists = np.argsort(-raced.margins.min(axis=1) * varied)[: LIVE_FINALISTS if is_live else NUM_FINALISTS]
    prompts = [candidates[row] for row in finalists]
    answer = reference.greedy(model, prompts)
    least = HALF_TOLERANCE if case.is_recorded_in_float32 else 0
    exactly = (exact, raced.tokens[finalists], least)
    entries = [entry_of(prompts[at], answer, at, exactly) for at in range(len(prompts))]
    best = max(entries, key=lambda entry: len(entry["greedy_tokens"]))
    num_clear = len(best["greedy_tokens"])
    is_whole = num_clear == reference.NUM_TOKENS
    require(is_live or is_whole, f"{case.name}: after {length} tokens, {num_clear} are clear")
    return best


def entry_of(prompt, answer, at, exactly):
    """Row `at` of mlx-lm's answers, as far as float32 arithmetic chooses the same tokens by wide margins."""
    exact, exact_tokens, least = exactly
    logits, margins, tokens = answer.logits[at], answer.margins[at], answer.tokens[at]
    rounding = reference.relative_difference(logits, reference.last_logits(exact, prompt))
    # A device may compute in either precision, and round a little otherwise.
    measured = max(FLOAT32_TOLERANCE, float(f"{1.25 * rounding:.1e}"))
    tolerance = max(least, measured)
    is_clear = (margins > max(least, CLEAR * measured)) & (tokens == exact_tokens[at])
    num_clear = int(is_clear.cumprod().sum())
    return {
        "prompt_tokens": prompt,
        "greedy_tokens": tokens[:num_clear].tolist(),
        "min_margin": float(f"{margins[:num_clear].min(initial=1.0):.3g}"),
        "tolerance": tolerance,
        "logits": [float(f"{value:.{DIGITS}g}") for value in logits],
    }


def check_batch(case, model, prompts):
    """mlx-lm's own generators must give the recorded tokens, alone and batched with prompts of other lengths."""
    if case.windowed:
        return  # mlx-lm's generators know nothing of these windows.
    together = reference.batch_tokens(model, [entry["prompt_tokens"] for entry in prompts])
    for entry, tokens in zip(prompts, together, strict=True):
        expected, prompt = entry["greedy_tokens"], entry["prompt_tokens"]
        require(tokens[: len(expected)] == expected, f"{case.name}: the batch differs after {len(prompt)} tokens")
        alone = reference.step_tokens(model, prompt)
        require(alone[: len(expected)] == expected, f"{case.name}: generate_step differs after {len(prompt)} tokens")


def check_matters(case, tensors, path, prompt):
    """Changing a tested config key must move the logits of the longest prompt well out of tolerance."""
    def logits(path):
        return reference.last_logits(in_float32(load_windowed(case, path)), prompt)

    expected = logits(path)
    for key, value in case.must_matter.items():
        with tempfile.TemporaryDirectory() as temporary:
            write_folder(case, tensors, Path(temporary), {key: value})
            moved = reference.relative_difference(expected, logits(Path(temporary)))
        require(moved > MIN_MATTER, f"{case.name}: with {key} = {value} the logits move by only {moved:.1e}")
    if case.windowed:
        whole = in_float32(load(path))
        moved = reference.relative_difference(expected, reference.last_logits(whole, prompt))
        require(moved > MIN_MATTER, f"{case.name}: without the window the logits move by only {moved:.1e}")
