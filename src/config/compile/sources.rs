//! The ways in: types, authentication, mappings.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::{Names, Written, secrets, times};
use crate::alert::SourceName;
use crate::config::raw;
use crate::config::read::{At, Given};
use crate::config::report::{Findings, Place};
use crate::plan::{Auth, Plan, Source, SourceKind};
use crate::source::json::{Mapping, MappingText};

/// Header in which Grafana sends its signature unless told otherwise.
const GRAFANA_SIGNATURE_HEADER: &str = "X-Grafana-Alerting-Signature";
/// Most characters of a source's name: it is a part of a path.
const NAME_CHARS_MAX: usize = 64;

pub(super) fn sources(
    written: &[raw::Source],
    timezone: &TimeZone,
    findings: &mut Findings,
) -> BTreeMap<SourceName, Source> {
    let mut names = Names::new("source");
    let mut sources = BTreeMap::new();
    for raw in written {
        let name = names.define(&raw.name, findings).unwrap_or("");
        if let Some(at) = raw.name.get() {
            check_name(at, findings);
        }
        let name = SourceName::from(name);
        let kind = kind(raw, findings);
        let mut source = Source::builtin(name.clone(), kind, times::zone(&raw.timezone, timezone, findings));
        if let Some(auth) = raw.auth.get() {
            source.auth = self::auth(&auth.value, auth.place, findings);
        }
        if let Some(at) = raw.expire_after.get() {
            source.expire_after = at.value;
            if at.value.0 == 0 {
                findings.error(at.place, "`expire_after` cannot be zero");
            }
        }
        if raw.busy_status.value() == Some(&raw::BusyStatus::TooManyRequests) {
            source.busy_status = 429;
        }
        sources.insert(name, source);
    }
    sources
}

fn check_name(at: &At<String>, findings: &mut Findings) {
    let first = at.value.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    let rest = at
        .value
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if !first || !rest || at.value.len() > NAME_CHARS_MAX {
        findings
            .error(at.place, format!("a source cannot be named `{}`", at.value))
            .help(
                "its name is part of its path: at most 64 letters, digits, `-`, `_` and `.`, the first a letter or digit",
            );
    }
}

fn kind(raw: &raw::Source, findings: &mut Findings) -> SourceKind {
    let kind = raw.r#type.value();
    if let (Some(mapping), Some(kind)) = (raw.mapping.place(), kind)
        && *kind != raw::SourceType::Json
    {
        findings
            .error(mapping, "only a source of type `json` has a `mapping`")
            .help("remove it, or write `type: json`");
    }
    match kind {
        Some(raw::SourceType::Grafana) => SourceKind::Grafana,
        Some(raw::SourceType::Prometheus) => SourceKind::Prometheus,
        Some(raw::SourceType::Json) => SourceKind::Json(Arc::new(match raw.mapping.value() {
            Some(mapping) => self::mapping(mapping, findings),
            None => Mapping::default_mapping(),
        })),
        Some(raw::SourceType::Alertmanager) | None => SourceKind::Alertmanager,
    }
}

fn mapping(raw: &raw::Mapping, findings: &mut Findings) -> Mapping {
    let text = |given: &Given<String>| given.value().cloned();
    let texts = MappingText {
        alerts: text(&raw.alerts),
        identity: text(&raw.identity),
        status: text(&raw.status),
        labels: text(&raw.labels),
        annotations: text(&raw.annotations),
        starts_at: text(&raw.starts_at),
        ends_at: text(&raw.ends_at),
        link: text(&raw.link),
    };
    Mapping::compile(&texts).unwrap_or_else(|problems| {
        for problem in problems {
            let place = match problem.field {
                "alerts" => raw.alerts.place(),
                "identity" => raw.identity.place(),
                "status" => raw.status.place(),
                "labels" => raw.labels.place(),
                "annotations" => raw.annotations.place(),
                "starts_at" => raw.starts_at.place(),
                "ends_at" => raw.ends_at.place(),
                "link" => raw.link.place(),
                _ => None,
            };
            let place = findings.inside(place.unwrap_or(raw.place), problem.offset);
            findings.error(place, format!("`{}`: {}", problem.field, problem.message));
        }
        Mapping::default_mapping()
    })
}

