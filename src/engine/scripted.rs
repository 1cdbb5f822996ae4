//! Scripted answers of a simulated device: which of them a request gets, and the tokens of that answer. A request takes an answer
//! on the engine thread when its generation starts, because only then it is known that the request shares no other answer.

use std::sync::{Arc, Mutex, OnceLock};

use crate::constraint::{AllowedTokens, Constraint};
use crate::error::{Code, Error, Result};
use crate::lock::lock;
use crate::request::{Request, ScriptedTokens, TokenId};
use crate::text::{AnswerParts, ModelText, OutputParser, Unwritable};

/// Error messages show at most this many characters of a text.
const MAX_SHOWN: usize = 60;

/// One scripted answer.
#[derive(Debug, Clone, PartialEq)]
pub struct ScriptedAnswer {
    /// Its name in messages, such as `backend.answers[2]`.
    pub path: String,
    /// What it says.
    pub parts: AnswerParts,
    /// How it ends.
    pub end: ScriptedEnd,
    /// The number of generations that get it; `None` for any number.
    pub times: Option<u64>,
}

/// How a scripted answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScriptedEnd {
    /// The model ends its turn.
    #[default]
    Turn,
    /// The answer is cut, as by `max_tokens`.
    Cut,
    /// The device fails after this many tokens.
    Fault(usize),
}

/// A list of scripted answers, with the number of times that each was taken.
#[derive(Debug)]
pub struct ScriptedAnswers {
    answers: Vec<Arc<ScriptedAnswer>>,
    num_taken: Mutex<Vec<u64>>,
}

impl ScriptedAnswers {
    /// Answers that were not taken.
    pub fn new(answers: Vec<ScriptedAnswer>) -> Self {
        let num_taken = Mutex::new(vec![0; answers.len()]);
        Self { answers: answers.into_iter().map(Arc::new).collect(), num_taken }
    }

    /// The number of answers.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether there is no answer.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// The indexes of the answers that were taken fewer than `times` times, and of answers without a limit that were never taken.
    pub fn unused(&self) -> Vec<usize> {
        let num_taken = lock(&self.num_taken);
        let is_left = |&index: &usize| num_taken[index] < self.answers[index].times.unwrap_or(1);
        (0..self.answers.len()).filter(is_left).collect()
    }

    /// Takes the first of these answers that may be taken once more.
    fn take(&self, fitting: &[usize]) -> Option<Arc<ScriptedAnswer>> {
        let mut num_taken = lock(&self.num_taken);
        let is_left = |index: &&usize| {
            let times = self.answers.get(**index).map(|answer| answer.times.unwrap_or(u64::MAX));
            times.is_some_and(|times| num_taken[**index] < times)
        };
        let index = *fitting.iter().find(is_left)?;
        num_taken[index] += 1;
        Some(Arc::clone(&self.answers[index]))
    }
}

/// The scripted answers that a request may get.
#[derive(Debug, Clone)]
pub struct Candidates {
    /// All answers of the device.
    pub answers: Arc<ScriptedAnswers>,
    /// The indexes of those that fit the request, in their order.
    pub fitting: Arc<[usize]>,
    /// Whether a request that gets none of them gets the usual text of the device. Otherwise it fails.
    pub may_simulate: bool,
}

impl PartialEq for Candidates {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.answers, &other.answers)
            && (&self.fitting, self.may_simulate) == (&other.fitting, other.may_simulate)
    }
}

/// Writes the scripted answer of one request.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    candidates: Candidates,
    /// The parser of the answer.
    parser: Option<OutputParser>,
    /// The answer that it has taken. A request that runs again gets the same one.
    taken: Arc<OnceLock<Arc<ScriptedAnswer>>>,
}

impl Writer {
    pub(super) fn new(candidates: Candidates, parser: Option<OutputParser>) -> Self {
        Self { candidates, parser, taken: Arc::default() }
    }

    /// Takes an answer for the request and sets its tokens.
    pub(super) fn write(&self, request: &mut Request, text: &ModelText) -> Result<()> {
        let Candidates { answers, fitting, may_simulate } = &self.candidates;
        let Some(answer) = self.taken.get().cloned().or_else(|| answers.take(fitting)) else {
            return if *may_simulate { Ok(()) } else { Err(self.unmatched(request, text)) };
        };
        self.taken.get_or_init(|| Arc::clone(&answer));
        let prompt = request.continues_text.then_some(&*request.prompt);
        let tokens =
            text.write(&answer.parts, self.parser.as_ref(), prompt).map_err(|part| answer.unwritable(&part))?;
        let fails_after = answer.fails_after(tokens.len())?;
        if let Some(constraint) = &request.constraint {
            let num_tokens = fails_after.unwrap_or(tokens.len()).min(request.stop.max_tokens);
            let is_whole = answer.end == ScriptedEnd::Turn && num_tokens == tokens.len();
            check(constraint, &tokens[..num_tokens], is_whole).map_err(|broken| self.breaks(&answer, &broken, text))?;
        }
        if answer.end == ScriptedEnd::Cut {
            request.stop.max_tokens = request.stop.max_tokens.min(tokens.len().max(1));
        }
        request.scripted = Some(ScriptedTokens { tokens: tokens.into(), fails_after });
        Ok(())
    }

