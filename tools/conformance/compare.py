"""Compares two sets of fixtures.

Owns what "same" means: equal bytes, or, because another platform may order a file or round a sum differently, equal
tensors and values with recorded logits and figures within the tolerance of the tests.
"""

import json

import mlx.core as mx
import numpy as np

RELATIVE_TOLERANCE = 1e-4
# Files with results of mlx-lm, as opposed to its inputs.
COMPUTED = ("expected.safetensors", "logprobs.safetensors")
# Figures of a run, such as the margin of two logits, include the rounding of both.
FIGURE_TOLERANCE = 1e-3


def compare_folders(checked_in, made, names):
    """Descriptions of all differences; `names` limits which fixtures must exist."""
    expected = {path.relative_to(checked_in) for path in checked_in.rglob("*") if path.is_file()}
    expected = {path for path in expected if not names or path.parts[0] in names}
    found = {path.relative_to(made) for path in made.rglob("*") if path.is_file()}
    differences = [f"{path} is only in one of the two" for path in sorted(expected ^ found)]
    common = sorted(expected & found)
    return differences + [str(path) for path in common if not same_file(checked_in / path, made / path)]


def same_file(path, other):
    if path.read_bytes() == other.read_bytes():
        return True
    if path.suffix == ".safetensors":
        return same_tensors(path, other)
    if path.suffix == ".json":
        return same_value(json.loads(path.read_text()), json.loads(other.read_text()))
    return False


def same_tensors(path, other):
    tensors, others = mx.load(str(path)), mx.load(str(other))
    if tensors.keys() != others.keys():
        return False
    tolerance = RELATIVE_TOLERANCE if path.name in COMPUTED else 0
    return all(same_tensor(tensors[name], others[name], tolerance) for name in tensors)


def same_tensor(tensor, other, tolerance):
    if tensor.dtype != other.dtype or tensor.shape != other.shape:
        return False
    if tolerance == 0:
        return bool(mx.array_equal(tensor, other))
    values, others = (np.array(array) for array in (tensor, other))
    return bool(np.abs(values - others).max() <= tolerance * np.abs(values).max())


def same_value(value, other):
    if type(value) is not type(other):
        return False
    if isinstance(value, dict):
        return value.keys() == other.keys() and all(same_value(value[key], other[key]) for key in value)
    if isinstance(value, list):
        return len(value) == len(other) and all(map(same_value, value, other))
    if isinstance(value, float):
        return abs(value - other) <= FIGURE_TOLERANCE
    return value == other
