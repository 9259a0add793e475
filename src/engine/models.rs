//! Which model describes which alert, and which models are still needed.
//!
//! **Invariants:** a model lives, in memory and in the store, exactly as long as a record refers to it; a record whose
//! model changed is written in the same commit as the model. What was once seen costs nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::alert::words::{Ends, Model, Texts, Words, write};
use crate::alert::{ModelNo, SourceName};

/// What is new in a message about a known alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct News {
    pub(super) labels: bool,
    pub(super) annotations: bool,
}

/// A difference of no more bytes is small, however little there is to say.
const OWN_BYTES_FEW: usize = 64;

/// The models in use.
#[derive(Debug, Default)]
pub(super) struct Models {
    /// How many records refer to each.
    uses: BTreeMap<ModelNo, u64>,
    /// What new alerts of a source and a name are described by.
    newest: BTreeMap<SourceName, BTreeMap<Box<str>, Arc<Model>>>,
    next: ModelNo,
    /// What the store does not know yet.
    changed: BTreeMap<ModelNo, Option<Arc<Model>>>,
    /// Room to write in.
    scratch: String,
}

impl Models {
    /// Packs what an alert says.
    pub(super) fn pack(&mut self, source: &SourceName, texts: &Texts) -> Words {
        let newest = self.newest.get(source).and_then(|models| models.get(name(texts)));
        if let Some(model) = newest.cloned() {
            write(texts, &model.texts, &mut self.scratch);
            // One that differs in most of what it says is the better model of those that follow.
            if self.scratch.len() <= (texts.len() / 2).max(OWN_BYTES_FEW) {
                return self.used(model);
            }
        }
        let model = Arc::new(Model {
            no: self.next,
            source: source.clone(),
            texts: texts.clone(),
        });
        self.next = ModelNo(self.next.0 + 1);
        self.changed.insert(model.no, Some(Arc::clone(&model)));
        self.prefer(&model);
        write(texts, &model.texts, &mut self.scratch);
        self.used(model)
    }

    /// What was written last, as words of one more record.
    fn used(&mut self, model: Arc<Model>) -> Words {
        *self.uses.entry(model.no).or_insert(0) += 1;
        Words::written(model, &self.scratch)
    }

    /// Describes alerts that follow by this model.
    fn prefer(&mut self, model: &Arc<Model>) {
        let of_source = self.newest.entry(model.source.clone()).or_default();
        of_source.insert(name(&model.texts).into(), Arc::clone(model));
    }

    /// Takes over the words of a record that was saved. Records come in the order in which they were made, more or
    /// less, and so do models.
    pub(super) fn keep(&mut self, words: &Words) {
        let model = words.model();
        let uses = self.uses.entry(model.no).or_insert(0);
        *uses += 1;
        if *uses == 1 {
            self.next = self.next.max(ModelNo(model.no.0.saturating_add(1)));
            self.prefer(model);
        }
    }

    /// Takes over what a message says about a known alert, and tells what of it is new. Without news the model stays,
    /// so that nothing has to be written.
    pub(super) fn repack(&mut self, words: &mut Words, texts: &Texts) -> News {
        let Ends { labels, annotations } = write(texts, &words.model().texts, &mut self.scratch);
        let is_new = |end| {
            let until = self.scratch.as_bytes().get(..end);
            !until.is_some_and(|until| words.own().as_bytes().starts_with(until))
        };
        let news = News {
            labels: is_new(labels),
            annotations: is_new(annotations),
        };
        if news.labels || news.annotations {
            let source = words.source().clone();
            let old = std::mem::replace(words, self.pack(&source, texts));
            self.release(&old);
        } else if *self.scratch != *words.own() {
            *words = Words::written(Arc::clone(words.model()), &self.scratch);
        }
        news
    }

    /// A record does not refer to its model any more.
    pub(super) fn release(&mut self, words: &Words) {
        let model = words.model();
        let Some(uses) = self.uses.get_mut(&model.no) else {
            return;
        };
        *uses -= 1;
        if *uses > 0 {
            return;
        }
        self.uses.remove(&model.no);
        self.changed.insert(model.no, None);
        if let Some(of_source) = self.newest.get_mut(&model.source)
            && (of_source.get(name(&model.texts))).is_some_and(|newest| Arc::ptr_eq(newest, model))
        {
            of_source.remove(name(&model.texts));
        }
    }

    /// Rows that are not in the store yet.
    pub(super) fn changes(&mut self) -> BTreeMap<ModelNo, Option<Arc<Model>>> {
        std::mem::take(&mut self.changed)
    }

