//! Types of messages: which one a receiver of a script has, what a chat shows of it, and the picture behind a digest.
//!
//! A picture tells nothing, so nothing that is said of what was told is said of it: it only has rules of its own.

use std::collections::{BTreeMap, BTreeSet};

use dingest::alert::{AlertNo, Labels, MessageId};
use dingest::digest::{Change, Detail, Draft, Message, Rendered};
use dingest::engine::Outcome;

use crate::invariant::{Invariant, Violation, violation};
use crate::judge::{Judge, Telling};
use crate::script::{AlertText, PlanText, Words};

/// The picture of a receiver whose messages have one without any alert's.
pub(crate) const OWN_PICTURE: &str = "https://img.example.com/own.png";

/// The pages that an alert has links to, in order.
const PAGES: [&str; 4] = ["runbook", "dashboard", "silence", "panel"];

/// Where the picture of an alert is.
fn picture_of(alert: &AlertText) -> Option<String> {
    let number = alert.picture?;
    Some(format!("https://img.example.com/{number}.png"))
}

/// The links that a sender gives an alert.
pub(crate) fn links(name: &str, alert: &AlertText) -> Labels {
    let page = |kind: &&'static str| (*kind, format!("https://pages.example.com/{name}/{kind}"));
    let pages = PAGES.iter().take(alert.pages).map(page);
    let picture = picture_of(alert).map(|url| ("image", url));
    Labels::from_pairs(pages.chain(picture))
}

impl PlanText {
    /// The type of a receiver's messages, unless one of its ways has none such; then it is the usual one.
    pub(crate) fn message_of<'a>(&self, words: &'a Words) -> Option<&'a str> {
        let by_bots = words.has("console") || self.bots_of(words).next().is_some();
        let by_app = self.group_of(words).is_some() || self.people_of(words).is_some();
        let by_notice = self.noticed_of(words).is_some() || self.together_of(words).is_some();
        words.get("message").filter(|kind| match *kind {
            "text" | "link" | "action_card" => true,
            "feed_card" => !by_app && !by_notice,
            "oa" => !by_bots && !by_app,
            "image" => !by_bots && !by_notice && words.number("messages") != Some(1),
            _ => false,
        })
    }

    /// Whether a receiver's messages have a line for each section in place of a text.
    pub(crate) fn is_brief(&self, receiver: &str) -> bool {
        let words = self.words_of(receiver);
        let kind = words.and_then(|words| self.message_of(words));
        matches!(kind, Some("link" | "feed_card" | "oa"))
    }

    /// Whether pictures follow the digests of a receiver, where they can.
    fn shows_pictures(&self, receiver: &str) -> bool {
        let words = self.words_of(receiver);
        words.and_then(|words| self.message_of(words)) == Some("image")
    }
}

/// Everything that a message says in any member, whatever its type: what an app sends is a document in a text.
pub(crate) fn said(body: &[u8]) -> String {
    let mut said = String::new();
    match serde_json::from_slice(body) {
        Ok(body) => say(&body, &mut said),
        // It is printed.
        Err(_) => said.push_str(&String::from_utf8_lossy(body)),
    }
    said
}

