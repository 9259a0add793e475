//! Why an alert takes the routes it takes: the routing tree gone through again, with a word about every node that was
//! looked at.
//!
//! **Invariant:** the nodes it says are taken are those that `Routes::matching` finds.

use super::matcher::Matcher;
use super::{Route, RouteId, Routes};
use crate::alert::{Labels, SourceName};

/// A node that was looked at on the way of an alert, or passed by.
#[derive(Clone, Debug)]
pub struct Step<'a> {
    /// Which.
    pub id: RouteId,
    /// How far below the root, which is 0.
    pub depth: usize,
    /// The node.
    pub route: &'a Route,
    /// What it did with the alert.
    pub passage: Passage<'a>,
}

/// What a node of the routing tree does with an alert.
#[derive(Clone, Debug)]
pub enum Passage<'a> {
    /// Its receiver is told.
    Taken,
    /// It matches, and so does a node below it, whose receiver is told instead.
    Delegated,
    /// It takes no alerts of this source.
    OtherSource,
    /// This matcher does not match.
    Mismatch(&'a Matcher),
    /// This sibling before it matches, and does not `continue`.
    Shadowed(RouteId),
}

impl Passage<'_> {
    /// The stable name in the API.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Delegated => "delegated",
            Self::OtherSource => "other_source",
            Self::Mismatch(_) => "mismatch",
            Self::Shadowed(_) => "shadowed",
        }
    }
}

impl Routes {
    /// The way of an alert through the tree, in the order of the configuration. What stands below a node that it does
    /// not reach is left out.
    pub fn trace(&self, source: &SourceName, labels: &Labels) -> Vec<Step<'_>> {
        let mut steps = Vec::new();
        self.follow(RouteId(0), 0, source, labels, &mut steps);
        steps
    }

    fn follow<'a>(
        &'a self,
        id: RouteId,
        depth: usize,
        source: &SourceName,
        labels: &Labels,
        steps: &mut Vec<Step<'a>>,
    ) {
        let place = steps.len();
        steps.push(Step {
            id,
            depth,
            route: self.get(id),
            passage: Passage::Taken,
        });
        let mut shadow = None;
        for child in &self.get(id).children {
            let route = self.get(*child);
            let missed = match (shadow, route.mismatch(labels)) {
                (Some(sibling), _) => Some(Passage::Shadowed(sibling)),
                (None, _) if !route.is_for(source) => Some(Passage::OtherSource),
                (None, mismatch) => mismatch.map(Passage::Mismatch),
            };
            if let Some(passage) = missed {
                steps.push(Step {
                    id: *child,
                    depth: depth + 1,
                    route,
                    passage,
                });
                continue;
            }
            self.follow(*child, depth + 1, source, labels, steps);
            steps[place].passage = Passage::Delegated;
            shadow = (!route.continue_matching).then_some(*child);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A tree of up to seven nodes: each has its parent among those before it, and matches by a few labels and sources.
    fn routes() -> impl Strategy<Value = Routes> {
        let source = prop::option::of("[ab]");
        let matcher = prop::option::of(("[xy]", "[01]"));
        let node = (any::<prop::sample::Index>(), source, matcher, any::<bool>());
        vec(node, 0..7).prop_map(|nodes| {
            let mut routes = vec![Route::root("root".into())];
            for (no, (parent, source, matcher, continue_matching)) in (1..).zip(nodes) {
                let matcher = matcher.map(|(label, value)| Matcher::parse(&format!("{label}={value}")));
                let parent = parent.index(routes.len());
                routes[parent].children.push(RouteId(no));
                routes.push(Route {
                    sources: source.into_iter().map(SourceName::from).collect(),
                    matchers: matcher.into_iter().map(Result::unwrap).collect(),
                    continue_matching,
                    ..Route::root(format!("r{no}").as_str().into())
                });
            }
            Routes::new(routes)
        })
    }

    proptest! {
        #[test]
        fn what_is_taken_is_what_matches(routes in routes(), source in "[ab]", x in "[01]", y in "[01]") {
            let (source, labels) = (SourceName::from(source), Labels::from_pairs([("x", x), ("y", y)]));
            let steps = routes.trace(&source, &labels);
            let taken = steps.iter().filter(|step| matches!(step.passage, Passage::Taken));
            let taken: Vec<RouteId> = taken.map(|step| step.id).collect();
            prop_assert_eq!(taken, routes.matching(&source, &labels));
            for (place, step) in steps.iter().enumerate() {
                let rest = steps[place + 1..].iter();
                let mut below = rest.take_while(|other| other.depth > step.depth);
                let holds = match step.passage {
                    Passage::Taken => true,
                    Passage::Delegated => below.any(|other| {
                        let reached = matches!(other.passage, Passage::Taken | Passage::Delegated);
                        other.depth == step.depth + 1 && reached
                    }),
                    Passage::OtherSource => !step.route.sources.contains(&source),
                    Passage::Mismatch(matcher) => !matcher.matches(&labels),
                    Passage::Shadowed(by) => by < step.id && !routes.get(by).continue_matching,
                };
                prop_assert!(holds, "{:?}", step);
            }
        }
    }
}
