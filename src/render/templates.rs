//! The templates: built-in ones, those people wrote, which of them a receiver gets, and bounds on what they do.
//!
//! **Invariant:** rendering ends. A template includes only templates that exist, never itself through others,
//! nests few loops over lists that are bounded, repeats them no more than a limit all in all, and writes no more than
//! a limit.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::{fmt, io};

use handlebars::template::{DecoratorTemplate, HelperTemplate, Parameter, Template, TemplateElement};
use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, RenderError,
    RenderErrorReason,
};
use serde::Serialize;
use serde_json::Value;

use super::limits::{
    LOOPS_NESTED_MAX, OUTPUT_BYTES_MAX, ROUNDS_MAX, TEMPLATE_BRANCHES_MAX, TEMPLATE_NESTED_MAX,
    VALUES_PER_ROUND,
};
use super::{TemplateProblem, escape, helpers};
use crate::plan::{Locale, Plan};

/// The built-in templates of a locale by name.
fn built_in(locale: Locale) -> [(&'static str, &'static str); 4] {
    match locale {
        Locale::Chinese => [
            ("answer", include_str!("../../templates/answer.zh-CN.hbs")),
            ("digest", include_str!("../../templates/digest.zh-CN.hbs")),
            (
                "digest.title",
                include_str!("../../templates/digest.zh-CN.title.hbs"),
            ),
            (
                "digest.line",
                include_str!("../../templates/digest.zh-CN.line.hbs"),
            ),
        ],
        Locale::English => [
            ("answer", include_str!("../../templates/answer.en.hbs")),
            ("digest", include_str!("../../templates/digest.en.hbs")),
            (
                "digest.title",
                include_str!("../../templates/digest.en.title.hbs"),
            ),
            ("digest.line", include_str!("../../templates/digest.en.line.hbs")),
        ],
    }
}

/// Begins the names of built-in templates, so that no file replaces the one that everything falls back to.
const BUILT_IN_PREFIX: &str = "built-in ";

/// Whether a receiver may name this template: the built-in `digest`, or a file's, with or without a locale.
pub fn template_exists(templates: &BTreeMap<String, String>, name: &str) -> bool {
    name == "digest"
        || templates.contains_key(name)
        || [Locale::Chinese, Locale::English]
            .iter()
            .any(|locale| templates.contains_key(&format!("{name}.{}", locale.tag())))
}

/// Which templates a digest is rendered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) text: String,
    pub(super) title: String,
    pub(super) line: String,
}

/// Every template, compiled: once, because a compiled one takes tens of times the memory of its text.
pub(super) struct Templates {
    registry: Handlebars<'static>,
    locale: Locale,
}

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Compiled templates print as thousands of lines.
        f.debug_struct("Templates")
            .field("locale", &self.locale)
            .finish_non_exhaustive()
    }
}

