//! The routing tree: settings handed down, matchers compiled, names resolved.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Names, Written};
use crate::alert::{IntervalName, ReceiverName, SourceName, Span};
use crate::config::raw;
use crate::config::read::{At, Given};
use crate::config::report::{Findings, Place};
use crate::config::suggest;
use crate::plan::matcher::Matcher;
use crate::plan::{GroupBy, Route, RouteId, Routes, Source};

/// Most nodes of the tree.
const ROUTES_MAX: usize = 10_000;

/// Builds the tree.
pub(super) fn routes(
    written: &Written,
    sources: &BTreeMap<SourceName, Source>,
    receivers: &mut Names,
    intervals: &mut Names,
    findings: &mut Findings,
) -> Routes {
    let raw = written.root.route.value();
    let receiver = root_receiver(written, receivers, findings);
    let mut builder = Builder {
        sources,
        receivers,
        intervals,
        findings,
        nodes: Vec::new(),
    };
    let mut root = Route::root(receiver.unwrap_or_else(|| ReceiverName::from("")));
    if let Some(raw) = raw {
        builder.check_root(raw);
        builder.settings(raw, &mut root);
    }
    builder.nodes.push(root);
    let below = raw.map_or(&[][..], |raw| raw.routes.items());
    for child in below.iter().chain(&written.routes) {
        builder.child(RouteId(0), child);
    }
    Routes::new(builder.nodes)
}

/// The receiver of the root: the one it names, or the only one there is.
fn root_receiver(written: &Written, receivers: &mut Names, findings: &mut Findings) -> Option<ReceiverName> {
    let route = &written.root.route;
    if let Some(receiver) = route.value().and_then(|raw| raw.receiver.get()) {
        receivers.knows(receiver, findings);
        return Some(receiver.value.as_str().into());
    }
    let unreadable = route.is_unreadable() || route.value().is_some_and(|raw| raw.receiver.is_unreadable());
    let mut names = receivers.places.keys();
    let only = match (names.next(), names.next()) {
        (Some(only), None) => Some(only.clone()),
        _ => None,
    };
    if let Some(only) = only {
        receivers.used.insert(only.clone());
        return Some(only.as_str().into());
    }
    if !unreadable && !receivers.places.is_empty() {
        let names: Vec<String> = receivers.places.keys().map(|name| format!("`{name}`")).collect();
        let place = route.value().map_or(written.start, |raw| raw.place);
        findings
            .error(
                place,
                "the root route has no receiver, and there is more than one to choose from",
            )
            .help(format!(
                "add `route: {{ receiver: NAME }}` with one of {}",
                names.join(", ")
            ));
    } else if !unreadable && written.root.receivers.is_absent() {
        let place = route.value().map_or(written.start, |raw| raw.place);
        findings
            .error(place, "there is a route and no receiver")
            .help("add `receivers`");
    }
    None
}

struct Builder<'a> {
    sources: &'a BTreeMap<SourceName, Source>,
    receivers: &'a mut Names,
    intervals: &'a mut Names,
    findings: &'a mut Findings,
    nodes: Vec<Route>,
}

