"""Writes the random models of the benchmarks: decoders without an end token.

Owns their sizes and families. Weights and files are made like those of the conformance fixtures, so that answers vary. A model
is named `<size>`, a Llama in float32, or `<size>-<family>-<format>`.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tools" / "conformance"))

import folder as model_folder
import weights
from cases import Quantization, base_config
from mlx.utils import tree_flatten

SEED = 300
VOCAB_SIZE = 1024
SIZES = {
    "4x256": {"num_hidden_layers": 4, "hidden_size": 256, "intermediate_size": 704, "num_attention_heads": 4},
    "26m": {"num_hidden_layers": 8, "hidden_size": 512, "intermediate_size": 1376, "num_attention_heads": 8},
    "8x64": {"num_hidden_layers": 8, "hidden_size": 64, "intermediate_size": 192, "num_attention_heads": 4},
    "16x2048": {"num_hidden_layers": 16, "hidden_size": 2048, "intermediate_size": 5632, "num_attention_heads": 32},
}
GEMMA = {"hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True}
FAMILIES = {
    "llama": {},
    "qwen3": {"rope_theta": 1000000.0},
    # mlx-lm ignores the window of this family, so that it is wider than the context here.
    "gemma2": {
        **GEMMA, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "sliding_window": 4096,
        "query_pre_attn_scalar": 64,
    },
    "gemma3_text": {
        **GEMMA, "sliding_window": 48, "sliding_window_pattern": 3, "rope_local_base_freq": 10000.0,
        "rope_theta": 1000000.0, "query_pre_attn_scalar": 64,
    },
    "qwen3_moe": {
        "num_experts": 8, "num_experts_per_tok": 2, "decoder_sparse_step": 1, "mlp_only_layers": [],
        "norm_topk_prob": True, "rope_theta": 1000000.0,
    },
}
DTYPES = {"f16": "float16", "bf16": "bfloat16", "q4": "float16"}
FOUR_BITS = Quantization(4, 64)


def config_of(size, family, dtype):
    shape = SIZES[size]
    heads = shape["num_attention_heads"]
    config = {
        **base_config(dtype), **shape, "num_key_value_heads": heads, "vocab_size": VOCAB_SIZE, **FAMILIES[family],
    }
    if family != "llama":
        config |= {"model_type": family, "head_dim": shape["hidden_size"] // heads}
    if family == "qwen3_moe":
        config["moe_intermediate_size"] = 64 * max(1, shape["intermediate_size"] // 256)
    return config


def main(name, path):
    path.mkdir(parents=True)
    size, family, form = name.split("-") if "-" in name else (name, "llama", None)
    config = config_of(size, family, DTYPES.get(form, "float32"))
    model = weights.build_model(config, SEED)
    if form == "q4":
        config = weights.quantize(model, config, FOUR_BITS)
    model_folder.write_config(path, config)
    model_folder.write_weights(path, dict(tree_flatten(model.parameters())))
    model_folder.write_numbered_tokenizer(path, VOCAB_SIZE)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