    /// How many these are.
    pub(super) fn changed(&self) -> usize {
        self.changed.len()
    }
}

/// By which a model is found.
fn name(texts: &Texts) -> &str {
    texts.labels.get("alertname").unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Labels;

    fn texts(name: &str, pod: &str) -> Texts {
        Texts {
            identity: Some(format!("{name}/{pod}").into()),
            labels: Labels::from_pairs([("alertname", name), ("pod", pod), ("team", "payments")]),
            annotations: Labels::from_pairs([("summary", format!("pod {pod} of the shop restarts"))]),
            links: Labels::from_pairs([("generator", format!("http://prometheus/{name}"))]),
            values: Labels::from_pairs([("A", "1")]),
        }
    }

    fn source() -> SourceName {
        "am".into()
    }

    #[test]
    fn what_was_packed_unpacks_equal() {
        let mut models = Models::default();
        for (name, pod) in [("Down", "a-1"), ("Down", "a-2"), ("Slow", "a-1"), ("Down", "")] {
            let said = texts(name, pod);
            let words = models.pack(&source(), &said);
            assert_eq!(words.texts(), said);
            assert_eq!(words.labels(), said.labels);
        }
        let bare = Texts::default();
        assert_eq!(models.pack(&source(), &bare).texts(), bare);
    }

    #[test]
    fn an_alert_like_another_takes_little_room() {
        let mut models = Models::default();
        models.pack(&source(), &texts("Down", "checkout-0001"));
        let second = models.pack(&source(), &texts("Down", "checkout-0002"));
        assert!(second.own().len() < 32, "{:?}", second.own());
        // One that says something else altogether is the model of those that follow.
        let mut other = texts("Down", "checkout-0003");
        other.annotations = Labels::from_pairs([("description", "x".repeat(500))]);
        models.pack(&source(), &other);
        let fourth = models.pack(&source(), &other);
        assert!(fourth.own().len() < 32, "{:?}", fourth.own());
    }

    #[test]
    fn a_repeat_has_no_news() {
        let mut models = Models::default();
        let mut said = texts("Down", "a-1");
        models.pack(&source(), &texts("Down", "a-0"));
        let mut words = models.pack(&source(), &said);
        let mut hear = |said: &Texts| {
            let News { labels, annotations } = models.repack(&mut words, said);
            assert_eq!(words.texts(), *said);
            (labels, annotations)
        };
        assert_eq!(hear(&said), (false, false));
        said.values = Labels::from_pairs([("A", "2")]);
        said.links = Labels::default();
        assert_eq!(hear(&said), (false, false));
        said.annotations = Labels::from_pairs([("summary", "worse")]);
        assert_eq!(hear(&said), (false, true));
        said.labels = Labels::from_pairs([("alertname", "Down")]);
        assert!(hear(&said).0);
    }

    #[test]
    fn a_model_that_nobody_refers_to_is_forgotten_here_and_in_the_store() {
        let mut models = Models::default();
        let [first, second] = ["a-1", "a-2"].map(|pod| models.pack(&source(), &texts("Down", pod)));
        assert_eq!(
            models.changes(),
            [(ModelNo(0), Some(Arc::clone(first.model())))].into()
        );
        models.release(&first);
        assert_eq!((second.texts(), models.changed()), (texts("Down", "a-2"), 0));
        models.release(&second);
        assert_eq!(models.changes(), [(ModelNo(0), None)].into());
        assert!(models.newest.values().all(BTreeMap::is_empty) && models.uses.is_empty());
    }

    #[test]
    fn what_is_no_news_leaves_the_model_alone() {
        let mut models = Models::default();
        let mut said = texts("Down", "a-1");
        let mut words = models.pack(&source(), &said);
        models.changes();
        said.links = Labels::from_pairs([("generator", "x".repeat(5_000))]);
        models.repack(&mut words, &said);
        assert_eq!((words.texts(), models.changed()), (said.clone(), 0));
        said.annotations = Labels::from_pairs([("summary", "worse")]);
        models.repack(&mut words, &said);
        assert_eq!((words.texts(), models.changed()), (said, 2));
    }

    #[test]
    fn what_was_saved_is_described_on() {
        let mut models = Models::default();
        let saved = models.pack(&source(), &texts("Down", "a-1"));
        let mut restored = Models::default();
        restored.keep(&saved);
        let next = restored.pack(&source(), &texts("Down", "a-2"));
        assert!(Arc::ptr_eq(next.model(), saved.model()));
        let other = restored.pack(&source(), &texts("Slow", "a-2"));
        assert_eq!(other.model().no, ModelNo(1));
    }
}
