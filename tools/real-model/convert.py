"""Converts SmolLM2-135M-Instruct from a GGUF file to a model folder as Hugging Face and mlx-lm lay it out.

MLX reads Q4_1 and Q8_0 as its own affine quantization, so weights keep their codes: nothing is quantized again.
Names, the order of the rows of q and k, and the place of tokenizer and template differ.

Usage: convert.py FILE.gguf FOLDER [--dense]
"""

import argparse
import json
from pathlib import Path

import mlx.core as mx

NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
GROUP_SIZE = 32
# The type of control tokens in a GGUF file.
CONTROL = 3
EMBEDDING = "model.embed_tokens"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dense", action="store_true", help="write float32 weights, for mlx-lm on a CPU")
    options = parser.parse_args()
    arrays, facts = mx.load(str(options.file), return_metadata=True)
    options.folder.mkdir(parents=True)
    weights = renamed(arrays, facts)
    quantization = None if options.dense else quantization_of(weights)
    weights = dequantized(weights) if options.dense else weights
    mx.save_safetensors(str(options.folder / "model.safetensors"), weights, {"format": "mlx"})
    write_json(options.folder / "config.json", config(facts, quantization))
    write_json(options.folder / "tokenizer.json", tokenizer(facts))
    write_json(options.folder / "tokenizer_config.json", tokenizer_config(facts))


def renamed(arrays, facts):
    heads = number(facts, "llama.attention.head_count")
    kv_heads = number(facts, "llama.attention.head_count_kv")
    weights = {}
    for name, array in arrays.items():
        path, kind = name.rsplit(".", 1)
        if path.endswith(("attn_q", "attn_k")):
            array = halves(array, heads if path.endswith("attn_q") else kv_heads)
        # Norms are float32 in the file. Here they have the type of the scales, as in models that mlx-lm writes.
        weights[f"{path_of(path)}.{kind}"] = array if array.dtype != mx.float32 else array.astype(mx.float16)
    return weights


def path_of(path):
    if path == "token_embd":
        return EMBEDDING
    if path == "output_norm":
        return "model.norm"
    _, index, name = path.split(".")
    return f"model.layers.{index}.{NAMES[name]}"


def halves(array, heads):
    """GGUF rotates neighbouring rows of a head, Hugging Face its first half with its second."""
    rows = array.reshape(heads, array.shape[0] // heads // 2, 2, -1)
    return rows.swapaxes(1, 2).reshape(array.shape)


def bits_of(weights, path):
    """Bits of a code. MLX packs the codes of a row into words of 32 bits, and each group of codes has a scale."""
    inputs = weights[f"{path}.scales"].shape[1] * GROUP_SIZE
    return weights[f"{path}.weight"].shape[1] * 32 // inputs


def quantized_paths(weights):
    return [name.removesuffix(".scales") for name in weights if name.endswith(".scales")]


def quantization_of(weights):
    quantization = {"group_size": GROUP_SIZE, "bits": 4}
    for path in sorted(quantized_paths(weights)):
        bits = bits_of(weights, path)
        if bits != quantization["bits"]:
            quantization[path] = {"group_size": GROUP_SIZE, "bits": bits}
    return quantization


def dequantized(weights):
    dense = {name: array.astype(mx.float32) for name, array in weights.items() if array.dtype != mx.uint32}
    for path in quantized_paths(weights):
        scales, biases = dense.pop(f"{path}.scales"), dense.pop(f"{path}.biases")
        codes = weights[f"{path}.weight"]
        bits = bits_of(weights, path)
        dense[f"{path}.weight"] = mx.dequantize(codes, scales, biases, group_size=GROUP_SIZE, bits=bits)
    return dense


def config(facts, quantization):
    fields = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": number(facts, "llama.embedding_length"),
        "num_hidden_layers": number(facts, "llama.block_count"),
        "intermediate_size": number(facts, "llama.feed_forward_length"),
        "num_attention_heads": number(facts, "llama.attention.head_count"),
        "num_key_value_heads": number(facts, "llama.attention.head_count_kv"),
        "max_position_embeddings": number(facts, "llama.context_length"),
        # The published value. The file has it in float32, which rounds it.
        "rms_norm_eps": 1e-05,
        "rope_theta": float(facts["llama.rope.freq_base"].item()),
        "vocab_size": number(facts, "llama.vocab_size"),
        "bos_token_id": number(facts, "tokenizer.ggml.bos_token_id"),
        "eos_token_id": number(facts, "tokenizer.ggml.eos_token_id"),
        "tie_word_embeddings": True,
    }
    return fields if quantization is None else fields | {"quantization": quantization}


def tokenizer(facts):
    """Byte-level BPE, in which each digit is a token of its own."""
    tokens, types = facts["tokenizer.ggml.tokens"], facts["tokenizer.ggml.token_type"].tolist()
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added(index, tokens[index]) for index, kind in enumerate(types) if kind == CONTROL],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level],
        },
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in facts["tokenizer.ggml.merges"]],
        },
    }


def added(index, content):
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": index, "content": content} | flags


def tokenizer_config(facts):
    tokens = facts["tokenizer.ggml.tokens"]
    return {
        "tokenizer_class": "GPT2Tokenizer",
        "bos_token": tokens[number(facts, "tokenizer.ggml.bos_token_id")],
        "eos_token": tokens[number(facts, "tokenizer.ggml.eos_token_id")],
        "clean_up_tokenization_spaces": False,
        "model_max_length": number(facts, "llama.context_length"),
        "chat_template": facts["tokenizer.chat_template"],
    }


def number(facts, name):
    return int(facts[name].item())


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
