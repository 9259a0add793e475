//! The driver with a store that can be held and broken, and the real stand-in as DingTalk.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as blocking;

use futures_util::FutureExt as _;

use super::*;
use crate::alert::{Fingerprint, Labels, Status, Timestamp};
use crate::config;
use crate::dingtalk::simulator::fault::{Fault, Injection};
use crate::dingtalk::simulator::rules::Call;
use crate::dingtalk::simulator::{Simulator, SimulatorSettings};
use crate::store::sqlite::SqliteStore;
use crate::store::{Changes, DigestQuery, Saved};

/// A store whose commits wait for permission, or fail.
struct TestStore {
    store: SqliteStore,
    broken: Arc<AtomicBool>,
    unreadable: Arc<AtomicBool>,
    /// Lets reads of the history panic.
    cursed: Arc<AtomicBool>,
    /// Announces each commit; it goes on when the other end answers or is gone.
    announce: Option<(mpsc::UnboundedSender<Changes>, blocking::Receiver<()>)>,
}

impl Store for TestStore {
    fn load(&mut self) -> Result<Saved, StoreError> {
        if self.unreadable.load(Ordering::SeqCst) {
            return Err(StoreError::Other {
                path: "test".to_owned(),
                detail: "unreadable".to_owned(),
            });
        }
        self.store.load()
    }

    fn commit(&mut self, changes: &Changes) -> Result<(), StoreError> {
        if let Some((announce, permission)) = &self.announce {
            let _ended = announce.send(changes.clone());
            let _ended = permission.recv();
        }
        if self.broken.load(Ordering::SeqCst) {
            return Err(StoreError::Full {
                path: "test".to_owned(),
            });
        }
        self.store.commit(changes)
    }

    fn digests(&mut self, query: &DigestQuery) -> Result<Vec<Told>, StoreError> {
        assert!(!self.cursed.load(Ordering::SeqCst), "a bug");
        self.store.digests(query)
    }

    fn keep_refused(&mut self, body: &RefusedBody) -> Result<(), StoreError> {
        self.store.keep_refused(body)
    }

    fn refused(&mut self, source: Option<&SourceName>, limit: usize) -> Result<Vec<RefusedBody>, StoreError> {
        self.store.refused(source, limit)
    }

    fn prune(&mut self, before: Timestamp) -> Result<(), StoreError> {
        self.store.prune(before)
    }
}

/// A running driver with everything around it.
struct Running {
    handle: Handle,
    simulator: Simulator,
    broken: Arc<AtomicBool>,
    unreadable: Arc<AtomicBool>,
    cursed: Arc<AtomicBool>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    _plans: watch::Sender<Prepared>,
}

impl Running {
    /// Starts on the database in `directory`; with `announce`, commits wait for permission.
    async fn start(
        directory: &Path,
        announce: Option<(mpsc::UnboundedSender<Changes>, blocking::Receiver<()>)>,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = SimulatorSettings {
            accept_any_token: true,
            ..SimulatorSettings::default()
        };
        let simulator = Simulator::start(settings, listener).unwrap();
        let file = directory.join("dingest.yaml");
        let text = format!(
            "dingtalk: {{ base_url: '{}' }}\n\
             bots: [{{ name: bot, access_token: token }}]\n\
             receivers: [{{ name: ops, bots: [bot] }}]\n\
             route: {{ receiver: ops, group_wait: 1ms, group_interval: 1ms }}\n\
             store: {{ path: test.db }}\n",
            simulator.url()
        );
        std::fs::write(&file, text).unwrap();
        let loaded = config::load(Some(&file), directory).unwrap();
        let broken = Arc::new(AtomicBool::new(false));
        let unreadable = Arc::new(AtomicBool::new(false));
        let cursed = Arc::new(AtomicBool::new(false));
        let store = TestStore {
            store: SqliteStore::open(&loaded.plan.store.path).unwrap(),
            broken: Arc::clone(&broken),
            unreadable: Arc::clone(&unreadable),
            cursed: Arc::clone(&cursed),
            announce,
        };
        let prepared = loaded.prepared();
        let (plans, new_plans) = watch::channel(prepared.clone());
        let driver = Driver::start(Box::new(store), prepared, Client::new(), Arc::new(Metrics::new()));
        let (inbox, asks) = mpsc::channel(64);
        let stop = CancellationToken::new();
        let task = tokio::spawn(driver.unwrap().run(asks, new_plans, stop.clone()));
        Self {
            handle: Handle::new(inbox),
            simulator,
            broken,
            unreadable,
            cursed,
            stop,
            task,
            _plans: plans,
        }
    }

