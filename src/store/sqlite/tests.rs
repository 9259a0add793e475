//! Round trips against a naive model, and everything that can be wrong with a file.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::alert::occurrence::{Occurred, Occurrence, Occurrences};
use crate::alert::words::{Model, Texts, Words};
use crate::alert::{
    AlertNo, DigestId, EndpointName, Fingerprint, Labels, MessageId, ModelNo, ReceiverName, SourceName,
};
use crate::store::{
    AlertRow, Cover, DigestRow, EndpointRow, InFlightRow, LaterRow, MessageRow, PersonKey, PersonRow,
    REFUSED_BODY_BYTES_MAX, REFUSED_KEPT_MAX, ReceiptRow, Said, State, ToldRow,
};

fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn file(directory: &TempDir) -> PathBuf {
    directory.path().join("dingest.db")
}

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path).expect("a store that opens")
}

/// What is saved, whoever goes on from it.
fn rows(store: &mut SqliteStore) -> Saved {
    Saved {
        run: String::new(),
        ..store.load().expect("a store that can be read")
    }
}

fn texts(summary: &str) -> Texts {
    Texts {
        labels: Labels::from_pairs([("alertname", "DiskFull"), ("host", "db-1")]),
        annotations: Labels::from_pairs([("summary", summary)]),
        ..Texts::default()
    }
}

/// The one model of alerts that [`alert`] makes.
fn model(summary: &str) -> Arc<Model> {
    Arc::new(Model {
        no: ModelNo(0),
        source: SourceName::from("alertmanager"),
        texts: texts(summary),
    })
}

fn alert(summary: &str) -> AlertRow {
    AlertRow {
        words: Words::describe(&model("DiskFull"), &texts(summary)),
        fingerprint: Fingerprint(u64::MAX),
        state: State::Firing,
        starts_at: Timestamp(1),
        ends_at: None,
        first_seen: Timestamp(2),
        last_seen: Timestamp(3),
        expires_at: Timestamp(4),
        episodes: 1,
        recent: vec![Timestamp(1)],
        flapping: false,
        doubted: false,
        occurrences: Occurrences::default(),
    }
}

/// The row of the model of what [`alert`] makes.
fn models() -> BTreeMap<ModelNo, Option<Arc<Model>>> {
    [(ModelNo(0), Some(model("DiskFull")))].into()
}

/// One new alert with about `bytes` of text.
fn one_alert(no: u64, bytes: usize) -> Changes {
    Changes {
        models: models(),
        alerts: [(AlertNo(no), Some(alert(&"x".repeat(bytes))))].into(),
        ..Changes::default()
    }
}

fn digest(receiver: &str, composed_at: i64) -> DigestRow {
    DigestRow {
        receiver: ReceiverName::from(receiver),
        composed_at: Timestamp(composed_at),
        detail: "full".to_owned(),
        counts: [("new".to_owned(), 3)].into(),
        outcome: "delivered".to_owned(),
    }
}

fn message(text: &str) -> MessageRow {
    MessageRow {
        endpoint: Some(EndpointName::from("ops-1")),
        sent_at: Some(Timestamp(7)),
        attempts: 1,
        outcome: Some("delivered".to_owned()),
        errcode: Some(0),
        answer: Some("ok".to_owned()),
        covers: Vec::new(),
        title: "3 new".to_owned(),
        text: text.to_owned(),
    }
}

/// The digests `1..=count`, two messages each, composed a second apart.
fn history(count: u64) -> Changes {
    let mut changes = Changes::default();
    for (id, at) in (1..=count).map(DigestId).zip(1_i64..) {
        let receiver = if id.0 % 2 == 0 { "ops" } else { "db" };
        changes.digests.insert(id, digest(receiver, at * 1000));
        for part in [1, 2] {
            changes
                .messages
                .insert(MessageId { digest: id, part }, message(&format!("part {part}")));
        }
    }
    changes
}

// ---- round trips ----------------------------------------------------------------------------------------------

/// What a store must hold, the obvious way.
#[derive(Debug, Default)]
struct Naive {
    rows: Changes,
    next_alert: u64,
    next_digest: u64,
}

impl Naive {
    fn apply(&mut self, changes: &Changes) {
        let used = changes.alerts.keys().map(|no| no.0 + 1).max();
        self.next_alert = self.next_alert.max(used.unwrap_or(1));
        let digests = changes.digests.keys().map(|id| id.0);
        let messages = changes.messages.keys().map(|id| id.digest.0);
        let in_flight = changes.in_flight.keys().map(|id| id.digest.0);
        let used = digests.chain(messages).chain(in_flight).map(|id| id + 1).max();
        self.next_digest = self.next_digest.max(used.unwrap_or(1));
        self.rows.merge(changes.clone());
        self.rows.models.retain(|_, row| row.is_some());
        self.rows.alerts.retain(|_, row| row.is_some());
        self.rows.told.retain(|_, row| row.is_some());
        self.rows.in_flight.retain(|_, row| row.is_some());
        self.rows.people.retain(|_, row| row.is_some());
        self.rows.receipts.retain(|_, row| row.is_some());
        let messages = &self.rows.messages;
        self.rows.later.retain(|id, _| messages.contains_key(id));
    }

