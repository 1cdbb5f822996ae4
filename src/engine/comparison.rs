//! Compares two prompts as requests would have them: with which tokens both begin, how many of them the second request can reuse
//! of the first one, and where they diverge. `differing` finds the param that differs there.

use std::sync::Arc;

use crate::config::PrefixCache;
use crate::error::{Code, Error, Result};
use crate::request::{PrefixScope, TokenId};
use crate::scheduler::plan::KvGrowth;
use crate::text::ModelText;

use super::Engine;
use super::command::Reply;
use super::differing::{Excerpt, differing_param};
use super::draft::{Draft, Prompt};
use super::ids::ModelKey;
use super::model_rules::ModelRules;

/// Tokens before and after the divergence that tell which param differs.
const EXCERPT_TOKENS: usize = 64;

/// What two prompts have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptComparison {
    /// Tokens of each prompt.
    pub num_tokens: [usize; 2],
    /// Equal tokens with which both begin.
    pub num_common: usize,
    /// Tokens of the second prompt that are not computed while the KV of the first one is kept.
    pub num_reusable: usize,
    /// The fewest tokens that are reused.
    pub min_tokens: usize,
    /// Why none is reusable.
    pub reason: Option<NotReused>,
    /// Where they diverge. Absent if one prompt begins with the whole other one.
    pub divergence: Option<Divergence>,
}

/// Why nothing of a prompt is reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotReused {
    /// The prefix cache is off, or one of the requests does not use it.
    Disabled,
    /// The requests have different salts.
    Salt,
    /// One of the prompts is too short.
    Short,
    /// They differ too early.
    Diverged,
    /// Layers with a sliding window no longer have the positions.
    Window,
}

impl NotReused {
    /// Its public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Salt => "salt",
            Self::Short => "short",
            Self::Diverged => "diverged",
            Self::Window => "window",
        }
    }
}

/// The first place at which two prompts differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Divergence {
    /// Position of the first token that differs.
    pub token: usize,
    /// The text of the common tokens before it.
    pub before: String,
    /// The text of each prompt from there on.
    pub texts: [String; 2],
    /// The param that differs there, as far as it is known.
    pub param: Option<String>,
}

/// One of the prompts.
struct Side {
    prompt: Prompt,
    tokens: Vec<TokenId>,
    scope: Option<PrefixScope>,
}

impl Side {
    fn read(draft: Draft, rules: &ModelRules) -> Result<Self> {
        let (tokens, _) = rules.prompt(&draft.prompt)?;
        Ok(Self { tokens, scope: draft.prefix_scope(), prompt: draft.prompt })
    }
}

/// What decides how much is reused.
struct Reuse {
    config: PrefixCache,
    growth: KvGrowth,
}

impl Engine {
    /// Compares the prompts of two requests. Each is tokenized as a job of the text pool, as that of a request is. An error names
    /// the argument `a` or `b`. The excerpts of the prompts have up to `num_around` tokens.
    pub fn compare_prompts(
        self: &Arc<Self>,
        model: ModelKey,
        [a, b]: [Draft; 2],
        num_around: usize,
        reply: Reply<PromptComparison>,
    ) {
        let rules = match self.check_open().and_then(|()| self.rules(model)) {
            Ok(rules) => rules,
            Err(error) => return reply.send(Err(error)),
        };
        let (engine, for_second) = (Arc::clone(self), Arc::clone(&rules));
        let read_second = move |first: Result<Side>| match first {
            Ok(first) => {
                let load = b.load();
                let reuse = Reuse { config: engine.sharing().prefix_cache, growth: for_second.kv.growth };
                let job = move || {
                    let second = Side::read(b, &for_second)?;
                    Ok(compare([&first, &second], &for_second.text, num_around, &reuse))
                };
                let done = move |result: Result<_>| reply.send(result.map_err(|error| in_argument("b", error)));
                engine.run_text(load, job, done);
            }
            Err(error) => reply.send(Err(in_argument("a", error))),
        };
        self.run_text(a.load(), move || Side::read(a, &rules), read_second);
    }
}

/// Adds the name of the argument to an error of its prompt. A busy or closed engine concerns neither argument.
fn in_argument(name: &str, error: Error) -> Error {
    if matches!(error.code(), Code::Overloaded | Code::EngineClosed) { error } else { error.in_argument(name) }
}

fn compare([a, b]: [&Side; 2], text: &ModelText, num_around: usize, reuse: &Reuse) -> PromptComparison {
    let num_common = a.tokens.iter().zip(&b.tokens).take_while(|(a, b)| a == b).count();
    let reason = reason([a, b], num_common, reuse);
    let num_tokens = [a.tokens.len(), b.tokens.len()];
    let diverges = num_common < a.tokens.len().min(b.tokens.len());
    let around = |side: &Side, before: usize, after: usize| {
        let end = num_common.saturating_add(after).min(side.tokens.len());
        text.show(&side.tokens[num_common.saturating_sub(before)..end])
    };
    let divergence = diverges.then(|| {
        let excerpt = Excerpt::new([a, b].map(|side| around(side, EXCERPT_TOKENS, EXCERPT_TOKENS)));
        Divergence {
            token: num_common,
            before: around(a, num_around, 0),
            texts: [a, b].map(|side| around(side, 0, num_around)),
            param: differing_param([&a.prompt, &b.prompt], &excerpt),
        }
    });
    let min_tokens = reuse.config.min_tokens;
    // The last token of a prompt is always computed.
    let num_reusable = if reason.is_none() { num_common.min(b.tokens.len() - 1) } else { 0 };
    PromptComparison { num_tokens, num_common, num_reusable, min_tokens, reason, divergence }
}

fn reason([a, b]: [&Side; 2], num_common: usize, Reuse { config, growth }: &Reuse) -> Option<NotReused> {
    let (num_positions, least) = (num_common.min(b.tokens.len() - 1), config.min_tokens);
    if !config.enabled || a.scope.is_none() || b.scope.is_none() {
        Some(NotReused::Disabled)
    } else if a.scope != b.scope {
        Some(NotReused::Salt)
    } else if a.tokens.len() < least || b.tokens.len() <= least {
        Some(NotReused::Short)
    } else if num_positions < least {
        Some(NotReused::Diverged)
    } else if !growth.can_copy(num_positions, a.tokens.len()) {
        Some(NotReused::Window)
    } else {
        None
    }
}