    fn unmatched(&self, request: &Request, text: &ModelText) -> Error {
        let Candidates { answers, fitting, .. } = &self.candidates;
        let why = match (answers.len(), fitting.len()) {
            (0, _) => "none is given".to_owned(),
            (1, 0) => "the only answer does not fit it".to_owned(),
            (all, 0) => format!("none of the {all} answers fits it"),
            (all, _) => format!("those of the {all} answers that fit it are used up"),
        };
        let prompt = text.decode(&request.prompt).unwrap_or_default();
        let message = format!("has no answer for a request whose prompt ends with {:?}: {why}", tail(&prompt));
        Error::config("backend.answers", message)
    }

    fn breaks(&self, answer: &ScriptedAnswer, broken: &Broken<'_>, text: &ModelText) -> Error {
        // The constraint is that of `structured` if there is no parser, or if the parser allows either calls or a
        // text and the answer has no calls.
        let (name, part) = match &self.parser {
            None => ("structured", "text"),
            Some(parser) if answer.parts.calls.is_empty() && parser.is_exclusive() => ("structured", "text"),
            Some(_) if answer.parts.calls.is_empty() => ("toolChoice", "text"),
            Some(_) => ("toolChoice", "toolCalls"),
        };
        let Broken { before, token } = broken;
        let shown = |tokens: &[TokenId]| text.decode(tokens).unwrap_or_default();
        let at = format!("at token {}, after {:?}", before.len(), tail(&shown(before)));
        let message = match token {
            Some(token) => format!("breaks `{name}` of the request {at}: {:?} is not allowed there", shown(&[*token])),
            None => format!("is not complete by `{name}` of the request: it ends {at}"),
        };
        answer.wrong(part, &message)
    }
}

/// Where an answer breaks a constraint.
struct Broken<'t> {
    before: &'t [TokenId],
    /// The token that is not allowed; `None` if the answer is incomplete.
    token: Option<TokenId>,
}

impl ScriptedAnswer {
    fn fails_after(&self, num_tokens: usize) -> Result<Option<usize>> {
        match self.end {
            ScriptedEnd::Fault(after) if after > num_tokens => {
                let message = format!("is {after}, but the answer has {num_tokens} tokens");
                Err(self.wrong("errorAfterTokens", &message).with_limit(num_tokens as f64, after as f64))
            }
            ScriptedEnd::Fault(after) => Ok(Some(after)),
            ScriptedEnd::Turn | ScriptedEnd::Cut => Ok(None),
        }
    }

    fn unwritable(&self, Unwritable { part, why }: &Unwritable) -> Error {
        self.wrong(part, why)
    }

    fn wrong(&self, part: &str, message: &str) -> Error {
        let param = format!("{}.{part}", self.path);
        Error::new(Code::ConfigError, format!("`{param}` {message}")).with_param(param)
    }
}

/// Checks tokens against a constraint. A whole answer must be complete.
fn check<'t>(constraint: &Constraint, tokens: &'t [TokenId], is_whole: bool) -> Result<(), Broken<'t>> {
    let mut matcher = constraint.matcher();
    for (index, token) in tokens.iter().enumerate() {
        let broken = || Broken { before: &tokens[..index], token: Some(*token) };
        let allowed = matcher.allowed().map_err(|_| broken())?;
        if !has(&allowed, *token) {
            return Err(broken());
        }
        matcher.accept(*token).map_err(|_| broken())?;
    }
    let is_complete = !is_whole || matcher.allowed().is_ok_and(|allowed| allowed.may_end);
    if is_complete { Ok(()) } else { Err(Broken { before: tokens, token: None }) }
}

fn has(allowed: &AllowedTokens, token: TokenId) -> bool {
    allowed.bitmask.get(token as usize / 32).is_some_and(|word| word >> (token % 32) & 1 == 1)
}

/// The end of a text.
fn tail(text: &str) -> &str {
    text.char_indices().rev().nth(MAX_SHOWN - 1).map_or(text, |(at, _)| &text[at..])
}
