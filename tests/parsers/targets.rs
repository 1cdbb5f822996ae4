//! The parsers, and the words of their languages.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mlx_serving::error::{Code, Error, Result};
use mlx_serving::hub::open_folder;
use mlx_serving::text::{LOAD_STACK_BYTES, ModelText, PromptTemplate, StructuredOutput};

/// An input within the limits takes far less time.
const MAX_TIME: Duration = Duration::from_mins(1);
/// Text threads have a larger stack.
const TEXT_STACK_BYTES: usize = 512 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Template,
    Tokenizer,
    Config,
    Weights,
    Schema,
    Grammar,
}

impl Target {
    const ALL: [Self; 6] = [Self::Template, Self::Tokenizer, Self::Config, Self::Weights, Self::Schema, Self::Grammar];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Template => "template",
            Self::Tokenizer => "tokenizer",
            Self::Config => "config",
            Self::Weights => "weights",
            Self::Schema => "schema",
            Self::Grammar => "grammar",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name() == name)
    }

    pub(super) fn stack_bytes(self) -> usize {
        match self {
            Self::Template | Self::Tokenizer | Self::Config | Self::Weights => LOAD_STACK_BYTES,
            Self::Schema | Self::Grammar => TEXT_STACK_BYTES,
        }
    }

    /// Words to repeat and insert: pairs that open and close, or single words.
    pub(super) fn words(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Template => &[
                ("{{ ", " }}"),
                ("{% if a %}", "{% endif %}"),
                ("{% elif a %}", ""),
                ("{% for a in b %}", "{% endfor %}"),
                ("{% set a %}", "{% endset %}"),
                ("{% raw %}", "{% endraw %}"),
                ("{#", "#}"),
                ("(", ")"),
                ("[", "]"),
                ("{1: ", "}"),
                ("not ", ""),
                ("-", ""),
                (" + 1", ""),
                (" ~ 'a'", ""),
                (".a", ""),
                ("()", ""),
                ("|e", ""),
                (" if a else ", ""),
                (" is defined", ""),
            ],
            Self::Tokenizer => &[
                ("(", ")"),
                ("(?=", ")"),
                ("(?:", "){0,2}"),
                ("[", "]"),
                ("a*", ""),
                ("|", ""),
                ("{\"type\": \"Sequence\", \"normalizers\": [", "]}"),
                ("{\"type\": \"Sequence\", \"decoders\": [", "]}"),
                ("{\"a\": ", "}"),
                ("4294967295", ""),
                ("\"\"", ""),
                ("null", ""),
            ],
            Self::Config | Self::Weights => &[
                ("[", "]"),
                ("{\"a\": ", "}"),
                ("18446744073709551616", ""),
                ("-1", ""),
                ("1e999", ""),
                ("NaN", ""),
                ("\"\"", ""),
                ("null", ""),
                ("\\u0000", ""),
            ],
            Self::Schema => &[
                ("{\"items\": ", "}"),
                ("{\"allOf\": [", "]}"),
                ("{\"anyOf\": [{}, ", "]}"),
                ("{\"type\": \"object\", \"properties\": {\"a\": ", "}}"),
                ("{\"$ref\": \"#/$defs/a\"}", ""),
                ("(", ")"),
                ("(?:", "){3}"),
                ("[^a]", ""),
                ("1e308", ""),
                ("true", ""),
            ],
            Self::Grammar => &[
                ("(", ")"),
                ("[", "]"),
                ("\nr: ", ""),
                ("\nA: \"a\" A", ""),
                (" %json {\"items\": ", "}"),
                (" %lark {\nstart: ", "\n}"),
                (" %if not(", ")"),
                ("/(", ")/"),
                (" | \"b\"", ""),
                ("{2,9}", ""),
                ("~", ""),
                ("::", ""),
            ],
        }
    }

    pub(super) fn parser(self) -> Parser {
        let folder = tempfile::tempdir().expect("a folder");
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
        for entry in fs::read_dir(&demo).expect("the demo model") {
            let path = entry.expect("it can be listed").path();
            let place = folder.path().join(path.file_name().unwrap_or_default());
            fs::copy(&path, place).expect("the demo model can be copied");
        }
        let model = Arc::new(ModelText::open(&open_folder(&demo).expect("the demo model")).expect("its texts"));
        Parser { target: self, folder, model }
    }
}

/// A parser with its other inputs.
pub(super) struct Parser {
    target: Target,
    folder: tempfile::TempDir,
    model: Arc<ModelText>,
}

impl Parser {
    /// The parser's error for an input, if any.
    pub(super) fn feed(&self, input: &[u8]) -> Result<()> {
        let start = Instant::now();
        let result = match self.target {
            Target::Template => self.opens("chat_template.jinja", input).and_then(|()| self.renders(input)),
            Target::Tokenizer => self.opens("tokenizer.json", input),
            Target::Config => self.opens("config.json", input),
            Target::Weights => self.opens("model.safetensors", &with_length(input)),
            Target::Schema => match serde_json::from_slice(input) {
                Ok(schema) => self.constraints(&StructuredOutput::Schema(schema)),
                Err(error) => Err(Error::new(Code::GuidanceError, error.to_string())),
            },
            Target::Grammar => {
                self.constraints(&StructuredOutput::Grammar(String::from_utf8_lossy(input).into_owned()))
            }
        };
        assert!(start.elapsed() < MAX_TIME, "it took {:?}", start.elapsed());
        result
    }

    fn opens(&self, file: &str, input: &[u8]) -> Result<()> {
        fs::write(self.folder.path().join(file), input).expect("the folder can be written");
        open_folder(self.folder.path()).and_then(|folder| ModelText::open(&folder)).map(drop)
    }

    fn renders(&self, input: &[u8]) -> Result<()> {
        let source = String::from_utf8_lossy(input).into_owned();
        self.model.render_prompt(&PromptTemplate { source, ..PromptTemplate::default() }).map(drop)
    }

    /// Compiles a constraint and follows an answer for some tokens.
    fn constraints(&self, structured: &StructuredOutput) -> Result<()> {
        let mut matcher = self.model.constraint(structured)?.matcher();
        for _ in 0..20 {
            let Ok(allowed) = matcher.allowed() else { break };
            let mut words = (0_u32..).zip(&allowed.bitmask).filter(|(_, word)| **word != 0);
            let Some((index, word)) = words.next() else { break };
            if matcher.accept(index * 32 + word.trailing_zeros()).is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// A weight file: the length of the header, the header, and no data.
fn with_length(header: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header].concat()
}
