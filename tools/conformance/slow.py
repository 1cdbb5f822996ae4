"""The SLOW model: a conformance-like model with enough layers that a step takes about 20 ms on two CPU cores.

Owns its size. Tests of scheduling need steps long enough to act in between. It is made on demand, not checked in.
"""

import time

import mlx.core as mx
from mlx.utils import tree_flatten

import folder as model_folder
import weights
from cases import base_config

SEED = 200
SIZE = {"hidden_size": 320, "intermediate_size": 864, "num_hidden_layers": 8, "num_attention_heads": 5}
NUM_TIMED_STEPS = 10


def write_slow(path):
    path.mkdir(parents=True, exist_ok=True)
    config = {**base_config("float32"), **SIZE, "num_key_value_heads": 5, "vocab_size": 256}
    model = weights.build_model(config, SEED)
    model_folder.write_config(path, config)
    model_folder.write_weights(path, dict(tree_flatten(model.parameters())))
    model_folder.write_numbered_tokenizer(path, config["vocab_size"])
    print(f"{path}: {1000 * seconds_per_step(model):.0f} ms a step on this machine")


def seconds_per_step(model):
    cache = model.make_cache()
    mx.eval(model(mx.array([[1]]), cache=cache))
    started = time.perf_counter()
    for _ in range(NUM_TIMED_STEPS):
        mx.eval(model(mx.array([[1]]), cache=cache))
    return (time.perf_counter() - started) / NUM_TIMED_STEPS
