//! Links as DingTalk opens them.
//!
//! A plain link opens in a narrow side panel on PC; the client's own link scheme with `pc_slide=false` opens the
//! browser there and changes nothing on the phone. Only web addresses become links.

use percent_encoding::{CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::escape::is_hidden;
use crate::digest::compose::is_web_address;

const BEFORE: &str = "dingtalk://dingtalkclient/page/link?url=";
const AFTER: &str = "&pc_slide=false";

/// Percent-encodes every byte that is not a letter, a digit or one of `-_.~`.
pub(crate) fn encode(text: &str) -> String {
    const RESERVED: &percent_encoding::AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~');
    utf8_percent_encode(text, RESERVED).to_string()
}

/// The address that opens `target` outside the side panel; `None` when it is no web address.
pub(crate) fn wrapped(target: &str) -> Option<String> {
    is_web_address(target).then(|| format!("{BEFORE}{}{AFTER}", encode(target.trim())))
}

/// A web address as it may stand in a markdown link, without what could end the link, mark text or ring somebody;
/// `None` when it is no web address.
pub(crate) fn plain(target: &str) -> Option<String> {
    const MARKS: &percent_encoding::AsciiSet = &CONTROLS
        .add(b' ')
        .add(b'"')
        .add(b'\'')
        .add(b'(')
        .add(b')')
        .add(b'*')
        .add(b'<')
        .add(b'>')
        .add(b'@')
        .add(b'[')
        .add(b'\\')
        .add(b']')
        .add(b'`')
        .add(b'|')
        .add(b'~');
    is_web_address(target).then(|| utf8_percent_encode(target.trim(), MARKS).to_string())
}

/// What a wrapped address leads to, as it may stand in a text: in one piece, and without anything that could ring
/// somebody or hide. Other addresses as they are.
pub(crate) fn spelt_out(address: &str) -> String {
    let target = address
        .strip_prefix(BEFORE)
        .and_then(|rest| rest.strip_suffix(AFTER));
    let Some(target) = target else {
        return address.to_owned();
    };
    percent_decode_str(target)
        .decode_utf8_lossy()
        .chars()
        .fold(String::new(), |mut text, c| {
            if c == '@' || c.is_whitespace() || is_hidden(c) {
                text.push_str(&encode(c.encode_utf8(&mut [0; 4])));
            } else {
                text.push(c);
            }
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_address_cannot_leave_its_link() {
        let usual = "http://prom:9090/graph?g0.expr=up+%3D%3D+0&g0.tab=1#x_y";
        assert_eq!(plain(usual).as_deref(), Some(usual));
        let hostile = "https://x/)[y](https://z)@138\u{202e}";
        let harmless = "https://x/%29%5By%5D%28https://z%29%40138%E2%80%AE";
        assert_eq!(plain(hostile).as_deref(), Some(harmless));
        assert_eq!(plain("javascript:alert(1)"), None);
    }

    #[test]
    fn only_web_addresses_become_links_and_they_survive_the_round_trip() {
        let target = "https://grafana.example.com/d/a?var=x y&b=(1)#面板";
        let address = wrapped(target).expect("a web address");
        assert_eq!(
            address,
            "dingtalk://dingtalkclient/page/link?url=https%3A%2F%2Fgrafana.example.com%2Fd%2Fa%3Fvar%3Dx%20y%26b%3D%281%29%23%E9%9D%A2%E6%9D%BF&pc_slide=false"
        );
        assert_eq!(spelt_out(&address), target.replace(' ', "%20"));
        let address = wrapped("https://me@x/a\u{202e}b\n@138").expect("a web address");
        assert_eq!(spelt_out(&address), "https://me%40x/a%E2%80%AEb%0A%40138");
        for other in [
            "javascript:alert(1)",
            "dingtalk://x",
            "http://",
            "",
            "/relative",
            "http:// x",
        ] {
            assert_eq!(wrapped(other), None, "{other}");
        }
    }
}
