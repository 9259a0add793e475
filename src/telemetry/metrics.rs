//! The metrics: every name, help text and label.
//!
//! People have no series of their own: there may be many, and who they are is nobody's business here. Those of one
//! receiver are counted together as `RECEIVER/direct`, what they are sent through as `direct/RECEIVER`.
//!
//! Exposed in the classic Prometheus text format, which every scraper reads and `promtool check metrics` checks.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode_registry;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::process::Process;
use crate::alert::{AppName, EndpointName, ReceiverName, SourceName, Span, Timestamp};
use crate::digest::Detail;
use crate::driver::Health;
use crate::engine::view::WaitsFor;
use crate::engine::{Fate, Finding, Outcome, Verdict};
use crate::plan::Quota;
use crate::record::Unrecorded;

/// The name every metric of ours starts with.
const PREFIX: &str = "dingest";
/// What stands for an endpoint where a digest is printed instead of sent.
const CONSOLE: &str = "console";

type Seconds = Gauge<f64, AtomicU64>;
type Count = Gauge<u64, AtomicU64>;

/// What has happened since the process started.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<SourceStatus, Counter>,
    refusals: Family<SourceReason, Counter>,
    refused_dropped: Family<OfSource, Counter>,
    unrecorded: Family<SourceReason, Counter>,
    unrouted: Counter,
    questions: Family<AppOutcome, Counter>,
    received: Family<OfSource, Counter>,
    left_out: Family<SourceReason, Counter>,
    mapping_limits: Family<OfSource, Counter>,
    verdicts: Family<SourceVerdict, Counter>,
    connections: Gauge,
    connections_waited: Counter,
    connections_cut: Family<OfCut, Counter>,
    committed_rows: Counter,
    commit_duration: Histogram,
    commit_failures: Counter,
    messages: Family<EndpointOutcome, Counter>,
    to_nobody: Family<OfEndpoint, Counter>,
    message_duration: Histogram,
    digests: Family<ReceiverDetail, Counter>,
    errands: Family<TaskOutcome, Counter>,
    fates: Family<ReceiverOutcome, Counter>,
    told: Family<ReceiverUrgent, Histogram, fn() -> Histogram>,
    reads: Family<OfReceiver, Histogram, fn() -> Histogram>,
    template_failures: Family<OfReceiver, Counter>,
    reload_successful: Gauge,
    reload_succeeded_at: Seconds,
}

