//! How models write calls of functions and their reasoning, and which of it a chat template was made for. One table: what
//! is recognised, how it begins and ends, and what the calls look like.

/// How calls are written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Format {
    /// A template with all texts of one of these lists was made for it.
    signs: &'static [&'static [&'static str]],
    /// What calls begin with, anywhere in an answer.
    pub(super) opens: &'static [&'static str],
    /// What calls begin with as the first of an answer, without any mark.
    pub(super) bare: Option<char>,
    /// What is behind calls; may be empty.
    pub(super) close: &'static str,
    pub(super) shape: Shape,
}

/// What a call looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `{"name": "f", "arguments": {"x": 1}}`, one in each pair of marks.
    Json,
    /// The same with `parameters`, and `;` between calls.
    JsonSequence,
    /// A list of the same; later models write [`Self::NamedJson`] behind the same mark, and either is read.
    JsonList,
    /// `f[ARGS]{"x": 1}`.
    NamedJson,
    /// `[f(x=1), g()]`.
    PythonList,
    /// `f(x=1)`, in lines.
    PythonLines,
    /// `call:f{x:1}`, with this around texts.
    Bare(&'static str),
}

/// What is written around reasoning.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tags {
    pub(super) open: &'static str,
    pub(super) close: &'static str,
}

/// In the order in which they are looked for: later signs also stand in templates of earlier formats.
static FORMATS: [Format; 9] = [
    // Gemma 4.
    Format {
        signs: &[&["<|tool_call>", "<tool_call|>"]],
        opens: &["<|tool_call>"],
        bare: None,
        close: "<tool_call|>",
        shape: Shape::Bare("<|\"|>"),
    },
    // FunctionGemma.
    Format {
        signs: &[&["<start_function_call>"]],
        opens: &["<start_function_call>"],
        bare: None,
        close: "<end_function_call>",
        shape: Shape::Bare("<escape>"),
    },
    // Gemma 3, as its makers prompt it.
    Format {
        signs: &[&["```tool_code"]],
        opens: &["```tool_code"],
        bare: None,
        close: "```",
        shape: Shape::PythonLines,
    },
    // Mistral.
    Format {
        signs: &[&["[TOOL_CALLS]", "[ARGS]"]],
        opens: &["[TOOL_CALLS]"],
        bare: None,
        close: "",
        shape: Shape::NamedJson,
    },
    Format { signs: &[&["[TOOL_CALLS]"]], opens: &["[TOOL_CALLS]"], bare: None, close: "", shape: Shape::JsonList },
    // Hermes, Qwen 2.5, Qwen 3.
    Format {
        signs: &[&["<tool_call>"]],
        opens: &["<tool_call>"],
        bare: None,
        close: "</tool_call>",
        shape: Shape::Json,
    },
    // LFM2.
    Format {
        signs: &[&["<|tool_call_start|>"], &["<|tool_list_start|>"]],
        opens: &["<|tool_call_start|>"],
        bare: None,
        close: "<|tool_call_end|>",
        shape: Shape::PythonList,
    },
    // Llama 3.2, and Gemma 3, where they are prompted for lists of calls.
    Format {
        signs: &[&["func_name1("], &["name + '('"]],
        opens: &[],
        bare: Some('['),
        close: "",
        shape: Shape::PythonList,
    },
    // Llama 3.
    Format {
        signs: &[&["<|python_tag|>"], &["{\"name\": ", "\"parameters\": "]],
        opens: &["<|python_tag|>"],
        bare: Some('{'),
        close: "",
        shape: Shape::JsonSequence,
    },
];

/// Formats that stand between the same marks as one of the table and are none of it.
const OTHERS: [&str; 2] = ["<function=", "<arg_key>"];

static TAGS: [Tags; 2] = [Tags { open: "<think>", close: "</think>" }, Tags { open: "[THINK]", close: "[/THINK]" }];

/// Ends of a turn that calls functions, which not every model's configuration lists.
pub(in crate::text) const CALL_ENDS: [&str; 1] = ["<|eom_id|>"];

impl Format {
    /// The format that a chat template was made for.
    pub(super) fn of(template: &str) -> Option<&'static Self> {
        if OTHERS.iter().any(|sign| template.contains(sign)) {
            return None;
        }
        let is_there = |signs: &&[&str]| signs.iter().all(|sign| template.contains(sign));
        FORMATS.iter().find(|format| format.signs.iter().any(is_there))
    }

    /// All that it is marked by.
    pub(super) fn marks(&self) -> impl Iterator<Item = &'static str> {
        let inner = match self.shape {
            Shape::JsonList | Shape::NamedJson => ["[ARGS]", "[CALL_ID]"],
            Shape::Bare(mark) => [mark, ""],
            _ => ["", ""],
        };
        self.opens.iter().copied().chain([self.close]).chain(inner).filter(|mark| !mark.is_empty())
    }
}

impl Tags {
    /// The tags that a chat template knows.
    pub(super) fn of(template: &str) -> Option<&'static Self> {
        TAGS.iter().find(|tags| template.contains(tags.open) || template.contains(tags.close))
    }

    /// All of them.
    pub(super) fn marks(&self) -> impl Iterator<Item = &'static str> {
        [self.open, self.close].into_iter()
    }
}
