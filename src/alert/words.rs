//! What alerts say, in little room.
//!
//! What a sender says about an alert is a thousand bytes, and nearly all of it stands in every other alert of the same
//! rule. So memory and disk keep its [`Words`]: their difference from a [`Model`], the texts of another alert of the
//! same source and name. They are unpacked for whoever wants to read them. Which alert has which model is the engine's
//! to say.
//!
//! **Invariant:** what is packed unpacks equal, and equal texts have equal words as long as they have the same model,
//! so most comparisons are of a few bytes.

use std::sync::Arc;

use super::difference::{push_digits, take_difference, take_digits, write_difference};
use super::{Alert, Labels, ModelNo, SourceName};

/// What an alert says, beside its state and times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    /// Its identity in words, when a mapping names one.
    pub identity: Option<Arc<str>>,
    /// Labels.
    pub labels: Labels,
    /// Annotations.
    pub annotations: Labels,
    /// Links by kind.
    pub links: Labels,
    /// Measured values.
    pub values: Labels,
}

impl Texts {
    /// What a message says, without what is in it besides.
    pub(crate) fn of(alert: Alert) -> Self {
        Self {
            identity: alert.identity,
            labels: alert.labels,
            annotations: alert.annotations,
            links: alert.links,
            values: alert.values,
        }
    }

    fn identity_or_empty(&self) -> &str {
        self.identity.as_deref().unwrap_or("")
    }

    /// Bytes of all of it.
    pub(crate) fn len(&self) -> usize {
        let sets = [&self.labels, &self.annotations, &self.links, &self.values];
        let sets: usize = sets.iter().map(|set| set.as_encoded().len()).sum();
        self.identity_or_empty().len() + sets
    }
}

/// An alert's texts to describe others by.
#[derive(Debug, PartialEq, Eq)]
pub struct Model {
    /// By which a store refers to it.
    pub no: ModelNo,
    /// The source of the alerts it describes.
    pub source: SourceName,
    /// What is said.
    pub texts: Texts,
}

/// What an alert says, as its difference from a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    model: Arc<Model>,
    /// Labels, annotations, identity, links, values.
    own: Box<str>,
}

/// Whoever makes [`Words`] has seen that they can be read.
const READABLE: &str = "words are read as they were written";

impl Words {
    /// Texts as their difference from a model.
    pub fn describe(model: &Arc<Model>, texts: &Texts) -> Self {
        let mut own = String::new();
        write(texts, &model.texts, &mut own);
        Self::written(Arc::clone(model), &own)
    }

    /// What was [written](write) as a difference from `model`.
    pub(crate) fn written(model: Arc<Model>, own: &str) -> Self {
        Self {
            model,
            own: own.into(),
        }
    }

    /// Reads back [`Words::own`]. `None` when it is no difference from the model.
    pub fn read(model: &Arc<Model>, own: &str) -> Option<Self> {
        let (texts, mut rest) = (&model.texts, own);
        Labels::skip_difference(&texts.labels, &mut rest)?;
        Labels::skip_difference(&texts.annotations, &mut rest)?;
        skip_identity(texts, &mut rest)?;
        Labels::skip_difference(&texts.links, &mut rest)?;
        Labels::skip_difference(&texts.values, &mut rest)?;
        rest.is_empty().then(|| Self::written(Arc::clone(model), own))
    }

    /// By what they are described.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The difference.
    pub fn own(&self) -> &str {
        &self.own
    }

    /// The source of the alert.
    pub fn source(&self) -> &SourceName {
        &self.model.source
    }

    /// The labels alone.
    pub(crate) fn labels(&self) -> Labels {
        Labels::take_difference(&self.model.texts.labels, &mut self.own.as_ref()).expect(READABLE)
    }

    /// Everything.
    pub(crate) fn texts(&self) -> Texts {
        unpack(&self.model.texts, &self.own).expect(READABLE)
    }
}

