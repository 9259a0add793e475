//! Chance without a history.

use crate::dice::Dice;

/// A number that depends on nothing but what it is made of: the same delay for the same message, whatever else was
/// taken out of a script.
pub(crate) fn noise(parts: &[u64]) -> u64 {
    parts
        .iter()
        .fold(0x51_7c_c1_b7, |hash, part| Dice::new(hash ^ part).next())
}
