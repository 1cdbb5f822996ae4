//! The tool-call formats of models in one table: the chat templates that use a format, the markers around calls, and
//! the syntax of a call.

/// How a model writes tool calls.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::text) struct ToolCallFormat {
    /// The name for users.
    pub(in crate::text) name: &'static str,
    /// A chat template uses this format if it contains all strings of one of these lists.
    signatures: &'static [&'static [&'static str]],
    /// Opening markers, valid anywhere in an answer.
    pub(in crate::text) opens: &'static [&'static str],
    /// First character of calls without an opening marker, valid only at the start of an answer.
    pub(in crate::text) bare: Option<char>,
    /// The marker after calls; may be empty.
    pub(super) close: &'static str,
    pub(in crate::text) syntax: CallSyntax,
}

/// The syntax of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::text) enum CallSyntax {
    /// `{"name": "f", "arguments": {"x": 1}}`, one call in each pair of markers.
    Json,
    /// Like [`Self::Json`] with `parameters` instead of `arguments`; `;` separates calls.
    JsonSequence,
    /// A list of [`Self::Json`]. Later models write [`Self::NamedJson`] after the same marker; the parser reads both.
    JsonList,
    /// `f[ARGS]{"x": 1}`.
    NamedJson,
    /// `[f(x=1), g()]`.
    PythonList,
    /// `f(x=1)`, one call a line.
    PythonLines,
    /// `call:f{x:1}`; the string stands in place of quotes.
    Bare(&'static str),
}

/// The first match counts: templates of earlier formats also contain signatures of later ones.
static TOOL_CALL_FORMATS: [ToolCallFormat; 9] = [
    // Gemma 4.
    ToolCallFormat {
        name: "gemma-4",
        signatures: &[&["<|tool_call>", "<tool_call|>"]],
        opens: &["<|tool_call>"],
        bare: None,
        close: "<tool_call|>",
        syntax: CallSyntax::Bare("<|\"|>"),
    },
    // FunctionGemma.
    ToolCallFormat {
        name: "function-gemma",
        signatures: &[&["<start_function_call>"]],
        opens: &["<start_function_call>"],
        bare: None,
        close: "<end_function_call>",
        syntax: CallSyntax::Bare("<escape>"),
    },
    // Gemma 3, prompted as Google documents it.
    ToolCallFormat {
        name: "gemma-3",
        signatures: &[&["```tool_code"]],
        opens: &["```tool_code"],
        bare: None,
        close: "```",
        syntax: CallSyntax::PythonLines,
    },
    // Mistral.
    ToolCallFormat {
        name: "mistral",
        signatures: &[&["[TOOL_CALLS]", "[ARGS]"]],
        opens: &["[TOOL_CALLS]"],
        bare: None,
        close: "",
        syntax: CallSyntax::NamedJson,
    },
    ToolCallFormat {
        name: "mistral",
        signatures: &[&["[TOOL_CALLS]"]],
        opens: &["[TOOL_CALLS]"],
        bare: None,
        close: "",
        syntax: CallSyntax::JsonList,
    },
    // Hermes, Qwen 2.5, Qwen 3.
    ToolCallFormat {
        name: "hermes",
        signatures: &[&["<tool_call>"]],
        opens: &["<tool_call>"],
        bare: None,
        close: "</tool_call>",
        syntax: CallSyntax::Json,
    },
    // LFM2.
    ToolCallFormat {
        name: "lfm2",
        signatures: &[&["<|tool_call_start|>"], &["<|tool_list_start|>"]],
        opens: &["<|tool_call_start|>"],
        bare: None,
        close: "<|tool_call_end|>",
        syntax: CallSyntax::PythonList,
    },
    // Llama 3.2 and Gemma 3, prompted for lists of calls.
    ToolCallFormat {
        name: "pythonic",
        signatures: &[&["func_name1("], &["name + '('"]],
        opens: &[],
        bare: Some('['),
        close: "",
        syntax: CallSyntax::PythonList,
    },
    // Llama 3.
    ToolCallFormat {
        name: "llama-3",
        signatures: &[&["<|python_tag|>"], &["{\"name\": ", "\"parameters\": "]],
        opens: &["<|python_tag|>"],
        bare: Some('{'),
        close: "",
        syntax: CallSyntax::JsonSequence,
    },
];

/// Signatures of formats that share their markers with a format of the table but have another syntax.
const UNSUPPORTED: [&str; 2] = ["<function=", "<arg_key>"];

/// Tokens that end a turn after tool calls. Some models do not list them among their end tokens.
pub(in crate::text) const CALL_END_TOKENS: [&str; 1] = ["<|eom_id|>"];

impl ToolCallFormat {
    /// The format that a chat template uses.
    pub(in crate::text) fn of(template: &str) -> Option<&'static Self> {
        if UNSUPPORTED.iter().any(|signature| template.contains(signature)) {
            return None;
        }
        let is_there = |signatures: &&[&str]| signatures.iter().all(|signature| template.contains(signature));
        TOOL_CALL_FORMATS.iter().find(|format| format.signatures.iter().any(is_there))
    }

    #[cfg(test)]
    pub(in crate::text) fn names() -> impl Iterator<Item = &'static str> {
        TOOL_CALL_FORMATS.iter().map(|format| format.name)
    }

    /// All markers of the format.
    pub(in crate::text) fn markers(&self) -> impl Iterator<Item = &'static str> {
        let inner = match self.syntax {
            CallSyntax::JsonList | CallSyntax::NamedJson => ["[ARGS]", "[CALL_ID]"],
            CallSyntax::Bare(quote) => [quote, ""],
            _ => ["", ""],
        };
        self.opens.iter().copied().chain([self.close]).chain(inner).filter(|marker| !marker.is_empty())
    }
}
