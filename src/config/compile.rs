//! From what the user wrote to a plan: names resolved, secrets read, expressions compiled, settings inherited.
//!
//! Every step notes what is wrong and goes on with the rest; whether there is a plan is decided at the very end.
//! What is absent is as in [`Plan::builtin`].

pub(super) mod endpoints;
mod receivers;
mod routes;
mod secrets;
mod server;
mod sources;
mod times;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::raw;
use super::read::{At, Given};
use super::report::{FileNo, Findings, Place};
use super::suggest;
use crate::plan::{Locale, Plan};
use endpoints::Senders;

/// Everything that was read.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) root: raw::Root,
    /// Where the main file begins, for what is missing in it.
    pub(crate) start: Place,
    pub(crate) sources: Vec<raw::Source>,
    pub(crate) bots: Vec<raw::Bot>,
    pub(crate) apps: Vec<raw::App>,
    pub(crate) receivers: Vec<raw::Receiver>,
    pub(crate) intervals: Vec<raw::NamedIntervals>,
    /// Routes of included files.
    pub(crate) routes: Vec<raw::Route>,
    /// Template files by the name of their template.
    pub(crate) templates: BTreeMap<String, FileNo>,
    /// Whether the files name sources at all.
    pub(crate) names_sources: bool,
}

/// Makes the plan; what is wrong is noted, and then the plan is of no use.
pub(crate) fn compile(written: &Written, state_dir: &Path, findings: &mut Findings) -> Plan {
    let mut plan = Plan::builtin(state_dir);
    let root = &written.root;
    plan.locale = match root.locale.value() {
        Some(raw::LocaleTag::English) => Locale::English,
        Some(raw::LocaleTag::Chinese) | None => Locale::Chinese,
    };
    plan.timezone = times::zone(&root.timezone, &plan.locale.default_timezone(), findings);
    if let Some(section) = root.server.value() {
        server::server(section, &mut plan.server, findings);
    }
    if let Some(section) = root.store.value() {
        server::store(section, state_dir, &mut plan.store, findings);
    }
    plan.record =
        (root.record.get()).map(|section| server::record(section, state_dir, &plan.store, findings));
    if let Some(section) = root.dingtalk.value() {
        server::dingtalk(section, &mut plan.dingtalk, findings);
    }
    plan.templates = written
        .templates
        .iter()
        .map(|(name, file)| (name.clone(), findings.text(*file).to_owned()))
        .collect();

    if written.names_sources {
        plan.sources = sources::sources(&written.sources, &plan.timezone, findings);
    } else {
        plan.sources = Plan::builtin_sources(&plan.timezone);
    }
    sources::warn_of_open_ones(written, &plan, findings);

    let (intervals, mut interval_names) = times::intervals(&written.intervals, &plan.timezone, findings);
    plan.intervals = intervals;
    let (bots, bot_names) = endpoints::bots(&written.bots, findings);
    let (apps, app_names) = endpoints::apps(&written.apps, findings);
    (plan.endpoints, plan.apps) = (bots, apps);
    let mut senders = Senders {
        bots: bot_names,
        apps: app_names,
    };
    let mut receiver_names = Names::new("receiver");
    let terminal_only = written.receivers.is_empty() && root.receivers.is_absent() && root.route.is_absent();
    if terminal_only {
        findings
            .warning(
                None,
                "no receiver is configured; digests are printed to the terminal",
            )
            .help("add `bots` and `receivers`");
    } else {
        receivers::receivers(written, &mut plan, &mut senders, &mut receiver_names, findings);
        plan.routes = routes::routes(
            written,
            &plan.sources,
            &mut receiver_names,
            &mut interval_names,
            findings,
        );
    }
    // What is misspelt elsewhere would seem unused here.
    if !findings.failed() {
        receiver_names.warn_of_unused("is on no route and nobody's fallback", findings);
        senders.bots.warn_of_unused("belongs to no receiver", findings);
        senders.apps.warn_of_unused("belongs to no receiver", findings);
        interval_names.warn_of_unused("is not used by any route", findings);
    }
    plan
}

/// The names of one kind of thing: each defined once, and looked up with a suggestion.
#[derive(Debug)]
struct Names {
    kind: &'static str,
    places: BTreeMap<String, Place>,
    used: BTreeSet<String>,
}

impl Names {
    fn new(kind: &'static str) -> Self {
        Self {
            kind,
            places: BTreeMap::new(),
            used: BTreeSet::new(),
        }
    }

    /// Takes a name; `None` when it is unreadable, or taken already, which is noted.
    fn define<'a>(&mut self, name: &'a Given<String>, findings: &mut Findings) -> Option<&'a str> {
        let At { value, place } = name.get()?;
        if let Some(first) = self.places.get(value) {
            findings
                .error(*place, format!("there are two {}s named `{value}`", self.kind))
                .label("second")
                .also(*first, "first")
                .help("rename or remove one of them");
            return None;
        }
        self.places.insert(value.clone(), *place);
        Some(value)
    }

    /// Whether a name is defined; noted when not.
    fn knows(&mut self, name: &At<String>, findings: &mut Findings) -> bool {
        let known = self.places.contains_key(&name.value);
        if known {
            self.used.insert(name.value.clone());
        } else {
            let names = self.places.keys().map(String::as_str);
            let help = suggest::did_you_mean_or_list(&name.value, names)
                .unwrap_or_else(|| format!("no {} is defined", self.kind));
            findings
                .error(name.place, format!("there is no {} `{}`", self.kind, name.value))
                .help(help);
        }
        known
    }

    fn warn_of_unused(&self, why: &str, findings: &mut Findings) {
        for (name, place) in &self.places {
            if !self.used.contains(name) {
                findings.warning(Some(*place), format!("{} `{name}` {why}", self.kind));
            }
        }
    }
}
