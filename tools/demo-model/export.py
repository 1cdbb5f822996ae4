"""Writes a trained checkpoint as a Hugging Face / MLX model folder."""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

import chat_tokenizer
from model import ModelConfig

HERE = Path(__file__).parent


def config_fields(config, tokenizer):
    return {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "dtype": "float32",
        "vocab_size": config.vocab_size, "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size, "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads, "num_key_value_heads": config.num_key_value_heads,
        "head_dim": config.head_dim, "hidden_act": "silu", "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta, "max_position_embeddings": config.max_position_embeddings,
        "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True, **token_fields(tokenizer),
    }


def token_fields(tokenizer):
    return {"eos_token_id": tokenizer.token_to_id(chat_tokenizer.END),
            "pad_token_id": tokenizer.token_to_id(chat_tokenizer.PAD)}


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")


def export(run, folder):
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(run / "tokenizer.json"))
    config = ModelConfig(vocab_size=tokenizer.get_vocab_size())
    weights = torch.load(run / "checkpoint.pt", weights_only=True)["model"]
    save_file({name: weight.contiguous() for name, weight in weights.items()},
              folder / "model.safetensors", metadata={"format": "mlx"})
    (folder / "model.safetensors").chmod(0o644)
    chat_tokenizer.save(tokenizer, folder)
    write_json(folder / "config.json", config_fields(config, tokenizer))
    write_json(folder / "generation_config.json",
               {**token_fields(tokenizer), "do_sample": False, "max_new_tokens": 256})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=HERE / "checkpoints" / "demo", help="folder of the training run")
    parser.add_argument("--folder", type=Path, default=HERE.parents[1] / "models" / "demo")
    options = parser.parse_args()
    export(options.run, options.folder)
