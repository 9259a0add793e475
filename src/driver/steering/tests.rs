//! The steering spoken to by hand: what happened, and the actions that come of it, as words in their order.

use super::*;
use crate::alert::{EndpointName, Fingerprint, Labels, Status, Timestamp};
use crate::digest::{Detail, Message};
use crate::engine::Outcome;

const PLAN: &str = "
locale: en
timezone: UTC
dingtalk: { monthly_quota: 0 }
sources: [{ name: am, type: alertmanager }]
bots: [{ name: a, access_token: t }]
receivers: [{ name: ops, bots: [a] }]
route: { receiver: ops, group_wait: 0s, group_interval: 1s, urgent: true }
";

/// Everything goes to two people through one app, and to one through another.
const PEOPLE: &str = "
locale: en
timezone: UTC
sources: [{ name: am, type: alertmanager }]
apps:
  - { name: one, app_key: k1, app_secret: s }
  - { name: other, app_key: k2, app_secret: s }
receivers:
  - { name: ops, direct: { app: one, users: [ann, bob] } }
  - { name: db, direct: { app: other, users: [eve] } }
route:
  receiver: ops
  group_wait: 0s
  group_interval: 1s
  urgent: true
  routes: [{ receiver: db, continue: true }, { receiver: ops }]
";

fn plan(text: &str) -> Arc<Plan> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dingest.yaml");
    std::fs::write(&file, text).unwrap();
    let loaded = crate::config::load(Some(&file), directory.path());
    loaded.unwrap_or_else(|report| panic!("{report}")).plan
}

/// The steering, and a disk that takes what it is told to take.
struct Rig {
    steering: Steering,
    now: Now,
    disk: Changes,
    commit: Option<Changes>,
    drafts: Vec<Draft>,
    sends: Vec<Send>,
}

impl Rig {
    fn new() -> Self {
        Self::with(PLAN)
    }

    fn with(text: &str) -> Self {
        let now = Now {
            tick: Tick(1_000_000),
            time: Timestamp(1_772_409_600_000),
        };
        Self {
            steering: Steering::new(plan(text), saved(&Changes::default()), now),
            now,
            disk: Changes::default(),
            commit: None,
            drafts: Vec::new(),
            sends: Vec::new(),
        }
    }

    fn post(&mut self, name: &str) -> RequestId {
        self.steering.accept("am".into(), vec![alert(name)], self.now)
    }

    /// Everything there is to do, in words.
    fn actions(&mut self) -> Vec<String> {
        let mut words = Vec::new();
        while let Some(action) = self.steering.poll() {
            words.push(self.word(action));
        }
        words
    }

    fn word(&mut self, action: Action) -> String {
        match action {
            Action::Commit(changes) => {
                let words = format!(
                    "commit alerts={} told={} in_flight={}",
                    changes.alerts.len(),
                    changes.told.len(),
                    changes.in_flight.len()
                );
                assert!(self.commit.replace(changes).is_none(), "two commits at a time");
                words
            }
            Action::Load => "load".to_owned(),
            Action::Render(draft) => {
                self.drafts.push(*draft);
                "render".to_owned()
            }
            Action::Send(mut sends) => {
                let to = |send: &Send| send.endpoint.as_ref().map(EndpointName::to_string);
                let to: Vec<String> = sends.iter().filter_map(to).filter(|name| name != "a").collect();
                let words = format!(
                    "send {} {}",
                    String::from_utf8_lossy(&sends[0].body),
                    to.join(" ")
                );
                self.sends.append(&mut sends);
                words.trim_end().to_owned()
            }
            Action::Run { no, errand } => format!("run {no} {errand:?}"),
            Action::Answer { request, accepted } => match accepted {
                Ok(_) => format!("answer {}", request.0),
                Err(why) => format!("answer {} {why:?}", request.0),
            },
            Action::Report(report) => match report {
                Report::Event(_) => "event".to_owned(),
                Report::StoreFailed(_) => "store failed".to_owned(),
                Report::StoreUnreadable(_) => "store unreadable".to_owned(),
                Report::StoreStillFails(_) => "store still fails".to_owned(),
                Report::StoreIsBack => "store is back".to_owned(),
                Report::DrainedTooLong(left) => format!("drained too long, {left} left"),
            },
        }
    }