impl Templates {
    pub(super) fn new(plan: &Plan) -> Result<Self, Vec<TemplateProblem>> {
        let locale = plan.locale;
        let mut compiled: BTreeMap<String, Template> = BTreeMap::new();
        let mut problems = Vec::new();
        let built_in = built_in(locale).map(|(name, source)| (format!("{BUILT_IN_PREFIX}{name}"), source));
        let files = plan
            .templates
            .iter()
            .map(|(name, source)| (name.clone(), source.as_str()));
        for (name, source) in built_in.into_iter().chain(files) {
            if let Some(message) = nesting(source) {
                problems.push(TemplateProblem {
                    name,
                    line: None,
                    column: None,
                    message,
                });
                continue;
            }
            match Template::compile_with_name(source, name.clone()) {
                Ok(template) => {
                    compiled.insert(name, template);
                }
                Err(error) => {
                    let (line, column) = error.pos().unzip();
                    let message = error.reason().to_string();
                    problems.push(TemplateProblem {
                        name,
                        line,
                        column,
                        message,
                    });
                }
            }
        }
        for name in compiled.keys() {
            survey(name, &compiled, &mut problems);
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        if let (Ok(round), Ok(include)) = (Template::compile(ROUND_CALL), Template::compile(INCLUDE_CALL)) {
            for template in compiled.values_mut() {
                count_rounds(template, false, &round);
                put_first(template, &include);
            }
        }
        let mut registry = Handlebars::new();
        helpers::register(&mut registry, locale, &plan.timezone);
        registry.register_helper(ROUND, Box::new(Round));
        registry.register_escape_fn(|value| ESCAPE.get()(value));
        for (name, template) in compiled {
            registry.register_template(&name, template);
        }
        Ok(Self { registry, locale })
    }

    /// The templates of a name, the most specific that are there.
    pub(super) fn chosen(&self, name: &str) -> Chosen {
        let tag = self.locale.tag();
        let built_in = Self::built_in();
        let first = |names: [String; 2], built_in: String| {
            names
                .into_iter()
                .find(|name| self.registry.has_template(name))
                .unwrap_or(built_in)
        };
        Chosen {
            text: first([format!("{name}.{tag}"), name.to_owned()], built_in.text),
            title: first(
                [format!("{name}.{tag}.title"), format!("{name}.title")],
                built_in.title,
            ),
            line: first(
                [format!("{name}.{tag}.line"), format!("{name}.line")],
                built_in.line,
            ),
        }
    }

    /// The built-in templates.
    pub(super) fn built_in() -> Chosen {
        Chosen {
            text: format!("{BUILT_IN_PREFIX}digest"),
            title: format!("{BUILT_IN_PREFIX}digest.title"),
            line: format!("{BUILT_IN_PREFIX}digest.line"),
        }
    }

    /// The answer to a question, by the built-in template.
    pub(super) fn answer(&self, reply: &impl Serialize) -> Result<String, String> {
        let context = Context::wraps(reply).map_err(|error| error.to_string())?;
        let name = format!("{BUILT_IN_PREFIX}answer");
        Ok(self.text(&name, &context)?.trim().to_owned())
    }

    /// The text: values are escaped for markdown.
    pub(super) fn text(&self, name: &str, digest: &Context) -> Result<String, String> {
        self.rendered(name, digest, escape::markdown)
    }

    /// The text without marks: values are shown as they are.
    pub(super) fn text_without_marks(&self, name: &str, digest: &Context) -> Result<String, String> {
        Ok(escape::without_marks(&self.rendered(
            name,
            digest,
            escape::literal,
        )?))
    }

    /// A title or line, in which there are no marks.
    pub(super) fn plain(&self, name: &str, digest: &Context) -> Result<String, String> {
        self.rendered(name, digest, escape::plain)
    }

    fn rendered(&self, name: &str, digest: &Context, escape: Escape) -> Result<String, String> {
        let mut output = Bounded::default();
        ROUNDS.set(0);
        ESCAPE.set(escape);
        self.registry
            .render_with_context_to_write(name, digest, &mut output)
            .map_err(|error| {
                if output.over {
                    format!("it writes more than {OUTPUT_BYTES_MAX} bytes")
                } else {
                    reason(&error)
                }
            })?;
        String::from_utf8(output.bytes).map_err(|error| error.to_string())
    }
}

fn reason(error: &RenderError) -> String {
    match (error.line_no, error.column_no) {
        (Some(line), Some(column)) => format!("line {line}, column {column}: {}", error.reason()),
        _ => error.reason().to_string(),
    }
}

/// Takes what a template writes, up to a limit.
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    over: bool,
}