    fn saved(&self) -> Saved {
        fn living<K: Clone, V: Clone>(rows: &BTreeMap<K, Option<V>>) -> impl Iterator<Item = (K, V)> {
            rows.iter()
                .filter_map(|(key, row)| Some((key.clone(), row.clone()?)))
        }
        Saved {
            run: String::new(),
            next_alert: AlertNo(self.next_alert),
            next_digest: DigestId(self.next_digest),
            alerts: living(&self.rows.alerts).collect(),
            told: living(&self.rows.told)
                .map(|((receiver, no), row)| (receiver, no, row))
                .collect(),
            in_flight: living(&self.rows.in_flight).collect(),
            receipts: living(&self.rows.receipts).collect(),
            endpoints: self.rows.endpoints.clone().into_iter().collect(),
            served: self.rows.served.clone().into_iter().collect(),
            people: living(&self.rows.people).collect(),
        }
    }

    fn history(&self) -> Vec<Told> {
        let messages = |id: DigestId| {
            let all = (self.rows.messages).range(write::first_part(id)..=write::last_part(id));
            all.map(|(key, row)| (key.part, row.clone())).collect()
        };
        let later = |id: DigestId| {
            let all = (self.rows.later).range(write::first_part(id)..=write::last_part(id));
            all.map(|(key, row)| (key.part, row.clone())).collect()
        };
        let digests = self.rows.digests.iter().rev();
        digests
            .map(|(id, digest)| Told {
                id: *id,
                digest: digest.clone(),
                messages: messages(*id),
                later: later(*id),
            })
            .collect()
    }
}

/// Few enough keys that rows meet each other, many enough that they miss each other.
fn key() -> impl Strategy<Value = u64> {
    prop_oneof![9 => 1..12_u64, 1 => 1 << 40..1_u64 << 41]
}

fn message_id() -> impl Strategy<Value = MessageId> {
    (key(), any::<u8>()).prop_map(|(digest, part)| MessageId {
        digest: DigestId(digest),
        part: part % 3,
    })
}

fn name<T: From<String> + std::fmt::Debug>() -> impl Strategy<Value = T> {
    "ops|db|值班|lobby-[0-9]".prop_map(T::from)
}

fn labels() -> impl Strategy<Value = Labels> {
    vec((any::<String>(), any::<String>()), 0..4).prop_map(Labels::from_pairs)
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![any::<i64>(), 1_700_000_000_000..1_800_000_000_000_i64].prop_map(Timestamp)
}

fn said() -> impl Strategy<Value = Said> {
    prop::sample::select(Said::ALL.to_vec())
}

prop_compose! {
    fn any_texts()(
        identity in option::of(any::<String>()),
        (labels, annotations, links, values) in (labels(), labels(), labels(), labels()),
    ) -> Texts {
        Texts { identity: identity.map(Into::into), labels, annotations, links, values }
    }
}

fn occurrences() -> impl Strategy<Value = Occurrences> {
    let occurrence = (prop::sample::select(Occurred::ALL.to_vec()), time());
    let occurrence = occurrence.prop_map(|(what, at)| Occurrence { what, at });
    vec(occurrence, 0..4).prop_map(Occurrences::from_iter)
}

prop_compose! {
    /// Described by a model of its own, which has yet to be given its number.
    fn alert_row()(
        (source, model, texts) in (name(), any_texts(), any_texts()),
        fingerprint: u64,
        state in prop::sample::select(State::ALL.to_vec()),
        (starts_at, ends_at, first_seen) in (time(), option::of(time()), time()),
        (last_seen, expires_at, recent) in (time(), time(), vec(time(), 0..5)),
        occurrences in occurrences(),
        (episodes, flapping, doubted) in any::<(u32, bool, bool)>(),
    ) -> AlertRow {
        let model = Arc::new(Model { no: ModelNo(0), source, texts: model });
        AlertRow {
            words: Words::describe(&model, &texts), fingerprint: Fingerprint(fingerprint), state,
            starts_at, ends_at, first_seen, last_seen, expires_at, episodes, recent, flapping, doubted,
            occurrences,
        }
    }
}

/// The rows of alerts, and of a model for each that has its number.
fn described(alerts: BTreeMap<AlertNo, Option<AlertRow>>) -> Changes {
    let mut changes = Changes {
        alerts,
        ..Changes::default()
    };
    for (no, row) in &mut changes.alerts {
        let numbered = row.as_mut().map(|row| {
            let Model { source, texts, .. } = row.words.model().as_ref();
            let (source, texts) = (source.clone(), texts.clone());
            let model = Arc::new(Model {
                no: ModelNo(no.0),
                source,
                texts,
            });
            row.words =
                Words::read(&model, row.words.own()).expect("the same difference from the same texts");
            model
        });
        changes.models.insert(ModelNo(no.0), numbered);
    }
    changes
}