fn auth(raw: &raw::Auth, place: Place, findings: &mut Findings) -> Auth {
    let given = [
        ("bearer_token", raw.bearer_token.place()),
        ("basic", raw.basic.place()),
        ("hmac_secret", raw.hmac_secret.place()),
    ];
    let unreadable =
        raw.bearer_token.is_unreadable() || raw.basic.is_unreadable() || raw.hmac_secret.is_unreadable();
    let mut ways = given
        .iter()
        .filter_map(|(key, place)| place.map(|place| (*key, place)));
    let first = ways.next();
    if let (Some((first, first_place)), Some((second, second_place))) = (first, ways.next()) {
        findings
            .error(second_place, format!("`auth` has both `{first}` and `{second}`"))
            .help("keep one of them; for two ways in make two sources")
            .also(first_place, "the other one");
    } else if first.is_none() && !unreadable {
        findings
            .error(place, "`auth` says no way to authenticate")
            .help("add `bearer_token_file`, `basic` or `hmac_secret_file`, or remove `auth`");
    }
    if !raw.hmac_secret.is_unreadable() && raw.hmac_secret.is_absent() {
        for (key, given) in [
            ("header", &raw.header),
            ("timestamp_header", &raw.timestamp_header),
        ] {
            if let Some(place) = given.place() {
                findings.error(
                    place,
                    format!("`{key}` belongs to `hmac_secret`, which is not given"),
                );
            }
        }
    }
    let header = |given: &Given<String>, findings: &mut Findings| {
        let at = given.get()?;
        if !at
            .value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
        {
            findings.error(at.place, format!("`{}` is not the name of a header", at.value));
        }
        Some(at.value.clone())
    };
    if let Some(secret) = secrets::secret(&raw.hmac_secret, "hmac_secret", findings) {
        return Auth::GrafanaHmac {
            secret,
            header: header(&raw.header, findings).unwrap_or_else(|| GRAFANA_SIGNATURE_HEADER.to_owned()),
            timestamp_header: header(&raw.timestamp_header, findings),
        };
    }
    if let Some(token) = secrets::token(&raw.bearer_token, "bearer_token", findings) {
        return Auth::Bearer(token);
    }
    raw.basic
        .get()
        .and_then(|basic| self::basic(basic, findings))
        .unwrap_or(Auth::None)
}

fn basic(at: &At<raw::Basic>, findings: &mut Findings) -> Option<Auth> {
    let basic = &at.value;
    if let Some(name) = basic.username.get()
        && name.value.contains(':')
    {
        findings.error(name.place, "a user name cannot hold a colon");
    }
    if basic.password.is_absent() {
        findings
            .error(at.place, "`basic` needs a password")
            .help("add `password_file`, `password_env` or `password`");
    }
    Some(Auth::Basic {
        password: secrets::secret(&basic.password, "password", findings)?,
        username: basic.username.value()?.clone(),
    })
}

/// Says which sources only this machine will be able to use.
pub(super) fn warn_of_open_ones(written: &Written, plan: &Plan, findings: &mut Findings) {
    if plan.server.listen.is_local() || plan.server.allow_unauthenticated {
        return;
    }
    let help = "add `auth`, or set `server.allow_unauthenticated: true`";
    if !written.names_sources {
        let listen = written
            .root
            .server
            .value()
            .and_then(|server| server.listen.place());
        findings
            .warning(
                listen,
                "no sources are configured; the built-in ones let in senders on this machine only",
            )
            .help("add `sources` with `auth`, or set `server.allow_unauthenticated: true`");
        return;
    }
    for raw in written.sources.iter().filter(|raw| raw.auth.is_absent()) {
        if let Some(name) = raw.name.get() {
            findings
                .warning(
                    Some(name.place),
                    format!(
                        "source `{}` has no `auth`: only senders on this machine are let in",
                        name.value
                    ),
                )
                .help(help);
        }
    }
}
