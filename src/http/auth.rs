//! Who may post: credentials are checked before the body is read, signatures as soon as it is there.
//!
//! Everything secret is compared in constant time, as digests of equal length; a missing credential takes as
//! long as a wrong one. Nothing here logs or repeats what was presented.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;
use warp::http::header::AUTHORIZATION;

use crate::alert::Timestamp;
use crate::http::Head;
use crate::http::limits::SIGNATURE_AGE_SECONDS_MAX;
use crate::http::reply::Fault;
use crate::plan::{Auth, Source};
use crate::secret::Secret;

/// What is left to check once the head of a request has been.
#[derive(Debug)]
#[must_use]
pub(crate) enum Admission<'a> {
    /// Nothing.
    Granted,
    /// The signature over the body as received.
    Signed {
        /// The shared secret.
        secret: &'a Secret,
        /// What the sender computed.
        signature: [u8; 32],
        /// The text signed in front of the body, if any.
        timestamp: Option<&'a str>,
    },
}

/// Checks the head of a request to `source`. `path_token` is the token in the path, if there is one.
pub(crate) fn admit<'a>(
    source: &'a Source,
    head: &'a Head,
    path_token: Option<&Secret>,
    allow_unauthenticated: bool,
    now: Timestamp,
) -> Result<Admission<'a>, Fault> {
    if path_token.is_some() && !matches!(source.auth, Auth::Bearer(_)) {
        return Err(Fault::NoSourceFor(format!(
            "source `{}` takes no token in its path; post to `/v1/hooks/{}`",
            source.name, source.name
        )));
    }
    match &source.auth {
        Auth::None if allow_unauthenticated || head.is_local() => Ok(Admission::Granted),
        Auth::None => Err(Fault::Forbidden(
            "this source has no `auth` and is open to this machine only; \
             give it one, or set `server.allow_unauthenticated: true`",
        )),
        Auth::Bearer(token) => {
            let presented = match path_token {
                Some(token) => Some(token.expose()),
                None => credentials(head, "bearer"),
            };
            granted(
                presented.map(str::as_bytes),
                token.expose().as_bytes(),
                "this source wants its bearer token, and what was sent is not it",
                "Bearer realm=\"dingest\"",
            )
        }
        Auth::Basic { username, password } => {
            let presented = credentials(head, "basic").and_then(|text| BASE64_STANDARD.decode(text).ok());
            granted(
                presented.as_deref(),
                format!("{username}:{}", password.expose()).as_bytes(),
                "this source wants its user name and password, and what was sent are not they",
                "Basic realm=\"dingest\", charset=\"UTF-8\"",
            )
        }
        Auth::GrafanaHmac {
            secret,
            header,
            timestamp_header,
        } => {
            let signature = head.text(header).and_then(signature).ok_or(unsigned(
                "this source wants a signature, and there is none of 64 hexadecimal digits",
            ))?;
            let timestamp = match timestamp_header {
                None => None,
                Some(name) => Some(fresh(head.text(name), now)?),
            };
            Ok(Admission::Signed {
                secret,
                signature,
                timestamp,
            })
        }
    }
}

impl Admission<'_> {
    /// Checks what depends on the body, over the bytes as they were received.
    pub(crate) fn confirm(self, body: &[u8]) -> Result<(), Fault> {
        let Self::Signed {
            secret,
            signature,
            timestamp,
        } = self
        else {
            return Ok(());
        };
        let mut mac = keyed(secret);
        if let Some(timestamp) = timestamp {
            mac.update(timestamp.as_bytes());
            mac.update(b":");
        }
        mac.update(body);
        // Compares in constant time.
        mac.verify_slice(&signature).map_err(|_| {
            unsigned("the signature does not match the body; do both sides have the same secret?")
        })
    }
}

fn keyed(secret: &Secret) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes keys of any length")
}

fn unsigned(problem: &'static str) -> Fault {
    Fault::Unauthorized {
        problem,
        challenge: "HMAC-SHA256 realm=\"dingest\"",
    }
}

/// The credentials of the `Authorization` header, when they are of this scheme.
fn credentials<'a>(head: &'a Head, scheme: &str) -> Option<&'a str> {
    let (found, rest) = head.text(AUTHORIZATION)?.split_once(' ')?;
    found.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

/// Whether two secrets are the same, compared in constant time.
pub(super) fn same(presented: &[u8], expected: &[u8]) -> bool {
    Sha256::digest(presented).ct_eq(&Sha256::digest(expected)).into()
}

fn granted(
    presented: Option<&[u8]>,
    expected: &[u8],
    problem: &'static str,
    challenge: &'static str,
) -> Result<Admission<'static>, Fault> {
    let same = same(presented.unwrap_or_default(), expected);
    if same && presented.is_some() {
        Ok(Admission::Granted)
    } else {
        Err(Fault::Unauthorized { problem, challenge })
    }
}

/// Reads 64 hexadecimal digits.
fn signature(text: &str) -> Option<[u8; 32]> {
    let digits = text.trim().as_bytes();
    let mut bytes = [0; 32];
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(bytes)
}

/// The signed time, when it is not too far off: an old signed request is of no use to whoever recorded it.
fn fresh(text: Option<&str>, now: Timestamp) -> Result<&str, Fault> {
    let text = text.ok_or(unsigned("this source wants a signed time, and there is none"))?;
    let seconds: i64 = text
        .parse()
        .map_err(|_| unsigned("the signed time is not in Unix seconds"))?;
    if now.0.div_euclid(1000).abs_diff(seconds) > SIGNATURE_AGE_SECONDS_MAX {
        return Err(unsigned(
            "the signed time is more than five minutes off; are both clocks right?",
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, case 2.
    #[test]
    fn a_signature_is_hmac_sha256_in_hexadecimal_digits() {
        let digits = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let secret = Secret::new("Jefe");
        let admission = || Admission::Signed {
            secret: &secret,
            signature: signature(digits).expect("64 digits"),
            timestamp: None,
        };
        assert!(admission().confirm(b"what do ya want for nothing?").is_ok());
        assert!(admission().confirm(b"what do ya want for nothing!").is_err());
    }

    #[test]
    fn what_is_not_64_hexadecimal_digits_is_no_signature() {
        for text in [
            "",
            "5b",
            &"5".repeat(63),
            &"5".repeat(65),
            &"g".repeat(64),
            &"é".repeat(32),
        ] {
            assert_eq!(signature(text), None, "{text}");
        }
        assert_eq!(signature(&"0A".repeat(32)), Some([10; 32]));
    }
}
