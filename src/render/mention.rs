//! Whose phones ring, and what has to stand in the text for it.

use super::limits::MENTIONS_MAX;
use crate::digest::{Change, Draft};
use crate::dingtalk::message::At;
use crate::plan::{Locale, Mention, MentionOn};

/// Whom a digest mentions: nobody unless something begins to fire, whatever the setting but `always`.
pub(super) fn of(draft: &Draft, mention: &Mention) -> At {
    let mut begun = draft
        .entries
        .iter()
        .filter(|entry| matches!(entry.change, Change::New | Change::Again | Change::Flapping));
    let rings = match mention.on {
        MentionOn::Always => true,
        MentionOn::Firing => begun.next().is_some(),
        MentionOn::Urgent => begun.any(|entry| entry.urgent),
    };
    if !rings {
        return At::default();
    }
    let mobiles: Vec<String> = mention.mobiles.iter().take(MENTIONS_MAX).cloned().collect();
    let room = MENTIONS_MAX - mobiles.len();
    At {
        at_mobiles: mobiles,
        at_user_ids: mention.user_ids.iter().take(room).cloned().collect(),
        is_at_all: mention.all,
    }
}

/// What stands in the text: DingTalk turns each into a name.
pub(super) fn text(at: &At, locale: Locale) -> String {
    let all = match locale {
        Locale::Chinese => "所有人",
        Locale::English => "all",
    };
    let ids = at.at_mobiles.iter().chain(&at.at_user_ids).map(String::as_str);
    let texts: Vec<String> = ids
        .chain(at.is_at_all.then_some(all))
        .map(|id| format!("@{id}"))
        .collect();
    texts.join(" ")
}
