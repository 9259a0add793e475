//! What alerts say, in little room.
//!
//! What a sender says about an alert is a thousand bytes, and nearly all of it stands in every other alert of the same
//! rule. So a record keeps its [`Words`] as their difference from a model: another alert of the same source and
//! name. They are unpacked for whoever wants to read them.
//!
//! **Invariant:** equal texts have equal words as long as they have the same model, so most comparisons are of a few
//! bytes. A model lives as long as a record refers to it: what was once seen costs nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::alert::difference::{push_digits, take_difference, take_digits, write_difference};
use crate::alert::{Alert, Labels, SourceName};

/// What an alert says, beside its state and times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Texts {
    pub(super) identity: Option<Arc<str>>,
    pub(super) labels: Labels,
    pub(super) annotations: Labels,
    pub(super) links: Labels,
    pub(super) values: Labels,
}

impl Texts {
    /// What a message says, without what is in it besides.
    pub(super) fn of(alert: Alert) -> Self {
        Self {
            identity: alert.identity,
            labels: alert.labels,
            annotations: alert.annotations,
            links: alert.links,
            values: alert.values,
        }
    }

    /// By which its model is found.
    fn name(&self) -> &str {
        self.labels.get("alertname").unwrap_or("")
    }

    fn len(&self) -> usize {
        let sets = [&self.labels, &self.annotations, &self.links, &self.values];
        sets.iter().map(|set| set.as_encoded().len()).sum()
    }
}

/// An alert to describe others by.
#[derive(Debug)]
struct Model {
    source: SourceName,
    texts: Texts,
}

/// What an alert says, as its difference from a model.
#[derive(Debug)]
pub(super) struct Words {
    model: Arc<Model>,
    /// Labels, annotations, identity, links, values.
    own: Box<str>,
}

impl Words {
    /// The source of the alert.
    pub(super) fn source(&self) -> &SourceName {
        &self.model.source
    }

    /// The labels alone.
    pub(super) fn labels(&self) -> Labels {
        Labels::take_difference(&self.model.texts.labels, &mut self.own.as_ref())
    }

    /// Everything.
    pub(super) fn texts(&self) -> Texts {
        let model = &self.model.texts;
        let mut rest = self.own.as_ref();
        let labels = Labels::take_difference(&model.labels, &mut rest);
        let annotations = Labels::take_difference(&model.annotations, &mut rest);
        let identity = match take_digits(&mut rest) {
            0 => None,
            _ => Some(take_difference(model.identity.as_deref().unwrap_or(""), &mut rest).into()),
        };
        Texts {
            identity,
            labels,
            annotations,
            links: Labels::take_difference(&model.links, &mut rest),
            values: Labels::take_difference(&model.values, &mut rest),
        }
    }
}

/// Where in a difference what it is about ends.
struct Ends {
    labels: usize,
    annotations: usize,
}

/// Writes how `texts` differ from those of a model.
fn write(texts: &Texts, model: &Texts, to: &mut String) -> Ends {
    to.clear();
    texts.labels.write_difference(&model.labels, to);
    let labels = to.len();
    texts.annotations.write_difference(&model.annotations, to);
    let annotations = to.len();
    match &texts.identity {
        None => push_digits(to, 0),
        Some(identity) => {
            push_digits(to, 1);
            write_difference(identity, model.identity.as_deref().unwrap_or(""), to);
        }
    }
    texts.links.write_difference(&model.links, to);
    texts.values.write_difference(&model.values, to);
    Ends { labels, annotations }
}

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
    newest: BTreeMap<SourceName, BTreeMap<Box<str>, Arc<Model>>>,
    /// Room to write in.
    scratch: String,
}

impl Models {
    /// Packs what an alert says.
    pub(super) fn pack(&mut self, source: &SourceName, texts: &Texts) -> Words {
        let name = texts.name();
        if let Some(model) = self.newest.get(source).and_then(|models| models.get(name)) {
            write(texts, &model.texts, &mut self.scratch);
            // One that differs in most of what it says is the better model of those that follow.
            if self.scratch.len() <= (texts.len() / 2).max(OWN_BYTES_FEW) {
                return Words {
                    model: Arc::clone(model),
                    own: self.scratch.as_str().into(),
                };
            }
        }
        let model = Arc::new(Model {
            source: source.clone(),
            texts: texts.clone(),
        });
        let of_source = self.newest.entry(source.clone()).or_default();
        of_source.insert(name.into(), Arc::clone(&model));
        write(texts, &model.texts, &mut self.scratch);
        Words {
            model,
            own: self.scratch.as_str().into(),
        }
    }

    /// Takes over what a message says about a known alert, and tells what of it is new.
    pub(super) fn repack(&mut self, words: &mut Words, texts: &Texts) -> News {
        let ends = write(texts, &words.model.texts, &mut self.scratch);
        let is_new = |end| {
            let until = self.scratch.as_bytes().get(..end);
            !until.is_some_and(|until| words.own.as_bytes().starts_with(until))
        };
        let news = News {
            labels: is_new(ends.labels),
            annotations: is_new(ends.annotations),
        };
        if *self.scratch != *words.own {
            let source = words.source().clone();
            let old = std::mem::replace(words, self.pack(&source, texts));
            self.release(old);
        }
        news
    }

    /// Forgets a model that nobody refers to any more.
    pub(super) fn release(&mut self, words: Words) {
        let model = words.model;
        let name = model.texts.name();
        if let Some(of_source) = self.newest.get_mut(&model.source)
            && let Some(newest) = of_source.get(name)
            && Arc::ptr_eq(newest, &model)
            // Ours and the list's.
            && Arc::strong_count(&model) == 2
        {
            of_source.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(second.own.len() < 32, "{:?}", second.own);
        // One that says something else altogether is the model of those that follow.
        let mut other = texts("Down", "checkout-0003");
        other.annotations = Labels::from_pairs([("description", "x".repeat(500))]);
        models.pack(&source(), &other);
        let fourth = models.pack(&source(), &other);
        assert!(fourth.own.len() < 32, "{:?}", fourth.own);
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
    fn a_model_that_nobody_refers_to_is_forgotten() {
        let mut models = Models::default();
        let [first, second] = ["a-1", "a-2"].map(|pod| models.pack(&source(), &texts("Down", pod)));
        models.release(first);
        assert_eq!(second.texts(), texts("Down", "a-2"));
        models.release(second);
        assert!(models.newest.values().all(BTreeMap::is_empty));
    }
}
