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

/// Whether a model of which texts differ in so many bytes describes them well. One of which they differ in most of
/// what they say does not: they are the better model of those that follow.
fn is_close(own_bytes: usize, texts: &Texts) -> bool {
    own_bytes <= (texts.len() / 2).max(OWN_BYTES_FEW)
}

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
            if is_close(self.scratch.len(), texts) {
                return self.used(model);
            }
        }
        let model = Arc::new(Model {
            no: self.free_number(),
            source: source.clone(),
            texts: texts.clone(),
        });
        self.changed.insert(model.no, Some(Arc::clone(&model)));
        self.prefer(&model);
        write(texts, &model.texts, &mut self.scratch);
        self.used(model)
    }

    /// A number that no model in use has. They grow, so that new rows come last in their table.
    fn free_number(&mut self) -> ModelNo {
        while self.uses.contains_key(&self.next) {
            self.next = ModelNo(self.next.0.wrapping_add(1));
        }
        let free = self.next;
        self.next = ModelNo(free.0.wrapping_add(1));
        free
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
    /// so that nothing has to be written; with news, as long as it describes well what is said.
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
        let is_news = news.labels || news.annotations;
        if is_news && !is_close(self.scratch.len(), texts) {
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
            && (of_source.get(name(&model.texts))).is_some_and(|newest| newest.no == model.no)
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
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

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
    fn two_shapes_of_one_name_keep_their_models() {
        let mut models = Models::default();
        let saying = |summary: &str| {
            let mut said = texts("Down", "a-1");
            said.annotations = Labels::from_pairs([("summary", summary.repeat(100))]);
            said
        };
        let mut words = ["a", "b"].map(|summary| models.pack(&source(), &saying(summary)));
        models.changes();
        for round in ["1", "2", "3"] {
            for (words, summary) in words.iter_mut().zip(["a", "b"]) {
                let mut said = saying(summary);
                said.labels =
                    Labels::from_pairs([("alertname", "Down"), ("pod", round), ("team", "payments")]);
                assert!(models.repack(words, &said).labels);
                assert_eq!((words.texts(), models.changed()), (said, 0), "{summary} {round}");
            }
        }
    }

    #[test]
    fn an_identity_counts_as_something_said() {
        let mut models = Models::default();
        let saying = |first: &str| Texts {
            identity: Some(format!("{first}{}{first}", "x".repeat(200)).into()),
            labels: Labels::from_pairs([("alertname", "Down"), ("about", "x".repeat(200).as_str())]),
            ..Texts::default()
        };
        let first = models.pack(&source(), &saying("a"));
        let second = models.pack(&source(), &saying("b"));
        assert_eq!(second.model().no, first.model().no);
    }

    #[test]
    fn no_number_is_given_twice_whatever_numbers_are_found() {
        let numbered = |no| {
            let texts = texts("Down", "a-1");
            let model = Model {
                no,
                source: source(),
                texts: texts.clone(),
            };
            Words::describe(&Arc::new(model), &texts)
        };
        let mut models = Models::default();
        for no in [0, 2, u64::MAX - 1, u64::MAX].map(ModelNo) {
            models.keep(&numbered(no));
        }
        let new = ["A", "B"].map(|name| models.pack(&source(), &texts(name, "")).model().no);
        assert_eq!(new, [ModelNo(1), ModelNo(3)]);
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

    /// What can happen to records, by what they say and, where there are any, which of them.
    #[derive(Clone, Debug)]
    enum Deed {
        Meet(u8),
        Hear(usize, u8),
        Forget(usize),
        Commit,
        /// A new process, or a commit failed and what is on disk counts.
        Restart,
    }

    fn deed() -> impl Strategy<Value = Deed> {
        prop_oneof![
            4 => any::<u8>().prop_map(Deed::Meet),
            4 => any::<(usize, u8)>().prop_map(|(which, said)| Deed::Hear(which, said)),
            3 => any::<usize>().prop_map(Deed::Forget),
            2 => Just(Deed::Commit),
            1 => Just(Deed::Restart),
        ]
    }

    /// Two names, four shapes, and what is and is no news.
    fn said(number: u8) -> Texts {
        let name = if number.is_multiple_of(2) { "Down" } else { "Slow" };
        let mut said = texts(name, ["a-1", "a-2", "b"][usize::from(number / 2 % 3)]);
        match number / 8 % 4 {
            0 => {}
            1 => said.annotations = Labels::from_pairs([("description", "x".repeat(300))]),
            2 => said.labels = Labels::from_pairs([("alertname", name), ("host", &"y".repeat(300))]),
            _ => said.identity = None,
        }
        said.values = Labels::from_pairs([("A", (number / 64).to_string())]);
        said
    }

    /// Records with what each says, and what a store has of them.
    #[derive(Default)]
    struct World {
        models: Models,
        records: BTreeMap<u64, (Words, Texts)>,
        next: u64,
        dirty: BTreeSet<u64>,
        saved_models: BTreeMap<ModelNo, Texts>,
        saved: BTreeMap<u64, (ModelNo, String, Texts)>,
    }

    impl World {
        fn act(&mut self, deed: &Deed) {
            let nth = |records: &BTreeMap<u64, _>, which: usize| {
                let place = which.checked_rem(records.len())?;
                records.keys().nth(place).copied()
            };
            match *deed {
                Deed::Meet(number) => {
                    let said = said(number);
                    let words = self.models.pack(&source(), &said);
                    self.records.insert(self.next, (words, said));
                    self.dirty.insert(self.next);
                    self.next += 1;
                }
                Deed::Hear(which, number) => {
                    let Some(no) = nth(&self.records, which) else {
                        return;
                    };
                    let (words, before) = self.records.get_mut(&no).unwrap();
                    let now = said(number);
                    let News { labels, annotations } = self.models.repack(words, &now);
                    assert_eq!(labels, before.labels != now.labels);
                    assert_eq!(
                        labels || annotations,
                        labels || before.annotations != now.annotations
                    );
                    *before = now;
                    if labels || annotations {
                        self.dirty.insert(no);
                    }
                }
                Deed::Forget(which) => {
                    let Some(no) = nth(&self.records, which) else {
                        return;
                    };
                    let (words, _) = self.records.remove(&no).unwrap();
                    self.models.release(&words);
                    self.dirty.insert(no);
                }
                Deed::Commit => self.commit(),
                Deed::Restart => self.restart(),
            }
        }

        fn commit(&mut self) {
            for (no, model) in self.models.changes() {
                match model {
                    Some(model) => drop(self.saved_models.insert(no, model.texts.clone())),
                    None => drop(self.saved_models.remove(&no)),
                }
            }
            for no in std::mem::take(&mut self.dirty) {
                match self.records.get(&no) {
                    Some((words, said)) => {
                        let row = (words.model().no, words.own().to_owned(), said.clone());
                        self.saved.insert(no, row);
                    }
                    None => drop(self.saved.remove(&no)),
                }
            }
        }

        fn restart(&mut self) {
            let model = |(no, texts): (&ModelNo, &Texts)| {
                let (no, source, texts) = (*no, source(), texts.clone());
                (no, Arc::new(Model { no, source, texts }))
            };
            let models: BTreeMap<ModelNo, Arc<Model>> = self.saved_models.iter().map(model).collect();
            (self.models, self.dirty) = Default::default();
            self.records.clear();
            for (no, (model, own, said)) in &self.saved {
                let words = Words::read(&models[model], own).expect("what was saved is a difference");
                self.models.keep(&words);
                self.records.insert(*no, (words, said.clone()));
            }
        }

        fn check(&self) {
            for (words, said) in self.records.values() {
                assert_eq!(words.texts(), *said);
            }
            if !self.dirty.is_empty() || self.models.changed() > 0 {
                return;
            }
            let used: BTreeSet<_> = self.saved.values().map(|(model, ..)| *model).collect();
            let saved: BTreeSet<_> = self.saved_models.keys().copied().collect();
            assert_eq!(used, saved, "a model is saved as long as a record refers to it");
            assert_eq!(self.models.uses.keys().copied().collect::<BTreeSet<_>>(), used);
            let newest = self.models.newest.values().flat_map(BTreeMap::values);
            for model in newest {
                assert_eq!(self.saved_models.get(&model.no), Some(&model.texts));
            }
        }
    }

    proptest! {
        #[test]
        fn a_store_has_the_models_of_its_records_and_no_others(deeds in vec(deed(), 1..80)) {
            let mut world = World::default();
            for deed in deeds.iter().chain([&Deed::Commit, &Deed::Restart]) {
                world.act(deed);
                world.check();
            }
        }
    }
}