    /// The commit that runs ends well; what comes of that.
    fn committed(&mut self) -> Vec<String> {
        let changes = self.commit.take().expect("a commit");
        self.disk.merge(changes);
        self.steering.committed();
        self.actions()
    }

    /// The commit that runs fails; what comes of that.
    fn commit_failed(&mut self) -> Vec<String> {
        let lost = self.commit.take().expect("a commit");
        self.steering.commit_failed(full(), lost, self.now);
        self.actions()
    }

    fn loaded(&mut self) -> Vec<String> {
        self.steering.loaded(Ok(saved(&self.disk)), self.now);
        self.actions()
    }

    /// The oldest draft comes back as one message.
    fn rendered(&mut self) -> Vec<String> {
        let number = self.drafts[0].id.to_string();
        self.rendered_as(&number)
    }

    fn rendered_as(&mut self, text: &str) -> Vec<String> {
        let draft = self.drafts.remove(0);
        let message = Message {
            title: String::new(),
            text: String::new(),
            body: text.as_bytes().into(),
            covers: draft.entries.iter().map(|entry| entry.alert).collect(),
        };
        let rendered = Rendered {
            detail: Detail::Full,
            messages: vec![message],
            template_error: None,
        };
        self.steering.rendered(draft.id, rendered, self.now);
        self.actions()
    }

    /// The oldest message is answered.
    fn answered(&mut self, outcome: Outcome) -> Vec<String> {
        let send = self.sends.remove(0);
        let answer = Answer::new(outcome, "");
        self.steering.sent(vec![(send.message, answer)], self.now);
        self.actions()
    }

    fn pass(&mut self, span: Span) -> Vec<String> {
        self.now.tick = self.now.tick.plus(span);
        self.now.time = self.now.time.plus(span);
        self.steering.wake(self.now);
        self.actions()
    }

    /// An alert that is on disk, with a message that is on its way.
    fn with_a_message_on_its_way() -> Self {
        let mut rig = Self::new();
        rig.post("Disk");
        rig.actions();
        rig.committed();
        rig.rendered();
        assert_eq!(rig.committed(), ["send 1"]);
        rig
    }
}

/// What a start finds of everything that was committed.
fn saved(disk: &Changes) -> Saved {
    fn rows<K: Clone, V: Clone>(rows: &BTreeMap<K, Option<V>>) -> impl Iterator<Item = (K, V)> {
        rows.iter()
            .filter_map(|(key, row)| Some((key.clone(), row.clone()?)))
    }
    let digest = disk.digests.keys().last().map_or(1, |id| id.0 + 1);
    Saved {
        run: "test".to_owned(),
        next_alert: crate::alert::AlertNo(disk.alerts.keys().last().map_or(1, |no| no.0 + 1)),
        next_digest: DigestId(digest),
        alerts: rows(&disk.alerts).collect(),
        told: rows(&disk.told)
            .map(|((receiver, no), row)| (receiver, no, row))
            .collect(),
        in_flight: rows(&disk.in_flight).collect(),
        receipts: rows(&disk.receipts).collect(),
        endpoints: disk.endpoints.clone().into_iter().collect(),
        served: disk.served.clone().into_iter().collect(),
        people: Vec::new(),
    }
}

fn alert(name: &str) -> Alert {
    let labels = Labels::from_pairs([("alertname", name)]);
    Alert {
        fingerprint: Fingerprint::of_labels(&labels),
        identity: None,
        status: Status::Firing,
        labels,
        annotations: Labels::default(),
        links: Labels::default(),
        values: Labels::default(),
        starts_at: Some(Timestamp(1_772_409_600_000)),
        ends_at: None,
        expires_at: None,
    }
}

fn full() -> StoreError {
    StoreError::Full {
        path: "test".to_owned(),
    }
}

