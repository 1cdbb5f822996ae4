"""Makes one conformance fixture: the model folder, then mlx-lm's answers for it.

Owns the shape of `expected.json` and `expected.safetensors` and the checks a fixture must pass to be written.
"""

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.utils import load_model

import folder as model_folder
import reference
import weights

FLOAT32_TOLERANCE = 1e-4
MIN_MATTER = 100 * FLOAT32_TOLERANCE


def write_model(case, path):
    """Writes the folder without expectations and loads it back through mlx-lm."""
    path.mkdir(parents=True, exist_ok=True)
    config = case.full_config()
    model = weights.build_model(config, case.seed)
    if case.quantization:
        config = weights.quantize(model, config, case.quantization)
    tensors = dict(tree_flatten(model.parameters()))
    if case.with_leftovers:
        tensors.update(weights.leftovers(case.full_config(), case.seed, tensors["model.embed_tokens.weight"]))
    model_folder.write_config(path, config)
    model_folder.write_weights(path, tensors, case.num_shards)
    model_folder.write_numbered_tokenizer(path, config["vocab_size"])
    return load(path)


def load(path):
    model, _config = load_model(path)
    return model


def write_expected(case, path, prompts):
    """Records the answers to `prompts` (length to tokens) beside the model and returns what it recorded."""
    model = load(path)
    exact_model = reference.in_float32(load(path))
    entries, logits = [], {}
    for length, prompt in prompts.items():
        entry, row = record(case, prompt, model, exact_model)
        entries.append({"length": length, **entry, "logits": f"logits.{length}"})
        logits[f"logits.{length}"] = mx.array(row)
    check_other_paths(case, model, entries)
    check_config_matters(case, path, entries)
    expected = {"case": case.name, "shows": case.shows, "dtype": case.dtype, "prompts": entries}
    model_folder.write_json(path / "expected.json", expected, indent=None)
    model_folder.save_tensors(path / "expected.safetensors", logits)
    return expected


def record(case, prompt, model, exact_model):
    answer = reference.greedy(model, [prompt])
    tokens = answer.tokens[0].tolist()
    exact = reference.forced_logits(exact_model, prompt, tokens)
    agrees = bool((exact.argmax(axis=1) == answer.tokens[0]).all())
    require(agrees or not case.agrees_with_float32, f"{case.name}: float32 arithmetic gives other tokens")
    rounding = reference.relative_difference(answer.logits[0], exact[0])
    influence = reference.influence(exact_model, prompt)
    require(influence > reference.MIN_INFLUENCE, f"a prompt token moves the logits by only {influence:.1e}")
    entry = {
        "prompt_tokens": prompt,
        "greedy_tokens": tokens,
        "min_margin": round(float(answer.margins.min()), 6),
        "tolerance": max(FLOAT32_TOLERANCE, float(f"{rounding:.1e}")),
        "min_influence": round(influence, 6),
        "agrees_with_float32": agrees,
    }
    return entry, answer.logits[0]


def check_other_paths(case, model, entries):
    """mlx-lm's own generators must give the recorded tokens, alone and batched with prompts of other lengths."""
    for entry in entries:
        steps = reference.step_tokens(model, entry["prompt_tokens"])
        require(steps == entry["greedy_tokens"], f"{case.name}: generate_step differs")
    longest = entries[-1]["prompt_tokens"]
    prompts = [entry["prompt_tokens"] for entry in entries]
    prompts += [longest[:size] for size in (20, 12)][: 5 - len(prompts)]
    together = reference.batch_tokens(model, prompts)
    require(together[: len(entries)] == [entry["greedy_tokens"] for entry in entries], f"{case.name}: batch differs")


def check_config_matters(case, path, entries):
    """Ignoring a tested config key must move the logits of the longest prompt well out of tolerance."""
    prompt = entries[-1]["prompt_tokens"]
    expected = reference.last_logits(load(path), prompt)
    for key in case.must_matter:
        config = {name: value for name, value in case.full_config().items() if name != key}
        if key == "rope_theta":
            config[key] = 2 * case.full_config()[key]
        altered = weights.build_model(config, case.seed)
        moved = reference.relative_difference(expected, reference.last_logits(altered, prompt))
        require(moved > MIN_MATTER, f"{case.name}: without {key} the logits move by only {moved:.1e}")


def require(condition, message):
    if not condition:
        raise SystemExit(f"not a usable fixture: {message}")
