//! Finds the param in which two prompts differ. All params that differ are listed first. If there are several, the one whose text
//! is found where the prompts diverge is named. A template may change the text of a param so that it is not found there: then no
//! param is named, rather than a wrong one.

use serde_json::{Map, Value};

use crate::text::{Chat, Content, Message};

use super::draft::Prompt;

/// The most differing params that are looked at.
const MOST: usize = 64;
/// Characters before and after a difference that must be equal in the param and in the prompt.
const EVIDENCE: usize = 24;

/// The text around the place at which two prompts diverge.
pub(super) struct Excerpt {
    /// The common text.
    before: String,
    /// Each prompt's text after it.
    after: [String; 2],
}

impl Excerpt {
    /// `texts` begin alike, before the divergence.
    pub(super) fn new([a, b]: [String; 2]) -> Self {
        let (num_common_a, num_common_b) = (common(&a, &b), common(&b, &a));
        let before = a[..num_common_a].to_owned();
        Self { before, after: [a[num_common_a..].to_owned(), b[num_common_b..].to_owned()] }
    }

    /// Whether the prompts diverge where these two texts of a param diverge. A text is absent if its prompt lacks the param.
    fn has(&self, texts: [Option<&str>; 2]) -> bool {
        let [a, b] = texts.map(Option::unwrap_or_default);
        let num_common = common(a, b);
        let common = &a[..num_common];
        let tail = &common[common.char_indices().rev().nth(EVIDENCE - 1).map_or(0, |(at, _)| at)..];
        // Templates trim texts.
        let tail = if tail.len() == common.len() { tail.trim_start() } else { tail };
        let heads = [&a[num_common..], &b[num_common..]];
        let follows = |(head, after): (&&str, &String)| {
            let head = head.trim_end();
            let num_bytes = head.char_indices().nth(EVIDENCE).map_or(head.len(), |(at, _)| at);
            after.starts_with(&head[..num_bytes]) || head.starts_with(after.as_str())
        };
        let is_shown = !tail.is_empty() || heads.iter().any(|head| !head.trim_end().is_empty());
        is_shown && self.before.ends_with(tail) && heads.iter().zip(&self.after).all(follows)
    }
}

/// A param that differs, with its text in each of the prompts.
struct Difference {
    path: String,
    texts: [Option<String>; 2],
}

impl Difference {
    fn is_at(&self, excerpt: &Excerpt) -> bool {
        let [a, b] = &self.texts;
        let escaped = || [a, b].map(|text| text.as_deref().map(json_escaped));
        excerpt.has([a.as_deref(), b.as_deref()]) || {
            let [a, b] = escaped();
            excerpt.has([a.as_deref(), b.as_deref()])
        }
    }
}

/// The text as JSON has it, without quotation marks.
fn json_escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// The path of the param that differs where two prompts diverge, if that is known.
pub(super) fn differing_param(prompts: [&Prompt; 2], excerpt: &Excerpt) -> Option<String> {
    let mut differences = Differences(Vec::new());
    differences.of_prompts(prompts);
    let found = match &differences.0[..] {
        [only] => Some(only),
        several => several.iter().find(|difference| difference.is_at(excerpt)),
    };
    found.map(|difference| difference.path.clone())
}

struct Differences(Vec<Difference>);

impl Differences {
    fn of_prompts(&mut self, prompts: [&Prompt; 2]) {
        match prompts {
            [Prompt::Text(a), Prompt::Text(b)] => self.of_texts("prompt", [Some(a), Some(b)]),
            [Prompt::Tokens(_), Prompt::Tokens(_)] => self.add("prompt.tokens", [None, None]),
            [Prompt::Template(a), Prompt::Template(b)] => {
                self.of_texts("prompt.template", [Some(&a.source), Some(&b.source)]);
                self.of_maps("prompt.variables", &a.variables, &b.variables);
            }
            [Prompt::Chat(a), Prompt::Chat(b)] => self.of_chats(a, b),
            _ => {}
        }
    }

    fn of_chats(&mut self, a: &Chat, b: &Chat) {
        for index in 0..a.messages.len().max(b.messages.len()) {
            let path = format!("messages[{index}]");
            match (a.messages.get(index), b.messages.get(index)) {
                (Some(a), Some(b)) => self.of_messages(&path, a, b),
                (a, b) => self.add(&path, [a, b].map(|message| message?.content.as_ref().map(Content::text))),
            }
            if self.is_full() {
                return;
            }
        }
        let [tools, others] = [&a.tools, &b.tools].map(|tools| tools.clone().map(Value::from).unwrap_or_default());
        self.of_values("tools", Some(&tools), Some(&others));
        self.of_maps("templateVariables", &a.variables, &b.variables);
        if a.continues_final != b.continues_final {
            self.add("continueFinalMessage", [None, None]);
        }
        if a.special_tokens != b.special_tokens {
            self.add("specialTokens", [None, None]);
        }
    }