#[test]
fn an_answer_and_a_message_wait_for_the_commit_of_their_rows() {
    let mut rig = Rig::new();
    rig.post("Disk");
    assert_eq!(rig.actions(), ["commit alerts=1 told=0 in_flight=0", "render"]);
    assert_eq!(rig.committed(), ["answer 0"]);
    assert_eq!(rig.rendered(), ["commit alerts=0 told=0 in_flight=1", "event"]);
    assert_eq!(rig.committed(), ["send 1"]);
    assert_eq!(
        rig.answered(Outcome::Delivered),
        ["commit alerts=0 told=1 in_flight=1", "event", "event"]
    );
    assert!(rig.committed().is_empty());
}

#[test]
fn equal_messages_to_people_of_one_app_go_by_one_call() {
    let mut rig = Rig::with(PEOPLE);
    rig.post("Disk");
    let once = rig.actions();
    assert_eq!(once, ["commit alerts=1 told=0 in_flight=0", "render", "render"]);
    rig.committed();
    // Both drafts are rendered to the same words.
    assert_eq!(
        rig.rendered_as("hello"),
        ["commit alerts=0 told=0 in_flight=1", "event"]
    );
    assert_eq!(rig.rendered_as("hello"), ["event", "event"]);
    assert_eq!(
        rig.committed(),
        ["commit alerts=0 told=0 in_flight=2", "send hello direct/db/eve"]
    );
    assert_eq!(rig.committed(), ["send hello direct/ops/ann direct/ops/bob"]);
}

#[test]
fn what_comes_in_while_a_commit_runs_goes_into_the_next() {
    let mut rig = Rig::new();
    rig.post("First");
    rig.actions();
    rig.post("Second");
    rig.post("Third");
    assert!(rig.actions().is_empty(), "one commit at a time");
    assert_eq!(
        rig.committed(),
        ["commit alerts=2 told=0 in_flight=0", "answer 0"],
        "the disk is at work while answers leave"
    );
    assert_eq!(rig.committed(), ["answer 1", "answer 2"]);
}

#[test]
fn a_repeat_waits_for_what_it_repeats_and_for_nothing_else() {
    let mut rig = Rig::new();
    rig.post("Disk");
    rig.actions();
    rig.post("Disk");
    assert!(rig.actions().is_empty(), "what it repeats is not on disk");
    assert_eq!(rig.committed(), ["answer 0", "answer 1"]);
    rig.post("Disk");
    assert_eq!(rig.actions(), ["answer 2"]);
}

#[test]
fn a_commit_that_fails_refuses_everybody_who_waits_and_puts_the_engine_back() {
    let mut rig = Rig::with_a_message_on_its_way();
    rig.post("Lost");
    rig.actions();
    rig.post("Gathered");
    assert_eq!(
        rig.commit_failed(),
        [
            "store failed",
            "answer 1 StoreFailed",
            "answer 2 StoreFailed",
            "load"
        ]
    );
    assert!(!rig.steering.is_writable());
    assert!(
        rig.loaded().is_empty(),
        "its message is on its way and not sent again"
    );
    assert_eq!(rig.steering.engine().counts().firing, 1);
    // From here on nobody is made to wait.
    rig.post("Refused");
    assert_eq!(rig.actions(), ["answer 3 StoreFailed"]);
    assert_eq!(rig.steering.engine().counts().firing, 1);
}

#[test]
fn what_is_told_while_the_store_fails_is_written_once_it_is_back() {
    let mut rig = Rig::with_a_message_on_its_way();
    rig.post("Lost");
    rig.actions();
    rig.commit_failed();
    rig.loaded();
    assert_eq!(
        rig.answered(Outcome::Delivered),
        ["event", "event"],
        "nothing is committed yet"
    );
    assert_eq!(rig.pass(STORE_RETRY), ["commit alerts=0 told=1 in_flight=1"]);
    assert_eq!(rig.commit_failed(), ["store still fails"]);
    assert!(rig.pass(Span(STORE_RETRY.0 - 1)).is_empty());
    assert_eq!(rig.pass(Span(1)), ["commit alerts=0 told=1 in_flight=1"]);
    assert_eq!(rig.committed(), ["store is back"]);
    assert!(rig.steering.is_writable());
    // The same process goes on, and so does the next one.
    let engine = Engine::new(plan(PLAN), saved(&rig.disk), rig.now);
    assert_eq!(engine.counts().changes, 0, "it is told");
}

