"""Weights from a seed and a list of tensors, so that a model needs no weight file.

Owns the numbers: `tests/conformance/seeded.rs` makes the same ones, bit by bit, from the list in a fixture. A number is a
hash of the seed, the name of its tensor and its index, scaled in float32, rounded to the type of its tensor.
"""

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}

# Standard deviation of each layer's output for inputs of unit variance: see `weights.py`.
GAINS = {
    "q_proj": 1.35, "k_proj": 1.35, "v_proj": 1.6, "o_proj": 1.6, "gate_proj": 2.0, "up_proj": 1.8, "down_proj": 1.8,
    "lm_head": 1.0, "gate": 3.0, "shared_expert_gate": 2.0,
}
BIAS_STD = 0.5
NORM_STD = 0.2
EMBEDDING_STD = 0.25
# From the standard deviation of a uniform distribution to its half width.
HALF_WIDTH = np.sqrt(3)


@dataclass(frozen=True)
class Tensor:
    """Uniformly distributed from `center - spread` to `center + spread`; type U32 is random bits."""

    name: str
    type: str
    shape: tuple
    center: float = 0.0
    spread: float = 0.0

    def values(self, seed):
        bits = hashes(seed, self.name, int(np.prod(self.shape)))
        if self.type == "U32":
            return mx.array((bits >> np.uint64(32)).astype(np.uint32).reshape(self.shape))
        unit = ((bits >> np.uint64(40)).astype(np.int64) - 2**23).astype(np.float32) / np.float32(2**23)
        numbers = np.float32(self.center) + np.float32(self.spread) * unit
        dtype = next(name for name, short in TYPES.items() if short == self.type)
        return mx.array(numbers.reshape(self.shape)).astype(getattr(mx, dtype))

    def to_json(self):
        return [self.name, self.type, list(self.shape), self.center, self.spread]


def hashes(seed, name, count):
    """The finalizer of SplitMix64 over a counter that starts at FNV-1a of the name."""
    state = 0xCBF29CE484222325 ^ seed
    for byte in name.encode():
        state = (state ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        bits = np.uint64(state) + GOLDEN * np.arange(1, count + 1, dtype=np.uint64)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return bits ^ (bits >> np.uint64(31))


def tensors_of(parameters, case):
    """The list for the parameters of a model, by name and shape, some of them quantized."""
    listed = []
    for name, shape in sorted(parameters.items()):
        path, kind = name.rsplit(".", 1)
        if kind == "bias" or f"{path}.scales" not in parameters:
            listed.append(float_tensor(name, shape, case))
        elif kind == "weight":
            listed += quantized_tensors(path, shape, parameters[f"{path}.scales"], case)
    return listed


def float_tensor(name, shape, case):
    layer, kind = name.split(".")[-2:]
    short = TYPES[case.dtype]
    if kind == "bias":
        return Tensor(name, short, shape, 0.0, spread(BIAS_STD))
    if len(shape) == 1:
        return Tensor(name, short, shape, case.norm_center, spread(NORM_STD))
    return Tensor(name, short, shape, 0.0, spread(deviation(layer, shape[-1], case)))


def quantized_tensors(path, shape, scales_shape, case):
    """Codes of all values, and scales and offsets that make them about as large as those of a dense layer."""
    layer, (bits, group) = path.split(".")[-1], case.quantization
    if layer == "gate" and case.router_quantization:
        bits, group = case.router_quantization
    scale = deviation(layer, scales_shape[-1] * group, case) * np.sqrt(12) / 2**bits
    offset = -scale * (2**bits - 1) / 2
    short = TYPES[case.dtype]
    return [
        Tensor(f"{path}.weight", "U32", shape),
        Tensor(f"{path}.scales", short, scales_shape, short_number(scale), short_number(0.3 * scale)),
        Tensor(f"{path}.biases", short, scales_shape, short_number(offset), short_number(0.3 * scale)),
    ]


def deviation(layer, inputs, case):
    if layer == "embed_tokens":
        return case.embedding_std
    return GAINS[layer] / np.sqrt(inputs)


def spread(std):
    return short_number(std * HALF_WIDTH)


def short_number(value):
    """Rounds to few digits, which JSON and float32 represent alike."""
    return float(f"{value:.4g}")