prop_compose! {
    fn told_row()(said in said(), episodes: u32, at in time(), digest: u64) -> ToldRow {
        ToldRow { said, episodes, at, digest: DigestId(digest) }
    }
}

fn covers() -> impl Strategy<Value = Vec<Cover>> {
    let cover = (any::<u64>().prop_map(AlertNo), said(), any::<u32>());
    vec(cover, 0..5)
}

prop_compose! {
    fn in_flight_row()(
        (receiver, endpoint, parts, urgent) in (name(), option::of(name()), any::<u8>(), any::<bool>()),
        (body, attempts) in any::<(Vec<u8>, u32)>(),
        covers in covers(),
    ) -> InFlightRow {
        InFlightRow { receiver, endpoint, parts, urgent, body: body.into(), covers, attempts }
    }
}

prop_compose! {
    fn receipt_row()(
        (receiver, endpoint, receipt) in (name(), name(), any::<String>()),
        (shared, last, tells, read) in any::<(u32, bool, bool, bool)>(),
        sent_at in time(),
        announced in vec(any::<u64>().prop_map(AlertNo), 0..5),
    ) -> ReceiptRow {
        let receipt = receipt.into();
        ReceiptRow { receiver, endpoint, receipt, shared, sent_at, last, tells, announced, read }
    }
}

prop_compose! {
    fn later_row()(
        (recalled_at, asked_at) in (option::of(time()), option::of(time())),
        read_by in btree_map("ann|bob|王芳", time(), 0..3),
    ) -> LaterRow {
        LaterRow { recalled_at, asked_at, read_by }
    }
}

prop_compose! {
    fn endpoint_row()(
        sent in vec(time(), 0..5),
        pause in option::of((option::of(time()), any::<String>())),
        (month, used) in any::<(i32, u64)>(),
        counted_at in option::of(time()),
    ) -> EndpointRow {
        EndpointRow { sent, pause, month, used, counted_at }
    }
}

prop_compose! {
    fn digest_row()(
        (receiver, composed_at) in (name(), time()),
        (detail, outcome) in any::<(String, String)>(),
        counts in btree_map(any::<String>(), any::<u64>(), 0..4),
    ) -> DigestRow {
        DigestRow { receiver, composed_at, detail, counts, outcome }
    }
}

prop_compose! {
    fn message_row()(
        (endpoint, sent_at) in (option::of(name()), option::of(time())),
        (attempts, errcode) in any::<(u32, Option<i64>)>(),
        (outcome, answer, covers) in (any::<Option<String>>(), any::<Option<String>>(), covers()),
        (title, text) in any::<(String, String)>(),
    ) -> MessageRow {
        MessageRow { endpoint, sent_at, attempts, outcome, errcode, answer, covers, title, text }
    }
}

prop_compose! {
    fn person_key()(
        (base_url, app) in ("[ab]", "[ab]"),
        known_by in "mobile:[1-3]|[^\0]{0,3}",
    ) -> PersonKey {
        PersonKey { base_url, app, known_by }
    }
}

prop_compose! {
    fn person_row()(user in any::<String>(), at in time()) -> PersonRow {
        PersonRow { user, at }
    }
}

