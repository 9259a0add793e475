//! Which sender a body that its source cannot read seems to come from: a hint for the error, never a choice of
//! decoder.

use serde_json::Value;

/// A sentence that says where a body like this belongs, starting with a separator; empty when it is like nothing
/// we know, or belongs to the type `own` it was posted to.
pub(super) fn hint(text: &str, own: &str) -> String {
    let Ok(body) = serde_json::from_str::<Value>(text) else {
        return String::new();
    };
    let (sender, kind) = match &body {
        Value::Array(elements) => match elements.first() {
            Some(first) if has(first, &["labels"]) => ("alerts as Prometheus posts them", "prometheus"),
            Some(first) if has(first, &["hash", "rule_id"]) => ("Nightingale", "json"),
            Some(_) | None => return String::new(),
        },
        Value::Object(_) => match sender_of(&body) {
            Some(found) => found,
            None => return String::new(),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return String::new(),
    };
    if kind == own {
        return String::new();
    }
    format!("; this looks like {sender}: post it to a source of type `{kind}`")
}

fn sender_of(body: &Value) -> Option<(&'static str, &'static str)> {
    let grafana = body.get("version").and_then(Value::as_str) == Some("1") || has(body, &["orgId"]);
    let json = |fields: &[&str]| has(body, fields);
    Some(
        if has(body, &["evalMatches"]) || has(body, &["ruleName", "ruleUrl"]) {
            ("Grafana's legacy alerting", "grafana")
        } else if has(body, &["alerts"]) && grafana {
            ("Grafana", "grafana")
        } else if has(body, &["alerts"]) {
            ("Alertmanager", "alertmanager")
        } else if json(&["Type", "TopicArn"]) || json(&["AlarmName", "NewStateValue"]) {
            ("Amazon SNS or CloudWatch", "json")
        } else if json(&["schemaId", "data"]) {
            ("Azure Monitor", "json")
        } else if json(&["incident", "version"]) {
            ("Google Cloud Monitoring", "json")
        } else if json(&["heartbeat", "monitor"]) {
            ("Uptime Kuma", "json")
        } else if json(&["object_kind"]) {
            ("GitLab", "json")
        } else if json(&["build", "name"]) {
            ("Jenkins", "json")
        } else if json(&["alertState", "ruleId"]) {
            ("Alibaba CloudMonitor", "json")
        } else if json(&["alarmObjInfo"]) {
            ("Tencent Cloud", "json")
        } else if json(&["involvedObject"]) {
            ("a Kubernetes event", "json")
        } else if json(&["hash", "rule_id"]) {
            ("Nightingale", "json")
        } else if json(&["specversion"]) {
            ("a CloudEvent", "json")
        } else {
            return None;
        },
    )
}

fn has(value: &Value, fields: &[&str]) -> bool {
    fields.iter().all(|field| value.get(field).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_senders_are_recognised() {
        for (body, kind) in [
            (r#"[{"labels": {}}]"#, "`prometheus`"),
            (r#"{"ruleName": "x", "ruleUrl": "y"}"#, "`grafana`"),
            (r#"{"alerts": [], "orgId": 1}"#, "`grafana`"),
            (r#"{"alerts": []}"#, "`alertmanager`"),
            (r#"{"object_kind": "build"}"#, "GitLab"),
        ] {
            assert!(hint(body, "").contains(kind), "{body}: {}", hint(body, ""));
        }
        for body in ["[]", "1", "{}", "not JSON", r#"{"x": 1}"#] {
            assert_eq!(hint(body, ""), "", "{body}");
        }
        assert_eq!(hint(r#"{"alerts": {}}"#, "alertmanager"), "");
    }
}
