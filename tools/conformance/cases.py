"""The table of conformance cases: one tiny Llama for each mistake that a loader can make.

Owns what each model looks like (config keys, dtype, quantization, files) and nothing about how it is made.
A case changes few things at a time, so that a failing case names its suspect.
"""

from dataclasses import dataclass, field

SHORT = (1, 7, 33)
LONG = (1, 7, 33, 513)
MAX_POSITIONS = 1024


@dataclass(frozen=True)
class Quantization:
    """How mlx-lm quantizes the case: defaults for all layers, exceptions by module path."""

    bits: int
    group_size: int
    # Module path to (bits, group size), or to None for "leave this one in full precision".
    exceptions: dict = field(default_factory=dict)
    # Configs of older mlx-lm do not name the mode; it is affine then.
    names_mode: bool = True


@dataclass(frozen=True)
class Case:
    """One model folder. `config` is laid over `base_config`; a value of None removes the key."""

    name: str
    seed: int
    shows: str
    config: dict = field(default_factory=dict)
    dtype: str = "float32"
    lengths: tuple = SHORT
    quantization: Quantization | None = None
    # With an index; without one when None.
    num_shards: int | None = None
    # Tensors that published checkpoints carry and a loader must ignore.
    with_leftovers: bool = False
    # Quantized matmul in bfloat16 also sums in bfloat16 on the CPU: too coarse to demand the tokens of float32.
    agrees_with_float32: bool = True
    # Config keys without which the logits must differ: proof that the fixture can catch their loss.
    must_matter: tuple = ()

    def full_config(self):
        config = {**base_config(self.dtype), **self.config}
        return {key: value for key, value in config.items() if value is not None}


def base_config(dtype):
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 96,
        "max_position_embeddings": MAX_POSITIONS,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": dtype,
    }


WIDE = {"hidden_size": 64, "intermediate_size": 128}

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}

# (bits, group size) by module path: a bit width that no other case has, a group size, and a layer in full precision.
MIXED_EXCEPTIONS = {
    "model.embed_tokens": (8, 32),
    "model.layers.0.mlp.down_proj": (5, 32),
    "model.layers.1.self_attn.v_proj": (6, 64),
    "lm_head": None,
}

CASES = (
    Case(
        "base", 1, "grouped-query attention, untied head; hidden 64, vocabulary 128",
        config={**WIDE, "vocab_size": 128},
        lengths=LONG,
        must_matter=("rope_theta",),
    ),
    Case(
        "defaults", 2, "tied head, as many KV heads as heads, both by absence of the keys; unused tensors in the file",
        config={"tie_word_embeddings": None, "num_key_value_heads": None, "rope_theta": None, "rms_norm_eps": 1e-6},
        with_leftovers=True,
    ),
    Case(
        "rope-llama3", 3, "llama3 rope scaling with wavelengths in all three bands, theta 500000",
        config={"rope_theta": 500000.0, "rope_scaling": LLAMA3_ROPE},
        lengths=LONG,
        must_matter=("rope_scaling", "rope_theta"),
    ),
    Case(
        "rope-linear", 4, "linear rope scaling under the older key `type`; tied head",
        config={"rope_scaling": {"type": "linear", "factor": 4.0}, "tie_word_embeddings": True},
        lengths=LONG,
        must_matter=("rope_scaling",),
    ),
    Case(
        "rope-traditional", 5, "rope on interleaved pairs; one KV head",
        config={"rope_traditional": True, "num_key_value_heads": 1},
        must_matter=("rope_traditional",),
    ),
    Case("biases", 6, "biases in attention and MLP", config={"attention_bias": True, "mlp_bias": True}),
    Case("head-dim", 7, "head_dim 24, not hidden_size / heads", config={"head_dim": 24}),
    Case("sharded", 8, "three files and an index", config={"intermediate_size": 112}, num_shards=3),
    Case("f16", 9, "float16 weights", config=WIDE, dtype="float16"),
    Case("bf16", 10, "bfloat16 weights, tied head", config={**WIDE, "tie_word_embeddings": True}, dtype="bfloat16",
         lengths=LONG),
    Case(
        "q4-g64", 11, "4 bits as most published models: group 64, bfloat16 scales, tied head, an index of one file",
        config={**WIDE, "tie_word_embeddings": True},
        dtype="bfloat16",
        quantization=Quantization(bits=4, group_size=64),
        num_shards=1,
        agrees_with_float32=False,
    ),
    Case(
        "q8-g32", 12, "8 bits, group 32, float16 scales, with biases: `.bias` beside `.biases`",
        config={**WIDE, "attention_bias": True, "mlp_bias": True},
        dtype="float16",
        quantization=Quantization(bits=8, group_size=32),
    ),
    Case(
        "q4-g128", 13, "4 bits, group 128, float32 scales",
        config={"hidden_size": 128, "intermediate_size": 128},
        quantization=Quantization(bits=4, group_size=128),
    ),
    Case(
        "q2-g32", 14, "2 bits, group 32, mode not named",
        config=WIDE,
        quantization=Quantization(bits=2, group_size=32, names_mode=False),
    ),
    Case(
        "q3-g64", 15, "3 bits, group 64; down_proj stays in full precision since 96 is no multiple of 64",
        config={**WIDE, "intermediate_size": 96},
        quantization=Quantization(bits=3, group_size=64),
    ),
    Case("q6-g64", 16, "6 bits, group 64", config=WIDE, quantization=Quantization(bits=6, group_size=64)),
    Case(
        "q-mixed", 17, "4 bits with exceptions by layer: embedding 8, down_proj 5, v_proj 6, head in full precision",
        config=WIDE,
        quantization=Quantization(bits=4, group_size=64, exceptions=MIXED_EXCEPTIONS),
    ),
)