#[test]
fn what_is_told_while_the_catching_up_is_written_is_written_too() {
    let mut rig = Rig::with_a_message_on_its_way();
    rig.post("Lost");
    rig.actions();
    rig.commit_failed();
    rig.loaded();
    rig.pass(STORE_RETRY);
    rig.answered(Outcome::Delivered);
    assert_eq!(rig.committed(), ["commit alerts=0 told=1 in_flight=1"]);
    assert!(!rig.steering.is_writable(), "not before it is on disk");
    assert_eq!(rig.committed(), ["store is back"]);
}

#[test]
fn a_try_that_fails_does_not_bring_old_rows_back() {
    let mut rig = Rig::with_a_message_on_its_way();
    rig.post("Lost");
    rig.actions();
    rig.commit_failed();
    rig.loaded();
    // The try writes the message as one that is tried again; meanwhile it is delivered.
    rig.answered(Outcome::Unknown);
    rig.pass(STORE_RETRY);
    rig.pass(Span::seconds(10));
    rig.answered(Outcome::Delivered);
    assert_eq!(rig.commit_failed(), ["store still fails"]);
    rig.pass(STORE_RETRY);
    rig.committed();
    assert!(
        saved(&rig.disk).in_flight.is_empty(),
        "it would be sent once more"
    );
}

#[test]
fn numbers_do_not_go_back_with_the_engine() {
    let mut rig = Rig::new();
    rig.post("Durable");
    rig.actions();
    rig.committed();
    rig.rendered();
    // Its bytes are not on disk, so that the digest is composed again.
    rig.commit_failed();
    assert_eq!(rig.loaded(), ["render"]);
    assert_eq!(rig.drafts[0].id, DigestId(2));
    assert_eq!(rig.rendered(), ["event", "send 2"]);
}

#[test]
fn what_cannot_be_read_back_is_told_from_memory_and_written_later() {
    let mut rig = Rig::new();
    rig.post("Early");
    rig.actions();
    rig.rendered();
    let refused = ["store failed", "answer 0 StoreFailed", "load"];
    assert_eq!(rig.commit_failed(), refused);
    rig.steering.loaded(Err(full()), rig.now);
    assert_eq!(rig.actions(), ["store unreadable", "send 1"]);
    rig.answered(Outcome::Delivered);
    assert_eq!(rig.pass(STORE_RETRY), ["commit alerts=1 told=1 in_flight=1"]);
    assert_eq!(rig.committed(), ["store is back"]);
}

#[test]
fn shutting_down_waits_for_answers_and_for_their_commit_and_composes_no_more() {
    let mut rig = Rig::with_a_message_on_its_way();
    rig.steering.drain(rig.now);
    rig.post("Late");
    assert_eq!(rig.actions(), ["commit alerts=1 told=0 in_flight=0"]);
    assert!(!rig.steering.is_drained());
    assert_eq!(rig.committed(), ["answer 1"]);
    assert!(!rig.steering.is_drained(), "a message is on its way");
    rig.answered(Outcome::Delivered);
    assert!(!rig.steering.is_drained(), "its outcome is not on disk");
    rig.committed();
    assert!(rig.steering.is_drained());
    assert!(!rig.steering.has_given_up());
}

#[test]
fn shutting_down_does_not_wait_for_ever() {
    let mut rig = Rig::with_a_message_on_its_way();
    rig.steering.drain(rig.now);
    assert!(rig.pass(Span(DRAIN_MAX.0 - 1)).is_empty());
    assert_eq!(rig.pass(Span(1)), ["drained too long, 1 left"]);
    assert!(rig.steering.has_given_up());
}

#[test]
fn shutting_down_goes_on_when_the_store_fails_meanwhile() {
    let mut rig = Rig::with_a_message_on_its_way();
    rig.answered(Outcome::Retry);
    rig.steering.drain(rig.now);
    rig.commit_failed();
    rig.loaded();
    assert!(
        rig.drafts.is_empty(),
        "the engine that was put back composes no more either"
    );
}
