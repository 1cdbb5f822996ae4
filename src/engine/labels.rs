//! The labels of metrics: the ids of the models that an engine has loaded. Counters of an unloaded model stay under its label,
//! and a model that is loaded again under the same id continues them, so that no counter falls.

use std::sync::Arc;

/// The most labels of an engine. The counters of a label are never removed, so the number of labels is limited.
const MAX_LABELS: usize = 128;
/// The label of models that are loaded when the other labels are taken.
const OTHER: &str = "other";

/// A label, as an index into [`Labels`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ModelLabel(usize);

impl ModelLabel {
    pub(super) fn index(self) -> usize {
        self.0
    }
}

/// The labels of an engine, in the order in which they were taken.
#[derive(Debug, Default)]
pub(super) struct Labels(Vec<Arc<str>>);

impl Labels {
    /// The label of a model with this id.
    pub(super) fn of(&mut self, id: &str) -> ModelLabel {
        if let Some(index) = self.position(id) {
            return ModelLabel(index);
        }
        let text = if self.0.len() < MAX_LABELS - 1 { id } else { OTHER };
        ModelLabel(self.position(text).unwrap_or_else(|| {
            self.0.push(text.into());
            self.0.len() - 1
        }))
    }

    /// The text of a label.
    pub(super) fn text(&self, label: ModelLabel) -> Arc<str> {
        self.0.get(label.0).map_or_else(|| OTHER.into(), Arc::clone)
    }

    /// The texts of all labels.
    pub(super) fn texts(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter()
    }

    fn position(&self, text: &str) -> Option<usize> {
        self.0.iter().position(|own| **own == *text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_beyond_the_last_label_share_one_and_known_ids_keep_theirs() {
        let mut labels = Labels::default();
        let first = labels.of("model-0");
        let all: Vec<_> = (0..1_000).map(|number| labels.of(&format!("model-{number}"))).collect();
        assert_eq!(labels.texts().count(), MAX_LABELS);
        assert_eq!(all[0], first);
        assert_eq!((all[126].index(), all[127], all[999]), (126, all[128], all[128]));
        assert_eq!(labels.texts().last().map(|text| &**text), Some(OTHER));
        assert_eq!(labels.of("model-5"), all[5]);
    }
}
