//! The store in memory and the one on disk are the same store: whatever is done to both, both know the same.
//!
//! What the simulator says of a disk is worth as much as this.

use std::sync::Arc;

use dingest::alert::occurrence::{Occurred, Occurrence};
use dingest::alert::words::{Model, Texts, Words};
use dingest::alert::{
    AlertNo, DigestId, EndpointName, Fingerprint, Labels, MessageId, ModelNo, ReceiverName, SourceName,
    Timestamp,
};
use dingest::store::sqlite::SqliteStore;
use dingest::store::{
    AlertRow, AttemptRow, Changes, DigestQuery, DigestRow, EndpointRow, InFlightRow, LaterRow, MessageRow,
    PersonKey, PersonRow, REFUSED_BODY_BYTES_MAX, ReceiptRow, RefusedBody, Said, Saved, State, Store,
    ToldRow,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::store::MemoryStore;

/// One row; the numbers are few, so that rows meet, and a variant makes a row differ from another of its key.
#[derive(Clone, Debug)]
enum Row {
    Alert(u64, Option<u8>),
    Told(u8, u64, Option<u8>),
    InFlight(u64, u8, Option<u8>),
    Receipt(u64, u8, Option<u8>),
    Endpoint(u8, u8),
    Served(u8, u8),
    Person(u8, Option<u8>),
    Digest(u64, u8),
    Message(u64, u8, u8),
    Attempt(u64, u8, u8),
    Outcome(u64, u8),
    Later(u64, u8, u8),
}

#[derive(Clone, Debug)]
enum Deed {
    Commit(Vec<Row>),
    Refuse(u8, u8),
    Prune(u8),
    /// The process ends, and the next one opens the store.
    Reopen,
}

fn row() -> impl Strategy<Value = Row> {
    let (no, digest, part, name) = (1..8_u64, 1..8_u64, 1..4_u8, 0..3_u8);
    let kept = || proptest::option::weighted(0.7, any::<u8>());
    prop_oneof![
        (no.clone(), kept()).prop_map(|(no, row)| Row::Alert(no, row)),
        (name.clone(), no, kept()).prop_map(|(name, no, row)| Row::Told(name, no, row)),
        (digest.clone(), part.clone(), kept()).prop_map(|(id, part, row)| Row::InFlight(id, part, row)),
        (digest.clone(), part.clone(), kept()).prop_map(|(id, part, row)| Row::Receipt(id, part, row)),
        (digest.clone(), part.clone(), any::<u8>()).prop_map(|(id, part, row)| Row::Later(id, part, row)),
        (name.clone(), any::<u8>()).prop_map(|(name, row)| Row::Endpoint(name, row)),
        (name.clone(), any::<u8>()).prop_map(|(name, row)| Row::Served(name, row)),
        (name, kept()).prop_map(|(name, row)| Row::Person(name, row)),
        (digest.clone(), any::<u8>()).prop_map(|(id, row)| Row::Digest(id, row)),
        (digest.clone(), part.clone(), any::<u8>()).prop_map(|(id, part, row)| Row::Message(id, part, row)),
        (digest.clone(), part, any::<u8>()).prop_map(|(id, part, row)| Row::Attempt(id, part, row)),
        (digest, any::<u8>()).prop_map(|(id, row)| Row::Outcome(id, row)),
    ]
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        8 => vec(row(), 0..12).prop_map(Deed::Commit),
        1 => (0..2_u8, any::<u8>()).prop_map(|(source, body)| Deed::Refuse(source, body)),
        1 => any::<u8>().prop_map(Deed::Prune),
        1 => Just(Deed::Reopen),
    ]
}

fn time(variant: u8) -> Timestamp {
    Timestamp(1_772_409_600_000 + i64::from(variant) * 1000)
}

fn receiver(name: u8) -> ReceiverName {
    format!("receiver {name}").into()
}

fn endpoint(name: u8) -> EndpointName {
    format!("endpoint {name}").into()
}

fn person(name: u8) -> PersonKey {
    PersonKey {
        base_url: "https://api.dingtalk.com".to_owned(),
        app: "ding1".to_owned(),
        known_by: format!("mobile:1380000000{name}"),
    }
}

/// A text that needs care, or none.
fn text(variant: u8) -> String {
    ["", "disk", "磁盘 \u{1f4be}", "a'b\"c\\\n"][usize::from(variant % 4)]
        .repeat(usize::from(variant / 64 + 1))
}

fn labels(variant: u8) -> Labels {
    Labels::from_pairs([("alertname", text(variant)), ("n", variant.to_string())])
}

