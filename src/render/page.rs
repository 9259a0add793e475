//! The page of all alerts: one template for HTML, in both languages, with the functions of templates.
//!
//! **Invariant:** whatever a value says, it stands on the page as text or inside an attribute: every `{{x}}` is escaped
//! for HTML, and the template has no other kind. The page runs no script, and its style alone, by its hash.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use handlebars::{Handlebars, Helper, HelperDef, RenderContext, RenderError, ScopedJson};
use jiff::tz::TimeZone;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::helpers;
use crate::plan::Locale;

const SOURCE: &str = include_str!("../../templates/alerts.html.hbs");
const NAME: &str = "alerts";

/// The page, compiled when it is first asked for: many never ask.
#[derive(Debug)]
pub(super) struct Page {
    locale: Locale,
    timezone: TimeZone,
    compiled: OnceLock<Result<Handlebars<'static>, String>>,
}

impl Page {
    pub(super) fn new(locale: Locale, timezone: TimeZone) -> Self {
        Self {
            locale,
            timezone,
            compiled: OnceLock::new(),
        }
    }

    pub(super) fn render(&self, shown: &impl Serialize) -> Result<String, String> {
        let compiled = self.compiled.get_or_init(|| self.compile());
        let registry = compiled.as_ref().map_err(Clone::clone)?;
        registry.render(NAME, shown).map_err(|error| error.to_string())
    }

    fn compile(&self) -> Result<Handlebars<'static>, String> {
        let mut registry = Handlebars::new();
        registry
            .register_template_string(NAME, SOURCE)
            .map_err(|error| error.to_string())?;
        registry.register_escape_fn(handlebars::html_escape);
        helpers::register(&mut registry, self.locale, &self.timezone);
        registry.register_helper("say", Box::new(Say(self.locale)));
        Ok(registry)
    }
}

/// What a browser may do with the page: show it, and nothing that a value could have brought in.
pub(crate) fn policy() -> String {
    let style = SOURCE
        .split_once("<style>")
        .and_then(|(_, rest)| rest.split_once("</style>"));
    let style = style.map_or("", |(style, _)| style);
    format!(
        "default-src 'none'; style-src 'sha256-{}'; img-src data:; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'",
        STANDARD.encode(Sha256::digest(style))
    )
}

/// `say "English" "中文"`: the words of the page itself.
struct Say(Locale);

impl HelperDef for Say {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc handlebars::Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let index = match self.0 {
            Locale::English => 0,
            Locale::Chinese => 1,
        };
        let words = helper.param(index).map(|words| words.value().clone());
        Ok(ScopedJson::Derived(words.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_writes_nothing_unescaped_and_runs_no_script() {
        assert!(!SOURCE.contains("{{{") && !SOURCE.contains("{{&"));
        assert!(!SOURCE.contains("<script") && !SOURCE.contains(" style=") && !SOURCE.contains(" on"));
        assert_eq!(SOURCE.matches("<style>").count(), 1);
        assert!(!policy().contains("unsafe"));
        for locale in [Locale::English, Locale::Chinese] {
            assert!(Page::new(locale, TimeZone::UTC).compile().is_ok());
        }
    }
}
