"""Writes the random models of the benchmarks: Llama decoders in float32 without an end token.

Owns their sizes. Weights and files are made like those of the conformance fixtures, so that answers vary.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tools" / "conformance"))

import folder as model_folder
import weights
from cases import base_config
from mlx.utils import tree_flatten

SEED = 300
VOCAB_SIZE = 1024
SIZES = {
    "4x256": {"num_hidden_layers": 4, "hidden_size": 256, "intermediate_size": 704, "num_attention_heads": 4},
    "26m": {"num_hidden_layers": 8, "hidden_size": 512, "intermediate_size": 1376, "num_attention_heads": 8},
}


def main(name, path):
    path.mkdir(parents=True)
    heads = SIZES[name]["num_attention_heads"]
    config = {**base_config("float32"), **SIZES[name], "num_key_value_heads": heads, "vocab_size": VOCAB_SIZE}
    model = weights.build_model(config, SEED)
    model_folder.write_config(path, config)
    model_folder.write_weights(path, dict(tree_flatten(model.parameters())))
    model_folder.write_numbered_tokenizer(path, VOCAB_SIZE)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