    fn of_messages(&mut self, path: &str, a: &Message, b: &Message) {
        self.of_texts(&format!("{path}.role"), [Some(&a.role), Some(&b.role)]);
        let content = format!("{path}.content");
        match (&a.content, &b.content) {
            (Some(Content::Parts(a)), Some(Content::Parts(b))) => {
                for index in 0..a.len().max(b.len()) {
                    self.of_texts(&format!("{content}[{index}].text"), [a.get(index), b.get(index)]);
                }
            }
            (a, b) => {
                let [a, b] = [a, b].map(|content| content.as_ref().map(Content::text));
                self.of_texts(&content, [a.as_ref(), b.as_ref()]);
            }
        }
        self.of_texts(&format!("{path}.reasoning"), [a.reasoning.as_ref(), b.reasoning.as_ref()]);
        self.of_texts(&format!("{path}.name"), [a.name.as_ref(), b.name.as_ref()]);
        self.of_texts(&format!("{path}.toolCallId"), [a.tool_call_id.as_ref(), b.tool_call_id.as_ref()]);
        let [calls, others] = [a, b].map(|message| Value::from(message.tool_calls.clone()));
        self.of_values(&format!("{path}.toolCalls"), Some(&calls), Some(&others));
    }

    fn of_maps(&mut self, path: &str, a: &Map<String, Value>, b: &Map<String, Value>) {
        for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
            if self.is_full() {
                return;
            }
            self.of_values(&format!("{path}.{key}"), a.get(key), b.get(key));
        }
    }

    fn of_values(&mut self, path: &str, a: Option<&Value>, b: Option<&Value>) {
        if a == b || self.is_full() {
            return;
        }
        match (a, b) {
            (Some(Value::Object(a)), Some(Value::Object(b))) => self.of_maps(path, a, b),
            (Some(Value::Array(a)), Some(Value::Array(b))) => {
                for index in 0..a.len().max(b.len()) {
                    self.of_values(&format!("{path}[{index}]"), a.get(index), b.get(index));
                }
            }
            _ => self.add(path, [a, b].map(|value| value.map(shown))),
        }
    }

    fn of_texts(&mut self, path: &str, texts: [Option<&String>; 2]) {
        let [a, b] = texts;
        if a != b {
            self.add(path, texts.map(Option::<&String>::cloned));
        }
    }

    fn add(&mut self, path: &str, texts: [Option<String>; 2]) {
        if !self.is_full() {
            self.0.push(Difference { path: path.to_owned(), texts });
        }
    }

    fn is_full(&self) -> bool {
        self.0.len() == MOST
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Bytes of the text with which both begin.
fn common(text: &str, other: &str) -> usize {
    text.chars().zip(other.chars()).take_while(|(one, other)| one == other).map(|(one, _)| one.len_utf8()).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, proptest};

    use super::*;

    fn excerpt(a: &str, b: &str) -> Excerpt {
        Excerpt::new([a.to_owned(), b.to_owned()])
    }

    #[test]
    fn a_text_is_found_trimmed_and_escaped() {
        let found = excerpt("<s>say \\\"ja\\\" now</s>", "<s>say \\\"jé\\\" now</s>");
        let difference = |texts: [&str; 2]| {
            let texts = texts.map(|text| Some(text.to_owned()));
            Difference { path: String::new(), texts }
        };
        assert!(difference(["say \"ja\" now", "say \"jé\" now"]).is_at(&found));
        assert!(excerpt("<s>ja now</s>", "<s>jé now</s>").has([Some("  ja now\n"), Some("  jé now\n")]));
        assert!(!difference(["say \"ja\" then", "say \"jé\" then"]).is_at(&found));
        assert!(!difference(["I say \"ja\"", "I say \"jé\""]).is_at(&found));
    }

    #[test]
    fn a_difference_without_text_is_not_found() {
        assert!(!excerpt("same a", "same b").has([None, None]));
        assert!(!excerpt("same a", "same b").has([Some(" "), Some("\n")]));
    }

    proptest! {
        #[test]
        fn no_text_is_cut_inside_a_character(before in "[aé🙂 ]{0,40}", a in "[aé🙂\"]{0,40}", b in "[bé🙂\"]{0,40}") {
            let (one, other) = (format!("{before}{a}"), format!("{before}{b}"));
            let found = excerpt(&one, &other);
            let is_trimmed = before.starts_with(' ') || one.trim() != one || other.trim() != other;
            prop_assert!(a == b || is_trimmed || found.has([Some(&one), Some(&other)]));
            found.has([Some(&a), Some(&other)]);
        }
    }
}