/// What is true at the moment of a scrape.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// The engine's numbers; `None` when it did not answer.
    pub health: Option<&'a Health>,
    /// Messages a month allows, of each quota that is limited.
    pub quotas: &'a [(Quota, u64)],
    /// When the process started.
    pub started_at: Timestamp,
    /// The time.
    pub now: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSource {
    source: SourceName,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AppOutcome {
    app: AppName,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReceiverUrgent {
    receiver: ReceiverName,
    urgent: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReceiver {
    receiver: ReceiverName,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfEndpoint {
    endpoint: EndpointName,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfQuota {
    quota: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceStatus {
    source: SourceName,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceReason {
    source: SourceName,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceVerdict {
    source: SourceName,
    verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointOutcome {
    endpoint: EndpointName,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointReason {
    endpoint: EndpointName,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReceiverWaits {
    receiver: ReceiverName,
    waits_for: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReceiverDetail {
    receiver: ReceiverName,
    detail: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskOutcome {
    task: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReceiverOutcome {
    receiver: ReceiverName,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCut {
    reason: &'static str,
}

/// Why a connection was ended for the sake of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It was idle, and somebody else needed its place.
    GaveWay,
    /// Its address had as many as one may have.
    AddressBusy,
    /// Its peer did not read the answer.
    SlowReader,
}

impl Cut {
    /// The stable name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GaveWay => "gave_way",
            Self::AddressBusy => "address_busy",
            Self::SlowReader => "slow_reader",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    state: &'static str,
}

/// Names are label values as they are; the encoder escapes them.
macro_rules! label_values {
    ($($name:ident)*) => {$(
        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
                encoder.write_str(self.as_str())
            }
        }
    )*};
}

label_values!(AppName SourceName ReceiverName EndpointName);

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All counters at zero, in a registry of their own.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix(PREFIX),
            requests: Family::default(),
            refusals: Family::default(),
            refused_dropped: Family::default(),
            unrecorded: Family::default(),
            unrouted: Counter::default(),
            questions: Family::default(),
            received: Family::default(),
            left_out: Family::default(),
            mapping_limits: Family::default(),
            verdicts: Family::default(),
            connections: Gauge::default(),
            connections_waited: Counter::default(),
            connections_cut: Family::default(),
            committed_rows: Counter::default(),
            // 0.5 ms to 8 s: a commit on a fast disk, and one that makes senders give up.
            commit_duration: Histogram::new(exponential_buckets(0.0005, 2.0, 15)),
            commit_failures: Counter::default(),
            messages: Family::default(),
            to_nobody: Family::default(),
            // 25 ms to 26 s: DingTalk nearby, and the longest time-out.
            message_duration: Histogram::new(exponential_buckets(0.025, 2.0, 11)),
            digests: Family::default(),
            errands: Family::default(),
            fates: Family::default(),
            // Half a second to six hours: an urgent change, and one that waited for an endpoint to be mended.
            told: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.5, 2.5, 12))),
            // A minute to 34 hours: DingTalk says who has read for a day.
            reads: Family::new_with_constructor(|| Histogram::new(exponential_buckets(60.0, 2.0, 12))),
            template_failures: Family::default(),
            reload_successful: Gauge::default(),
            reload_succeeded_at: Seconds::default(),
        };
        metrics.register();
        metrics
    }

    #[rustfmt::skip]
    fn register(&mut self) {
        let to = &mut self.registry;
        to.register("webhook_requests", "Requests to a source by HTTP status", self.requests.clone());
        to.register("webhook_refusals", "Requests to a source that were not taken, by reason", self.refusals.clone());
        to.register("refused_bodies_dropped", "Refused bodies that were not kept to be looked at", self.refused_dropped.clone());
        to.register("bodies_unrecorded", "Bodies that are missing from the recording, by reason", self.unrecorded.clone());
        to.register("questions", "Messages to the bots of apps, and answers to them, by what came of each", self.questions.clone());
        to.register("webhook_unrouted", "Requests to a path or source that does not exist", self.unrouted.clone());
        to.register("alerts_received", "Alerts decoded from requests, repeats included", self.received.clone());
        to.register("alerts_left_out", "Alerts missing from requests that were taken, by reason", self.left_out.clone());
        to.register("mapping_limits", "Evaluations of a mapping's expressions that were stopped at a limit", self.mapping_limits.clone());
        to.register("alert_verdicts", "What received alerts meant", self.verdicts.clone());
        to.register("http_connections", "Open connections", self.connections.clone());
        to.register("http_connections_waited", "Times at which the limit of connections kept others waiting", self.connections_waited.clone());
        to.register("http_connections_cut", "Connections that were ended for the sake of others, by reason", self.connections_cut.clone());
        to.register("store_rows_committed", "Rows committed to the store", self.committed_rows.clone());
        to.register("store_commit_duration_seconds", "Time a commit took until it was on disk", self.commit_duration.clone());
        to.register("store_commit_failures", "Commits the store could not make", self.commit_failures.clone());
        to.register("messages", "Attempts to send a message, by outcome", self.messages.clone());
        to.register("messages_to_nobody", "Work notices that DingTalk took and lists nobody as having got", self.to_nobody.clone());
        to.register("message_duration_seconds", "Time an attempt to send a message took", self.message_duration.clone());
        to.register("digests", "Digests composed, by level of detail", self.digests.clone());
        to.register("errands", "Calls to take messages back and to learn who has read them, by outcome", self.errands.clone());
        to.register("recalls", "Messages that were taken back, or could not be kept or taken back, by what came of it", self.fates.clone());
        to.register("told_delay_seconds", "How long the oldest change in a message had waited when it was delivered", self.told.clone());
        to.register("message_read_age_seconds", "Time from the delivery of a message until somebody had read it, as far as known", self.reads.clone());
        to.register("template_failures", "Digests for which the template of the receiver failed and the built-in one spoke", self.template_failures.clone());
        to.register("config_last_reload_successful", "Whether the last attempt to load the configuration succeeded", self.reload_successful.clone());
        to.register("config_last_reload_success_timestamp_seconds", "When the configuration was last loaded with success", self.reload_succeeded_at.clone());
    }

    /// Alerts were decoded.
    pub fn received(&self, source: &SourceName, alerts: u64) {
        self.received
            .get_or_create(&OfSource {
                source: source.clone(),
            })
            .inc_by(alerts);
    }

    /// A request to a source was answered.
    pub fn request(&self, source: &SourceName, status: u16) {
        self.requests
            .get_or_create(&SourceStatus {
                source: source.clone(),
                status,
            })
            .inc();
    }

    /// Somebody wrote to the bot of an app, or was answered; `outcome` is one of a closed set of names.
    pub fn question(&self, app: &AppName, outcome: &'static str) {
        let app = app.clone();
        self.questions.get_or_create(&AppOutcome { app, outcome }).inc();
    }

    /// A request to a source was not taken; `reason` is one of a closed set of names.
    pub fn refused(&self, source: &SourceName, reason: &'static str) {
        self.refusals
            .get_or_create(&SourceReason {
                source: source.clone(),
                reason,
            })
            .inc();
    }

    /// A refused body was not kept.
    pub fn refused_body_dropped(&self, source: &SourceName) {
        self.refused_dropped
            .get_or_create(&OfSource {
                source: source.clone(),
            })
            .inc();
    }

    /// A body that was taken is missing from the recording.
    pub fn unrecorded(&self, source: &SourceName, reason: Unrecorded) {
        self.unrecorded
            .get_or_create(&SourceReason {
                source: source.clone(),
                reason: reason.as_str(),
            })
            .inc();
    }

    /// Alerts are missing from a request that was taken: `unusable` ones, and those the sender had cut off.
    pub fn left_out(&self, source: &SourceName, unusable: u64, cut_off: u64) {
        for (reason, count) in [("unusable", unusable), ("cut_off", cut_off)] {
            if count > 0 {
                let source = source.clone();
                self.left_out
                    .get_or_create(&SourceReason { source, reason })
                    .inc_by(count);
            }
        }
    }

    /// Evaluations of a mapping's expressions were stopped.
    pub fn mapping_limits(&self, source: &SourceName, stopped: u32) {
        let source = source.clone();
        self.mapping_limits
            .get_or_create(&OfSource { source })
            .inc_by(u64::from(stopped));
    }

    /// A request went nowhere.
    pub fn unrouted(&self) {
        self.unrouted.inc();
    }

    /// The engine judged alerts.
    pub fn verdicts(&self, source: &SourceName, tally: &BTreeMap<Verdict, u32>) {
        for (verdict, count) in tally {
            let labels = SourceVerdict {
                source: source.clone(),
                verdict: verdict.as_str(),
            };
            self.verdicts.get_or_create(&labels).inc_by(u64::from(*count));
        }
    }

    /// A connection was opened.
    pub fn connection_opened(&self) {
        self.connections.inc();
    }

    /// A connection was closed.
    pub fn connection_closed(&self) {
        self.connections.dec();
    }

    /// The limit of connections was reached: the next one waits.
    pub fn connection_waited(&self) {
        self.connections_waited.inc();
    }

    /// A connection was ended for the sake of others.
    pub fn connection_cut(&self, cut: Cut) {
        let reason = cut.as_str();
        self.connections_cut.get_or_create(&OfCut { reason }).inc();
    }

    /// The store committed `rows`.
    pub fn committed(&self, rows: u64, took: Duration) {
        self.committed_rows.inc_by(rows);
        self.commit_duration.observe(took.as_secs_f64());
    }

    /// The store could not commit.
    pub fn commit_failed(&self) {
        self.commit_failures.inc();
    }

    /// A message was tried; `None` is the console.
    pub fn message(&self, endpoint: Option<&EndpointName>, outcome: Outcome, took: Duration) {
        let endpoint = endpoint.map_or_else(|| EndpointName::from(CONSOLE), endpoint_label);
        self.messages
            .get_or_create(&EndpointOutcome {
                endpoint,
                outcome: outcome.as_str(),
            })
            .inc();
        self.message_duration.observe(took.as_secs_f64());
    }

    /// A message was taken, and nobody is known to have got it.
    pub fn reached_nobody(&self, endpoint: &EndpointName) {
        let endpoint = endpoint_label(endpoint);
        self.to_nobody.get_or_create(&OfEndpoint { endpoint }).inc();
    }

    /// A digest was composed.
    pub fn digest(&self, receiver: &ReceiverName, detail: Detail) {
        let labels = ReceiverDetail {
            receiver: receiver_label(receiver),
            detail: detail.as_str(),
        };
        self.digests.get_or_create(&labels).inc();
    }

    /// It was tried to take messages back, or to learn who has read one; `task` is one of a closed set of names.
    pub fn errand(&self, task: &'static str, finding: &Finding) {
        let outcome = match finding {
            Finding::Recalled(answers) => {
                let mut outcomes = answers.iter().map(|(_, answer)| answer.outcome);
                outcomes
                    .find(|outcome| *outcome != Outcome::Delivered)
                    .unwrap_or(Outcome::Delivered)
            }
            Finding::Read(read_by) => read_by.answer.outcome,
        };
        let outcome = outcome.as_str();
        self.errands.get_or_create(&TaskOutcome { task, outcome }).inc();
    }

    /// What becomes of a message that was kept to be taken back or asked about.
    pub fn let_go(&self, receiver: &ReceiverName, fate: Fate) {
        let labels = ReceiverOutcome {
            receiver: receiver_label(receiver),
            outcome: fate.as_str(),
        };
        self.fates.get_or_create(&labels).inc();
    }

    /// A message was delivered, whose oldest change had waited so long.
    pub fn told(&self, receiver: &ReceiverName, urgent: bool, waited: Span) {
        let of = ReceiverUrgent {
            receiver: receiver_label(receiver),
            urgent: if urgent { "true" } else { "false" },
        };
        let waited = waited.as_duration().as_secs_f64();
        self.told.get_or_create(&of).observe(waited);
    }

    /// A message was read for the first time.
    pub fn read(&self, receiver: &ReceiverName, age: Span) {
        let receiver = receiver_label(receiver);
        let age = age.as_duration().as_secs_f64();
        self.reads.get_or_create(&OfReceiver { receiver }).observe(age);
    }

    /// The receiver's template failed.
    pub fn template_failed(&self, receiver: &ReceiverName) {
        self.template_failures
            .get_or_create(&OfReceiver {
                receiver: receiver_label(receiver),
            })
            .inc();
    }

    /// A configuration was loaded at `at`, or could not be; the first load counts too.
    pub fn reloaded(&self, successful: bool, at: Timestamp) {
        self.reload_successful.set(i64::from(successful));
        if successful {
            self.reload_succeeded_at.set(seconds(at));
        }
    }

    /// Everything in the classic text format (`text/plain; version=0.0.4`).
    pub fn encode(&self, snapshot: Snapshot<'_>) -> String {
        let mut gauges = Registry::with_prefix(PREFIX);
        if let Some(health) = snapshot.health {
            alert_gauges(&mut gauges, health, snapshot.now);
            endpoint_gauges(&mut gauges, health, snapshot.quotas);
        }
        gauges.register(
            "build",
            "The version that runs",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        let mut process = Registry::default();
        process_gauges(&mut process, snapshot.started_at);
        let mut text = String::new();
        for registry in [&self.registry, &gauges, &process] {
            // Writing to a String cannot fail.
            let _infallible = encode_registry(&mut text, registry);
        }
        classic(&text)
    }
}

/// A receiver as metrics name it.
fn receiver_label(name: &ReceiverName) -> ReceiverName {
    ReceiverName::from(name.without_person())
}

/// An endpoint as metrics name it.
fn endpoint_label(name: &EndpointName) -> EndpointName {
    EndpointName::from(name.without_person())
}

fn alert_gauges(to: &mut Registry, health: &Health, now: Timestamp) {
    let alerts = Family::<OfState, Count>::default();
    alerts
        .get_or_create(&OfState { state: "firing" })
        .set(health.counts.firing);
    alerts
        .get_or_create(&OfState { state: "resolved" })
        .set(health.counts.resolved);
    to.register(
        "alerts",
        "Alerts held, by state; expired ones count as resolved",
        alerts,
    );
    let pending = Family::<OfReceiver, Count>::default();
    let age = Family::<OfReceiver, Seconds>::default();
    let waits = Family::<ReceiverWaits, Count>::default();
    let unread = Family::<OfReceiver, Count>::default();
    for receiver in &health.receivers {
        let labels = OfReceiver {
            receiver: receiver_label(&receiver.name),
        };
        pending.get_or_create(&labels).inc_by(receiver.changes);
        let oldest = receiver
            .oldest_change_at
            .map_or(0.0, |at| now.since(at).as_duration().as_secs_f64());
        let age = age.get_or_create(&labels);
        age.set(age.get().max(oldest));
        if let Some(messages) = receiver.unread {
            unread.get_or_create(&labels).inc_by(messages);
        }
        let labels = ReceiverWaits {
            receiver: labels.receiver,
            waits_for: receiver.waits_for.map_or("", WaitsFor::as_str),
        };
        waits
            .get_or_create(&labels)
            .inc_by(u64::from(receiver.waits_for.is_some()));
    }
    to.register("changes_pending", "Changes a receiver has not been told", pending);
    to.register(
        "oldest_change_age_seconds",
        "Age of the oldest change a receiver has not been told",
        age,
    );
    to.register(
        "receiver_waits",
        "Whether a receiver has not been told something yet, and what that waits for; of people how many",
        waits,
    );
    to.register(
        "messages_unread",
        "Messages of the last day that nobody is known to have read, of receivers that ask for it",
        unread,
    );
    let writable = Gauge::<i64>::default();
    writable.set(i64::from(health.store_writable));
    to.register("store_writable", "Whether the store takes writes", writable);
}

fn endpoint_gauges(to: &mut Registry, health: &Health, quotas: &[(Quota, u64)]) {
    let budget = Family::<OfEndpoint, Count>::default();
    let used = Family::<OfEndpoint, Count>::default();
    let paused = Family::<EndpointReason, Count>::default();
    for endpoint in &health.endpoints {
        let labels = OfEndpoint {
            endpoint: endpoint_label(&endpoint.name),
        };
        let left = budget.get_or_create(&labels);
        left.set(left.get().max(u64::from(endpoint.budget_left)));
        used.get_or_create(&labels).inc_by(endpoint.used_this_month);
        paused
            .get_or_create(&EndpointReason {
                endpoint: labels.endpoint,
                reason: endpoint.reason.unwrap_or(""),
            })
            .inc_by(u64::from(endpoint.reason.is_some()));
    }
    to.register(
        "endpoint_budget_left",
        "Messages an endpoint may send at this moment",
        budget,
    );
    to.register(
        "endpoint_used_this_month",
        "Messages an endpoint has sent this month",
        used,
    );
    to.register(
        "endpoint_paused",
        "Whether an endpoint must be silent, and why; of people how many",
        paused,
    );
    let of_quota = |quotas: &[(Quota, u64)]| {
        let family = Family::<OfQuota, Count>::default();
        for (quota, messages) in quotas {
            let quota = quota.as_str();
            family.get_or_create(&OfQuota { quota }).set(*messages);
        }
        family
    };
    to.register(
        "quota_used_this_month",
        "Messages sent this month over all endpoints, by what they count against",
        of_quota(&health.counts.used_this_month),
    );
    to.register("quota_per_month", "Messages a month allows", of_quota(quotas));
}

fn process_gauges(to: &mut Registry, started_at: Timestamp) {
    let start = Seconds::default();
    start.set(seconds(started_at));
    to.register("process_start_time_seconds", "When the process started", start);
    let Some(process) = Process::read() else { return };
    let cpu = Counter::<f64, AtomicU64>::default();
    cpu.inc_by(process.cpu_seconds);
    to.register("process_cpu_seconds", "User and system CPU time", cpu);
    let resident = Count::default();
    resident.set(process.resident_bytes);
    to.register("process_resident_memory_bytes", "Resident memory", resident);
    let open = Count::default();
    open.set(process.open_fds);
    to.register("process_open_fds", "Open file descriptors", open);
}

/// Turns the OpenMetrics text of our registry library into the classic format: there a counter is declared
/// under the name its samples have, an info is a gauge, and units and the end have no lines.
fn classic(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = "";
    for line in open_metrics.lines() {
        if let Some(declared) = line.strip_prefix("# HELP ") {
            help = declared.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|it| it.split_once(' ')) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                other => ("", other),
            };
            // Writing to a String cannot fail.
            let _infallible = writeln!(text, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

fn seconds(at: Timestamp) -> f64 {
    Duration::from_millis(u64::try_from(at.0).unwrap_or(0)).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Span;
    use crate::engine::view::{Counts, EndpointView, ReceiverView};

    fn health() -> Health {
        let endpoint = EndpointView {
            name: EndpointName::from("ops-1"),
            kind: "bot",
            budget_left: 17,
            paused_until: Some(Timestamp(60_000)),
            reason: Some("limited"),
            used_this_month: 12,
        };
        Health {
            store_writable: true,
            counts: Counts {
                firing: 3,
                resolved: 1,
                changes: 2,
                used_this_month: [(Quota::Webhook, 12), (Quota::Api, 0)],
            },
            receivers: vec![ReceiverView {
                name: ReceiverName::from("值班 \"ops\""),
                changes: 2,
                oldest_change_at: Some(Timestamp(48_500)),
                due_at: None,
                waits_for: Some(WaitsFor::Minute),
                last_digest_at: None,
                unread: Some(1),
                endpoints: vec![endpoint.clone()],
            }],
            endpoints: vec![endpoint],
        }
    }

    fn everything_once() -> Metrics {
        let metrics = Metrics::new();
        let source = SourceName::from("grafana");
        let receiver = ReceiverName::from("ops");
        metrics.received(&source, 20);
        metrics.request(&source, 200);
        metrics.refused(&source, "not_json");
        metrics.refused_body_dropped(&source);
        metrics.unrecorded(&source, Unrecorded::Busy);
        metrics.left_out(&source, 1, 2);
        metrics.mapping_limits(&source, 1);
        metrics.unrouted();
        metrics.question(&AppName::from("oncall"), "taken");
        metrics.verdicts(
            &source,
            &BTreeMap::from([(Verdict::New, 1), (Verdict::Repeat, 19)]),
        );
        metrics.connection_opened();
        metrics.connection_waited();
        metrics.connection_cut(Cut::GaveWay);
        metrics.committed(20, Duration::from_millis(3));
        metrics.commit_failed();
        metrics.message(
            Some(&EndpointName::from("ops-1")),
            Outcome::Delivered,
            Duration::from_millis(80),
        );
        metrics.message(None, Outcome::Limited(Span::minutes(10)), Duration::ZERO);
        metrics.reached_nobody(&"work_notice/ops".into());
        metrics.digest(&receiver, Detail::Compact);
        metrics.errand("recall", &Finding::Recalled(Vec::new()));
        metrics.let_go(&receiver, Fate::Recalled);
        metrics.told(&receiver, true, Span::seconds(3));
        metrics.read(&receiver, Span::minutes(3));
        metrics.template_failed(&receiver);
        metrics.reloaded(true, Timestamp(1_500));
        metrics.reloaded(false, Timestamp(9_000));
        metrics
    }

    fn scrape() -> String {
        everything_once().encode(Snapshot {
            health: Some(&health()),
            quotas: &[(Quota::Webhook, 3000), (Quota::Api, 5000)],
            started_at: Timestamp(1_000),
            now: Timestamp(60_000),
        })
    }

    #[test]
    fn names_help_and_types_are_those_that_dashboards_were_built_on() {
        let text = scrape();
        let declared: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
        insta::assert_snapshot!(declared.join("\n"));
    }

    #[test]
    fn samples_carry_configured_names_and_base_units() {
        let text = scrape();
        for sample in [
            "dingest_alerts_received_total{source=\"grafana\"} 20",
            "dingest_webhook_requests_total{source=\"grafana\",status=\"200\"} 1",
            "dingest_alert_verdicts_total{source=\"grafana\",verdict=\"repeat\"} 19",
            "dingest_messages_total{endpoint=\"console\",outcome=\"limited\"} 1",
            "dingest_config_last_reload_successful 0",
            "dingest_config_last_reload_success_timestamp_seconds 1.5",
            "dingest_alerts{state=\"firing\"} 3",
            "dingest_changes_pending{receiver=\"值班 \\\"ops\\\"\"} 2",
            "dingest_oldest_change_age_seconds{receiver=\"值班 \\\"ops\\\"\"} 11.5",
            "dingest_receiver_waits{receiver=\"值班 \\\"ops\\\"\",waits_for=\"minute\"} 1",
            "dingest_endpoint_paused{endpoint=\"ops-1\",reason=\"limited\"} 1",
            r#"dingest_quota_per_month{quota="webhook"} 3000"#,
            "process_start_time_seconds 1.0",
        ] {
            assert!(
                text.lines().any(|line| line == sample),
                "{sample} is missing in\n{text}"
            );
        }
    }

    #[test]
    fn people_are_counted_together_and_not_named() {
        let mut health = health();
        let of = |user: &str, changes, oldest, reason: &'static str| {
            let endpoint = EndpointView {
                name: EndpointName::from(format!("direct/ops/{user}")),
                kind: "direct",
                budget_left: if reason.is_empty() { 9 } else { 0 },
                paused_until: None,
                reason: Some(reason).filter(|reason| !reason.is_empty()),
                used_this_month: 2,
            };
            let receiver = ReceiverView {
                name: ReceiverName::from(format!("ops/direct/{user}")),
                changes,
                oldest_change_at: Some(Timestamp(oldest)),
                due_at: None,
                waits_for: (changes > 0).then_some(WaitsFor::Pause),
                last_digest_at: None,
                unread: Some(1),
                endpoints: vec![endpoint.clone()],
            };
            (receiver, endpoint)
        };
        (health.receivers, health.endpoints) = [
            of("zhangsan", 2, 50_000, "refused_person"),
            of("lisi", 3, 40_000, "refused_person"),
            of("wangwu", 0, 55_000, ""),
        ]
        .into_iter()
        .unzip();
        let metrics = Metrics::new();
        metrics.message(
            Some(&health.endpoints[0].name),
            Outcome::Delivered,
            Duration::from_millis(80),
        );
        metrics.digest(&health.receivers[0].name, Detail::Full);
        metrics.let_go(&health.receivers[0].name, Fate::Recalled);
        metrics.told(&health.receivers[0].name, false, Span::seconds(20));
        metrics.read(&health.receivers[0].name, Span::minutes(3));
        metrics.template_failed(&health.receivers[0].name);
        let text = metrics.encode(Snapshot {
            health: Some(&health),
            quotas: &[],
            started_at: Timestamp(1_000),
            now: Timestamp(60_000),
        });
        for sample in [
            "dingest_messages_total{endpoint=\"direct/ops\",outcome=\"delivered\"} 1",
            "dingest_digests_total{receiver=\"ops/direct\",detail=\"full\"} 1",
            "dingest_changes_pending{receiver=\"ops/direct\"} 5",
            "dingest_oldest_change_age_seconds{receiver=\"ops/direct\"} 20.0",
            "dingest_receiver_waits{receiver=\"ops/direct\",waits_for=\"pause\"} 2",
            "dingest_endpoint_budget_left{endpoint=\"direct/ops\"} 9",
            "dingest_endpoint_used_this_month{endpoint=\"direct/ops\"} 6",
            "dingest_endpoint_paused{endpoint=\"direct/ops\",reason=\"refused_person\"} 2",
        ] {
            assert!(
                text.lines().any(|line| line == sample),
                "{sample} is missing in\n{text}"
            );
        }
        for name in ["zhangsan", "lisi", "wangwu"] {
            assert!(!text.contains(name), "{text}");
        }
    }

    #[test]
    fn every_sample_belongs_to_the_declaration_above_it() {
        let text = scrape();
        let mut declared = "";
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                declared = rest.split_once(' ').expect("name and type").0;
            } else if !line.starts_with('#') {
                assert!(
                    line.starts_with(declared) && !declared.is_empty(),
                    "{line} under {declared}"
                );
            }
        }
    }

    #[test]
    fn a_scrape_works_while_the_engine_does_not_answer() {
        let text = Metrics::new().encode(Snapshot {
            health: None,
            quotas: &[],
            started_at: Timestamp(0),
            now: Timestamp(0),
        });
        assert!(
            text.contains("dingest_build_info{") && !text.contains("dingest_store_writable"),
            "{text}"
        );
    }

    #[test]
    #[ignore = "needs promtool, of Debian's package prometheus"]
    fn promtool_has_nothing_to_complain_of() {
        use std::io::Write as _;
        use std::process::{Command, Stdio};

        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool is installed");
        let stdin = promtool.stdin.take().expect("piped");
        { stdin }.write_all(scrape().as_bytes()).unwrap();
        let output = promtool.wait_with_output().unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && complaints.is_empty(), "{complaints}");
    }
}
