//! The requests to post, made before anything is measured.

use std::ops::Range;

/// Bytes of one alert in a body, between the commas.
pub(crate) const BYTES: usize = 976;

/// An alert as a cluster's rules make them; `########` is its number and `~` stands for what is missing to
/// [`BYTES`].
const ALERT: &str = concat!(
    r#"{"status":"firing","labels":{"alertname":"KubePodCrashLooping","cluster":"prod-east-1","#,
    r#""container":"checkout","instance":"10.40.0.12:8080","job":"kube-state-metrics","namespace":"shop","#,
    r#""pod":"checkout-########","severity":"warning","team":"payments"},"#,
    r#""annotations":{"summary":"Pod checkout-######## is restarting","#,
    r#""description":"Pod shop/checkout-######## (container checkout) has been restarting 3.2 times per "#,
    r#"10 minutes for the last quarter of an hour~","#,
    r#""runbook_url":"https://runbooks.example.com/kubernetes/kubepodcrashlooping"},"#,
    r#""startsAt":"2026-01-15T08:12:45.123Z","endsAt":"0001-01-01T00:00:00Z","#,
    r#""generatorURL":"https://prometheus.example.com/graph?g0.expr=rate%28"#,
    r#"kube_pod_container_status_restarts_total%5B10m%5D%29+%2A+600+%3E+0&g0.tab=1"}"#
);

/// What stands around the alerts in a webhook.
const ENVELOPE: [&str; 2] = [
    concat!(
        r#"{"version":"4","groupKey":"{}:{}","truncatedAlerts":0,"status":"firing","receiver":"dingest","#,
        r#""groupLabels":{},"commonLabels":{},"commonAnnotations":{},"#,
        r#""externalURL":"http://alertmanager:9093","alerts":["#
    ),
    "]}",
];

/// Whose form a body has.
#[derive(Clone, Copy)]
pub(crate) enum Format {
    /// An Alertmanager's webhook, which we take.
    Webhook,
    /// The list that an Alertmanager takes.
    Alertmanager,
}

/// Makes requests whose alerts nobody has seen before.
pub(crate) struct Requests {
    format: Format,
    alert: String,
    next: usize,
}

impl Requests {
    pub(crate) fn to(format: Format) -> Self {
        let padding = ".".repeat(BYTES + 1 - ALERT.len());
        Self {
            format,
            alert: ALERT.replace('~', &padding),
            next: 0,
        }
    }

    /// The next `count` requests of so many alerts each, with their heads.
    pub(crate) fn take(&mut self, count: usize, alerts: usize) -> Vec<Vec<u8>> {
        let first = self.next;
        self.next += count * alerts;
        (0..count)
            .map(|index| first + index * alerts)
            .map(|first| self.request(first..first + alerts))
            .collect()
    }

    /// How many alerts were made.
    pub(crate) fn made(&self) -> usize {
        self.next
    }

    /// As many requests of so many alerts each that were made before, from all over them.
    pub(crate) fn again(&self, count: usize, alerts: usize) -> Vec<Vec<u8>> {
        let step = self.next.saturating_sub(alerts) / count.max(1);
        (0..count)
            .map(|index| index * step)
            .map(|first| self.request(first..first + alerts))
            .collect()
    }

    fn request(&self, numbers: Range<usize>) -> Vec<u8> {
        let alerts: Vec<String> = numbers
            .map(|number| self.alert.replace("########", &format!("{number:08}")))
            .collect();
        let alerts = alerts.join(",");
        let (path, [before, after]) = match self.format {
            Format::Webhook => ("/v1/hooks/alertmanager", ENVELOPE),
            Format::Alertmanager => ("/api/v2/alerts", ["[", "]"]),
        };
        let length = before.len() + alerts.len() + after.len();
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{before}{alerts}{after}"
        )
        .into_bytes()
    }
}
