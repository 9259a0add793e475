//! `dingest explain`: why an alert was told to whom it was, and not to others; of a running daemon, or of a webhook
//! body as the configuration would take it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::tz::TimeZone;

use super::{ConfigArgs, Exit, Failure, read_input, say, status};
use crate::alert::Fingerprint;
use crate::clock::now;
use crate::http::explain::{Endpoint, Explained, Explanation, Message, Receiver, Route};
use crate::http::limits::EXPLAINED_DEFAULT;
use crate::plan::matcher::Matcher;
use crate::rehearse::{Form, Post, Rehearsal};

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Which alerts: a fingerprint, or matchers such as `alertname=DiskFull`, which all must match.
    #[arg(value_name = "FINGERPRINT|MATCHER", required_unless_present = "body")]
    which: Vec<String>,
    /// Only alerts of this source; with --body, the source it is posted to [there: alertmanager].
    #[arg(long)]
    source: Option<String>,
    /// At most so many alerts.
    #[arg(long, default_value_t = EXPLAINED_DEFAULT)]
    limit: usize,
    /// Print JSON, as `/api/v1/explain` answers it.
    #[arg(long)]
    json: bool,
    /// Where the daemon listens.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8060")]
    url: String,
    /// Ask no daemon: explain the alerts of this body, as a sender posts it, by the configuration; `-` reads standard
    /// input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["which", "url"])]
    body: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Explains; fails when there is nothing to explain.
pub(super) async fn run(args: ExplainArgs) -> Result<Exit, Failure> {
    let explained = match &args.body {
        Some(body) => rehearsed(&args, body)?,
        None => status::get(&args.url, &path(&args)?).await?,
    };
    if args.json {
        say(serde_json::to_string_pretty(&explained)?);
    } else if !explained.alerts.is_empty() {
        say(written(&explained, TimeZone::system()));
    }
    if explained.alerts.is_empty() {
        return Err(match args.body {
            Some(_) => "none of it would be kept: an end of what nobody knew is no news",
            None => {
                "no alert matches; what has been over for an hour is forgotten, and /api/v1/digests has what was said \
                 of it"
            }
        }
        .into());
    }
    Ok(Exit::Done)
}

/// The question, as the API takes it.
fn path(args: &ExplainArgs) -> Result<String, Failure> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &args.limit.to_string());
    if let Some(source) = &args.source {
        query.append_pair("source", source);
    }
    let fingerprints = args
        .which
        .iter()
        .filter(|which| Fingerprint::parse(which).is_some());
    if fingerprints.count() > 1 {
        return Err("only one fingerprint can be asked for at a time; matchers find several alerts".into());
    }
    for which in &args.which {
        let parameter = match (Fingerprint::parse(which), Matcher::parse(which)) {
            (Some(_), _) => "fingerprint",
            (None, Ok(_)) => "filter",
            (None, Err(why)) => {
                let hint = "write `alertname=NAME` for the alerts of a name";
                return Err(
                    format!("`{which}` is neither a fingerprint nor a matcher: {why}; {hint}").into(),
                );
            }
        };
        query.append_pair(parameter, which);
    }
    Ok(format!("/api/v1/explain?{}", query.finish()))
}

/// What the configuration would do with a body that comes in now.
fn rehearsed(args: &ExplainArgs, body: &Path) -> Result<Explained, Failure> {
    let loaded = args.config.clone().load_to_rehearse()?;
    let mut rehearsal = Rehearsal::new(loaded.prepared(), now());
    let taken = rehearsal.post(Post {
        source: args.source.as_deref().unwrap_or("alertmanager"),
        form: Form::OfSource,
        content_type: None,
        body: &read_input(body)?,
    })?;
    for problem in &taken.problems {
        // Not among what was asked for, which may be JSON.
        let _unread = writeln!(std::io::stderr(), "problem: {}", problem.text);
    }
    let explained = rehearsal.explain(args.limit);
    let alerts = explained.alerts.iter();
    Ok(Explained {
        total: explained.total,
        alerts: (alerts.map(|alert| Explanation::new(alert, Some(&[])))).collect(),
    })
}