prop_compose! {
    fn changes()(
        alerts in btree_map(key().prop_map(AlertNo), option::of(alert_row()), 0..4),
        told in btree_map((name(), key().prop_map(AlertNo)), option::of(told_row()), 0..4),
        in_flight in btree_map(message_id(), option::of(in_flight_row()), 0..3),
        receipts in btree_map(message_id(), option::of(receipt_row()), 0..3),
        later in btree_map(message_id(), later_row(), 0..3),
        endpoints in btree_map(name(), endpoint_row(), 0..3),
        served in btree_map(name(), time(), 0..3),
        people in btree_map(person_key(), option::of(person_row()), 0..3),
        digests in btree_map(key().prop_map(DigestId), digest_row(), 0..3),
        messages in btree_map(message_id(), message_row(), 0..3),
    ) -> Changes {
        Changes {
            told,
            in_flight,
            receipts,
            endpoints,
            served,
            people,
            digests,
            messages,
            later,
            ..described(alerts)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_store_holds_what_a_naive_model_holds_also_after_it_is_opened_again(
        steps in vec((changes(), any::<bool>()), 1..6),
    ) {
        let directory = directory();
        let mut store = open(&file(&directory));
        let mut model = Naive::default();
        for (changes, reopen) in steps {
            store.commit(&changes).unwrap();
            model.apply(&changes);
            if reopen {
                drop(store);
                store = open(&file(&directory));
            }
            prop_assert_eq!(rows(&mut store), model.saved());
            prop_assert_eq!(store.digests(&asked(None, usize::MAX)).unwrap(), model.history());
        }
    }
}

#[test]
fn numbers_do_not_go_back_when_every_row_is_deleted() {
    let directory = directory();
    let mut store = open(&file(&directory));
    let id = MessageId {
        digest: DigestId(9),
        part: 1,
    };
    store.commit(&one_alert(41, 10)).unwrap();
    store
        .commit(&Changes {
            alerts: [(AlertNo(41), None)].into(),
            in_flight: [(id, None)].into(),
            ..Changes::default()
        })
        .unwrap();
    drop(store);
    let saved = open(&file(&directory)).load().unwrap();
    assert_eq!((saved.next_alert, saved.next_digest), (AlertNo(42), DigestId(10)));
    assert_eq!(saved.alerts, []);
}

#[test]
fn who_goes_on_from_what_is_saved_has_a_name_of_its_own() {
    let mut store = open(&file(&directory()));
    let first = store.load().unwrap().run;
    assert_eq!((first.len(), u64::from_str_radix(&first, 16).is_ok()), (16, true));
    assert_ne!(store.load().unwrap().run, first);
}

// ---- history --------------------------------------------------------------------------------------------------

fn asked(receiver: Option<&str>, limit: usize) -> DigestQuery {
    DigestQuery {
        receiver: receiver.map(ReceiverName::from),
        limit,
        ..DigestQuery::default()
    }
}

#[test]
fn history_knows_which_digests_tell_of_an_alert() {
    let directory = directory();
    let mut store = open(&file(&directory));
    let mut changes = history(6);
    for (digest, part) in [(2, 1), (3, 2), (5, 1), (5, 2)] {
        let id = MessageId {
            digest: DigestId(digest),
            part,
        };
        let message = changes.messages.get_mut(&id).unwrap();
        message.covers = vec![
            (AlertNo(41), Said::Firing, 1),
            (AlertNo(digest), Said::Resolved, 2),
        ];
    }
    store.commit(&changes).unwrap();
    let mut ids = |query: DigestQuery| -> Vec<u64> {
        let told = store.digests(&query).unwrap();
        told.iter().map(|told| told.id.0).collect()
    };
    let about = |alert, query| DigestQuery {
        alerts: vec![AlertNo(alert)],
        ..query
    };
    assert_eq!(ids(about(41, asked(None, 9))), [5, 3, 2]);
    assert_eq!(ids(about(41, asked(None, 1))), [5]);
    assert_eq!(ids(about(41, asked(Some("db"), 9))), [5, 3]);
    assert_eq!(ids(about(5, asked(None, 9))), [5]);
    assert_eq!(ids(about(6, asked(None, 9))), [0_u64; 0]);
}

#[test]
fn history_is_newest_first_and_of_one_receiver_when_asked() {
    let directory = directory();
    let mut store = open(&file(&directory));
    store.commit(&history(6)).unwrap();
    let mut ids = |receiver: Option<&str>, limit| -> Vec<u64> {
        let told = store.digests(&asked(receiver, limit)).unwrap();
        told.iter().map(|told| told.id.0).collect()
    };
    assert_eq!(ids(None, 4), [6, 5, 4, 3]);
    assert_eq!(ids(Some("ops"), 2), [6, 4]);
    assert_eq!(ids(Some("nobody"), 2), [0_u64; 0]);
    assert_eq!(ids(None, 0), [0_u64; 0]);
}

#[test]
fn pruning_forgets_digests_of_before_with_their_messages_and_nothing_else() {
    let directory = directory();
    let mut store = open(&file(&directory));
    store.commit(&history(6)).unwrap();
    store.commit(&one_alert(1, 10)).unwrap();
    store.prune(Timestamp(4000)).unwrap();
    let told = store.digests(&asked(None, 10)).unwrap();
    let left: Vec<_> = told.iter().map(|told| (told.id.0, told.messages.len())).collect();
    assert_eq!(left, [(6, 2), (5, 2), (4, 2)]);
    let messages: i64 = (store.connection)
        .query_row("SELECT count(*) FROM message", [], |row| row.get(0))
        .unwrap();
    assert_eq!(messages, 6);
    assert_eq!(store.load().unwrap().alerts.len(), 1);
}

#[test]
fn pruning_goes_in_steps_oldest_first() {
    let directory = directory();
    let mut store = open(&file(&directory));
    let step = DIGESTS_PRUNED_MAX.unsigned_abs();
    store.commit(&history(step + 5)).unwrap();
    store.prune(Timestamp(i64::MAX)).unwrap();
    let left = store.digests(&asked(None, usize::MAX)).unwrap();
    assert_eq!(
        (left.len(), left.last().map(|told| told.id.0)),
        (5, Some(step + 1))
    );
    store.prune(Timestamp(i64::MAX)).unwrap();
    assert_eq!(store.digests(&asked(None, usize::MAX)).unwrap(), []);
}

#[test]
fn of_each_source_the_newest_refused_bodies_are_kept_and_only_their_first_bytes() {
    let directory = directory();
    let mut store = open(&file(&directory));
    let body = |source: &str, at| RefusedBody {
        source: SourceName::from(source),
        at: Timestamp(at),
        reason: "not JSON".to_owned(),
        body: vec![b'x'; REFUSED_BODY_BYTES_MAX + 1],
    };
    store.keep_refused(&body("quiet", 0)).unwrap();
    for at in 1..=i64::try_from(REFUSED_KEPT_MAX).unwrap() + 3 {
        store.keep_refused(&body("loud", at)).unwrap();
    }
    let kept = store.refused(None, usize::MAX).unwrap();
    let summary: Vec<_> = kept
        .iter()
        .map(|body| (body.source.as_str(), body.at.0))
        .collect();
    let loud = (4..=23).rev().map(|at| ("loud", at));
    assert_eq!(summary, loud.chain([("quiet", 0)]).collect::<Vec<_>>());
    assert!(kept.iter().all(|body| body.body.len() == REFUSED_BODY_BYTES_MAX));
    assert_eq!(store.refused(None, 2).unwrap().len(), 2);
    let of =
        |store: &mut SqliteStore, source| store.refused(Some(&SourceName::from(source)), 100).unwrap().len();
    assert_eq!(
        (
            of(&mut store, "quiet"),
            of(&mut store, "loud"),
            of(&mut store, "nobody")
        ),
        (1, 20, 0)
    );
}

// ---- what can be wrong with a file ----------------------------------------------------------------------------

/// The path of a test's directory does not belong into a snapshot.
#[track_caller]
fn check_refused(result: Result<SqliteStore, StoreError>, path: &Path, expected: &str) {
    let error = result.expect_err("a store that is refused");
    let directory = path.parent().unwrap().display().to_string();
    assert_eq!(error.to_string().replace(&directory, "DIR"), expected);
}

#[test]
fn a_new_file_can_be_read_by_its_owner_only() {
    let directory = directory();
    let mut store = open(&file(&directory));
    store.commit(&one_alert(1, 10)).unwrap();
    for entry in fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", entry.path().display());
    }
}

#[test]
fn a_second_store_on_the_same_file_is_refused() {
    let directory = directory();
    let path = file(&directory);
    let store = open(&path);
    let sentence = "`DIR/dingest.db` is in use by another dingest; stop that one, or give this one another \
                    `store.path`";
    check_refused(SqliteStore::open(&path), &path, sentence);
    drop(store);
    open(&path);
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let directory = directory();
    let path = directory.path().join("state/dingest.db");
    check_refused(
        SqliteStore::open(&path),
        directory.path().join("x").as_path(),
        "`DIR/state/dingest.db`: there is no directory `DIR/state`; create it, or set another `store.path`",
    );
}

#[test]
fn a_directory_in_place_of_the_file_is_refused() {
    let directory = directory();
    fs::create_dir(file(&directory)).unwrap();
    let error = SqliteStore::open(&file(&directory)).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
}

#[test]
fn a_file_that_may_only_be_read_is_refused() {
    let directory = directory();
    let path = file(&directory);
    drop(open(&path));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    // The superuser may write whatever the mode says.
    if OpenOptions::new().append(true).open(&path).is_err() {
        let error = SqliteStore::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
    } else {
        open(&path);
    }
}

#[test]
fn a_file_of_a_newer_version_is_refused_and_left_alone() {
    let directory = directory();
    let path = file(&directory);
    let store = open(&path);
    store.connection.pragma_update(None, "user_version", 7).unwrap();
    drop(store);
    let before = fs::read(&path).unwrap();
    check_refused(
        SqliteStore::open(&path),
        &path,
        "`DIR/dingest.db` has schema 7, this version knows up to 1; run the dingest that wrote it, or a newer one",
    );
    assert!(fs::read(&path).unwrap() == before, "the file was changed");
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let directory = directory();
    let path = file(&directory);
    let text = "not a database\n".repeat(100);
    fs::write(&path, &text).unwrap();
    check_refused(
        SqliteStore::open(&path),
        &path,
        "`DIR/dingest.db` is damaged (file is not a database); move it aside to start empty, or restore it from a \
         backup",
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn a_database_of_another_program_is_refused() {
    let directory = directory();
    let path = file(&directory);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE grafana (id INTEGER)").unwrap();
    drop(other);
    check_refused(
        SqliteStore::open(&path),
        &path,
        "`DIR/dingest.db` is damaged (a database of another program); move it aside to start empty, or restore it \
         from a backup",
    );
}

/// A closed file with a few hundred pages of alerts.
fn filled(path: &Path) {
    let mut store = open(path);
    let rows = (1..=500).map(|no| (AlertNo(no), Some(alert(&"x".repeat(1000)))));
    store
        .commit(&Changes {
            models: models(),
            alerts: rows.collect(),
            ..Changes::default()
        })
        .unwrap();
}

#[track_caller]
fn check_damage(damage: impl FnOnce(&mut Vec<u8>)) {
    let directory = directory();
    let path = file(&directory);
    filled(&path);
    let mut bytes = fs::read(&path).unwrap();
    damage(&mut bytes);
    fs::write(&path, bytes).unwrap();
    let error = SqliteStore::open(&path)
        .and_then(|mut store| store.load())
        .unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

#[test]
fn damage_is_found_at_the_latest_when_the_engine_loads() {
    check_damage(|bytes| bytes.truncate(bytes.len() / 2));
    check_damage(|bytes| bytes.truncate(5000));
    check_damage(|bytes| bytes[40 * 4096..44 * 4096].fill(0));
    check_damage(|bytes| bytes[40 * 4096..44 * 4096].fill(0xff));
    check_damage(|bytes| bytes[..100].fill(0x55));
    check_damage(|bytes| {
        let place = bytes
            .windows(11)
            .rposition(|text| text == b"9:alertname")
            .unwrap();
        bytes[place] = b'8';
    });
}

#[test]
fn a_row_that_cannot_be_read_is_named() {
    let cases = [
        (
            "UPDATE model SET labels = '9:x' WHERE id = 0",
            "table `model`, row 0, column `labels`: not a set of labels",
        ),
        (
            "UPDATE model SET source = 70 WHERE id = 0",
            "table `model`, row 0, column `source`: the number of no name",
        ),
        (
            "UPDATE alert SET model = 70 WHERE id = 7",
            "table `alert`, row 7, column `model`: the number of no model",
        ),
        (
            "UPDATE alert SET own = CAST(own || '@' AS BLOB) WHERE id = 7",
            "table `alert`, row 7, column `own`: no difference from its model",
        ),
        (
            "UPDATE alert SET own = x'ff' WHERE id = 7",
            "table `alert`, row 7, column `own`: no difference from its model",
        ),
        (
            "UPDATE alert SET facts = CAST(substr(facts, 1, length(facts) - 1) || x'80' AS BLOB) WHERE id = 7",
            "table `alert`, row 7, column `facts`: not the facts of an alert",
        ),
        (
            "UPDATE alert SET facts = CAST(x'03' || substr(facts, 2) AS BLOB) WHERE id = 7",
            "table `alert`, row 7, column `facts`: not the facts of an alert",
        ),
        (
            "UPDATE alert SET facts = substr(facts, 1, 12) WHERE id = 7",
            "table `alert`, row 7, column `facts`: not the facts of an alert",
        ),
        (
            "INSERT INTO endpoint VALUES (0, x'80', NULL, NULL, 0, 0, NULL)",
            "table `endpoint`, row 0, column `sent`: not a list of times",
        ),
        (
            "INSERT INTO served VALUES (70, 1)",
            "table `served`, row 70, column `receiver`: the number of no name",
        ),
        (
            "INSERT INTO told VALUES (0, 7, 'firing', -1, 1, 1)",
            "table `told`, row 7, column `episodes`: -1 is out of range",
        ),
        (
            "INSERT INTO in_flight VALUES (257, 0, NULL, 1, 0, x'', x'0203ff', 0)",
            "table `in_flight`, row 257, column `covers`: not a list of what is covered",
        ),
        (
            "INSERT INTO told VALUES (0, 7, 'whispered', 1, 1, 1)",
            "table `told`, row 7, column `said`: not what an alert can be told as",
        ),
    ];
    for (damage, expected) in cases {
        let directory = directory();
        let mut store = open(&file(&directory));
        store.commit(&one_alert(7, 10)).unwrap();
        store.connection.execute_batch(damage).unwrap();
        let error = store.load().unwrap_err();
        let StoreError::Damaged { detail, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(detail, expected);
    }
}

#[test]
fn an_older_file_is_brought_up_to_date_with_its_rows() {
    const STEPS: [&str; 2] = [
        schema::MIGRATIONS[0],
        "ALTER TABLE refused ADD COLUMN seen INTEGER NOT NULL DEFAULT 5",
    ];
    let directory = directory();
    let path = file(&directory);
    let mut store = SqliteStore::open_with(&path, &STEPS[..1]).unwrap();
    store.commit(&one_alert(7, 10)).unwrap();
    let before = rows(&mut store);
    drop(store);

    let mut store = SqliteStore::open_with(&path, &STEPS).unwrap();
    store
        .connection
        .execute_batch("INSERT INTO refused VALUES (1, 0, 0, '', x'', 6)")
        .unwrap();
    assert_eq!(rows(&mut store), before);
    drop(store);
    let error = SqliteStore::open_with(&path, &STEPS[..1]).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::NewerSchema {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_step_that_fails_leaves_the_older_file_as_it_was() {
    let directory = directory();
    let path = file(&directory);
    drop(open(&path));
    let steps = [
        schema::MIGRATIONS[0],
        "CREATE TABLE extra (id INTEGER); CREATE TABLE extra (id INTEGER)",
    ];
    SqliteStore::open_with(&path, &steps).unwrap_err();
    let store = open(&path);
    (store.connection)
        .query_row("SELECT count(*) FROM extra", [], |row| row.get::<_, i64>(0))
        .unwrap_err();
}

// ---- a disk that cannot be written, and can be again ----------------------------------------------------------

/// A commit under `obstacle` fails as `expected`, changes nothing, and succeeds once it is `removed`.
#[track_caller]
fn check_obstacle(obstacle: &str, expected: fn(&StoreError) -> bool, removed: &str) {
    let directory = directory();
    let mut store = open(&file(&directory));
    store.commit(&one_alert(1, 10)).unwrap();
    let before = rows(&mut store);
    let mut large = one_alert(2, 100_000);
    large
        .served
        .insert(ReceiverName::from("a new name"), Timestamp(1));

    store.connection.execute_batch(obstacle).unwrap();
    for _ in 0..3 {
        let error = store.commit(&large).unwrap_err();
        assert!(expected(&error), "{error}");
        assert_eq!(rows(&mut store), before);
    }
    store.connection.execute_batch(removed).unwrap();
    store.commit(&large).unwrap();
    let after = rows(&mut store);
    assert_eq!(
        (after.alerts.len(), after.served.len(), after.next_alert),
        (2, 1, AlertNo(3))
    );
    drop(store);
    assert_eq!(rows(&mut open(&file(&directory))), after);
}

#[test]
fn a_full_disk_fails_the_commit_and_nothing_else() {
    check_obstacle(
        "PRAGMA max_page_count = 1",
        |error| matches!(error, StoreError::Full { .. }),
        "PRAGMA max_page_count = 1000000",
    );
}

/// What a crash at this moment would leave.
fn after_a_crash(directory: &TempDir) -> Saved {
    let copy = self::directory();
    for name in ["dingest.db", "dingest.db-wal"] {
        fs::copy(directory.path().join(name), copy.path().join(name)).unwrap();
    }
    rows(&mut open(&file(&copy)))
}

#[test]
fn a_log_that_was_deleted_is_written_anew_and_takes_nothing_with_it() {
    let directory = directory();
    let mut store = open(&file(&directory));
    store.commit(&one_alert(1, 10)).unwrap();
    fs::remove_file(directory.path().join("dingest.db-wal")).unwrap();
    store.commit(&one_alert(2, 10)).unwrap();
    let saved = after_a_crash(&directory);
    assert_eq!(saved.alerts.len(), 2);
    assert_eq!(saved, rows(&mut store));
    // Another file in its place is as bad as none.
    fs::rename(
        directory.path().join("dingest.db-wal"),
        directory.path().join("aside"),
    )
    .unwrap();
    fs::write(directory.path().join("dingest.db-wal"), "not a log").unwrap();
    store.commit(&one_alert(3, 10)).unwrap();
    assert_eq!(after_a_crash(&directory).alerts.len(), 3);
}

#[test]
fn a_file_that_was_emptied_is_not_taken_for_a_new_one() {
    let directory = directory();
    let mut store = open(&file(&directory));
    store.commit(&one_alert(1, 10)).unwrap();
    let crashed = self::directory();
    fs::copy(
        directory.path().join("dingest.db-wal"),
        crashed.path().join("dingest.db-wal"),
    )
    .unwrap();
    fs::write(file(&crashed), "").unwrap();
    let error = SqliteStore::open(&file(&crashed)).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(crashed.path().join("dingest.db-wal").exists());
}

#[test]
fn a_file_that_was_cut_short_takes_no_more_commits() {
    let directory = directory();
    let mut store = open(&file(&directory));
    store.commit(&one_alert(1, 10)).unwrap();
    // Into the file.
    store.connection.execute_batch("PRAGMA wal_checkpoint").unwrap();
    store.commit(&one_alert(2, 10)).unwrap();
    let file = fs::OpenOptions::new().write(true).open(file(&directory)).unwrap();
    file.set_len(4096).unwrap();
    for _ in 0..2 {
        let error = store.commit(&one_alert(3, 10)).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("to 4096 bytes"), "{error}");
    }
}

#[test]
fn a_disk_that_became_read_only_fails_the_commit_and_nothing_else() {
    check_obstacle(
        "PRAGMA query_only = ON",
        |error| matches!(error, StoreError::ReadOnly { .. }),
        "PRAGMA query_only = OFF",
    );
}

#[test]
fn nothing_is_confirmed_while_the_file_is_gone() {
    let directory = directory();
    let (path, aside) = (file(&directory), directory.path().join("aside"));
    let mut store = open(&path);
    fs::rename(&path, &aside).unwrap();
    let error = store.commit(&one_alert(1, 10)).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
    fs::write(&path, "").unwrap();
    let error = store.commit(&one_alert(1, 10)).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
    fs::rename(&aside, &path).unwrap();
    store.commit(&one_alert(1, 10)).unwrap();
}

#[test]
fn the_log_stays_small_however_much_is_committed() {
    let directory = directory();
    let mut store = open(&file(&directory));
    let log = directory.path().join("dingest.db-wal");
    let bound = u64::from(LOG_PAGES) * 4096 * 3 / 2;
    // The same rows again and again: the file's size is bounded too.
    for round in 0..200 {
        let rows = (1..=100).map(|no| (AlertNo(no), Some(alert(&"x".repeat(3000)))));
        let changes = Changes {
            alerts: rows.collect(),
            ..Changes::default()
        };
        store.commit(&changes).unwrap();
        let bytes = fs::metadata(&log).unwrap().len();
        assert!(bytes < bound, "{bytes} bytes after {round} rounds");
    }
    let bytes = fs::metadata(file(&directory)).unwrap().len();
    assert!(bytes < 4_000_000, "{bytes} bytes");
}

// ---- a process that is killed ---------------------------------------------------------------------------------

const VICTIM: &str = "DINGEST_TEST_VICTIM_OF";

/// Rows of every kind that belong to one commit.
fn whole_commit(number: u64) -> Changes {
    let id = MessageId {
        digest: DigestId(number),
        part: 1,
    };
    let receiver = ReceiverName::from(format!("receiver-{}", number % 50));
    let told = ToldRow {
        said: Said::Firing,
        episodes: 1,
        at: Timestamp(1),
        digest: id.digest,
    };
    let mut changes = Changes {
        models: models(),
        ..Changes::default()
    };
    for no in (number * 3..number * 3 + 3).map(AlertNo) {
        changes.alerts.insert(no, Some(alert("killed")));
        changes.told.insert((receiver.clone(), no), Some(told));
    }
    changes.digests.insert(id.digest, digest("ops", 1));
    changes.messages.insert(id, message("killed"));
    changes
}

/// A process that commits until it is killed, saying on standard output which commits are durable.
struct Victim {
    process: Child,
    durable: Box<dyn Iterator<Item = u64>>,
}

impl Victim {
    /// Runs this test binary again, in it only the test that becomes the victim.
    fn start(path: &Path) -> Self {
        let test = "store::sqlite::tests::after_a_kill_every_confirmed_commit_is_there_and_each_is_whole";
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(VICTIM, path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let durable = lines.map_while(Result::ok);
        let durable = durable.filter_map(|line| line.strip_prefix("durable ")?.parse().ok());
        Self {
            process,
            durable: Box::new(durable),
        }
    }

    /// Waits for so many commits and returns the number of the last.
    fn wait_for(&mut self, commits: usize) -> u64 {
        self.durable.nth(commits - 1).expect("a victim that commits")
    }

    /// Kills it and returns what it said since.
    fn kill(mut self) -> Option<u64> {
        self.process.kill().unwrap();
        let last = self.durable.last();
        self.process.wait().unwrap();
        last
    }
}

fn be_the_victim(path: &Path) -> ! {
    let mut store = open(path);
    let first = store.load().unwrap().next_digest.0;
    for number in first.. {
        store.commit(&whole_commit(number)).unwrap();
        // On a line of its own, whatever the harness has printed before.
        println!("\ndurable {number}");
    }
    unreachable!("commits are not that many")
}

#[test]
fn after_a_kill_every_confirmed_commit_is_there_and_each_is_whole() {
    if let Some(path) = std::env::var_os(VICTIM) {
        be_the_victim(Path::new(&path));
    }
    let directory = directory();
    let path = file(&directory);
    for commits in [1, 2, 30, 100, 300, 1000] {
        let mut victim = Victim::start(&path);
        let confirmed = victim.wait_for(commits);
        let confirmed = victim.kill().unwrap_or(confirmed);
        check_whole(&path, confirmed);
    }
}

#[test]
fn a_store_that_another_process_has_is_refused_until_that_is_gone() {
    let directory = directory();
    let path = file(&directory);
    let mut victim = Victim::start(&path);
    victim.wait_for(1);
    let refused = SqliteStore::open(&path).unwrap_err();
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
    victim.kill();
    open(&path);
}

#[track_caller]
fn check_whole(path: &Path, last_confirmed: u64) {
    let mut store = open(path);
    let found = rows(&mut store);
    // The commit under way at the kill may be there, but then it is whole.
    let last = found.next_digest.0 - 1;
    assert!(
        (last_confirmed..=last_confirmed + 1).contains(&last),
        "{last_confirmed}, {last}"
    );
    let mut all = Changes::default();
    for number in 1..=last {
        all.merge(whole_commit(number));
    }
    let mut model = Naive::default();
    model.apply(&all);
    assert!(found == model.saved(), "rows are missing or left over");
    assert_eq!(store.digests(&asked(None, usize::MAX)).unwrap(), model.history());
}
