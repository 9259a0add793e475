//! From YAML files to a plan, or a report of everything that is wrong with them.
//!
//! [`load`] reads the main file, the files it includes, secrets and templates, and either hands out everything
//! that runs on them or a [`Report`]. It is all or nothing and changes nothing: a reload is another `load`.
//! [`watch`] says when that is worth while. This module knows nothing of what is running.
//!
//! The way of a file: `yaml` (a tree with places) → `read` and `raw` (typed, every key known) → `compile` (a
//! [`Plan`]). Each step notes what is wrong and goes on, so one attempt shows every problem.

mod compile;
mod exposure;
pub(crate) mod files;
mod glob;
pub mod import;
mod raw;
pub(crate) mod read;
pub(crate) mod report;
pub(crate) mod suggest;
pub mod watch;
pub(crate) mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use crate::plan::Plan;
use crate::render::{Prepared, Renderer, TemplateProblem};
use compile::Written;
use read::{At, Given, Read};
use report::{FileNo, Findings, Place, Secrets};

pub use report::{Problem, Report, Severity};

/// Most files that may be included.
const INCLUDED_FILES_MAX: usize = 1000;
/// Most bytes of one template.
const TEMPLATE_BYTES_MAX: usize = 1 << 20;

/// Everything that runs on one configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What to do.
    pub plan: Arc<Plan>,
    /// How to say it.
    pub renderer: Arc<Renderer>,
    /// The files it was made from, and patterns of files, for [`watch::Watcher`].
    pub files: Vec<PathBuf>,
    /// What is odd about it.
    pub warnings: Report,
}

impl Loaded {
    /// What is needed of it to run.
    pub fn prepared(&self) -> Prepared {
        Prepared {
            plan: Arc::clone(&self.plan),
            renderer: Arc::clone(&self.renderer),
        }
    }
}

/// Loads a configuration file, or the built-in defaults when there is none.
///
/// Relative paths in a file are relative to the file; `store.path` and `record.path` are relative to
/// `state_dir`.
pub fn load(path: Option<&Path>, state_dir: &Path) -> Result<Loaded, Report> {
    load_with(path, state_dir, Findings::default())
}

/// Loads a configuration to rehearse it: secrets in files and in the environment are not fetched, so they need not
/// exist. Nothing can be sent with what this gives.
pub fn load_to_rehearse(path: Option<&Path>) -> Result<Loaded, Report> {
    load_with(path, Path::new(""), Findings::with(Secrets::Invented))
}

fn load_with(path: Option<&Path>, state_dir: &Path, mut findings: Findings) -> Result<Loaded, Report> {
    let Some(path) = path else {
        let plan = Arc::new(Plan::builtin(state_dir));
        let renderer = renderer(&plan, &BTreeMap::new(), &mut findings);
        return finish(plan, renderer, findings);
    };
    let written = read_main(path, &mut findings);
    let Some(written) = written else {
        return Err(findings.into_report());
    };
    let plan = Arc::new(compile::compile(&written, state_dir, &mut findings));
    let renderer = renderer(&plan, &written.templates, &mut findings);
    finish(plan, renderer, findings)
}

fn finish(plan: Arc<Plan>, renderer: Option<Renderer>, findings: Findings) -> Result<Loaded, Report> {
    let failed = findings.failed();
    let report = findings.into_report();
    match renderer {
        Some(renderer) if !failed => Ok(Loaded {
            plan,
            renderer: Arc::new(renderer),
            files: report.files().to_vec(),
            warnings: report,
        }),
        _ => Err(report),
    }
}

/// Reads a file into a tree and the tree into a mapping.
pub(crate) fn read_file<T: Read>(
    path: &Path,
    named_at: Option<Place>,
    findings: &mut Findings,
) -> Option<(T, Place)> {
    findings.watch(path.to_owned());
    let text = match files::read(path, yaml::FILE_BYTES_MAX) {
        Ok(text) => text,
        Err(problem) => {
            let message = format!("cannot read `{}`: {problem}", path.display());
            match named_at {
                Some(place) => findings.error(place, message),
                None => findings.file_error(path, format!("cannot read the file: {problem}")),
            };
            return None;
        }
    };
    if text.trim().is_empty() {
        // What a full disk or an editor in the middle of its work leaves behind must not replace what is in force.
        let finding = match named_at {
            Some(place) => findings.error(place, format!("`{}` is empty", path.display())),
            None => findings.file_error(path, "the file is empty"),
        };
        finding.help("if nothing shall be configured, write `{}`");
        return None;
    }
    let file = findings.add_source(path, text);
    let tree = yaml::parse(file, findings)?;
    let place = tree.place;
    T::read(&tree, findings).map(|value| (value, place))
}