/// All of it, for people, who live in a time zone.
fn written(explained: &Explained, zone: TimeZone) -> String {
    let mut page = Page {
        text: String::new(),
        zone,
    };
    for alert in &explained.alerts {
        page.alert(alert);
    }
    let more = explained.total - explained.alerts.len() as u64;
    if more > 0 {
        page.line(
            0,
            format_args!("and {more} more: `--limit` shows them, a matcher leaves some out"),
        );
    }
    page.text.trim_end().to_owned()
}

/// What is written so far.
struct Page {
    text: String,
    zone: TimeZone,
}

impl Page {
    fn line(&mut self, depth: usize, what: impl std::fmt::Display) {
        // Writing to a string cannot fail.
        let _written = writeln!(self.text, "{:1$}{what}", "", 2 * depth);
    }

    /// A time of the API in the reader's zone, or as it stands.
    fn at(&self, time: Option<&String>) -> String {
        let Some(text) = time else {
            return "at a time no calendar has".to_owned();
        };
        match text.parse::<jiff::Timestamp>() {
            Ok(time) => (time.to_zoned(self.zone.clone()))
                .strftime("%F %T%:z")
                .to_string(),
            Err(_) => text.clone(),
        }
    }

    fn alert(&mut self, alert: &Explanation) {
        let name = alert.labels.get("alertname");
        let name = name.map_or("(without a name)", String::as_str);
        let (status, source, fingerprint) = (&alert.status, &alert.source, &alert.fingerprint);
        self.line(
            0,
            format_args!("{name}: {status} (source {source}, fingerprint {fingerprint})"),
        );
        let labels = alert.labels.iter().filter(|(label, _)| *label != "alertname");
        let labels: Vec<String> = labels
            .map(|(label, value)| format!("{label}={value:?}"))
            .collect();
        if !labels.is_empty() {
            self.line(1, format_args!("labels: {}", labels.join(", ")));
        }
        self.happened(alert);
        self.line(1, "routes:");
        for route in &alert.routes {
            self.line(2 + route.depth, routed(route, alert));
        }
        self.line(1, "receivers:");
        for receiver in &alert.receivers {
            self.receiver(receiver);
        }
        self.text.push('\n');
    }

    fn happened(&mut self, alert: &Explanation) {
        self.line(1, "heard:");
        let first = self.at(alert.first_seen.as_ref());
        self.line(2, format_args!("{first} first came in"));
        for occurrence in &alert.occurrences {
            let at = self.at(occurrence.at.as_ref());
            self.line(2, format_args!("{at} {}", occurred(&occurrence.what)));
        }
        let last = self.at(alert.last_seen.as_ref());
        self.line(2, format_args!("{last} last came in"));
        let begun = self.at(alert.starts_at.as_ref());
        let mut episode = vec![format!("episode {}: since {begun}", alert.episodes)];
        if alert.ends_at.is_some() {
            episode.push(format!("until {}", self.at(alert.ends_at.as_ref())));
        }
        if alert.expires_at.is_some() {
            let expires = self.at(alert.expires_at.as_ref());
            episode.push(format!("expires {expires} unless it is repeated"));
        }
        if alert.doubted_until.is_some() {
            let until = self.at(alert.doubted_until.as_ref());
            episode.push(format!("that it fires again is doubted until {until}"));
        }
        if alert.flapping {
            episode.push("flapping until it is calm".to_owned());
        }
        self.line(1, episode.join(", "));
    }

    fn receiver(&mut self, receiver: &Receiver) {
        let route = match receiver.route {
            Some(route) => format!(" (route {route})"),
            None => " (no route leads to it any more)".to_owned(),
        };
        let standing = self.standing(receiver);
        self.line(2, format_args!("{}{route}: {standing}", receiver.name));
        for endpoint in &receiver.endpoints {
            self.endpoint(endpoint);
        }
        let Some(messages) = &receiver.messages else {
            self.line(3, "the history cannot be read");
            return;
        };
        for message in messages {
            let said = self.said(message);
            self.line(3, said);
        }
        if receiver.more_messages {
            self.line(3, "older ones are in /api/v1/digests");
        }
    }

