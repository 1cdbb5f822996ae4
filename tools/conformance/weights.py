"""Random weights for which every prompt token matters.

Owns the numbers in a model: plain initialisation makes a tiny model repeat itself, which hides KV-cache bugs, so the
gains are larger than training would start from. numpy's generator is used because its stream is the same everywhere.
"""

import contextlib
import importlib
import io

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten
from mlx_lm.utils import quantize_model

# Standard deviation of each layer's output for inputs of unit variance. Query and key gains keep attention scores of
# order one: with larger ones attention picks a single position and most prompt tokens stop mattering.
GAINS = {
    "q_proj": 1.35,
    "k_proj": 1.35,
    "v_proj": 1.6,
    "o_proj": 1.6,
    "gate_proj": 2.0,
    "up_proj": 1.8,
    "down_proj": 1.8,
    "lm_head": 1.0,
    # The router of a mixture.
    "gate": 1.0,
}
# Small beside the output of the layers; otherwise a tied head would repeat every token.
EMBEDDING_STD = 0.25
BIAS_STD = 0.5
NORM_STD = 0.2


def build_model(config, seed):
    """A model of mlx-lm's own class for `config`, filled from `seed`, in the dtype the config names."""
    model = new_model(config)
    dtype = getattr(mx, config["torch_dtype"])
    random = np.random.default_rng(seed)
    drawn = [(name, draw(name, shape, random)) for name, shape in parameter_shapes(model)]
    model.load_weights([(name, mx.array(value).astype(dtype)) for name, value in drawn])
    model.eval()
    return model


def new_model(config):
    architecture = importlib.import_module(f"mlx_lm.models.{config['model_type']}")
    return architecture.Model(architecture.ModelArgs.from_dict(config))


def parameter_shapes(model):
    return sorted((name, value.shape) for name, value in tree_flatten(model.parameters()))


def draw(name, shape, random):
    layer, kind = name.split(".")[-2:]
    normal = random.standard_normal(shape, dtype=np.float32)
    if kind == "bias":
        return BIAS_STD * normal
    if len(shape) == 1:
        return 1 + NORM_STD * normal
    if layer == "embed_tokens":
        return EMBEDDING_STD * normal
    return GAINS[layer] / np.sqrt(shape[-1]).astype(np.float32) * normal


def quantize(model, config, quantization):
    """Quantizes in place as `mlx_lm.convert` does and returns the config it would save."""

    def choose(path, _module):
        exception = quantization.exceptions.get(path, True)
        if isinstance(exception, tuple):
            bits, group_size = exception
            return {"group_size": group_size, "bits": bits, "mode": "affine"}
        return exception is True

    choose = choose if quantization.exceptions else None
    with contextlib.redirect_stdout(io.StringIO()):  # it prints a line per model
        _, config = quantize_model(model, config, quantization.group_size, quantization.bits, quant_predicate=choose)
    if not quantization.names_mode:
        del config["quantization"]["mode"]
    return config


def leftovers(config, seed, embedding):
    """Tensors of older exports that mlx-lm drops on load: rotary tables, and a copy of the embedding as the head."""
    random = np.random.default_rng([seed, 1])
    head_dim = config["hidden_size"] // config["num_attention_heads"]
    rows = {
        f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": (head_dim // 2,)
        for layer in range(config["num_hidden_layers"])
    }
    tables = {name: mx.array(random.standard_normal(shape, dtype=np.float32)) for name, shape in rows.items()}
    return {**tables, "lm_head.weight": embedding}
