//! The words of the API in the language of who reads them.
//!
//! States, changes, what a receiver waits for, why an endpoint is silent, pages, quotas: each is an enum with a stable
//! name elsewhere, and what stands for that name in a chat or on a page is here. A name that is not here stands for
//! itself.

use std::borrow::Cow;

use crate::plan::Locale;

/// What stands for a stable name.
pub(super) fn word(name: &str, locale: Locale) -> Cow<'_, str> {
    match locale {
        Locale::English => name.replace('_', " ").into(),
        Locale::Chinese => CHINESE
            .iter()
            .find(|(known, _)| *known == name)
            .map_or(name, |(_, word)| *word)
            .into(),
    }
}

/// In Chinese.
const CHINESE: [(&str, &str); 39] = [
    // Where an alert stands, and as what it was told.
    ("firing", "正在告警"),
    ("resolved", "已恢复"),
    ("expired", "静默失联"),
    ("flapping", "抖动"),
    // Changes.
    ("new", "新增"),
    ("again", "再次触发"),
    ("passed", "已自行恢复"),
    ("reminder", "仍在告警"),
    // What a receiver waits for.
    ("group_wait", "同组告警"),
    ("group_interval", "发送间隔"),
    ("answer", "钉钉答复"),
    ("backoff", "失败后重试"),
    ("minute", "发送频率"),
    ("day", "当日限额"),
    ("pause", "静音结束"),
    ("quota", "月度配额"),
    ("muted", "静音时段结束"),
    ("composing", "摘要生成"),
    ("shutdown", "重新启动"),
    // Why an endpoint is silent.
    ("limited", "发送过快"),
    ("throttled", "对方消息过多"),
    ("blocked", "出口地址被封"),
    ("daily_limit", "当日次数已满"),
    ("refused_token", "令牌或密钥无效"),
    ("refused_permission", "权限不足"),
    ("refused_target", "群或人不接收"),
    ("refused_person", "查无此人"),
    ("refused_signature", "签名不符"),
    ("refused_clock", "时钟不准"),
    ("refused_keyword", "缺少关键词"),
    ("refused_address", "地址不在白名单"),
    ("refused_other", "被拒绝"),
    // Pages about an alert.
    ("runbook", "处理手册"),
    ("dashboard", "仪表盘"),
    ("panel", "面板"),
    ("graph", "图表"),
    ("silence", "静默"),
    // Quotas.
    ("webhook", "机器人"),
    ("api", "应用接口"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Change;
    use crate::engine::Outcome;
    use crate::engine::outcome::Refused;
    use crate::engine::view::WaitsFor;
    use crate::plan::Quota;
    use crate::store::{Said, State};

    #[test]
    fn every_name_that_people_read_has_a_word_of_its_own_in_each_language() {
        let refusals = Refused::ALL.map(|refused| Outcome::Refused(refused).as_str());
        let names = (State::ALL.map(State::as_str).into_iter())
            .chain(Said::ALL.map(Said::as_str))
            .chain(Change::ALL.map(Change::as_str))
            .chain(WaitsFor::ALL.map(WaitsFor::as_str))
            .chain(Quota::ALL.map(Quota::as_str))
            .chain(["limited", "throttled", "blocked", "daily_limit"])
            .chain(refusals);
        for name in names {
            let chinese = word(name, Locale::Chinese);
            assert!(!chinese.chars().any(|c| c.is_ascii()), "{name}: {chinese}");
            assert!(!word(name, Locale::English).contains('_'), "{name}");
        }
        assert_eq!(word("ops-1", Locale::Chinese), "ops-1");
    }
}