fn read_main(path: &Path, findings: &mut Findings) -> Option<Written> {
    let (mut root, start) = read_file::<raw::Root>(path, None, findings)?;
    let mut written = Written {
        start,
        names_sources: !root.sources.is_absent(),
        sources: take(&mut root.sources),
        bots: take(&mut root.bots),
        apps: take(&mut root.apps),
        receivers: take(&mut root.receivers),
        intervals: take(&mut root.time_intervals),
        routes: Vec::new(),
        templates: BTreeMap::new(),
        root,
    };
    let mut seen = BTreeSet::from([identity(path)]);
    for (file, named_at) in expand(written.root.include.items(), findings) {
        if !seen.insert(identity(&file)) {
            continue;
        }
        if seen.len() > INCLUDED_FILES_MAX {
            findings.error(
                named_at,
                format!("more than {INCLUDED_FILES_MAX} files are included"),
            );
            break;
        }
        if let Some((mut more, _)) = read_file::<raw::Included>(&file, Some(named_at), findings) {
            written.names_sources |= !more.sources.is_absent();
            written.sources.append(&mut take(&mut more.sources));
            written.bots.append(&mut take(&mut more.bots));
            written.apps.append(&mut take(&mut more.apps));
            written.receivers.append(&mut take(&mut more.receivers));
            written.intervals.append(&mut take(&mut more.time_intervals));
            written.routes.append(&mut take(&mut more.routes));
        }
    }
    written.templates = read_templates(&written.root.templates, findings);
    Some(written)
}

/// Takes the elements of a list out of its key, which stays known as given.
fn take<T>(given: &mut Given<Vec<T>>) -> Vec<T> {
    match given {
        Given::Is(at) => std::mem::take(&mut at.value),
        Given::Absent | Given::Unreadable => Vec::new(),
    }
}

/// What two names of one file have in common.
fn identity(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// The files that paths and patterns name, each with the place that names it.
fn expand(patterns: &[At<String>], findings: &mut Findings) -> Vec<(PathBuf, Place)> {
    let mut found = Vec::new();
    for At { value, place } in patterns {
        let pattern = findings.resolve(place.file, value);
        found.extend(glob::expand(&pattern).into_iter().map(|file| (file, *place)));
        findings.watch(pattern);
    }
    found
}

fn read_templates(given: &Given<Vec<At<String>>>, findings: &mut Findings) -> BTreeMap<String, FileNo> {
    let mut templates: BTreeMap<String, FileNo> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (path, named_at) in expand(given.items(), findings) {
        if !seen.insert(identity(&path)) {
            continue;
        }
        let name = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or("")
            .to_owned();
        if path.extension().is_none_or(|extension| extension != "hbs") {
            findings
                .error(
                    named_at,
                    format!(
                        "`{}` is not a template: its name does not end in `.hbs`",
                        path.display()
                    ),
                )
                .help("a template's name is that of its file without `.hbs`");
            continue;
        }
        findings.watch(path.clone());
        match files::read(&path, TEMPLATE_BYTES_MAX) {
            Ok(text) => {
                let file = findings.add_source(&path, text);
                if let Some(first) = templates.insert(name.clone(), file) {
                    let first = findings.name(first).to_owned();
                    findings
                        .error(named_at, format!("two files are the template `{name}`"))
                        .help(format!("`{first}` and `{}`: rename one of them", path.display()));
                }
            }
            Err(problem) => {
                findings.error(named_at, format!("cannot read `{}`: {problem}", path.display()));
            }
        }
    }
    templates
}

fn renderer(
    plan: &Arc<Plan>,
    templates: &BTreeMap<String, FileNo>,
    findings: &mut Findings,
) -> Option<Renderer> {
    let problems = match Renderer::new(plan) {
        Ok(renderer) => return Some(renderer),
        Err(problems) => problems,
    };
    for TemplateProblem {
        name,
        line,
        column,
        message,
    } in problems
    {
        let message = format!("template `{name}`: {message}");
        match templates.get(&name) {
            Some(file) => {
                let place = findings.place_at(*file, line.unwrap_or(1), column.unwrap_or(1));
                findings.error(place, message);
            }
            None => {
                findings.file_error(Path::new(&format!("{name}.hbs")), message);
            }
        }
    }
    None
}

/// The JSON Schema of the configuration, for editors.
pub fn schema() -> serde_json::Value {
    let mut definitions = serde_json::Map::new();
    raw::Root::schema(&mut definitions);
    raw::Included::schema(&mut definitions);
    // Only an included file has `routes` at its top; without them its keys are a part of the main file's.
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "dingest configuration",
        "if": {"required": ["routes"]},
        "then": {"$ref": "#/definitions/Included"},
        "else": {"$ref": "#/definitions/Root"},
        "definitions": definitions,
    })
}

#[cfg(test)]
mod tests;
