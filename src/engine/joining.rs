//! Who is told together: people of one receiver who are to read the same words at the same moment.
//!
//! A message to a person does not say whom it is for, and DingTalk takes many people in one call. So of receivers that
//! would be handed equal drafts at one moment only the first is handed one; the others join it. Each has a digest,
//! messages, answers and a memory of their own; what they share is the rendering, and the place of the app's second
//! that a call takes. Who joins depends on nothing but what a draft would say: whoever was told something else before
//! gets a draft of their own.

use super::delivery::{counts, episodes};
use super::desk::{Composing, Desk, Stage, UnderWay};
use super::{Effect, Engine};
use crate::alert::{DigestId, EndpointName, ReceiverName};
use crate::digest::Draft;
use crate::plan::{Endpoint, Receiver};

impl Engine {
    /// The draft, not handed out yet, that says just what this person is to be told.
    pub(super) fn draft_to_join(&self, receiver: &Receiver, desk: &Desk, urgent: bool) -> Option<DigestId> {
        // Nothing is handed out while somebody only asks.
        self.effects.back()?;
        let endpoint = self.person_of(receiver)?;
        let same_place = |draft: &&Draft| draft.receiver.without_person() == receiver.name.without_person();
        let drafts = self.effects.iter().rev().map_while(|effect| match effect {
            Effect::Digest(draft) => Some(draft.as_ref()).filter(same_place),
            Effect::Reply { .. } | Effect::Send(_) | Effect::Errand(_) | Effect::Event(_) => None,
        });
        let mut drafts = drafts.filter(|draft| {
            draft.others.len() + 1 < endpoint.per_call_max()
                && draft.urgent == urgent
                && self.carries(draft, endpoint)
                && self.says_the_same(draft, receiver, desk)
        });
        drafts.next().map(|draft| draft.id)
    }

    /// The endpoint of a receiver that is a person and may be written to.
    fn person_of(&self, receiver: &Receiver) -> Option<&Endpoint> {
        let [name] = receiver.endpoints() else { return None };
        let endpoint = self.plan.endpoints.get(name).filter(|it| it.person().is_some())?;
        let is_paused = self.budgets.get(name)?.paused(self.now.tick).is_some();
        (!is_paused).then_some(endpoint)
    }

    /// Whether a draft goes to a person, too, by the same call.
    fn carries(&self, draft: &Draft, endpoint: &Endpoint) -> bool {
        let carrier = draft
            .endpoint
            .as_ref()
            .and_then(|name| self.plan.endpoints.get(name));
        carrier.is_some_and(|carrier| carrier.shares_calls_with(endpoint))
    }

    fn says_the_same(&self, draft: &Draft, receiver: &Receiver, desk: &Desk) -> bool {
        let same_frame = draft.fit.detail_max == desk.detail_max
            && self.message_bytes_max(desk, draft.endpoint.as_ref()) == draft.fit.message_bytes_max
            && draft.firing == desk.firing
            && draft.notices.iter().eq(&desk.content_refused);
        let mut changes = self.changes_of(desk, &receiver.name);
        same_frame
            && draft.entries.iter().all(|entry| {
                changes.next().is_some_and(|(no, record, change, route)| {
                    no == entry.alert
                        && change == entry.change
                        && episodes(record, change, desk.told.get(&no)) == entry.episodes
                        && route.urgent == entry.urgent
                        && route.group_by == entry.group_by
                })
            })
            && changes.next().is_none()
    }

    /// Lets a person read what a draft says.
    pub(super) fn join(&mut self, name: &ReceiverName, draft: DigestId) {
        let endpoint = self
            .plan
            .receivers
            .get(name)
            .and_then(|it| it.endpoints().first())
            .cloned();
        let digest = self.next_digest();
        let mut drafts = self.effects.iter_mut().rev();
        let of_number = |effect| match effect {
            &mut Effect::Digest(ref mut it) => Some(it).filter(|it| it.id == draft),
            Effect::Reply { .. } | Effect::Send(_) | Effect::Errand(_) | Effect::Event(_) => None,
        };
        let Some(found) = drafts.find_map(of_number) else {
            return;
        };
        found.others.push((digest, name.clone()));
        let composing = Composing {
            draft,
            places: 0,
            urgent: found.urgent,
            counts: counts(found),
        };
        let tells = self.take_changes(name);
        let counted_as = self.counted_as(endpoint.as_ref());
        self.under_way.insert(digest, name.clone());
        self.desk(name).under_way = Some(UnderWay {
            digest,
            endpoint,
            counted_as,
            tells,
            stage: Stage::Composing(composing),
        });
    }

    /// Most bytes of a message through an endpoint, as far as this receiver's were taken.
    pub(super) fn message_bytes_max(&self, desk: &Desk, endpoint: Option<&EndpointName>) -> usize {
        let endpoint = endpoint.and_then(|name| self.plan.endpoints.get(name));
        let most = endpoint.map_or(desk.message_bytes_max, Endpoint::message_bytes_max);
        desk.message_bytes_max.min(most)
    }
}