    /// What there is to tell a receiver, or why there is nothing.
    fn standing(&self, receiver: &Receiver) -> String {
        let told = match &receiver.told {
            Some(told) => format!(
                "was told {} that it is {told}",
                self.at(receiver.told_at.as_ref())
            ),
            None => "was told nothing yet".to_owned(),
        };
        let owed = matches!(receiver.told.as_deref(), Some("firing" | "flapping"));
        match (&receiver.change, receiver.quiet.as_deref()) {
            (Some(change), _) => {
                let wait = receiver.waits_for.as_deref().map_or("nothing", waits);
                let due = receiver.due_at.as_ref();
                let due = due.map_or(String::new(), |due| format!(", due {}", self.at(Some(due))));
                format!("{told}; `{change}` is to be told, and waits for {wait}{due}")
            }
            (None, Some("no_ends")) => format!("{told}; its route tells no ends (`send_resolved: false`)"),
            (None, Some("former")) if owed => format!("{told}; its end will be told, and nothing else"),
            (None, Some("former")) => format!("{told}; nothing more is to be told"),
            (None, _) if receiver.reminder_at.is_some() => {
                let due = self.at(receiver.reminder_at.as_ref());
                format!("{told}, which is true; a reminder is due {due}")
            }
            (None, _) => format!("{told}, which is true"),
        }
    }

    /// Of what may speak there is nothing to say.
    fn endpoint(&mut self, endpoint: &Endpoint) {
        let (name, until) = (&endpoint.name, &endpoint.paused_until);
        let Some(reason) = &endpoint.reason else { return };
        let until = match until {
            Some(_) => self.at(until.as_ref()),
            None => "the configuration is loaded again".to_owned(),
        };
        self.line(3, format_args!("{name} is silent until {until}: {reason}"));
    }

    fn said(&self, message: &Message) -> String {
        let at = match (message.attempts, &message.sent_at) {
            (0, _) | (_, None) => format!("composed {}:", self.at(message.composed_at.as_ref())),
            (1, sent) => self.at(sent.as_ref()),
            (attempts, sent) => format!("{} (try {attempts})", self.at(sent.as_ref())),
        };
        let through = message.endpoint.as_ref();
        let through = through.map_or("on the console".to_owned(), |name| format!("through {name}"));
        let (digest, part, status, outcome) =
            (message.digest, message.part, &message.status, &message.outcome);
        let answer = match (&message.answer, message.errcode) {
            (Some(words), _) => format!(": {words}"),
            (None, Some(code)) => format!(": errcode {code}"),
            (None, None) => String::new(),
        };
        let recalled = message.recalled_at.as_ref();
        let recalled = recalled.map_or(String::new(), |at| format!("; taken back {}", self.at(Some(at))));
        format!("{at} digest {digest}.{part}, {status}, {through}: {outcome}{answer}{recalled}")
    }
}

fn occurred(what: &str) -> &str {
    match what {
        "again" => "fires again",
        "resolved" => "is over",
        "updated" => "has other labels or annotations",
        "late" => "an end of an older episode came in, and changed nothing",
        "doubted" => "is said to fire right after its end: not believed yet",
        "believed" => "is believed to fire, for nobody repeated the end",
        "expired" => "expired: its sender says nothing any more",
        "flapping" => "counts as flapping",
        "calm" => "is calm again",
        other => other,
    }
}

/// One route in a line: whether it is taken, what it is for, and why not.
fn routed(route: &Route, alert: &Explanation) -> String {
    let mut conditions = route.matchers.clone();
    if !route.sources.is_empty() {
        conditions.push(format!("source {}", route.sources.join(" or ")));
    }
    let what = match (route.id, conditions.is_empty()) {
        (0, _) => "root".to_owned(),
        (_, true) => "everything".to_owned(),
        (_, false) => conditions.join(", "),
    };
    let goes_on = if route.continue_matching {
        " (continue)"
    } else {
        ""
    };
    let why = match route.passage.as_str() {
        "taken" if route.muted => "taken, and muted at this time".to_owned(),
        "delegated" => "left to a route below".to_owned(),
        "other_source" => format!("no, the source is {}", alert.source),
        "mismatch" => format!("no, {}", mismatch(route, alert)),
        "shadowed" => {
            let by = route.shadowed_by.unwrap_or_default();
            format!("not reached: route {by} takes it and does not `continue`")
        }
        other => other.to_owned(),
    };
    let mark = if route.passage == "taken" { '+' } else { '-' };
    format!(
        "{mark} {}: {what} -> {}{goes_on}: {why}",
        route.id, route.receiver
    )
}

