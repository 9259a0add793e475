//! Senders of alerts that behave as an Alertmanager does, and keep a ledger of what was answered.
//!
//! Each sender has groups of alerts that come, go and come back. It posts a group whole, posts it again until it is
//! answered 2xx, and keeps naming an end until it was confirmed twice, as the members of a cluster do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::dice::Dice;
use crate::ledger::Postings;

/// How long a sender waits for an answer; Alertmanager's own limit is of this order.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Alerts of a group that fire at one time.
const FIRING_MAX: usize = 10;
/// Alerts of a group that begin at once in a storm: those of two groups are more than a digest lists.
const STORM_ALERTS: u32 = 250;
/// Episodes of one alert: fewer than what counts as flapping.
const EPISODES_MAX: u32 = 3;
/// How often an end must have been confirmed before it is no longer named.
const ENDS_CONFIRMED: u32 = 2;

/// The wire format of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Alertmanager,
    /// A JSON source that names no times.
    Events,
}

impl Format {
    /// Whom the alerts of such a source are routed to.
    const fn receiver(self) -> &'static str {
        match self {
            Self::Alertmanager => "ops",
            Self::Events => "db",
        }
    }
}

/// All senders together.
#[derive(Debug)]
pub(crate) struct Producer {
    postings: Arc<Mutex<Postings>>,
    finish: watch::Sender<bool>,
    /// How many storms there were.
    storms: watch::Sender<u32>,
    senders: JoinSet<()>,
}

impl Producer {
    /// Four groups of two sources at the daemon of this address.
    pub(crate) fn start(base: &str, dice: &mut Dice) -> Self {
        let postings = Arc::new(Mutex::new(Postings::default()));
        let (finish, finishing) = watch::channel(false);
        let (storms, raging) = watch::channel(0);
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(ANSWER_TIMEOUT)
            .build()
            .expect("a client");
        let mut senders = JoinSet::new();
        for number in 0..4 {
            let (format, source) = if number % 2 == 0 {
                (Format::Alertmanager, "alertmanager")
            } else {
                (Format::Events, "events")
            };
            let group = Group {
                format,
                prefix: format!("g{number}"),
                next: 0,
                items: Vec::new(),
                rested: Vec::new(),
                dice: Dice::new(dice.next()),
                http: http.clone(),
                url: format!("{base}/v1/hooks/{source}"),
                postings: Arc::clone(&postings),
            };
            senders.spawn(group.run(finishing.clone(), raging.clone()));
        }
        Self {
            postings,
            finish,
            storms,
            senders,
        }
    }

    /// The ledger as it stands.
    pub(crate) fn postings(&self) -> Postings {
        lock(&self.postings).clone()
    }

    /// How often this was answered so far.
    pub(crate) fn answered(&self, status: u16) -> u64 {
        lock(&self.postings)
            .answers
            .get(&status)
            .copied()
            .unwrap_or_default()
    }

    /// Lets a storm of alerts begin.
    pub(crate) fn storm(&self) {
        self.storms.send_modify(|storms| *storms += 1);
    }

    /// Ends every alert, waits until all ends are confirmed, and hands the ledger over.
    pub(crate) async fn finish(mut self) -> Postings {
        self.finish.send_replace(true);
        while let Some(ended) = self.senders.join_next().await {
            ended.expect("a sender does not panic");
        }
        self.postings()
    }
}

/// One alert of a group.
#[derive(Clone, Debug)]
struct Item {
    node: String,
    episodes: u32,
    starts_at: Timestamp,
    ends_at: Option<Timestamp>,
    ends_confirmed: u32,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Posting {
    Answered(u16),
    /// Nobody heard it, or the connection broke.
    Broken,
    /// No answer came in time. The request stands where it was put.
    GivenUp,
}

struct Group {
    format: Format,
    prefix: String,
    next: u32,
    items: Vec<Item>,
    /// Over, and not named any more; they may come back.
    rested: Vec<Item>,
    dice: Dice,
    http: reqwest::Client,
    url: String,
    postings: Arc<Mutex<Postings>>,
}

impl Group {
    async fn run(mut self, finishing: watch::Receiver<bool>, mut raging: watch::Receiver<u32>) {
        // Storms before it began are none of its own.
        raging.mark_unchanged();
        loop {
            let finish = *finishing.borrow();
            if finish {
                self.end_all();
            } else {
                self.live();
                if raging.has_changed().unwrap_or(false) {
                    raging.mark_unchanged();
                    self.begin(STORM_ALERTS);
                }
            }
            if self.items.is_empty() {
                if finish {
                    return;
                }
            } else {
                let body = self.body().to_string();
                // The members of a cluster say the same.
                let copies = 1 + u8::from(self.dice.percent(25));
                for _ in 0..copies {
                    self.note_begins();
                    match self.post(body.clone()).await {
                        Posting::Answered(status) => self.note_answer(status),
                        Posting::Broken => self.note_answer(0),
                        Posting::GivenUp => {
                            self.note_answer(0);
                            self.note_stray();
                        }
                    }
                }
                self.items.retain(|item| item.ends_confirmed < ENDS_CONFIRMED);
            }
            tokio::time::sleep(Duration::from_millis(self.dice.range(500, 1_100))).await;
        }
    }

