//! A large digest, composed and rendered in this process.

use std::path::Path;
use std::time::Instant;

use dingest::alert::{AlertNo, DigestId, Fingerprint, Labels, Severity, Status, Timestamp};
use dingest::config;
use dingest::digest::{Change, Detail, Draft, Entry, Fit};
use dingest::engine::limits::MESSAGE_BYTES_MAX;
use dingest::plan::{Plan, RouteId};

use crate::report::{Bound, Line, median};
use crate::{Outcome, peers};

/// Changes of the digest whose time is bounded.
const CHANGES: u64 = 10_000;

/// Renders the digest of [`CHANGES`] changes.
pub(crate) fn line(directory: &Path) -> Outcome<Line> {
    let took = millis(directory, CHANGES, 9)?;
    Ok(Line {
        what: "digest of 10,000 changes",
        figure: format!("{took:.1} ms"),
        beside: "composed and rendered".to_owned(),
        measured: took,
        target: Bound::AtMost(20.0),
        floor: None,
    })
}

/// How long a digest of so many changes takes, in the middle of so many rounds.
pub(crate) fn millis(directory: &Path, changes: u64, rounds: usize) -> Outcome<f64> {
    let file = directory.join("digest.yaml");
    std::fs::write(&file, peers::CONFIGURATION)?;
    let loaded = config::load(Some(&file), directory).map_err(|report| report.render(false))?;
    let draft = draft(&loaded.plan, changes);
    let mut times = Vec::new();
    for _ in 0..rounds {
        let begun = Instant::now();
        let rendered = loaded.renderer.render(&draft);
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        if let Some(error) = rendered.template_error {
            return Err(error.into());
        }
    }
    Ok(median(times))
}

fn draft(plan: &Plan, changes: u64) -> Draft {
    let now = Timestamp(1_768_464_765_123);
    Draft {
        others: Vec::new(),
        id: DigestId(1),
        uuid_prefix: "bench-1-".to_owned(),
        receiver: "console".into(),
        endpoint: None,
        composed_at: now,
        urgent: false,
        entries: (0..changes).map(|number| entry(plan, number, now)).collect(),
        firing: [0, changes, 0],
        notices: Vec::new(),
        fit: Fit {
            messages_max: 3,
            message_bytes_max: MESSAGE_BYTES_MAX,
            detail_max: Detail::Full,
        },
    }
}

/// One of a hundred alert names in one of ten clusters.
fn entry(plan: &Plan, number: u64, now: Timestamp) -> Entry {
    let labels = Labels::from_pairs([
        ("alertname", format!("Alert{}", number % 100)),
        ("cluster", format!("cluster-{}", number / 100 % 10)),
        (
            "instance",
            format!(
                "10.{}.{}.{}:8080",
                number / 62_500,
                number / 250 % 250,
                number % 250
            ),
        ),
        ("namespace", "shop".to_owned()),
        ("severity", "warning".to_owned()),
    ]);
    Entry {
        alert: AlertNo(number),
        change: Change::New,
        urgent: false,
        severity: Severity::Warning,
        group_by: plan.routes.get(RouteId(0)).group_by.clone(),
        source: "alertmanager".into(),
        fingerprint: Fingerprint::of_labels(&labels),
        status: Status::Firing,
        labels,
        annotations: Labels::from_pairs([("summary", format!("Pod checkout-{number} is restarting"))]),
        links: Labels::default(),
        values: Labels::default(),
        starts_at: now,
        ends_at: None,
        episodes: 1,
    }
}
