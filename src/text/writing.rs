//! The tokens with which a model writes an answer, for scripted answers of a simulated device.

use super::jinja::Rendered;
use super::model::ModelText;
use super::output::{AnswerParts, OutputParser, Unwritable, write};
use crate::error::Result;
use crate::request::TokenId;

/// Texts that are encoded before an answer; their tokens are removed. Some tokenizers encode the start of a text differently.
const LEADS: [&str; 4] = ["", "\n", "-", "0"];
/// Error messages show at most this many characters of a text.
const MAX_SHOWN: usize = 60;

impl ModelText {
    /// The tokens that a model generates for an answer with these parts, without an end token. `parser` is the parser of the
    /// answer; `prompt` has the tokens of the prompt if the answer continues its text.
    pub fn write(
        &self,
        parts: &AnswerParts,
        parser: Option<&OutputParser>,
        prompt: Option<&[TokenId]>,
    ) -> Result<Vec<TokenId>, Unwritable> {
        let answer = write(parser, parts)?;
        let encoded = |lead| self.encode_after(lead, &answer).map_err(|error| wrong(error.message()));
        let read = |tokens: &[TokenId]| self.read(tokens, parser, prompt);
        let mut first = None;
        for lead in LEADS {
            let Some(tokens) = encoded(lead)? else { continue };
            if read(&tokens) == answer.text {
                return Ok(tokens);
            }
            first.get_or_insert(tokens);
        }
        let shown: String = read(&first.unwrap_or_default()).chars().take(MAX_SHOWN).collect();
        Err(wrong(&format!("cannot be written with the tokens of this model: they read {shown:?}")))
    }

    /// The tokens of an answer after another text; `None` if a token would be part of both.
    fn encode_after(&self, lead: &str, answer: &Rendered) -> Result<Option<Vec<TokenId>>> {
        let all = self.encode_chat(&answer.after(lead))?;
        let own = if lead.is_empty() { Vec::new() } else { self.encode_rendered(lead)? };
        Ok(all.strip_prefix(own.as_slice()).map(<[_]>::to_vec))
    }

    /// The text that a reader gets.
    fn read(&self, tokens: &[TokenId], parser: Option<&OutputParser>, prompt: Option<&[TokenId]>) -> String {
        let stream = self.stream(&[], self.markup(parser));
        let mut stream = if let Some(prompt) = prompt { stream.following(prompt) } else { stream };
        let mut out = String::new();
        for token in tokens {
            stream.push(*token, &mut out);
        }
        stream.finish(&mut out);
        out
    }
}

fn wrong(why: &str) -> Unwritable {
    Unwritable::new("text", why)
}