    /// Alerts come, go and come back.
    fn live(&mut self) {
        for index in 0..self.items.len() {
            if self.items[index].ends_at.is_none() && self.dice.percent(25) {
                self.items[index].ends_at = Some(Timestamp::now());
            }
        }
        if self.items.len() >= FIRING_MAX {
            return;
        }
        if self.dice.percent(25) && !self.rested.is_empty() {
            let index = usize::try_from(self.dice.range(0, self.rested.len() as u64)).expect("an index");
            let mut item = self.rested.swap_remove(index);
            item.episodes += 1;
            item.starts_at = Timestamp::now();
            item.ends_at = None;
            item.ends_confirmed = 0;
            self.items.push(item);
        }
        let number = u32::from(*self.dice.pick(&[0_u8, 1, 2]));
        self.begin(number);
    }

    fn begin(&mut self, number: u32) {
        for _ in 0..number {
            self.next += 1;
            self.items.push(Item {
                node: format!("{}n{}", self.prefix, self.next),
                episodes: 1,
                starts_at: Timestamp::now(),
                ends_at: None,
                ends_confirmed: 0,
            });
        }
    }

    fn end_all(&mut self) {
        for item in &mut self.items {
            item.ends_at.get_or_insert_with(Timestamp::now);
        }
    }

    fn body(&self) -> Value {
        let alerts: Vec<Value> = self.items.iter().map(|item| self.alert(item)).collect();
        match self.format {
            Format::Alertmanager => json!({
                "version": "4",
                "groupKey": "{}:{}",
                "status": "firing",
                "receiver": "dingest",
                "externalURL": "http://alertmanager-1.example.com",
                "alerts": alerts,
            }),
            Format::Events => json!({ "events": alerts }),
        }
    }

    fn alert(&self, item: &Item) -> Value {
        let status = if item.ends_at.is_none() {
            "firing"
        } else {
            "resolved"
        };
        // One in eight is critical, the same one every time.
        let severity = if item.node.ends_with('8') {
            "critical"
        } else {
            "warning"
        };
        match self.format {
            Format::Alertmanager => json!({
                "status": status,
                "labels": { "alertname": "NodeDown", "node": item.node, "severity": severity },
                "annotations": { "summary": "it does not answer" },
                "startsAt": item.starts_at.to_string(),
                "endsAt": item.ends_at.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |at| at.to_string()),
            }),
            Format::Events => json!({ "node": item.node, "status": status, "severity": severity }),
        }
    }

    async fn post(&self, body: String) -> Posting {
        let request = self
            .http
            .post(&self.url)
            .header("content-type", "application/json");
        let answer = async {
            let response = request.body(body).send().await?;
            let status = response.status().as_u16();
            // An answer counts when all of it has arrived.
            response.bytes().await.map(|_| status)
        };
        match answer.await {
            Ok(status) => Posting::Answered(status),
            Err(error) if error.is_timeout() => Posting::GivenUp,
            Err(_) => Posting::Broken,
        }
    }

    fn note_begins(&self) {
        let mut postings = lock(&self.postings);
        for item in &self.items {
            let posted = postings.alerts.entry(item.node.clone()).or_default();
            posted.receiver = self.format.receiver();
            if posted.begun < item.episodes {
                posted.begun = item.episodes;
                posted.over = false;
            }
        }
    }

    /// A request was given up that may still be taken in.
    fn note_stray(&self) {
        if self.format != Format::Events {
            return;
        }
        let mut postings = lock(&self.postings);
        for item in self.items.iter().filter(|item| item.ends_at.is_none()) {
            if let Some(posted) = postings.alerts.get_mut(&item.node) {
                posted.stray_begins += 1;
            }
        }
    }

    fn note_answer(&mut self, status: u16) {
        let mut postings = lock(&self.postings);
        *postings.answers.entry(status).or_default() += 1;
        if status != 200 {
            return;
        }
        for item in &mut self.items {
            let Some(posted) = postings.alerts.get_mut(&item.node) else {
                continue;
            };
            if item.ends_at.is_none() {
                posted.promised = true;
            } else {
                posted.over = true;
                item.ends_confirmed += 1;
                if item.ends_confirmed == ENDS_CONFIRMED && item.episodes < EPISODES_MAX {
                    self.rested.push(item.clone());
                }
            }
        }
    }
}

fn lock(postings: &Mutex<Postings>) -> MutexGuard<'_, Postings> {
    postings.lock().unwrap_or_else(PoisonError::into_inner)
}
