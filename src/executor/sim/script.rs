//! The answers of a simulated model: sentences whose order depends on all tokens before them. A prefix always has the same
//! continuation in any batch. After a preemption, `SimExecutor` generates the tokens of an answer again, up to where it was.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::executor::ConstraintState;
use crate::request::{TokenId, TokenLogprob};

/// The sentences that a simulated model knows, as tokens of the loaded tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// At least one sentence. None is empty.
    sentences: Vec<Vec<TokenId>>,
    end: TokenId,
    /// Tokens that bring an answer with a constraint nearer to its end.
    closing: Vec<TokenId>,
}

/// Where a sequence is in the script: the sentence and how many of its tokens were said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    sentence: usize,
    said: usize,
}

/// One sequence that is speaking.
#[derive(Debug)]
pub(super) struct Speaker {
    place: Option<Place>,
    /// Hash of everything fed and sampled so far.
    prefix: u64,
}

/// The probabilities of all tokens at the position of a sampled token. The sampled token has at least half. The others follow
/// in the order of their ids, from the sampled token to the end of the vocabulary and on from its start: each has half of what
/// is left, and the last one has all of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Logprobs {
    sampled: TokenId,
    probability: f64,
    vocab_size: usize,
}

impl Logprobs {
    /// The sampled token, then the `count` most probable ones.
    pub(super) fn top(&self, count: u8) -> Vec<TokenLogprob> {
        let ranked = (0..self.vocab_size).map(|rank| self.ranked(rank)).take(count.into());
        std::iter::once(self.ranked(0)).chain(ranked).collect()
    }

    #[expect(clippy::cast_possible_truncation, reason = "token ids are below the size, and logarithms as on a device")]
    fn ranked(&self, rank: usize) -> TokenLogprob {
        let token = ((self.sampled as usize + rank) % self.vocab_size) as TokenId;
        let halvings = rank.min(self.vocab_size.saturating_sub(2)) as f64;
        let logprob = match rank {
            0 if self.vocab_size == 1 => 0.0,
            0 => self.probability.ln(),
            _ => (1.0 - self.probability).ln() - halvings * f64::ln(2.0),
        };
        TokenLogprob { token, logprob: logprob as f32 }
    }
}

/// One of this many sentences ends the answer.
const ENDS_ONE_IN: u64 = 4;

impl Script {
    /// Sentences without tokens are left out. `None` if none is left.
    pub fn new(sentences: Vec<Vec<TokenId>>, end: TokenId) -> Option<Self> {
        let sentences: Vec<_> = sentences.into_iter().filter(|sentence| !sentence.is_empty()).collect();
        (!sentences.is_empty()).then_some(Self { sentences, end, closing: Vec::new() })
    }

    /// Tokens to sample where a constraint allows no word of the sentences: they close a string, a list and so on.
    /// Without them an answer with a constraint continues at random.
    #[must_use]
    pub fn with_closing(self, closing: Vec<TokenId>) -> Self {
        Self { closing, ..self }
    }

    /// The token that ends an answer.
    pub(super) fn end(&self) -> TokenId {
        self.end
    }

    /// A token of the first sentence, which starts again after its end.
    pub(super) fn word(&self, index: usize) -> TokenId {
        let sentence = &self.sentences[0];
        sentence[index % sentence.len()]
    }

    /// The place where a prefix ends: in the sentence whose first tokens match the most tokens at the end of the prefix.
    fn place_of(&self, prefix: &[TokenId]) -> Option<Place> {
        let starts = |sentence: usize| {
            (1..=self.sentences[sentence].len())
                .rev()
                .find(|&said| prefix.ends_with(&self.sentences[sentence][..said]))
                .map(|said| Place { sentence, said })
        };
        (0..self.sentences.len()).filter_map(starts).max_by_key(|place| place.said)
    }
}

impl Speaker {
    /// A sequence that continues `prefix`; `salt` is 0 for greedy sequences, else the seed plus one.
    pub(super) fn new(script: &Script, prefix: &[TokenId], salt: u64) -> Self {
        let mut speaker = Self { place: script.place_of(prefix), prefix: salt };
        for &token in prefix {
            speaker.mix(token);
        }
        speaker
    }

    /// Samples the next token. It ends the answer only if `may_end`.
    pub(super) fn next(&mut self, script: &Script, may_end: bool) -> TokenId {
        let token = self.peek(script, may_end);
        self.mix(token);
        token
    }

    /// Continues with a given token.
    pub(super) fn say(&mut self, token: TokenId) -> TokenId {
        self.mix(token);
        token
    }

    /// Forgets the sentence, so that the next one depends on the tokens before it alone.
    pub(super) fn leave_sentence(&mut self) {
        self.place = None;
    }

    /// Samples a token that a constraint allows: the next of the script, else one that closes something, else any.
    pub(super) fn next_of(&mut self, script: &Script, constraint: &ConstraintState) -> TokenId {
        let wanted = self.peek(script, true);
        let known = [wanted, script.end].into_iter().chain(script.closing.iter().copied());
        let token = known.into_iter().find(|token| constraint.allows(*token)).or_else(|| self.any(constraint));
        // No token may follow, so the sampled one is discarded.
        let token = token.unwrap_or(script.end);
        self.mix(token);
        token
    }

    fn any(&self, constraint: &ConstraintState) -> Option<TokenId> {
        let is_allowed = |token: &TokenId| constraint.allows(*token);
        let num_tokens = TokenId::try_from(constraint.bitmask().len() * 32).unwrap_or(TokenId::MAX);
        let num_allowed = (0..num_tokens).filter(is_allowed).count() as u64;
        let choice = usize::try_from(self.prefix.checked_rem(num_allowed)?).ok()?;
        (0..num_tokens).filter(is_allowed).nth(choice)
    }

    /// How probable the last sampled token was. Like the token, this depends on everything before it.
    pub(super) fn logprobs(&self, sampled: TokenId, vocab_size: usize) -> Logprobs {
        let share = self.prefix as f64 / u64::MAX as f64;
        // Less than 1, so that every token has some probability.
        Logprobs { sampled, probability: 0.5 + 0.49 * share, vocab_size }
    }

    fn peek(&mut self, script: &Script, may_end: bool) -> TokenId {
        if let Some(place) = &mut self.place
            && let Some(&token) = script.sentences[place.sentence].get(place.said)
        {
            place.said += 1;
            return token;
        }
        if self.place.take().is_some() && may_end && self.prefix.is_multiple_of(ENDS_ONE_IN) {
            return script.end;
        }
        let choice = self.prefix / ENDS_ONE_IN % script.sentences.len() as u64;
        let sentence = usize::try_from(choice).unwrap_or_default();
        self.place = Some(Place { sentence, said: 1 });
        script.sentences[sentence][0]
    }

    fn mix(&mut self, token: TokenId) {
        let mut hasher = DefaultHasher::new();
        (self.prefix, token).hash(&mut hasher);
        self.prefix = hasher.finish();
    }
}
