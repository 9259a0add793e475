//! Texts that must never be shown.
//!
//! A [`Secret`] prints as `***` in `Debug` and `Display` and has no `Serialize`, so a log line, an error or
//! an API answer that happens to hold one shows nothing. [`Secret::expose`] is the only way to the text; its
//! callers are few and each is a place where the text goes to its one purpose (a signature, a comparison, a
//! request).

pub mod redact;

use std::fmt;
use std::sync::Arc;

/// A token, key or password.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Takes the text as it is: nothing is trimmed or decoded.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself, for its one purpose.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_stars_and_nothing_else() {
        let secret = Secret::new("SECabc");
        assert_eq!(
            format!("{secret} {secret:?} {:?}", Some(&secret)),
            "*** *** Some(***)"
        );
        assert_eq!(secret.expose(), "SECabc");
    }
}
