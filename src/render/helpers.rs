//! What templates can call.
//!
//! To add a function: write it below and give it a line in [`ALL`], with an example; a test renders every
//! example, and the documentation for template authors is this list. A function sees its arguments and the
//! digest, never the plan or the clock.

use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, RenderError,
    RenderErrorReason, ScopedJson,
};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::limits::OUTPUT_BYTES_MAX;
use super::{escape, headline, link, words};
use crate::digest::shorten;
use crate::plan::Locale;

/// One function of templates.
#[derive(Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// What it does, for template authors.
    pub does: &'static str,
    /// A call.
    pub example: &'static str,
    /// What the call writes in English.
    pub writes: &'static str,
    /// Is what it writes markdown already?
    markup: bool,
    run: fn(&Call<'_>) -> Value,
}

/// Every function, in the order of the documentation.
pub const ALL: &[Function] = &[
    text(
        "duration",
        "seconds as people say them",
        "{{duration 4320}}",
        "1 h 12 min",
        duration,
    ),
    text(
        "durations",
        "several of them, or the ends of a range",
        "{{durations (lookup this 'spans') true}}",
        "9 min to 35 min",
        durations,
    ),
    text(
        "time",
        "a time of day, with the date when it is not today; `seconds=true` to the second",
        "{{time '2026-03-01T10:02:11+08:00'}}",
        "03-01 10:02",
        time,
    ),
    text(
        "number",
        "a number with separators",
        "{{number 98214}}",
        "98,214",
        number,
    ),
    text(
        "plural",
        "one word or the other, by a number",
        "{{plural 2 'alert' 'alerts'}}",
        "alerts",
        plural,
    ),
    text(
        "truncate",
        "at most so many characters",
        "{{truncate 'a long story' 7}}",
        "a long…",
        truncate,
    ),
    text("upper", "upper case", "{{upper 'prod'}}", "PROD", upper),
    text("lower", "lower case", "{{lower 'PROD'}}", "prod", lower),
    text(
        "default",
        "the first argument that is there and not empty",
        "{{default missing '' 'none'}}",
        "none",
        default,
    ),
    text(
        "join",
        "the elements of a list with a separator between them",
        "{{join (lookup this 'list') ', '}}",
        "a, b",
        join,
    ),
    text(
        "values",
        "the texts of a map as a list, that of `alertname` first, without those that another map has",
        "{{join (values (lookup this 'map') (lookup this 'other')) ' '}}",
        "HighLatency api",
        values,
    ),
    text(
        "urlencode",
        "percent-encoded, for a part of an address",
        "{{urlencode 'a b&c'}}",
        "a%20b%26c",
        urlencode,
    ),
    text(
        "severity",
        "the severity as a word",
        "{{severity 'critical'}}",
        "critical",
        severity,
    ),
    text(
        "word",
        "a word of the API in the reader's language: a change, a state, what a receiver waits for, a reason",
        "{{word 'group_interval'}}",
        "group interval",
        word_of,
    ),
    text("mark", "the mark of a severity", "{{mark 'warning'}}", "🟠", mark),
    markup(
        "colour",
        "the colour of a severity, for `<font color=…>`",
        "{{colour 'critical'}}",
        "#D93026",
        colour,
    ),
    text(
        "breakdown",
        "numbers by severity",
        "{{breakdown (lookup this 'by')}}",
        "1 critical, 5 warning",
        breakdown,
    ),
    text(
        "label",
        "a label's name as people say it",
        "{{label 'consumer_group'}}",
        "consumer group",
        label,
    ),
    text(
        "headline",
        "what changed and what fires; `title=true` for a title",
        "{{headline title=true}}",
        "🔴 2 new, ✅ 3 resolved",
        headline_of,
    ),
    markup(
        "link",
        "a link outside PC's side panel; nothing when it is no web address",
        "{{link 'graph' 'https://g'}}",
        "[graph](dingtalk://dingtalkclient/page/link?url=https%3A%2F%2Fg&pc_slide=false)",
        link_to,
    ),
    markup(
        "address",
        "a web address to stand in a link of one's own; nothing when it is none",
        "[graph]({{address 'https://g/(1)'}})",
        "[graph](https://g/%281%29)",
        address,
    ),
    markup(
        "links",
        "the links of an alert, at most four, as words",
        "{{links (lookup this 'links')}}",
        "[runbook](dingtalk://dingtalkclient/page/link?url=https%3A%2F%2Fr&pc_slide=false)",
        links,
    ),
    markup(
        "br",
        "a line break inside a list item or a paragraph",
        "a{{br}}b",
        "a  \n  b",
        line_break,
    ),
];

