//! From a draft to messages that fit.
//!
//! [`Renderer::render`] composes the digest, runs the receiver's template over it and cuts the outcome into as few
//! messages as hold it, each within the byte limit of the serialised request. It always has an answer: a template
//! that fails gives way to the built-in one, which names the failure. `Renderer::answer` puts the answer to a
//! question into words. Pure: no clock, no network, no state besides the compiled templates.
//!
//! **Invariant:** the parts of a digest together cover every entry of its draft, listed or counted.

mod escape;
mod fit;
pub(crate) mod form;
mod headline;
pub mod helpers;
pub mod limits;
pub(crate) mod link;
mod mention;
mod page;
mod templates;
mod words;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use serde::Serialize;

use crate::digest::compose::{Outline, Settings};
use crate::digest::value::NoticeValue;
use crate::digest::{Draft, Rendered, shorten};
use crate::plan::Plan;
use crate::render::templates::Templates;

pub(crate) use page::policy as page_policy;
pub use templates::template_exists;

/// Something wrong with a template file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateProblem {
    /// The template's name: its file's without `.hbs`.
    pub name: String,
    /// The line, counted from 1.
    pub line: Option<usize>,
    /// The column, counted from 1.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
}

/// A plan and the renderer made for it: what everybody works with until the configuration is loaded again.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// What to do.
    pub plan: Arc<Plan>,
    /// How to say it.
    pub renderer: Arc<Renderer>,
}

/// Everything rendering needs of a plan.
#[derive(Debug)]
pub struct Renderer {
    plan: Arc<Plan>,
    /// Compiled when they are first used, if all are our own: that is nine tenths of the work of a start, and 2.5 MB of
    /// what it would hold.
    templates: OnceLock<Templates>,
    page: page::Page,
    settings: Settings,
}

impl Renderer {
    /// Compiles the templates that people wrote, or says everything that is wrong with them.
    pub fn new(plan: &Arc<Plan>) -> Result<Self, Vec<TemplateProblem>> {
        let templates = if plan.templates.is_empty() {
            OnceLock::new()
        } else {
            Templates::new(plan)?.into()
        };
        Ok(Self {
            page: page::Page::new(plan.locale, plan.timezone.clone()),
            templates,
            settings: Settings {
                timezone: plan.timezone.clone(),
                external_url: plan.server.external_url.clone(),
            },
            plan: Arc::clone(plan),
        })
    }

    /// The templates, compiled.
    fn templates(&self) -> &Templates {
        (self.templates).get_or_init(|| Templates::new(&self.plan).expect("the built-in templates are right"))
    }

    /// The text of an answer to who asked, from what the templates `answer` are given.
    pub(crate) fn answer(&self, reply: &impl Serialize) -> String {
        self.templates().answer(reply).unwrap_or_else(|error| {
            tracing::error!(error, "an answer could not be written");
            "⚠️".to_owned()
        })
    }

    /// The page of all alerts.
    pub(crate) fn page(&self, shown: &impl Serialize) -> String {
        self.page.render(shown).unwrap_or_else(|error| {
            tracing::error!(error, "the page of alerts could not be written");
            String::new()
        })
    }

    /// Renders a draft into messages that fit its frame.
    pub fn render(&self, draft: &Draft) -> Rendered {
        let receiver = self.plan.receivers.get(&draft.receiver);
        let name = receiver.map_or("digest", |receiver| receiver.template.as_str());
        let outline = Outline::new(draft);
        let chosen = self.templates().chosen(name);
        let fitter = |chosen, notice| fit::Fitter::new(self, &outline, draft, chosen, notice);
        // Template code runs on what strangers send; even a panic must not cost the digest.
        let error = match catch_unwind(AssertUnwindSafe(|| fitter(&chosen, None).fitted())) {
            Ok(Ok((detail, messages))) => {
                return Rendered {
                    detail,
                    messages,
                    template_error: None,
                };
            }
            Ok(Err(error)) => error,
            Err(_) => "it panicked".to_owned(),
        };
        let notice = NoticeValue::TemplateFailed {
            template: name.to_owned(),
            error: shorten(&error, limits::NOTICE_CHARS_MAX).into_owned(),
        };
        let built_in = Templates::built_in();
        let fitter = fitter(&built_in, Some(notice));
        let (detail, messages) = catch_unwind(AssertUnwindSafe(|| fitter.fitted()))
            .ok()
            .and_then(Result::ok)
            .unwrap_or_else(|| fitter.numbers_only());
        Rendered {
            detail,
            messages,
            template_error: Some(error),
        }
    }
}

#[cfg(test)]
mod tests;