/// What does not match.
fn mismatch(route: &Route, alert: &Explanation) -> String {
    let matcher = route.mismatch.as_deref().unwrap_or_default();
    let Ok(label) = Matcher::parse(matcher).map(|matcher| matcher.name().to_owned()) else {
        return format!("{matcher} does not match");
    };
    match alert.labels.get(&label) {
        Some(value) => format!("{label} is {value:?}"),
        None => format!("it has no {label}"),
    }
}

fn waits(wait: &str) -> &str {
    match wait {
        "group_wait" => "company (`group_wait`)",
        "group_interval" => "time since the last digest (`group_interval`)",
        "answer" => "DingTalk's answer to the message under way",
        "backoff" => "the next try after a failure",
        "minute" => "room in its endpoint's minute",
        "day" => "room in its endpoint's day",
        "pause" => "its endpoints, which must be silent",
        "quota" => "its turn in what is left of the month's quota",
        "muted" => "its route's time intervals",
        "composing" => "nothing: it is being composed",
        "shutdown" => "the next start",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{Span, Timestamp};
    use crate::config;

    /// The 27th of November 2026, 03:00 in Shanghai.
    const NIGHT: Timestamp = Timestamp(1_795_719_600_000);

    const CONFIG: &str = "
receivers:
  - { name: ops, bots: [ops] }
  - { name: db, bots: [db] }
  - { name: office, bots: [ops] }
bots:
  - { name: ops, access_token: a }
  - { name: db, access_token: b }
time_intervals:
  - { name: office-hours, time_intervals: [{ times: [{ start_time: '09:00', end_time: '18:00' }] }] }
route:
  receiver: ops
  routes:
    - { matchers: ['team=db', 'severity=critical'], receiver: db, urgent: true, continue: true }
    - { matchers: ['severity=critical'], receiver: office, active_time_intervals: [office-hours] }
    - { matchers: ['team=~db|web'], receiver: db, send_resolved: false }
    - { sources: [grafana], receiver: ops }
";

    fn rehearsal() -> Rehearsal {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("dingest.yaml");
        std::fs::write(&file, CONFIG).unwrap();
        let loaded = config::load_to_rehearse(Some(&file)).unwrap_or_else(|report| panic!("{report}"));
        Rehearsal::new(loaded.prepared(), NIGHT)
    }

    fn post(rehearsal: &mut Rehearsal, status: &str, name: &str, labels: &str) {
        let body = format!(
            r#"{{"version":"4","receiver":"","status":"firing","alerts":[{{"status":"{status}",
            "labels":{{"alertname":"{name}",{labels}}},"annotations":{{}},
            "startsAt":"2026-11-26T18:59:00Z","endsAt":"2026-11-26T19:05:00Z"}}]}}"#
        );
        let post = Post {
            source: "alertmanager",
            form: Form::OfSource,
            content_type: None,
            body: body.as_bytes(),
        };
        rehearsal.post(post).unwrap();
    }

    fn explained(rehearsal: &Rehearsal) -> Explained {
        let explained = rehearsal.explain(2);
        let alerts = explained.alerts.iter();
        Explained {
            total: explained.total,
            alerts: alerts.map(|alert| Explanation::new(alert, Some(&[]))).collect(),
        }
    }

    fn shown(explained: &Explained) -> String {
        written(explained, TimeZone::get("Asia/Shanghai").unwrap())
    }

    #[test]
    fn it_reads_as_it_should() {
        let mut rehearsal = rehearsal();
        post(
            &mut rehearsal,
            "firing",
            "DiskFull",
            r#""team":"db","severity":"critical""#,
        );
        post(
            &mut rehearsal,
            "firing",
            "SlowQuery",
            r#""team":"db","host":"db-7""#,
        );
        post(&mut rehearsal, "firing", "Other", r#""team":"net""#);
        insta::assert_snapshot!("waiting", shown(&explained(&rehearsal)));
        rehearsal.advance(NIGHT.plus(Span::minutes(5)));
        post(
            &mut rehearsal,
            "resolved",
            "SlowQuery",
            r#""team":"db","host":"db-7""#,
        );
        rehearsal.advance(NIGHT.plus(Span::minutes(6)));
        insta::assert_snapshot!("told", shown(&explained(&rehearsal)));
    }

    #[test]
    fn what_was_sent_and_what_came_of_it_is_said() {
        let mut rehearsal = rehearsal();
        post(&mut rehearsal, "firing", "SlowQuery", r#""team":"db""#);
        let mut explained = explained(&rehearsal);
        let receiver = &mut explained.alerts[0].receivers[0];
        receiver.endpoints = ["db", "db-2", "db-3"]
            .map(|name| Endpoint {
                name: name.to_owned(),
                reason: (name != "db").then(|| "limited".to_owned()),
                paused_until: (name == "db-2").then(|| "2026-11-26T19:10:00.000Z".to_owned()),
                budget_left: 3,
            })
            .to_vec();
        let message = Message {
            digest: 7,
            part: 1,
            status: "firing".to_owned(),
            composed_at: Some("2026-11-26T19:00:00.000Z".to_owned()),
            outcome: "delivered".to_owned(),
            endpoint: Some("db".to_owned()),
            sent_at: Some("2026-11-26T19:00:01.500Z".to_owned()),
            attempts: 1,
            errcode: Some(0),
            answer: None,
            recalled_at: Some("2026-11-26T19:20:00.000Z".to_owned()),
        };
        let untried = Message {
            attempts: 0,
            sent_at: None,
            outcome: "pending".to_owned(),
            errcode: None,
            recalled_at: None,
            ..message.clone()
        };
        receiver.messages = Some(vec![
            untried.clone(),
            Message {
                outcome: "not_sent".to_owned(),
                part: 2,
                ..untried.clone()
            },
            Message {
                attempts: 3,
                endpoint: None,
                outcome: "retry".to_owned(),
                answer: Some("cannot connect".to_owned()),
                recalled_at: None,
                ..message.clone()
            },
            message,
        ]);
        receiver.more_messages = true;
        let former = Receiver {
            name: "old".to_owned(),
            told: Some("firing".to_owned()),
            told_at: Some("2026-11-26T19:00:01.500Z".to_owned()),
            quiet: Some("former".to_owned()),
            ..Receiver::default()
        };
        explained.alerts[0].receivers.push(former.clone());
        explained.alerts[0].receivers.push(Receiver {
            told: Some("resolved".to_owned()),
            messages: Some(Vec::new()),
            ..former
        });
        insta::assert_snapshot!("sent", shown(&explained));
    }

    #[test]
    fn a_question_is_a_fingerprint_or_matchers() {
        let asked = |which: &[&str]| {
            path(&ExplainArgs {
                which: which.iter().map(ToString::to_string).collect(),
                source: Some("grafana".to_owned()),
                limit: 5,
                json: false,
                url: String::new(),
                body: None,
                config: ConfigArgs {
                    config: None,
                    state_dir: None,
                },
            })
            .map_err(|error| error.to_string())
        };
        assert_eq!(
            asked(&["00000000000000ff"]).unwrap(),
            "/api/v1/explain?limit=5&source=grafana&fingerprint=00000000000000ff"
        );
        assert_eq!(
            asked(&["alertname=DiskFull", "host=~\"db-.*\""]).unwrap(),
            "/api/v1/explain?limit=5&source=grafana&filter=alertname%3DDiskFull&filter=host%3D%7E%22db-.*%22"
        );
        let error = asked(&["DiskFull"]).unwrap_err();
        assert!(
            error.starts_with("`DiskFull` is neither a fingerprint nor a matcher: "),
            "{error}"
        );
    }
}
