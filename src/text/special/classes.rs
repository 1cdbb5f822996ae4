//! The default special tokens of the tokenizer classes in `transformers`, for models that generate text. Other classes
//! have none.

/// A name and its token.
type Named = (&'static str, &'static str);

const LLAMA: &[Named] = &[("unk_token", "<unk>"), ("bos_token", "<s>"), ("eos_token", "</s>")];
const GPT2: &[Named] =
    &[("unk_token", "<|endoftext|>"), ("bos_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>")];
const GPT_NEOX: &[Named] = &[
    ("unk_token", "<|endoftext|>"),
    ("bos_token", "<|endoftext|>"),
    ("eos_token", "<|endoftext|>"),
    ("pad_token", "<|padding|>"),
];
const QWEN2: &[Named] =
    &[("unk_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>"), ("pad_token", "<|endoftext|>")];
const GEMMA: &[Named] = &[
    ("unk_token", "<unk>"),
    ("bos_token", "<bos>"),
    ("eos_token", "<eos>"),
    ("pad_token", "<pad>"),
    ("mask_token", "<mask>"),
];
const COHERE: &[Named] = &[
    ("unk_token", "<UNK>"),
    ("bos_token", "<BOS_TOKEN>"),
    ("eos_token", "<|END_OF_TURN_TOKEN|>"),
    ("pad_token", "<PAD>"),
    ("cls_token", "<CLS>"),
    ("sep_token", "<SEP>"),
    ("mask_token", "<MASK_TOKEN>"),
];
const BLOOM: &[Named] = &[("unk_token", "<unk>"), ("bos_token", "<s>"), ("eos_token", "</s>"), ("pad_token", "<pad>")];

/// The defaults of a class. The name may end with `Fast`.
pub(super) fn defaults(class: &str) -> &'static [Named] {
    match class.strip_suffix("Fast").unwrap_or(class) {
        "LlamaTokenizer" | "CodeLlamaTokenizer" => LLAMA,
        "GPT2Tokenizer" | "CodeGenTokenizer" | "WhisperTokenizer" => GPT2,
        "GPTNeoXTokenizer" => GPT_NEOX,
        "Qwen2Tokenizer" | "Qwen3_5Tokenizer" => QWEN2,
        "GemmaTokenizer" => GEMMA,
        "CohereTokenizer" | "Cohere2Tokenizer" => COHERE,
        "BloomTokenizer" => BLOOM,
        _ => &[],
    }
}

/// The defaults of the class for models with this `model_type`.
pub(super) fn defaults_of_family(model_type: &str) -> &'static [Named] {
    let class = match model_type {
        "llama" | "mistral" | "mixtral" => "LlamaTokenizer",
        "codegen" | "gpt2" | "gptj" | "opt" | "phi" | "starcoder2" => "GPT2Tokenizer",
        "gpt_neox" | "olmo" | "olmoe" => "GPTNeoXTokenizer",
        "bloom" => "BloomTokenizer",
        other if other.starts_with("qwen2") || other.starts_with("qwen3") => "Qwen2Tokenizer",
        other if other.starts_with("gemma") => "GemmaTokenizer",
        other if other.starts_with("cohere") => "CohereTokenizer",
        _ => return &[],
    };
    defaults(class)
}
