//! The words senders use for a status.
//!
//! **Invariant:** only a word that is known to mean the end of an alert is ever read as one.

/// What a status word means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// The condition holds.
    Firing,
    /// It is over.
    Resolved,
    /// Known, and neither: maintenance, pending, no data.
    Neither,
    /// Not known; whoever asks must take it for firing.
    Unknown,
}

impl Word {
    /// Reads a word, whatever its case and the space around it.
    pub(super) fn of(text: &str) -> Self {
        let text = text.trim();
        match text {
            "firing" => return Self::Firing,
            "resolved" => return Self::Resolved,
            _ => {}
        }
        match text.to_lowercase().as_str() {
            "firing" | "alerting" | "alert" | "alarm" | "problem" | "triggered" | "re-triggered" | "open"
            | "opened" | "active" | "critical" | "warning" | "error" | "down" | "unreachable" | "fired"
            | "occurred" | "persistent" | "created" | "unresolved" | "1" | "告警" | "故障" => {
                Self::Firing
            }
            "resolved" | "ok" | "normal" | "recovered" | "recovery" | "closed" | "cleared" | "clear"
            | "up" | "success" | "inactive" | "0" | "恢复" | "已恢复" => Self::Resolved,
            "no_data" | "nodata" | "insufficient_data" | "unknown" | "pending" | "paused" | "silenced"
            | "suppressed" | "acknowledged" | "update" | "flapping" | "maintenance" | "running"
            | "canceled" | "assigned" | "-" => Self::Neither,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_whatever_their_case_and_unknown_ones_never_resolve() {
        for (text, expected) in [
            ("firing", Word::Firing),
            (" PROBLEM ", Word::Firing),
            ("故障", Word::Firing),
            ("OK", Word::Resolved),
            ("已恢复", Word::Resolved),
            ("Maintenance", Word::Neither),
            ("", Word::Unknown),
            ("resolvd", Word::Unknown),
            ("not ok", Word::Unknown),
        ] {
            assert_eq!(Word::of(text), expected, "{text}");
        }
    }
}
