//! What a simulated model says: sentences whose order depends on everything before them, as a real model's words do. The
//! same prefix is always continued the same way, whoever else is in the batch and however often it is computed again.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::request::TokenId;

/// The sentences a simulated model knows, as tokens of the loaded tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Never empty, and no sentence is.
    sentences: Vec<Vec<TokenId>>,
    end: TokenId,
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
    /// Hash of everything fed and drawn so far.
    prefix: u64,
}

/// One sentence in so many ends the answer.
const ENDS_ONE_IN: u64 = 4;

impl Script {
    /// Sentences without tokens are left out; `None` where nothing is left to say.
    pub fn new(sentences: Vec<Vec<TokenId>>, end: TokenId) -> Option<Self> {
        let sentences: Vec<_> = sentences.into_iter().filter(|sentence| !sentence.is_empty()).collect();
        (!sentences.is_empty()).then_some(Self { sentences, end })
    }

    /// Where a prefix breaks off: in the sentence of which it ends with the longest part.
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
    /// A sequence that continues `prefix`; `salt` is 0 for greedy sequences, else drawn from the seed.
    pub(super) fn new(script: &Script, prefix: &[TokenId], salt: u64) -> Self {
        let mut speaker = Self { place: script.place_of(prefix), prefix: salt };
        for &token in prefix {
            speaker.mix(token);
        }
        speaker
    }

    /// Draws the next token; one that does not end the answer unless it may end.
    pub(super) fn next(&mut self, script: &Script, may_end: bool) -> TokenId {
        let token = self.peek(script, may_end);
        self.mix(token);
        token
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