fn say(value: &serde_json::Value, said: &mut String) {
    use serde_json::Value;
    match value {
        Value::String(text) => {
            if let Ok(inner @ Value::Object(_)) = serde_json::from_str::<Value>(text) {
                say(&inner, said);
            } else {
                said.push_str(text);
                said.push('\n');
            }
        }
        Value::Array(values) => values.iter().for_each(|value| say(value, said)),
        Value::Object(members) => members.values().for_each(|value| say(value, said)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Whether a message is a picture.
pub(crate) fn is_picture(message: &Message) -> bool {
    message.covers.is_empty()
}

impl Judge<'_> {
    /// A picture stands behind the only message of a digest, and is that of everything in it that fires.
    pub(crate) fn check_picture(
        &self,
        draft: &Draft,
        rendered: &Rendered,
        entries: &BTreeMap<AlertNo, (String, Change)>,
        now: u64,
    ) -> Result<(), Violation> {
        let wrong = |what: &str| {
            let what = format!("digest {} to {}: {what}", draft.id, draft.receiver);
            Err(violation(Invariant::PictureFollows, now, what))
        };
        if draft.fit.detail_max != Detail::Full && !self.refused.contains(draft.receiver.as_str()) {
            return wrong("it says less, and nothing was refused but a picture");
        }
        let endpoint = draft.endpoint.as_ref().map_or("", |name| name.as_str());
        let by_app = endpoint.starts_with("group/") || endpoint.starts_with("direct/");
        let is_asked_for = by_app && self.setting().text.shows_pictures(draft.receiver.as_str());
        let due = self.picture_of_all(entries);
        match rendered.messages.as_slice() {
            [text, picture] if is_picture(picture) && !is_picture(text) => {
                if !is_asked_for {
                    return wrong("nobody asked for its picture");
                }
                // What nobody acknowledged is not in the ledger.
                if entries.len() < draft.entries.len() {
                    return Ok(());
                }
                match due {
                    Some(due) if said(&picture.body).lines().any(|line| line == due) => Ok(()),
                    due => wrong(&format!(
                        "its picture is {}, and not {due:?}",
                        said(&picture.body)
                    )),
                }
            }
            messages if messages.iter().any(is_picture) => {
                wrong("there is a picture that is not behind its only message")
            }
            [_] if is_asked_for
                && due.is_some()
                && draft.fit.messages_max > 1
                && rendered.detail == Detail::Full
                && entries.len() == draft.entries.len()
                && entries.len() <= 3 =>
            {
                wrong("it lacks its picture")
            }
            _ => Ok(()),
        }
    }

    /// The picture of everything that fires, by what a digest says of it, if that is one.
    fn picture_of_all(&self, entries: &BTreeMap<AlertNo, (String, Change)>) -> Option<String> {
        let fires = |change: Change| match change {
            Change::New | Change::Again | Change::Reminder | Change::Flapping => true,
            Change::Resolved | Change::Passed | Change::Expired => false,
        };
        let firing = entries.values().filter(|(_, change)| fires(*change));
        let pictures = firing.map(|(name, _)| picture_of(self.script.alerts.get(name)?));
        let pictures: BTreeSet<Option<String>> = pictures.collect();
        let mut pictures = pictures.into_iter();
        match (pictures.next(), pictures.next()) {
            (Some(only), None) => only,
            (None | Some(_), _) => None,
        }
    }

    /// A message that tells something was answered: after a refusal less is said, until a digest has arrived.
    pub(crate) fn note_refusal(&mut self, index: usize, outcome: Outcome) {
        let telling = &self.tellings[index];
        let (receiver, seq) = (telling.receiver.clone(), telling.seq);
        if matches!(outcome, Outcome::Rejected(_)) {
            self.refused.insert(receiver);
        } else if outcome == Outcome::Delivered {
            let parts = self.tellings.iter().rev().take_while(|it| it.seq >= seq);
            let parts = parts.filter(|it| it.seq == seq && it.receiver == receiver && !it.is_picture);
            if parts.count() == 1 {
                self.refused.remove(&receiver);
            }
        }
    }

    /// The digest that a telling is the picture of, or itself.
    pub(crate) fn text_of<'b>(&'b self, telling: &'b Telling) -> &'b Telling {
        let (digest, part) = (telling.message.digest, 1);
        let text = self.by_message.get(&MessageId { digest, part });
        let text = text.map(|text| &self.tellings[*text]);
        text.filter(|text| telling.is_picture && text.seq == telling.seq)
            .unwrap_or(telling)
    }

    /// A picture leaves: what it belongs to is known to have arrived, and it has not been tried before.
    pub(crate) fn picture_leaves(&mut self, index: usize, uuid: &str, now: u64) -> Result<(), Violation> {
        let picture = &self.tellings[index];
        if self.text_of(picture).is_picture || self.text_of(picture).known.is_none() {
            let what = format!(
                "the picture {:?} is sent to {}, whose digest has not arrived",
                picture.message, picture.receiver
            );
            return Err(violation(Invariant::PictureFollows, now, what));
        }
        if self.pictures.insert(uuid.to_owned()) {
            return Ok(());
        }
        let what = format!("the picture {:?} is sent again", picture.message);
        Err(violation(Invariant::PictureFollows, now, what))
    }
}