fn unpack<'a>(model: &'a Texts, own: &'a str) -> Option<Texts> {
    let mut rest = own;
    let labels = Labels::take_difference(&model.labels, &mut rest)?;
    let annotations = Labels::take_difference(&model.annotations, &mut rest)?;
    let identity = match take_digits(&mut rest)? {
        NO_IDENTITY => None,
        IDENTITY => Some(take_difference(model.identity_or_empty(), &mut rest)?.into()),
        _ => return None,
    };
    Some(Texts {
        identity,
        labels,
        annotations,
        links: Labels::take_difference(&model.links, &mut rest)?,
        values: Labels::take_difference(&model.values, &mut rest)?,
    })
}

/// Passes over what [`unpack`] would take.
fn skip_identity<'a>(model: &'a Texts, rest: &mut &'a str) -> Option<()> {
    match take_digits(rest)? {
        NO_IDENTITY => Some(()),
        IDENTITY => take_difference(model.identity_or_empty(), rest).map(drop),
        _ => None,
    }
}

/// Whether there is an identity in words.
const NO_IDENTITY: usize = 0;
const IDENTITY: usize = 1;

/// Where in a difference what it is about ends.
pub(crate) struct Ends {
    pub(crate) labels: usize,
    pub(crate) annotations: usize,
}

/// Writes how `texts` differ from those of a model.
pub(crate) fn write(texts: &Texts, model: &Texts, to: &mut String) -> Ends {
    to.clear();
    texts.labels.write_difference(&model.labels, to);
    let labels = to.len();
    texts.annotations.write_difference(&model.annotations, to);
    let annotations = to.len();
    match &texts.identity {
        None => push_digits(to, NO_IDENTITY),
        Some(identity) => {
            push_digits(to, IDENTITY);
            write_difference(identity, model.identity_or_empty(), to);
        }
    }
    texts.links.write_difference(&model.links, to);
    texts.values.write_difference(&model.values, to);
    Ends { labels, annotations }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Numbers, mostly of what stays the same, and texts.
    fn piece() -> impl Strategy<Value = &'static str> {
        prop_oneof![6 => Just("\0"), 2 => Just("\x01"), 1 => Just("\x02"), 1 => Just("\x03"), 1 => Just("a"), 1 => Just("温")]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        #[test]
        fn whatever_is_read_can_be_unpacked(own in vec(piece(), 5..16)) {
            let own = own.concat();
            let model = Arc::new(Model {
                no: ModelNo(1),
                source: "am".into(),
                texts: Texts {
                    identity: Some("Down/温".into()),
                    labels: Labels::from_pairs([("alertname", "Down"), ("pod", "a-1")]),
                    links: Labels::from_pairs([("generator", "温度")]),
                    ..Texts::default()
                },
            });
            let unpacked = unpack(&model.texts, &own);
            let words = Words::read(&model, &own);
            prop_assert!(words.is_none() || unpacked.is_some());
            if let Some(words) = words {
                let texts = words.texts();
                prop_assert_eq!(Words::describe(&model, &texts).texts(), texts);
            }
        }
    }

    #[test]
    fn words_read_back_as_they_were_written_and_nothing_else_does() {
        let said = |pod: &str, identity: Option<&str>| Texts {
            identity: identity.map(Into::into),
            labels: Labels::from_pairs([("alertname", "Down"), ("pod", pod)]),
            ..Texts::default()
        };
        let model = Arc::new(Model {
            no: ModelNo(1),
            source: "am".into(),
            texts: said("a-1", Some("Down/a-1")),
        });
        for identity in [None, Some("Down/a-2"), Some("")] {
            let texts = said("a-2", identity);
            let words = Words::describe(&model, &texts);
            let own = words.own().to_owned();
            assert_eq!((words.texts(), words.labels()), (texts.clone(), texts.labels));
            assert_eq!(Words::read(&model, &own), Some(words));
            assert_eq!(Words::read(&model, &format!("{own}@")), None, "something is left");
            for length in 0..own.len() {
                let cut = own.get(..length).unwrap();
                assert_eq!(Words::read(&model, cut), None, "{cut:?} is cut short");
            }
        }
    }
}