fn texts(variant: u8) -> Texts {
    Texts {
        identity: (!variant.is_multiple_of(2)).then(|| text(variant).into()),
        labels: labels(variant),
        annotations: labels(variant.wrapping_add(1)),
        links: Labels::default(),
        values: labels(variant.wrapping_add(2)),
    }
}

/// Three models describe all alerts. They are saved with the first alert, and never forgotten.
fn model(number: u8) -> Arc<Model> {
    Arc::new(Model {
        no: ModelNo(number.into()),
        source: SourceName::from(format!("source {number}")),
        texts: texts(number),
    })
}

fn alert_row(variant: u8) -> AlertRow {
    let odd = !variant.is_multiple_of(2);
    AlertRow {
        words: Words::describe(&model(variant % 3), &texts(variant)),
        fingerprint: Fingerprint(u64::MAX - u64::from(variant)),
        state: State::ALL[usize::from(variant % 3)],
        starts_at: time(variant),
        ends_at: odd.then(|| time(variant.wrapping_add(1))),
        first_seen: time(variant),
        last_seen: Timestamp(-i64::from(variant)),
        expires_at: time(variant),
        episodes: u32::from(variant) << 20,
        recent: (0..variant % 5).map(time).collect(),
        flapping: variant.is_multiple_of(3),
        doubted: variant.is_multiple_of(5),
        occurrences: (0..variant % 4)
            .map(|index| Occurrence {
                what: Occurred::ALL[usize::from(index + variant % 5)],
                at: time(index),
            })
            .collect(),
    }
}

fn in_flight_row(variant: u8) -> InFlightRow {
    InFlightRow {
        receiver: receiver(variant % 3),
        endpoint: (!variant.is_multiple_of(4)).then(|| endpoint(variant % 4)),
        parts: variant % 3 + 1,
        urgent: variant.is_multiple_of(2),
        body: Arc::from(text(variant).into_bytes()),
        covers: (0..variant % 4)
            .map(|said| {
                (
                    AlertNo(u64::from(said) + 1),
                    Said::ALL[usize::from(said)],
                    u32::from(variant),
                )
            })
            .collect(),
        attempts: u32::from(variant),
    }
}

fn receipt_row(variant: u8) -> ReceiptRow {
    ReceiptRow {
        receiver: receiver(variant % 3),
        endpoint: endpoint(variant % 4),
        receipt: text(variant).into(),
        shared: u32::from(variant),
        sent_at: time(variant),
        last: variant.is_multiple_of(2),
        tells: variant.is_multiple_of(5),
        announced: (0..variant % 4).map(|no| AlertNo(u64::from(no) << 40)).collect(),
        read: variant.is_multiple_of(3),
    }
}

fn later_row(variant: u8) -> LaterRow {
    LaterRow {
        recalled_at: variant.is_multiple_of(3).then(|| time(variant)),
        asked_at: variant.is_multiple_of(2).then(|| time(variant)),
        read_by: (0..variant % 3).map(|user| (text(user), time(variant))).collect(),
    }
}

fn endpoint_row(variant: u8) -> EndpointRow {
    EndpointRow {
        sent: (0..variant % 6).map(time).collect(),
        pause: (variant.is_multiple_of(2))
            .then(|| ((!variant.is_multiple_of(4)).then(|| time(variant)), text(variant))),
        month: 24_315 + i32::from(variant),
        used: u64::from(variant) << 32,
        counted_at: (!variant.is_multiple_of(3)).then(|| time(variant)),
    }
}

fn message_row(variant: u8) -> MessageRow {
    MessageRow {
        endpoint: (!variant.is_multiple_of(4)).then(|| endpoint(variant % 4)),
        sent_at: None,
        attempts: 0,
        outcome: None,
        errcode: None,
        answer: None,
        covers: (0..variant % 3)
            .map(|no| (AlertNo(u64::from(no)), Said::Firing, u32::from(variant)))
            .collect(),
        title: text(variant),
        text: text(variant.wrapping_add(1)),
    }
}