    async fn post(&self, name: &str) -> Result<BTreeMap<Verdict, u32>, Unavailable> {
        self.handle.accept("alertmanager".into(), vec![alert(name)]).await
    }

    /// Waits until the group chat shows `count` messages; answers their texts.
    async fn chat(&self, count: usize) -> Vec<String> {
        let enough = |calls: &[Call]| calls.iter().filter(|call| call.shown).count() >= count;
        let calls = self.simulator.wait_for(enough).await;
        calls
            .into_iter()
            .filter(|call| call.shown)
            .map(|call| call.content.text)
            .collect()
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
        self.simulator.shutdown().await;
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

#[tokio::test]
async fn nothing_leaves_before_it_is_durable() {
    let directory = tempfile::tempdir().unwrap();
    let (announce, mut commits) = mpsc::unbounded_channel();
    let (permit, permission) = blocking::channel();
    let running = Running::start(directory.path(), Some((announce, permission))).await;
    let handle = running.handle.clone();
    let mut reply = tokio::spawn(async move {
        handle
            .accept("alertmanager".into(), vec![alert("DiskFull")])
            .await
    });

    // The alert's commit has begun and has no permission: there is no answer, and no message.
    let changes = tokio::select! {
        _ = &mut reply => panic!("answered before the commit"),
        changes = commits.recv() => changes.unwrap(),
    };
    assert_eq!(changes.alerts.len(), 1);
    assert!(running.simulator.ledger().is_empty());
    permit.send(()).unwrap();
    let tally = reply.await.unwrap().unwrap();
    assert_eq!(tally, BTreeMap::from([(Verdict::New, 1)]));

    // The message's commit has begun: it is in flight on paper, and has not been sent.
    let message = loop {
        let changes = commits.recv().await.unwrap();
        if let Some((_, Some(row))) = changes.in_flight.iter().next() {
            break row.clone();
        }
        permit.send(()).unwrap();
    };
    assert!(running.simulator.ledger().is_empty());
    drop(permit);
    assert_eq!(running.chat(1).await.len(), 1);
    assert!(String::from_utf8_lossy(&message.body).contains("DiskFull"));
    drop(commits);
    running.stop().await;
}

#[tokio::test]
async fn a_pure_repeat_is_answered_without_a_commit() {
    let directory = tempfile::tempdir().unwrap();
    let (announce, mut commits) = mpsc::unbounded_channel();
    let (permit, permission) = blocking::channel();
    let running = Running::start(directory.path(), Some((announce, permission))).await;
    for _ in 0..100 {
        permit.send(()).unwrap();
    }
    running.post("DiskFull").await.unwrap();
    running.chat(1).await;
    // Until told is committed, which is the last there is to write.
    while commits.recv().await.unwrap().told.is_empty() {}
    assert_eq!(
        running.post("DiskFull").await.unwrap(),
        BTreeMap::from([(Verdict::Repeat, 1)])
    );
    assert!(commits.try_recv().is_err(), "a repeat was written");
    running.stop().await;
}

#[tokio::test]
async fn what_a_failing_store_did_not_take_is_refused_and_never_told() {
    let directory = tempfile::tempdir().unwrap();
    let running = Running::start(directory.path(), None).await;
    running.broken.store(true, Ordering::SeqCst);
    assert_eq!(running.post("Lost").await, Err(Unavailable::StoreFailed));
    assert_eq!(running.post("Lost").await, Err(Unavailable::StoreFailed));
    assert!(!running.handle.health().await.unwrap().store_writable);
    assert_eq!(running.handle.health().await.unwrap().counts.firing, 0);

    running.broken.store(false, Ordering::SeqCst);
    while running.post("Kept").await.is_err() {
        tokio::task::yield_now().await;
    }
    let texts = running.chat(1).await;
    assert!(
        texts[0].contains("Kept") && !texts[0].contains("Lost"),
        "{texts:?}"
    );
    running.stop().await;
}

#[tokio::test]
async fn while_the_store_fails_what_is_durable_is_told_and_remembered_once_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    // Durable, but not told: the process ends before.
    let running = Running::start(directory.path(), None).await;
    running.simulator.inject(Injection::times(
        0,
        Fault::Errcode {
            errcode: -1,
            errmsg: None,
            sub_code: None,
        },
    ));
    running.post("Durable").await.unwrap();
    running.stop().await;

    let running = Running::start(directory.path(), None).await;
    running.broken.store(true, Ordering::SeqCst);
    assert_eq!(running.post("Lost").await, Err(Unavailable::StoreFailed));
    let texts = running.chat(1).await;
    assert!(
        texts[0].contains("Durable") && !texts[0].contains("Lost"),
        "{texts:?}"
    );
    running.broken.store(false, Ordering::SeqCst);
    while running.post("Later").await.is_err() {
        tokio::task::yield_now().await;
    }
    let texts = running.chat(2).await;
    assert!(!texts[1].contains("Durable"), "told twice: {texts:?}");
    running.stop().await;

    // The told state reached the disk: nothing is told again.
    let running = Running::start(directory.path(), None).await;
    running.post("Last").await.unwrap();
    let texts = running.chat(1).await;
    assert!(
        texts[0].contains("Last") && !texts[0].contains("Durable"),
        "{texts:?}"
    );
    running.stop().await;
}

#[tokio::test]
async fn what_a_store_neither_took_nor_gave_back_is_told_from_memory_and_written_later() {
    let directory = tempfile::tempdir().unwrap();
    let running = Running::start(directory.path(), None).await;
    running.broken.store(true, Ordering::SeqCst);
    running.unreadable.store(true, Ordering::SeqCst);
    assert_eq!(running.post("Early").await, Err(Unavailable::StoreFailed));
    assert!(running.chat(1).await[0].contains("Early"));
    running.broken.store(false, Ordering::SeqCst);
    while running.post("Early").await.is_err() {
        tokio::task::yield_now().await;
    }
    running.stop().await;

    // What was answered "known" is on disk.
    let running = Running::start(directory.path(), None).await;
    assert_eq!(running.handle.health().await.unwrap().counts.firing, 1);
    running.stop().await;
}

/// The process ends with it: `app`'s vital parts.
#[tokio::test]
async fn a_panic_of_the_stores_thread_ends_the_driver_even_when_there_is_nothing_to_write() {
    let directory = tempfile::tempdir().unwrap();
    let running = Running::start(directory.path(), None).await;
    running.post("Durable").await.unwrap();
    running.chat(1).await;
    running.cursed.store(true, Ordering::SeqCst);
    let asked = running.handle.digests(DigestQuery::default()).await;
    assert!(asked.is_err(), "nobody is left without an answer");
    let error = running.task.await.unwrap_err();
    assert!(
        error.is_panic() && error.to_string().contains("the store's thread died"),
        "{error}"
    );
    assert!(running.handle.health().await.is_err());
}

#[tokio::test]
async fn lists_of_alerts_wait_for_each_other_and_webhooks_do_not_wait_for_them() {
    let (inbox, mut asks) = mpsc::channel(64);
    let handle = Handle::new(inbox);
    let list = || async { handle.alerts(AlertQuery::default()).await };
    let webhook = handle.accept("alertmanager".into(), vec![alert("DiskFull")]);
    let answers = async {
        let Some(Ask::Question(Question::Alerts { reply: first, .. })) = asks.recv().await else {
            panic!("a list is asked for first");
        };
        let Some(Ask::Accept { reply, .. }) = asks.recv().await else {
            panic!("the webhook goes before the second list");
        };
        reply.send(Ok(BTreeMap::new())).unwrap();
        assert!(asks.try_recv().is_err());
        first.send(AlertList::default()).unwrap();
        let Some(Ask::Question(Question::Alerts { reply: second, .. })) = asks.recv().await else {
            panic!("then the second list");
        };
        second.send(AlertList::default()).unwrap();
    };
    let (one, two, taken, ()) = tokio::join!(list(), list(), webhook, answers);
    assert!(one.is_ok() && two.is_ok() && taken.is_ok());
}

#[tokio::test]
async fn one_source_may_have_half_of_the_inbox() {
    let (inbox, mut asks) = mpsc::channel(8);
    let handle = Handle::new(inbox);
    let post = |source: &'static str| handle.accept(source.into(), vec![alert("DiskFull")]);
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let mut post = Box::pin(post("noisy"));
        assert!(post.as_mut().now_or_never().is_none());
        waiting.push(post);
    }
    assert_eq!(post("noisy").await, Err(Unavailable::SourceBusy));
    let mut quiet = Box::pin(post("quiet"));
    assert!(
        quiet.as_mut().now_or_never().is_none(),
        "there is a place for others"
    );