impl io::Write for &mut Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > OUTPUT_BYTES_MAX {
            self.over = true;
            return Err(io::Error::other("too much output"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Counts each round of a block and each inclusion of a template; `count_rounds` puts a call at their beginning.
/// Loops inside loops over nothing write nothing, so the limit on what is written does not end them.
struct Round;

/// Its name.
const ROUND: &str = "count_round";
/// A call of it at the beginning of a round.
const ROUND_CALL: &str = "{{count_round}}";
/// A call of it at the beginning of a template: handlebars copies what an included template is given.
const INCLUDE_CALL: &str = "{{count_round this}}";

/// What becomes of the value of a `{{x}}`.
type Escape = fn(&str) -> String;

// Of the message that is being written: a template is rendered on one thread.
thread_local! {
    /// Its rounds.
    static ROUNDS: Cell<u32> = const { Cell::new(0) };
    /// How its values are written.
    static ESCAPE: Cell<Escape> = const { Cell::new(escape::markdown) };
}

impl HelperDef for Round {
    fn call<'reg: 'rc, 'rc>(
        &self,
        call: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
        _: &mut dyn Output,
    ) -> HelperResult {
        let given = call.param(0).map_or(0, |given| values(given.value()));
        let rounds = u32::try_from(1 + given / VALUES_PER_ROUND).unwrap_or(u32::MAX);
        ROUNDS.set(ROUNDS.get().saturating_add(rounds));
        if ROUNDS.get() > ROUNDS_MAX {
            let message = format!("it repeats its blocks more than {ROUNDS_MAX} times");
            return Err(RenderErrorReason::Other(message).into());
        }
        Ok(())
    }
}

/// How many values there are in one.
fn values(of: &Value) -> usize {
    match of {
        Value::Array(items) => items.iter().map(|it| 1 + values(it)).sum(),
        Value::Object(fields) => fields.values().map(|it| 1 + values(it)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn put_first(template: &mut Template, call: &Template) {
    template.elements.splice(0..0, call.elements.iter().cloned());
    template.mapping.splice(0..0, call.mapping.iter().cloned());
}

/// Puts a call of [`Round`] where a round of a loop begins.
#[expect(clippy::wildcard_enum_match_arm, reason = "the list of elements is open")]
fn count_rounds(template: &mut Template, repeats: bool, round: &Template) {
    for element in &mut template.elements {
        match element {
            TemplateElement::Expression(call)
            | TemplateElement::HtmlExpression(call)
            | TemplateElement::HelperBlock(call) => {
                let is_loop = matches!(&call.name, Parameter::Name(name) if name == "each");
                if let Some(inside) = &mut call.template {
                    count_rounds(inside, is_loop, round);
                }
                if let Some(inverse) = &mut call.inverse {
                    count_rounds(inverse, false, round);
                }
            }
            TemplateElement::PartialExpression(include) | TemplateElement::PartialBlock(include) => {
                if let Some(inside) = &mut include.template {
                    count_rounds(inside, true, round);
                }
            }
            // What else there is holds no template, or was refused.
            _ => {}
        }
    }
    if repeats {
        put_first(template, round);
    }
}

/// Why a template is not even compiled: handlebars reads brackets and blocks recursively.
fn nesting(source: &str) -> Option<String> {
    let (mut blocks, mut branches) = (0_usize, 0_usize);
    for inside in source.split("{{").skip(1) {
        let inside = inside.split("}}").next().unwrap_or_default();
        let mut brackets = 0_usize;
        for c in inside.chars() {
            match c {
                '(' | '[' | '{' => brackets += 1,
                ')' | ']' | '}' => brackets = brackets.saturating_sub(1),
                _ => {}
            }
            if brackets > TEMPLATE_NESTED_MAX {
                return Some(format!(
                    "brackets are nested more than {TEMPLATE_NESTED_MAX} levels deep"
                ));
            }
        }
        match inside.trim_start_matches(['~', ' ']) {
            it if it.starts_with(['#', '^']) => blocks += 1,
            it if it.starts_with('/') => blocks = blocks.saturating_sub(1),
            it if it.starts_with("else") => branches += 1,
            _ => {}
        }
        if blocks > TEMPLATE_NESTED_MAX {
            return Some(format!(
                "blocks are nested more than {TEMPLATE_NESTED_MAX} levels deep"
            ));
        }
        if branches > TEMPLATE_BRANCHES_MAX {
            return Some(format!(
                "there are more than {TEMPLATE_BRANCHES_MAX} branches (`else`)"
            ));
        }
    }
    None
}

/// Functions handlebars brings along.
const OF_HANDLEBARS: [&str; 17] = [
    "each", "if", "unless", "with", "lookup", "raw", "log", "eq", "ne", "gt", "gte", "lt", "lte", "and",
    "or", "not", "len",
];

/// Looks for calls of what is not there, for templates that include themselves, and for too many nested loops.
fn survey(name: &str, all: &BTreeMap<String, Template>, problems: &mut Vec<TemplateProblem>) {
    let mut survey = Survey {
        all,
        stack: vec![name],
        seen: BTreeMap::new(),
        problems: Vec::new(),
    };
    if let Some(template) = all.get(name) {
        let loops = survey.template(template);
        if loops > LOOPS_NESTED_MAX {
            survey.problem(
                None,
                format!("{loops} nested `each` blocks; at most {LOOPS_NESTED_MAX} are allowed"),
            );
        }
    }
    problems.append(&mut survey.problems);
}

struct Survey<'a> {
    all: &'a BTreeMap<String, Template>,
    /// The templates being looked at, each included by the one before.
    stack: Vec<&'a str>,
    /// The loops of included templates that were looked at: each is, once, however often it is included.
    seen: BTreeMap<&'a str, usize>,
    problems: Vec<TemplateProblem>,
}

impl<'a> Survey<'a> {
    /// Problems of an included template are reported where it is looked at for itself.
    fn problem(&mut self, place: Option<(usize, usize)>, message: String) {
        if let [name] = self.stack.as_slice() {
            let (line, column) = place.unzip();
            self.problems.push(TemplateProblem {
                name: (*name).to_owned(),
                line,
                column,
                message,
            });
        }
    }

    /// The deepest nesting of loops.
    fn template(&mut self, template: &'a Template) -> usize {
        let mut loops = 0;
        for (index, element) in template.elements.iter().enumerate() {
            let place = template.mapping.get(index).map(|mapping| (mapping.0, mapping.1));
            loops = loops.max(match element {
                TemplateElement::Expression(call)
                | TemplateElement::HtmlExpression(call)
                | TemplateElement::HelperBlock(call) => self.call(call, place),
                TemplateElement::PartialExpression(include) | TemplateElement::PartialBlock(include) => {
                    self.include(include, place)
                }
                TemplateElement::DecoratorExpression(_) | TemplateElement::DecoratorBlock(_) => {
                    self.problem(
                        place,
                        "decorators and inline partials are not supported; use a file of its own".into(),
                    );
                    0
                }
                // Text and comments; and the enum is open: a new element of a newer handlebars is no loop.
                TemplateElement::RawString(_) | TemplateElement::Comment(_) | _ => 0,
            });
        }
        loops
    }

    fn call(&mut self, call: &'a HelperTemplate, place: Option<(usize, usize)>) -> usize {
        let name = if let Parameter::Name(name) = &call.name {
            name.as_str()
        } else {
            ""
        };
        let calls = call.block || !call.params.is_empty() || !call.hash.is_empty();
        if calls && !name.is_empty() && !is_known(name) {
            self.problem(place, format!("there is no function `{name}`"));
        }
        for parameter in call.params.iter().chain(call.hash.values()) {
            self.parameter(parameter, place);
        }
        let inside = call
            .template
            .as_ref()
            .map_or(0, |template| self.template(template));
        let inverse = call
            .inverse
            .as_ref()
            .map_or(0, |template| self.template(template));
        (inside + usize::from(name == "each")).max(inverse)
    }

    fn parameter(&mut self, parameter: &'a Parameter, place: Option<(usize, usize)>) {
        if let Parameter::Subexpression(call) = parameter {
            if !is_known(call.name()) {
                self.problem(place, format!("there is no function `{}`", call.name()));
            }
            let hash = call.hash().into_iter().flat_map(|hash| hash.values());
            for parameter in call.params().into_iter().flatten().chain(hash) {
                self.parameter(parameter, place);
            }
        }
    }

    fn include(&mut self, include: &'a DecoratorTemplate, place: Option<(usize, usize)>) -> usize {
        let block = include
            .template
            .as_ref()
            .map_or(0, |template| self.template(template));
        let included = match include.name.as_name() {
            None => {
                self.problem(
                    place,
                    "the name of an included template must be written out".into(),
                );
                0
            }
            Some("@partial-block") => 0,
            Some(name) if self.stack.contains(&name) => {
                // Every template of a circle is told of it, whoever only leads into the circle is not.
                if self.stack.first() == Some(&name) {
                    let place = place.filter(|_| self.stack.len() == 1);
                    self.stack.truncate(1);
                    self.problem(place, format!("template `{name}` includes itself"));
                }
                0
            }
            Some(name) => self.included(name, place),
        };
        block.max(included)
    }

    fn included(&mut self, name: &'a str, place: Option<(usize, usize)>) -> usize {
        let Some(template) = self.all.get(name) else {
            self.problem(place, format!("there is no template `{name}`"));
            return 0;
        };
        if let Some(loops) = self.seen.get(name) {
            return *loops;
        }
        let depth = self.stack.len();
        self.stack.push(name);
        let loops = self.template(template);
        self.stack.truncate(depth);
        self.seen.insert(name, loops);
        loops
    }
}

fn is_known(name: &str) -> bool {
    OF_HANDLEBARS.contains(&name) || helpers::ALL.iter().any(|function| function.name == name)
}
