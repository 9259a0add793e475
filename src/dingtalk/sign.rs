//! Signatures and signed URLs: pure functions of secret, token and time.
//!
//! A signature is base64 of HMAC-SHA256 over `<milliseconds>\n<secret>`, keyed by the secret as written, `SEC`
//! included. It is good for one hour around its timestamp, so it is made afresh for every attempt. A bot
//! without a secret is not signed at all. Nothing here reads a clock or knows of requests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::Sha256;

use crate::alert::Timestamp;
use crate::dingtalk::SEND_PATH;
use crate::secret::Secret;

/// Everything but RFC 3986's unreserved characters, so that `+`, `/` and `=` survive every parser.
const QUERY_VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The signature for a moment: 44 characters of standard base64, not yet percent-encoded.
pub fn sign(secret: &Secret, timestamp: Timestamp) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()) else {
        unreachable!("HMAC takes keys of every length");
    };
    mac.update(format!("{}\n", timestamp.0).as_bytes());
    mac.update(secret.expose().as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

/// The URL to post to, signed when there is a secret. It is itself a credential, hence a [`Secret`].
///
/// `base_url` is scheme and host, with a path prefix where a proxy needs one, without a trailing slash.
pub fn signed_url(
    base_url: &str,
    access_token: &Secret,
    secret: Option<&Secret>,
    timestamp: Timestamp,
) -> Secret {
    let token = percent_encoded(access_token.expose());
    let url = format!("{base_url}{SEND_PATH}?access_token={token}");
    let Some(secret) = secret else {
        return Secret::new(url);
    };
    let signature = percent_encoded(&sign(secret, timestamp));
    Secret::new(format!("{url}&timestamp={}&sign={signature}", timestamp.0))
}

/// A text as the value of a query parameter.
pub(crate) fn percent_encoded(text: &str) -> String {
    utf8_percent_encode(text, QUERY_VALUE).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "SECfdc1300f5d00727fff60454532b8a5f643fccf68fcdc19f30bd9c522c3188164";

    /// Values computed with Python's `hmac`, `base64` and `urllib.parse.quote`.
    #[test]
    fn signatures_are_those_another_implementation_computes() {
        for (why, timestamp, secret, expected) in [
            (
                "the sample secret of DingTalk's manual",
                1_577_262_236_757,
                "this is secret",
                "hmPWwU+7lVdm3ZZz0r9tSfx0L4Q26jWOZr9+Gs6EZQM=",
            ),
            (
                "plus in front, slash within",
                1_790_000_000_002,
                SECRET,
                "+VkEgM3iEKX49wlCjGfWV8/PjE7VpQu0fOhDt2NV0Wo=",
            ),
            (
                "slash in front",
                1_790_000_000_150,
                SECRET,
                "/CUhcHJa2NrSgo/JVHzlkljIFVapXhKs6JCXsYKskUg=",
            ),
            (
                "only the padding is special",
                1_790_000_000_007,
                SECRET,
                "MxMrvd4IcGMB1EM0gW0ywJbZDKyAcFvbqLpu6GaUJ7s=",
            ),
            (
                "the secret is not decoded",
                1_790_000_000_123,
                "SEC a+b/c=d&e?f#g%20h\\n\"'",
                "zvqqa5BglbM/daZ/4pKxHi3ObuMiIvcPin3itkYiMZA=",
            ),
            (
                "UTF-8",
                1_790_000_000_456,
                "SEC密钥🔔é",
                "ItKROJkywj8/txeRmRTaFTh79Z9nftMNj8vpQLjEI9o=",
            ),
            (
                "a trailing blank counts",
                1_790_000_000_456,
                "SEC密钥🔔é ",
                "7xEOG39XTlZbDusK3PIcVxRGezG3DuvwzgA6WA+lgQk=",
            ),
            (
                "the epoch",
                0,
                SECRET,
                "R0W2lS/Ddgu6eMlYrGa6Aqdo37gvkUYaNb3Yhm4Ba50=",
            ),
        ] {
            assert_eq!(
                sign(&Secret::new(secret), Timestamp(timestamp)),
                expected,
                "{why}"
            );
        }
    }

    #[track_caller]
    fn check_url(base: &str, token: &str, secret: Option<&str>, expected: &str) {
        let secret = secret.map(Secret::new);
        let url = signed_url(
            base,
            &Secret::new(token),
            secret.as_ref(),
            Timestamp(1_790_000_000_002),
        );
        assert_eq!(url.expose(), expected);
        assert_eq!(format!("{url} {url:?}"), "*** ***");
    }

    #[test]
    fn a_signed_url_percent_encodes_every_special_character_once() {
        check_url(
            "https://oapi.dingtalk.com",
            "0123abcd",
            Some(SECRET),
            "https://oapi.dingtalk.com/robot/send?access_token=0123abcd&timestamp=1790000000002\
             &sign=%2BVkEgM3iEKX49wlCjGfWV8%2FPjE7VpQu0fOhDt2NV0Wo%3D",
        );
    }

    #[test]
    fn a_bot_without_a_secret_sends_neither_timestamp_nor_sign() {
        check_url(
            "https://oapi.dingtalk.io",
            "a&b=c#d",
            None,
            "https://oapi.dingtalk.io/robot/send?access_token=a%26b%3Dc%23d",
        );
    }
}
