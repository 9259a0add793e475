//! What has happened to an alert: the last few occurrences, for who asks why.
//!
//! A repeat is no occurrence. **Invariant:** what is kept of an alert is bounded, and of one that only began, as most
//! have, nothing is: it takes eight bytes.

use super::Timestamp;

/// Occurrences kept of an alert; the oldest give way.
pub const OCCURRENCES_KEPT_MAX: usize = 12;

/// Something that happened to an alert after it first came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// What.
    pub what: Occurred,
    /// When, by our clock.
    pub at: Timestamp,
}

/// What can happen to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Occurred {
    /// It began to fire again.
    Again,
    /// Its sender said that it is over.
    Resolved,
    /// Its labels or annotations changed.
    Updated,
    /// An end of an older episode came in, which changed nothing.
    Late,
    /// It was said to fire right after its end, by a straggler or against a wrong end: not believed yet.
    Doubted,
    /// That was believed, for nobody repeated the end.
    Believed,
    /// Its sender stopped saying anything.
    Expired,
    /// It began to come and go too often.
    Flapping,
    /// It stopped to.
    Calm,
}

impl Occurred {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Again,
        Self::Resolved,
        Self::Updated,
        Self::Late,
        Self::Doubted,
        Self::Believed,
        Self::Expired,
        Self::Flapping,
        Self::Calm,
    ];

    /// The stable name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Again => "again",
            Self::Resolved => "resolved",
            Self::Updated => "updated",
            Self::Late => "late",
            Self::Doubted => "doubted",
            Self::Believed => "believed",
            Self::Expired => "expired",
            Self::Flapping => "flapping",
            Self::Calm => "calm",
        }
    }

    /// Whether it may come again and again, and would push out everything else.
    const fn is_routine(self) -> bool {
        matches!(self, Self::Updated | Self::Late | Self::Doubted)
    }
}

/// The last occurrences of an alert, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Occurrences(Option<Box<Kept>>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Kept(Vec<Occurrence>);

impl Occurrences {
    /// Adds one. Of routine in a row the last is kept.
    pub fn note(&mut self, what: Occurred, at: Timestamp) {
        let Kept(kept) = &mut **self.0.get_or_insert_default();
        match kept.last_mut() {
            Some(last) if last.what == what && what.is_routine() => last.at = at,
            _ => {
                if kept.len() >= OCCURRENCES_KEPT_MAX {
                    kept.remove(0);
                }
                kept.reserve_exact(1);
                kept.push(Occurrence { what, at });
            }
        }
    }

    /// Nothing happened later than `now`: the clock was set back since.
    pub fn trust_clock(&mut self, now: Timestamp) {
        for occurrence in self.0.iter_mut().flat_map(|kept| &mut kept.0) {
            occurrence.at = occurrence.at.min(now);
        }
    }

    /// All that are kept.
    pub fn as_slice(&self) -> &[Occurrence] {
        self.0.as_ref().map_or(&[], |kept| &kept.0)
    }
}

impl FromIterator<Occurrence> for Occurrences {
    /// Takes the occurrences as they are, as when they are read back.
    fn from_iter<T: IntoIterator<Item = Occurrence>>(occurrences: T) -> Self {
        let kept: Vec<Occurrence> = occurrences.into_iter().collect();
        Self((!kept.is_empty()).then(|| Box::new(Kept(kept))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(occurred: &[(Occurred, i64)]) -> Vec<(Occurred, i64)> {
        let mut occurrences = Occurrences::default();
        for (what, at) in occurred {
            occurrences.note(*what, Timestamp(*at));
        }
        let slice = occurrences.as_slice();
        slice.iter().map(|it| (it.what, it.at.0)).collect()
    }

    #[test]
    fn the_last_are_kept_and_of_routine_in_a_row_the_last() {
        use Occurred::{Again, Doubted, Resolved, Updated};
        let few = [
            (Updated, 1),
            (Updated, 2),
            (Resolved, 3),
            (Doubted, 4),
            (Doubted, 5),
            (Updated, 6),
        ];
        let left = [(Updated, 2), (Resolved, 3), (Doubted, 5), (Updated, 6)];
        assert_eq!(noted(&few), left);
        let many: Vec<_> = (0..20)
            .flat_map(|at| [(Resolved, 2 * at), (Again, 2 * at + 1)])
            .collect();
        assert_eq!(noted(&many), many[many.len() - OCCURRENCES_KEPT_MAX..]);
        assert_eq!(noted(&[]), []);
    }
}
