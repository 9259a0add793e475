//! Matchers of routes and of queries, in Alertmanager's syntax.

use crate::alert::Labels;

/// One condition on one label.
#[derive(Clone, Debug)]
pub struct Matcher {}

impl Matcher {
    /// Whether the labels satisfy it. A label that is not there counts as empty, as in Alertmanager.
    pub fn matches(&self, _labels: &Labels) -> bool {
        false
    }
}
