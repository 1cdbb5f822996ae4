"""Writes a model folder in the layout of published MLX models: config.json, safetensors, tokenizer files.

Owns file names and layout. Everything is written in a fixed order, so that the same model gives the same bytes.
"""

import json

import mlx.core as mx
from tokenizers import Tokenizer, models, pre_tokenizers


def write_json(path, value, indent=2):
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")


def write_config(folder, config):
    write_json(folder / "config.json", dict(sorted(config.items())))


def write_weights(folder, weights, num_shards=None):
    """One file, or shards with about equal numbers of tensors and an index."""
    if num_shards is None:
        save_tensors(folder / "model.safetensors", weights)
        return
    names = sorted(weights)
    per_shard = -(-len(names) // num_shards)
    weight_map = {}
    for index in range(num_shards):
        file_name = f"model-{index + 1:05d}-of-{num_shards:05d}.safetensors" if num_shards > 1 else "model.safetensors"
        shard = names[index * per_shard : (index + 1) * per_shard]
        save_tensors(folder / file_name, {name: weights[name] for name in shard})
        weight_map.update({name: file_name for name in shard})
    total_size = sum(weight.nbytes for weight in weights.values())
    index = {"metadata": {"total_size": total_size}, "weight_map": weight_map}
    write_json(folder / "model.safetensors.index.json", index)


def save_tensors(path, tensors):
    mx.save_safetensors(str(path), {name: tensors[name] for name in sorted(tensors)}, metadata={"format": "mlx"})


def write_numbered_tokenizer(folder, vocab_size):
    """The smallest tokenizer that loads: a word "t<id>" for each token id."""
    vocabulary = {f"t{token}": token for token in range(vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="t0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    write_tokenizer(folder, tokenizer)


def write_tokenizer(folder, tokenizer, **settings):
    (folder / "tokenizer.json").write_text(tokenizer.to_str() + "\n", encoding="utf-8")
    write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **settings},
    )