const fn text(
    name: &'static str,
    does: &'static str,
    example: &'static str,
    writes: &'static str,
    run: fn(&Call<'_>) -> Value,
) -> Function {
    Function {
        name,
        does,
        example,
        writes,
        markup: false,
        run,
    }
}

const fn markup(
    name: &'static str,
    does: &'static str,
    example: &'static str,
    writes: &'static str,
    run: fn(&Call<'_>) -> Value,
) -> Function {
    Function {
        name,
        does,
        example,
        writes,
        markup: true,
        run,
    }
}

/// Makes every function known to a registry.
pub(crate) fn register(registry: &mut Handlebars<'static>, locale: Locale, timezone: &TimeZone) {
    for function in ALL {
        registry.register_helper(
            function.name,
            Box::new(Registered {
                function,
                locale,
                timezone: timezone.clone(),
            }),
        );
    }
}

struct Registered {
    function: &'static Function,
    locale: Locale,
    timezone: TimeZone,
}

/// One call of a function.
#[derive(Debug)]
pub struct Call<'a> {
    arguments: Vec<&'a Value>,
    named: Vec<(&'a str, &'a Value)>,
    digest: &'a Value,
    locale: Locale,
    timezone: &'a TimeZone,
}

impl Call<'_> {
    fn value(&self, index: usize) -> &Value {
        self.arguments.get(index).copied().unwrap_or(&Value::Null)
    }

    /// An argument as text: numbers as written, nothing for what is missing.
    fn text(&self, index: usize) -> String {
        match self.value(index) {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                other.to_string()
            }
        }
    }

    fn number(&self, index: usize) -> u64 {
        self.value(index).as_u64().unwrap_or(0)
    }

    fn flag(&self, name: &str) -> bool {
        self.named
            .iter()
            .any(|(known, value)| *known == name && value.as_bool() == Some(true))
    }

    fn chinese(&self) -> bool {
        self.locale == Locale::Chinese
    }
}

impl Registered {
    fn value(&self, helper: &Helper<'_>, context: &Context) -> Value {
        (self.function.run)(&Call {
            arguments: helper
                .params()
                .iter()
                .map(handlebars::PathAndJson::value)
                .collect(),
            named: helper
                .hash()
                .iter()
                .map(|(name, value)| (*name, value.value()))
                .collect(),
            digest: context.data(),
            locale: self.locale,
            timezone: &self.timezone,
        })
    }
}

impl HelperDef for Registered {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        context: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let value = self.value(helper, context);
        if value.as_str().is_some_and(|text| text.len() > OUTPUT_BYTES_MAX) {
            return Err(too_long(self.function.name));
        }
        Ok(ScopedJson::Derived(value))
    }

    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        registry: &'reg Handlebars<'reg>,
        context: &'rc Context,
        render: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let value = self.value(helper, context);
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if text.len() > OUTPUT_BYTES_MAX {
            return Err(too_long(self.function.name));
        }
        let plain = self.function.markup || render.is_disable_escape();
        let text = if plain {
            text
        } else {
            registry.get_escape_fn()(&text)
        };
        out.write(&text)
            .map_err(|error| RenderErrorReason::IOError(error).into())
    }
}

fn too_long(function: &str) -> RenderError {
    let message = format!("`{function}` makes a text of more than {OUTPUT_BYTES_MAX} bytes");
    RenderErrorReason::Other(message).into()
}

fn word_of(call: &Call<'_>) -> Value {
    words::word(&call.text(0), call.locale).into()
}

fn duration(call: &Call<'_>) -> Value {
    span(call.number(0), call.locale).into()
}

/// Seconds in at most two units.
pub(crate) fn span(seconds: u64, locale: Locale) -> String {
    let units = match locale {
        Locale::Chinese => ["秒", "分钟", "小时", "天"],
        Locale::English => ["s", "min", "h", "d"],
    };
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let (large, small) = match () {
        () if days >= 7 => ((days, units[3]), (0, "")),
        () if days > 0 => ((days, units[3]), (hours % 24, units[2])),
        () if hours > 0 => ((hours, units[2]), (minutes % 60, units[1])),
        () if minutes > 0 => ((minutes, units[1]), (0, "")),
        () => ((seconds.max(1), units[0]), (0, "")),
    };
    match small {
        (0, _) => format!("{} {}", large.0, large.1),
        (count, unit) => format!("{} {} {count} {unit}", large.0, large.1),
    }
}