fn changes(rows: &[Row]) -> Changes {
    let mut changes = Changes::default();
    let message = |id: u64, part: u8| MessageId {
        digest: DigestId(id),
        part,
    };
    for row in rows.iter().cloned() {
        match row {
            Row::Alert(no, row) => {
                let models = (0..3).map(model).map(|model| (model.no, Some(model)));
                changes.models.extend(models);
                changes.alerts.insert(AlertNo(no), row.map(alert_row));
            }
            Row::Told(name, no, row) => {
                let row = row.map(|variant| ToldRow {
                    said: Said::ALL[usize::from(variant % 4)],
                    episodes: u32::from(variant),
                    at: time(variant),
                    digest: DigestId(u64::from(variant)),
                });
                changes.told.insert((receiver(name), AlertNo(no)), row);
            }
            Row::InFlight(id, part, row) => {
                changes
                    .in_flight
                    .insert(message(id, part), row.map(in_flight_row));
            }
            Row::Receipt(id, part, row) => {
                changes.receipts.insert(message(id, part), row.map(receipt_row));
            }
            Row::Later(id, part, row) => drop(changes.later.insert(message(id, part), later_row(row))),
            Row::Endpoint(name, row) => drop(changes.endpoints.insert(endpoint(name), endpoint_row(row))),
            Row::Person(name, row) => {
                let row = row.map(|variant| PersonRow {
                    user: text(variant),
                    at: time(variant),
                });
                changes.people.insert(person(name), row);
            }
            Row::Served(name, at) => drop(changes.served.insert(receiver(name), time(at))),
            Row::Digest(id, variant) => {
                let row = DigestRow {
                    receiver: receiver(variant % 3),
                    composed_at: time(variant),
                    detail: text(variant),
                    counts: [(text(variant), u64::from(variant))].into(),
                    outcome: "pending".to_owned(),
                };
                changes.digests.insert(DigestId(id), row);
            }
            Row::Message(id, part, variant) => {
                changes.messages.insert(message(id, part), message_row(variant));
            }
            Row::Attempt(id, part, variant) => {
                let row = AttemptRow {
                    sent_at: (!variant.is_multiple_of(3)).then(|| time(variant)),
                    attempts: u32::from(variant),
                    outcome: (!variant.is_multiple_of(5)).then(|| text(variant)),
                    errcode: (!variant.is_multiple_of(2)).then(|| -i64::from(variant)),
                    answer: (!variant.is_multiple_of(3)).then(|| text(variant)),
                };
                changes.attempts.insert(message(id, part), row);
            }
            Row::Outcome(id, variant) => drop(changes.outcomes.insert(DigestId(id), text(variant))),
        }
    }
    changes
}

/// What a store would start an engine from, in one order; every reading has a name of its own.
fn loaded(store: &mut dyn Store) -> Saved {
    let mut saved = store.load().expect("the store can be read");
    saved.run.clear();
    saved.told.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    saved.endpoints.sort_by(|a, b| a.0.cmp(&b.0));
    saved.served.sort_by(|a, b| a.0.cmp(&b.0));
    saved
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_store_in_memory_and_the_one_on_disk_agree(deeds in vec(deed(), 1..24)) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("dingest.db");
        let open = || SqliteStore::open(&path).expect("the store opens");
        let (mut memory, mut disk) = (MemoryStore::default(), Some(open()));
        for deed in deeds {
            if let Deed::Reopen = deed {
                drop(disk.take());
                disk = Some(open());
            }
            let on_disk = disk.as_mut().expect("it is open");
            for store in [&mut memory as &mut dyn Store, on_disk] {
                match &deed {
                    Deed::Commit(rows) => store.commit(&changes(rows)),
                    Deed::Refuse(source, variant) => store.keep_refused(&RefusedBody {
                        source: SourceName::from(format!("source {source}")),
                        at: time(*variant),
                        reason: text(*variant),
                        body: vec![*variant; REFUSED_BODY_BYTES_MAX - 100 + usize::from(*variant)],
                    }),
                    Deed::Prune(before) => store.prune(time(*before)),
                    Deed::Reopen => Ok(()),
                }
                .expect("the store can be written");
            }
            prop_assert_eq!(loaded(&mut memory), loaded(on_disk));
            for receiver in [None, Some(receiver(0)), Some(receiver(9))] {
                for (alerts, limit) in [(vec![], 2), (vec![], usize::MAX), (vec![AlertNo(1), AlertNo(2)], 2)] {
                    let query = DigestQuery {
                        receiver: receiver.clone(),
                        alerts,
                        limit,
                    };
                    let told = |store: &mut dyn Store| store.digests(&query).expect("a list");
                    prop_assert_eq!(told(&mut memory), told(on_disk));
                }
            }
            let refused = |store: &mut dyn Store| store.refused(Some(&"source 1".into()), 8).expect("a list");
            prop_assert_eq!(refused(&mut memory), refused(on_disk));
        }
    }
}
