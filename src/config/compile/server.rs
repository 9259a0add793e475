//! `server`, `store` and `dingtalk`, and the addresses in them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use reqwest::Url;

use crate::config::raw;
use crate::config::read::At;
use crate::config::report::Findings;
use crate::plan::{DingTalk, Listen, Record, Server, Store};

/// Largest `body_limit`: a body is held in memory while it is read.
const BODY_LIMIT_BYTES_MAX: u64 = 256 << 20;
/// The file of a recording, and how large it becomes, unless told otherwise.
const RECORDING: &str = "recording.jsonl";
const RECORDING_BYTES: u64 = 64 << 20;
/// Smallest `max_size`.
const RECORDING_BYTES_MIN: u64 = 1 << 20;

pub(super) fn server(section: &raw::Server, server: &mut Server, findings: &mut Findings) {
    if let Some(at) = section.listen.get()
        && let Some(listen) = listen(at, findings)
    {
        server.listen = listen;
    }
    if let Some(at) = section.external_url.get() {
        server.external_url = external_url(at, findings);
    }
    if let Some(at) = section.body_limit.get() {
        let bytes = at.value.0;
        if (1..=BODY_LIMIT_BYTES_MAX).contains(&bytes) {
            server.body_limit_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        } else {
            findings.error(at.place, "`body_limit` must be from 1 byte to 256MiB");
        }
    }
    server.allow_unauthenticated = section.allow_unauthenticated.or(false);
}

fn listen(at: &At<String>, findings: &mut Findings) -> Option<Listen> {
    let text = &at.value;
    if let Some(path) = text.strip_prefix("unix:") {
        let path = PathBuf::from(path);
        if path.is_absolute() {
            return Some(Listen::Unix(path));
        }
        findings.error(
            at.place,
            "the path of a socket must be absolute: `unix:/run/dingest/http.sock`",
        );
        return None;
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(Listen::Tcp(address));
    }
    let help = match text.rsplit_once(':') {
        Some(("", port)) => {
            format!("for every address write `0.0.0.0:{port}`, for this machine only `127.0.0.1:{port}`")
        }
        Some(("localhost", port)) => format!("write `127.0.0.1:{port}`"),
        _ => "write an address and a port such as `127.0.0.1:8060`, or `unix:/run/dingest/http.sock`"
            .to_owned(),
    };
    findings
        .error(at.place, format!("`{text}` is not an address to listen on"))
        .help(help);
    None
}

fn external_url(at: &At<String>, findings: &mut Findings) -> Option<String> {
    let url = Url::parse(&at.value).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.query().is_none()
            && url.fragment().is_none()
            && !has_credentials(url)
    });
    if url.is_none() {
        findings
            .error(at.place, "`external_url` is not the address of a web page")
            .help("write it as people open it, such as `https://alerts.example.com`");
    }
    url.map(|url| url.as_str().trim_end_matches('/').to_owned())
}

fn has_credentials(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

pub(super) fn store(section: &raw::Store, state_dir: &Path, store: &mut Store, findings: &mut Findings) {
    if let Some(path) = section.path.value() {
        store.path = state_dir.join(path);
    }
    if let Some(at) = section.history.get() {
        store.history = at.value;
        if at.value.0 == 0 {
            findings
                .error(at.place, "`history` cannot be zero")
                .help("write how long, such as `30d`");
        }
    }
}

pub(super) fn record(
    section: &At<raw::Record>,
    state_dir: &Path,
    store: &Store,
    findings: &mut Findings,
) -> Record {
    let At { value: raw, place } = section;
    let record = Record {
        path: state_dir.join(raw.path.value().map_or(RECORDING, String::as_str)),
        bytes_max: raw.max_size.value().map_or(RECORDING_BYTES, |size| size.0),
    };
    if record.path == store.path || record.older() == store.path {
        findings
            .error(
                raw.path.place().unwrap_or(*place),
                "what comes in cannot be recorded in the database",
            )
            .help("give `record.path` a name of its own, such as `recording.jsonl`");
    }
    if let Some(at) = raw.max_size.get().filter(|at| at.value.0 < RECORDING_BYTES_MIN) {
        findings.error(at.place, "`max_size` must be 1MiB or more");
    }
    record
}

pub(super) fn dingtalk(section: &raw::DingTalk, dingtalk: &mut DingTalk, findings: &mut Findings) {
    if let Some(at) = section.base_url.get() {
        match base_url(&at.value) {
            Ok((url, base)) if url.path() == "/" && url.query().is_none() => dingtalk.base_url = base,
            Ok((_, base)) => {
                findings
                    .error(at.place, "`base_url` is only scheme and host")
                    .help(format!("write `{base}`"));
            }
            Err(problem) => {
                findings
                    .error(at.place, format!("`base_url` {problem}"))
                    .help("write `https://oapi.dingtalk.com`, or leave it out");
            }
        }
    }
    if let Some(quota) = section.monthly_quota.value() {
        dingtalk.monthly_quota = (quota.0 != 0).then_some(quota.0);
    }
    if let Some(quota) = section.monthly_api_quota.value() {
        dingtalk.monthly_api_quota = (quota.0 != 0).then_some(quota.0);
    }
}

/// A URL of DingTalk, or of a stand-in on this machine, and its scheme and host. The error is the rest of a
/// sentence and quotes nothing: the URL may hold a token.
pub(super) fn base_url(text: &str) -> Result<(Url, String), &'static str> {
    let url = Url::parse(text).map_err(|_| "is not a URL")?;
    if has_credentials(&url) {
        return Err("must not hold a user name or password");
    }
    let local = url.host_str().is_some_and(|host| {
        let host = host.trim_matches(['[', ']']);
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    });
    match url.scheme() {
        "https" => {}
        "http" if local => {}
        "http" => return Err("must begin with `https://`; plain http is for this machine only"),
        _ => return Err("must begin with `https://`"),
    }
    let base = url.origin().ascii_serialization();
    Ok((url, base))
}
