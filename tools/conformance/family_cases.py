"""The table of family cases: for each family, one tiny model in float32, float16 and 4 bits.

Owns what each model looks like and nothing about how it is made. `must_matter` lists the config keys that a case tests:
changing one of them must move the logits, or the case could not detect a loader that ignores it.
"""

from dataclasses import dataclass, field, replace

MAX_POSITIONS = 512
LENGTHS = (1, 7, 33, 90)
# Bits and group size.
FOUR_BITS = (4, 32)
ROUTER_BITS = (8, 64)


@dataclass(frozen=True)
class FamilyCase:
    name: str
    seed: int
    shows: str
    config: dict
    dtype: str = "float32"
    quantization: tuple | None = None
    lengths: tuple = LENGTHS
    # Config keys, each with another value that must give other logits.
    must_matter: dict = field(default_factory=dict)
    # Indexes of layers with a window that mlx-lm's class for the family ignores.
    windowed: tuple = ()
    norm_center: float = 1.0
    embedding_std: float = 0.25
    # mlx-lm's recipes leave the router of a mixture at more bits.
    router_quantization: tuple | None = None
    # Recorded in float32, because mlx-lm cannot compute the case's own type on a CPU.
    is_recorded_in_float32: bool = False
    # Experts stored one by one, as published checkpoints have them.
    has_single_experts: bool = False

    def full_config(self):
        config = {**BASE, "torch_dtype": self.dtype, **self.config}
        if self.quantization:
            bits, group = self.quantization
            config["quantization"] = {"group_size": group, "bits": bits, "mode": "affine", **self.router_config()}
        return config

    def router_config(self):
        if not self.router_quantization:
            return {}
        bits, group = self.router_quantization
        layers = range(self.config.get("num_hidden_layers", BASE["num_hidden_layers"]))
        return {f"model.layers.{layer}.mlp.gate": {"group_size": group, "bits": bits} for layer in layers}


BASE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 64,
    "max_position_embeddings": MAX_POSITIONS,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}

GEMMA = {"hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True, "query_pre_attn_scalar": 30.0}
MIXTURE = {
    "num_experts": 8,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 32,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "norm_topk_prob": True,
}

FAMILIES = (
    FamilyCase(
        "llama", 1001, "windows in layers that layer_types names, llama3 rope",
        config={
            "model_type": "llama",
            "layer_types": ["sliding_attention", "full_attention"],
            "sliding_window": 24,
            "rope_scaling": {
                "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        },
        must_matter={"sliding_window": 400, "rope_scaling": None},
    ),
    FamilyCase(
        "mistral", 1002, "a window in all layers",
        config={"model_type": "mistral", "sliding_window": 24},
        windowed=(0, 1),
    ),
    FamilyCase(
        "qwen2", 1003, "biases of q, k and v; a window in layers from max_window_layers on",
        config={
            "model_type": "qwen2", "num_hidden_layers": 3, "rope_theta": 1000000.0,
            "use_sliding_window": True, "sliding_window": 24, "max_window_layers": 1,
        },
        windowed=(1, 2),
        must_matter={"rope_theta": 10000.0},
    ),
    FamilyCase(
        "qwen3", 1004, "norms of q and k, heads wider than hidden_size / heads",
        config={"model_type": "qwen3", "head_dim": 24, "rope_theta": 1000000.0},
        must_matter={"rope_theta": 10000.0},
    ),
    FamilyCase(
        "qwen3_moe", 1005, "experts in layers 0 and 2, a dense MLP in layer 1",
        config={
            "model_type": "qwen3_moe", **MIXTURE, "num_hidden_layers": 3, "mlp_only_layers": [1],
            "rope_theta": 1000000.0,
        },
        must_matter={"norm_topk_prob": False, "num_experts_per_tok": 2},
        router_quantization=ROUTER_BITS,
    ),
    FamilyCase(
        "gemma2", 1006, "norms around, capped scores and logits, query_pre_attn_scalar, a window in every other layer",
        config={
            "model_type": "gemma2", **GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 0.4,
            "sliding_window": 24, "num_hidden_layers": 3,
        },
        windowed=(0, 2),
        must_matter={
            "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "query_pre_attn_scalar": 16.0,
        },
        norm_center=0.0,
        embedding_std=0.012,
    ),
    FamilyCase(
        "gemma3_text", 1007, "norms of q and k, two bases of rope, a window in all but every third layer",
        config={
            "model_type": "gemma3_text", **GEMMA, "sliding_window": 24, "sliding_window_pattern": 3,
            "num_hidden_layers": 4, "rope_theta": 1000000.0, "rope_local_base_freq": 5000.0,
            "rope_scaling": {"rope_type": "linear", "factor": 4.0},
        },
        must_matter={
            "query_pre_attn_scalar": 8.0, "rope_theta": 10000.0, "rope_local_base_freq": 1000000.0,
            "sliding_window": 400, "rope_scaling": None,
        },
        norm_center=0.0,
        embedding_std=0.012,
    ),
    FamilyCase(
        "granite", 1008, "factors at the embedding, the scores, the residuals and the logits",
        config={
            "model_type": "granite", "head_dim": None, "attention_bias": True, "mlp_bias": True,
            "embedding_multiplier": 6.0, "attention_multiplier": 0.1, "residual_multiplier": 0.7, "logits_scaling": 3.0,
        },
        must_matter={
            "embedding_multiplier": 1.0, "attention_multiplier": 0.25, "residual_multiplier": 1.0, "logits_scaling": 1.0,
        },
        embedding_std=0.05,
    ),
    FamilyCase(
        "qwen2_moe", 1009, "experts, and one that every token goes through",
        config={
            "model_type": "qwen2_moe", **MIXTURE, "head_dim": None, "norm_topk_prob": False, "rope_theta": 1000000.0,
            "shared_expert_intermediate_size": 64,
        },
        must_matter={"num_experts_per_tok": 2, "rope_theta": 10000.0},
    ),
)


def in_types(case):
    """The case in float32, in float16, and at 4 bits with float16 scales."""
    half = replace(
        case, name=f"{case.name}-f16", seed=case.seed + 100, dtype="float16", router_quantization=None,
        is_recorded_in_float32="num_experts" in case.config,
    )
    quantized = replace(
        case, name=f"{case.name}-q4", seed=case.seed + 200, dtype="float16", quantization=FOUR_BITS, lengths=LENGTHS[1:],
    )
    return replace(case, name=f"{case.name}-f32", router_quantization=None), half, quantized


SINGLE_EXPERTS = replace(
    FAMILIES[4], name="qwen3_moe-single", seed=1305, shows="experts stored one by one, weights of the chosen not normalized",
    config={**FAMILIES[4].config, "norm_topk_prob": False, "num_hidden_layers": 2, "mlp_only_layers": []},
    must_matter={"norm_topk_prob": True}, router_quantization=None, has_single_experts=True, lengths=(7, 33),
)
CASES = (*(variant for case in FAMILIES for variant in in_types(case)), SINGLE_EXPERTS)