fn durations(call: &Call<'_>) -> Value {
    let mut spans: Vec<String> = call
        .value(0)
        .as_array()
        .into_iter()
        .flatten()
        .map(|seconds| span(seconds.as_u64().unwrap_or(0), call.locale))
        .collect();
    spans.dedup();
    let between = match (call.value(1).as_bool() == Some(true), call.locale) {
        (true, Locale::Chinese) => " 至 ",
        (true, Locale::English) => " to ",
        (false, Locale::Chinese) => "、",
        (false, Locale::English) => ", ",
    };
    spans.join(between).into()
}

fn time(call: &Call<'_>) -> Value {
    let zoned = |text: &str| {
        Some(
            text.parse::<jiff::Timestamp>()
                .ok()?
                .to_zoned(call.timezone.clone()),
        )
    };
    let text = call.text(0);
    let Some(time) = zoned(&text) else {
        return text.into();
    };
    let today = call
        .digest
        .get("composed_at")
        .and_then(Value::as_str)
        .and_then(zoned);
    let date = match today {
        Some(today) if today.date() == time.date() => "",
        Some(today) if today.year() == time.year() => "%m-%d ",
        _ => "%Y-%m-%d ",
    };
    let clock = if call.flag("seconds") { "%H:%M:%S" } else { "%H:%M" };
    time.strftime(&format!("{date}{clock}")).to_string().into()
}

fn number(call: &Call<'_>) -> Value {
    call.value(0)
        .as_u64()
        .map_or_else(|| call.text(0), grouped)
        .into()
}

/// A number with a comma between thousands, as both languages write it.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn plural(call: &Call<'_>) -> Value {
    call.text(if call.number(0) == 1 { 1 } else { 2 }).into()
}

fn truncate(call: &Call<'_>) -> Value {
    let most = call
        .value(1)
        .as_u64()
        .and_then(|most| usize::try_from(most).ok())
        .unwrap_or(usize::MAX);
    shorten(&call.text(0), most).into()
}

fn upper(call: &Call<'_>) -> Value {
    call.text(0).to_uppercase().into()
}

fn lower(call: &Call<'_>) -> Value {
    call.text(0).to_lowercase().into()
}

fn default(call: &Call<'_>) -> Value {
    let there = |value: &&&Value| !value.is_null() && value.as_str() != Some("");
    call.arguments
        .iter()
        .find(there)
        .map_or(Value::String(String::new()), |value| (*value).clone())
}

fn join(call: &Call<'_>) -> Value {
    let between = call.text(1);
    let mut joined = String::new();
    for (index, value) in call.value(0).as_array().into_iter().flatten().enumerate() {
        if index > 0 {
            joined.push_str(&between);
        }
        match value.as_str() {
            Some(text) => joined.push_str(text),
            None => joined.push_str(&value.to_string()),
        }
        // Whoever asked for it is told that it is too long.
        if joined.len() > OUTPUT_BYTES_MAX {
            break;
        }
    }
    joined.into()
}

fn values(call: &Call<'_>) -> Value {
    let without = call.value(1).as_object();
    let mut kept: Vec<(&String, &Value)> = (call.value(0).as_object().into_iter().flatten())
        .filter(|(name, _)| without.is_none_or(|other| !other.contains_key(*name)))
        .collect();
    kept.sort_by_key(|(name, _)| *name != "alertname");
    kept.into_iter().map(|(_, text)| text.clone()).collect()
}

fn urlencode(call: &Call<'_>) -> Value {
    link::encode(&call.text(0)).into()
}

fn severity(call: &Call<'_>) -> Value {
    let word = call.text(0);
    match (call.chinese(), word.as_str()) {
        (true, "critical") => "严重".into(),
        (true, "warning") => "警告".into(),
        (true, "info") => "提示".into(),
        _ => word.into(),
    }
}

fn mark(call: &Call<'_>) -> Value {
    headline::mark(&call.text(0)).into()
}

fn colour(call: &Call<'_>) -> Value {
    match call.text(0).as_str() {
        "critical" => "#D93026",
        "warning" => "#E37400",
        _ => "#1A73E8",
    }
    .into()
}

fn breakdown(call: &Call<'_>) -> Value {
    headline::breakdown(call.value(0), call.locale).into()
}

fn label(call: &Call<'_>) -> Value {
    let name = call.text(0);
    let chinese = match name.as_str() {
        "alertname" => "告警",
        "region" => "地域",
        "zone" | "az" | "availability_zone" => "可用区",
        "cluster" => "集群",
        "env" | "environment" => "环境",
        "namespace" => "命名空间",
        "service" => "服务",
        "app" | "application" => "应用",
        "deployment" | "workload" => "工作负载",
        "rack" => "机架",
        "host" | "hostname" => "主机",
        "node" | "nodename" => "节点",
        "instance" => "实例",
        "device" => "设备",
        "job" => "任务",
        _ => "",
    };
    if call.chinese() && !chinese.is_empty() {
        chinese.into()
    } else {
        name.replace('_', " ").into()
    }
}