    let Some(Ask::Accept { turn, .. }) = asks.recv().await else {
        panic!("the first webhook is asked for first");
    };
    drop(turn);
    assert!(post("noisy").now_or_never().is_none());
}

#[tokio::test]
async fn a_commit_begins_before_everybody_who_waits_was_let_in() {
    let directory = tempfile::tempdir().unwrap();
    let (announce, mut commits) = mpsc::unbounded_channel();
    let (permit, permission) = blocking::channel();
    let running = Running::start(directory.path(), Some((announce, permission))).await;
    let post = |request: usize| {
        let count = PIECE_ALERTS_MAX / 5 * 3;
        let alerts = (0..count).map(|number| alert(&format!("{request} {number}")));
        running.handle.accept("alertmanager".into(), alerts.collect())
    };
    let posts = tokio::join!(post(1), post(2), post(3), post(4), post(5), async {
        let first = commits.recv().await.unwrap();
        drop((permit, commits));
        first.alerts.len()
    });
    // One that woke the driver, and two that are a piece together.
    assert_eq!(posts.5, PIECE_ALERTS_MAX / 5 * 9);
    for accepted in [posts.0, posts.1, posts.2, posts.3, posts.4] {
        accepted.unwrap();
    }
    running.stop().await;
}

#[tokio::test]
async fn many_alerts_are_handed_over_in_pieces_and_others_are_let_in_between() {
    let (inbox, mut asks) = mpsc::channel(8);
    let handle = Handle::new(inbox);
    let (many, one) = (2 * PIECE_ALERTS_MAX + 1, 1);
    let post = |source: &'static str, count: usize| {
        let alerts = (0..count).map(|number| alert(&number.to_string())).collect();
        handle.accept(source.into(), alerts)
    };
    let answers = async {
        let mut seen = Vec::new();
        while seen.len() < 4 {
            let Some(Ask::Accept {
                source,
                alerts,
                reply,
                ..
            }) = asks.recv().await
            else {
                panic!("webhooks are asked for");
            };
            seen.push((source.to_string(), alerts.len()));
            let count = u32::try_from(alerts.len()).unwrap();
            reply.send(Ok(BTreeMap::from([(Verdict::New, count)]))).unwrap();
        }
        seen
    };
    let (large, small, seen) = tokio::join!(post("noisy", many), post("quiet", one), answers);
    assert_eq!(large.unwrap()[&Verdict::New] as usize, many);
    assert_eq!(small.unwrap()[&Verdict::New] as usize, one);
    let sizes = [
        ("noisy", PIECE_ALERTS_MAX),
        ("quiet", 1),
        ("noisy", PIECE_ALERTS_MAX),
        ("noisy", 1),
    ];
    let expected = sizes.map(|(source, size)| (source.to_owned(), size));
    assert_eq!(seen, expected, "nobody waits for more than one piece");
}
