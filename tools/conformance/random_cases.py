"""New random models on demand: each family in each type, with sizes, windows, caps and factors drawn from a seed.

Owns the ranges. Prompts are random too, so an answer is compared only as far as its margins are wide (`family_fixture`).
"""

from dataclasses import replace

import numpy as np
from family_cases import FAMILIES, ROUTER_BITS, in_types

LENGTHS = (1, 5, 40, 120)


def draw(seed):
    """The cases of this seed."""
    random = np.random.default_rng([seed, 7])
    cases = []
    for family in FAMILIES:
        drawn = draw_family(family, random)
        # A router in half precision may choose other experts, so mlx-lm in float32 is no reference.
        comparable = [case for case in in_types(drawn) if not case.is_recorded_in_float32]
        cases += [replace(case, seed=int(random.integers(2**48))) for case in comparable]
    return cases


def draw_family(family, random):
    config = {**family.config, **sizes(random)}
    layers = config["num_hidden_layers"]
    config["rope_theta"] = choice(random, [1e3, 1e4, 5e5, 1e6])
    config["rms_norm_eps"] = choice(random, [1e-6, 1e-5])
    if "sliding_window" in config:
        config["sliding_window"] = choice(random, [8, 16, 31, 64])
    special = {
        "llama": draw_llama, "mistral": draw_mistral, "qwen2": draw_qwen2, "qwen3_moe": draw_qwen3_moe,
        "qwen2_moe": draw_qwen2_moe,
        "gemma2": draw_gemma2, "gemma3_text": draw_gemma3, "granite": draw_granite,
    }
    changes = special.get(family.name, lambda _config, _random: {})(config, random)
    windowed = changes.pop("windowed", ())
    router = ROUTER_BITS if family.router_quantization and config["hidden_size"] % ROUTER_BITS[1] == 0 else None
    return replace(
        family, config={**config, **changes}, windowed=windowed, lengths=LENGTHS, must_matter={},
        router_quantization=router, shows=f"{layers} layers drawn at random",
    )


def sizes(random):
    """Sizes that are multiples of 32, which 4-bit groups need."""
    head_dim, heads, kv_heads = choice(random, [(16, 4, 2), (16, 8, 2), (32, 2, 1), (24, 4, 4), (32, 3, 3), (16, 6, 2)])
    return {
        "hidden_size": choice(random, [32, 64, 96]),
        "intermediate_size": choice(random, [64, 96, 160]),
        "num_hidden_layers": choice(random, [2, 3, 4, 5]),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "vocab_size": choice(random, [40, 64, 96]),
    }


def draw_llama(config, random):
    kinds = random.choice(["sliding_attention", "full_attention"], size=config["num_hidden_layers"]).tolist()
    kinds[int(random.integers(len(kinds)))] = "full_attention"
    scaling = choice(random, [None, config["rope_scaling"], {"type": "linear", "factor": 2.0}])
    flags = {name: bool(random.integers(2)) for name in ("attention_bias", "mlp_bias", "rope_traditional", "tie_word_embeddings")}
    return {"layer_types": kinds, "rope_scaling": scaling, **flags}


def draw_mistral(config, _random):
    return {"windowed": tuple(range(config["num_hidden_layers"]))}


def draw_qwen2(config, random):
    first = int(random.integers(config["num_hidden_layers"] + 1))
    windowed = tuple(range(first, config["num_hidden_layers"]))
    return {"max_window_layers": first, "windowed": windowed, **draw_width(config, random)}


def draw_qwen3_moe(config, random):
    experts = choice(random, [2, 5, 8, 16])
    return {
        "num_experts": experts,
        "num_experts_per_tok": int(random.integers(1, experts + 1)),
        "moe_intermediate_size": choice(random, [32, 64]),
        "norm_topk_prob": bool(random.integers(2)),
        "decoder_sparse_step": int(random.integers(1, 3)),
        "mlp_only_layers": choice(random, [[], [0], [1]]),
    }


def draw_qwen2_moe(config, random):
    experts = choice(random, [2, 6, 12])
    return {
        **draw_width(config, random),
        "num_experts": experts,
        "num_experts_per_tok": int(random.integers(1, experts + 1)),
        "moe_intermediate_size": choice(random, [32, 64]),
        "shared_expert_intermediate_size": choice(random, [32, 96]),
    }


def draw_width(config, random):
    """A hidden size that divides by the heads and by 32."""
    heads = config["num_attention_heads"]
    return {"head_dim": None, "hidden_size": int(32 * heads // np.gcd(heads, 32)) * int(random.integers(1, 3))}


def draw_gemma2(config, random):
    return {
        "attn_logit_softcapping": choice(random, [1.5, 5.0, 50.0]),
        "final_logit_softcapping": choice(random, [0.5, 1.0, 30.0]),
        "query_pre_attn_scalar": choice(random, [16.0, 40.0, 144.0]),
        "windowed": tuple(range(0, config["num_hidden_layers"], 2)),
    }


def draw_gemma3(config, random):
    return {
        "query_pre_attn_scalar": choice(random, [16.0, 40.0, 168.0]),
        "sliding_window_pattern": int(random.integers(2, config["num_hidden_layers"] + 1)),
        "rope_local_base_freq": choice(random, [1e3, 1e4]),
        "rope_scaling": choice(random, [None, {"rope_type": "linear", "factor": 8.0}]),
    }


def draw_granite(config, random):
    return {
        **draw_width(config, random),
        "embedding_multiplier": choice(random, [2.0, 12.0]),
        "attention_multiplier": choice(random, [0.05, 0.2]),
        "residual_multiplier": choice(random, [0.22, 0.9]),
        "logits_scaling": choice(random, [2.0, 8.0]),
    }


def choice(random, options):
    return options[int(random.integers(len(options)))]