impl Builder<'_> {
    fn check_root(&mut self, raw: &raw::Route) {
        let not_here = [
            ("sources", raw.sources.place()),
            (
                "matchers",
                raw.matchers
                    .get()
                    .filter(|at| !at.value.is_empty())
                    .map(|at| at.place),
            ),
            ("mute_time_intervals", raw.mute_time_intervals.place()),
            ("active_time_intervals", raw.active_time_intervals.place()),
            ("continue", raw.r#continue.place()),
        ];
        for (key, place) in not_here {
            if let Some(place) = place {
                self.findings
                    .error(
                        place,
                        format!("the root route cannot have `{key}`: every alert passes it"),
                    )
                    .help("put it on a route below, under `routes`");
            }
        }
    }

    /// Adds a node and all below it.
    fn child(&mut self, parent: RouteId, raw: &raw::Route) {
        if self.nodes.len() == ROUTES_MAX {
            self.findings
                .error(raw.place, format!("more than {ROUTES_MAX} routes"));
            return;
        }
        if self.nodes.len() > ROUTES_MAX {
            return;
        }
        let id = RouteId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        let above = &mut self.nodes[parent.0 as usize];
        above.children.push(id);
        let mut route = Route {
            sources: Vec::new(),
            matchers: Vec::new(),
            continue_matching: raw.r#continue.or(false),
            mute: Vec::new(),
            active: Vec::new(),
            children: Vec::new(),
            ..above.clone()
        };
        if let Some(receiver) = raw.receiver.get() {
            self.receivers.knows(receiver, self.findings);
            route.receiver = receiver.value.as_str().into();
        }
        self.settings(raw, &mut route);
        route.sources = self.source_names(&raw.sources);
        route.matchers = self.matchers(&raw.matchers);
        route.mute = self.interval_names(&raw.mute_time_intervals);
        route.active = self.interval_names(&raw.active_time_intervals);
        self.nodes.push(route);
        for child in raw.routes.items() {
            self.child(id, child);
        }
    }

    /// What a route hands down to those below it.
    fn settings(&mut self, raw: &raw::Route, route: &mut Route) {
        if let Some(list) = raw.group_by.get() {
            route.group_by = self.group_by(&list.value);
        }
        route.group_wait = raw.group_wait.or(route.group_wait);
        route.group_interval = self.interval("group_interval", &raw.group_interval, route.group_interval);
        route.repeat_interval = self.interval("repeat_interval", &raw.repeat_interval, route.repeat_interval);
        route.urgent = raw.urgent.or(route.urgent);
        route.send_resolved = raw.send_resolved.or(route.send_resolved);
        let place = raw.repeat_interval.place().or(raw.group_interval.place());
        if let Some(place) = place
            && route.repeat_interval < route.group_interval
        {
            self.findings.warning(
                Some(place),
                "`repeat_interval` is shorter than `group_interval`: reminders wait for the longer one",
            );
        }
    }

    fn interval(&mut self, key: &str, given: &Given<Span>, inherited: Span) -> Span {
        let Some(at) = given.get() else { return inherited };
        if at.value.0 == 0 {
            self.findings.error(at.place, format!("`{key}` cannot be zero"));
        }
        at.value
    }

    fn group_by(&mut self, list: &[At<String>]) -> GroupBy {
        let mut labels: Vec<Arc<str>> = Vec::new();
        for label in list {
            if label.value == "..." {
                if list.len() > 1 {
                    self.findings
                        .error(label.place, "`...` is every label and stands alone")
                        .help("write `group_by: ['...']`, or name labels only");
                }
                return GroupBy::All;
            }
            if labels.iter().any(|known| **known == *label.value) {
                self.findings
                    .error(label.place, format!("label `{}` is named twice", label.value));
            }
            labels.push(label.value.as_str().into());
        }
        GroupBy::Labels(labels.into())
    }

    fn source_names(&mut self, given: &Given<Vec<At<String>>>) -> Vec<SourceName> {
        let mut names = Vec::new();
        for name in given.items() {
            if let Some((known, _)) = self.sources.get_key_value(name.value.as_str()) {
                names.push(known.clone());
                continue;
            }
            let known = self.sources.keys().map(SourceName::as_str);
            let help = suggest::did_you_mean_or_list(&name.value, known);
            self.findings
                .error(name.place, format!("there is no source `{}`", name.value))
                .help(help.unwrap_or_else(|| "no source is defined".to_owned()));
        }
        names
    }

    fn matchers(&mut self, given: &Given<Vec<At<String>>>) -> Vec<Matcher> {
        let mut matchers = Vec::new();
        for text in given.items() {
            match Matcher::parse_list(&text.value) {
                Ok(mut list) => matchers.append(&mut list),
                Err(problem) => {
                    let place: Place = self.findings.inside(text.place, problem.offset);
                    self.findings
                        .error(place, format!("not a matcher: {}", problem.message))
                        .help("write `label=\"value\"`, `!=`, or with a regular expression `=~` and `!~`");
                }
            }
        }
        matchers
    }

    fn interval_names(&mut self, given: &Given<Vec<At<String>>>) -> Vec<IntervalName> {
        let mut names = Vec::new();
        for name in given.items() {
            if self.intervals.knows(name, self.findings) {
                names.push(name.value.as_str().into());
            }
        }
        names
    }
}
