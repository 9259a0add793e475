//! Webhook bodies as an Alertmanager sends them.
//!
//! Every alert is about a node, and its summary names the node, so that it can be found in the text of a digest.

use serde_json::{Value, json};

/// A firing alert about a node.
pub(crate) fn firing(node: &str) -> Value {
    alert("NodeDown", node, "warning")
}

/// A firing alert of any name and severity.
pub(crate) fn alert(name: &str, node: &str, severity: &str) -> Value {
    json!({
        "status": "firing",
        "labels": { "alertname": name, "node": node, "severity": severity },
        "annotations": { "summary": format!("{node} does not answer") },
        "startsAt": now(),
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example.com/graph",
    })
}

/// The same alert, over.
pub(crate) fn resolved(alert: &Value) -> Value {
    let mut alert = alert.clone();
    alert["status"] = json!("resolved");
    alert["endsAt"] = json!(now());
    alert
}

/// The webhook that carries them.
pub(crate) fn webhook(alerts: &[Value]) -> Value {
    json!({
        "version": "4",
        "groupKey": "{}:{}",
        "status": "firing",
        "receiver": "dingest",
        "externalURL": "http://alertmanager-1.example.com",
        "alerts": alerts,
    })
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}