fn headline_of(call: &Call<'_>) -> Value {
    headline::headline(call.digest, call.locale, call.flag("title")).into()
}

fn link_to(call: &Call<'_>) -> Value {
    linked(&call.text(0), &call.text(1)).unwrap_or_default().into()
}

fn address(call: &Call<'_>) -> Value {
    link::plain(&call.text(0)).unwrap_or_default().into()
}

/// A markdown link; brackets in the word would end it early.
fn linked(word: &str, target: &str) -> Option<String> {
    let word = escape::markdown(&word.replace('[', "(").replace(']', ")"));
    Some(format!("[{word}]({})", link::wrapped(target)?))
}

fn links(call: &Call<'_>) -> Value {
    let words = if call.chinese() {
        ["图表", "看板", "手册", "静默"]
    } else {
        ["graph", "dashboard", "runbook", "silence"]
    };
    let target = |kinds: &[&str]| kinds.iter().find_map(|kind| call.value(0).get(kind)?.as_str());
    let targets = [
        target(&["panel", "generator"]),
        target(&["dashboard"]),
        target(&["runbook"]),
        target(&["silence"]),
    ];
    let links: Vec<String> = words
        .iter()
        .zip(targets)
        .filter_map(|(word, target)| linked(word, target?))
        .collect();
    links.join(" · ").into()
}

fn line_break(_: &Call<'_>) -> Value {
    json!("  \n  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(template: &str, locale: Locale) -> String {
        let mut registry = Handlebars::new();
        let zone = TimeZone::fixed(jiff::tz::offset(8));
        register(&mut registry, locale, &zone);
        registry.register_escape_fn(escape::markdown);
        let digest = json!({
            "composed_at": "2026-03-02T10:43:00+08:00",
            "list": ["a", "b"],
            "map": {"Zone": "east", "alertname": "HighLatency", "service": "api"},
            "other": {"Zone": "east"},
            "spans": [540, 2100],
            "by": {"critical": 1, "warning": 5, "info": 0},
            "links": {"runbook": "https://r"},
            "counts": {"new": 2, "again": 0, "resolved": 3, "reminder": 0, "passed": 0, "flapping": 0, "expired": 0},
            "begun": {"critical": 1, "warning": 1, "info": 0, "total": 2},
            "firing": {"critical": 1, "warning": 6, "info": 0, "total": 7},
        });
        registry.render_template(template, &digest).expect("renders")
    }

    #[test]
    fn every_function_does_what_its_example_says() {
        for function in ALL {
            assert_eq!(
                rendered(function.example, Locale::English),
                function.writes,
                "{}",
                function.name
            );
            assert!(!function.does.is_empty());
        }
    }

    #[test]
    fn spans_are_said_in_at_most_two_units() {
        for (seconds, english, chinese) in [
            (0, "1 s", "1 秒"),
            (59, "59 s", "59 秒"),
            (719, "11 min", "11 分钟"),
            (3600, "1 h", "1 小时"),
            (15_600, "4 h 20 min", "4 小时 20 分钟"),
            (183_600, "2 d 3 h", "2 天 3 小时"),
            (15 * 86_400 + 7200, "15 d", "15 天"),
        ] {
            assert_eq!(span(seconds, Locale::English), english);
            assert_eq!(span(seconds, Locale::Chinese), chinese);
        }
    }

    #[test]
    fn times_carry_a_date_only_when_it_is_not_today() {
        for (time, expected) in [
            ("2026-03-02T02:02:11Z", "10:02"),
            ("2026-03-01T23:59:00+08:00", "03-01 23:59"),
            ("2025-12-31T08:00:00+08:00", "2025-12-31 08:00"),
            ("not a time", "not a time"),
        ] {
            assert_eq!(
                rendered(&format!("{{{{time '{time}'}}}}"), Locale::English),
                expected
            );
        }
        assert_eq!(
            rendered("{{time '2026-03-02T02:02:11Z' seconds=true}}", Locale::Chinese),
            "10:02:11"
        );
    }

    #[test]
    fn a_hostile_link_text_or_target_makes_no_other_link() {
        assert_eq!(
            rendered("{{link 'x' 'javascript:alert(1)'}}", Locale::English),
            ""
        );
        let text = rendered("{{link 'a](http://evil) [b' 'https://good'}}", Locale::English);
        assert_eq!(text.matches("](").count(), 1, "{text}");
        assert!(
            text.contains("](dingtalk://dingtalkclient/page/link?url=https%3A%2F%2Fgood"),
            "{text}"
        );
    }
}
