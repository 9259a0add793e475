//! Matchers of routes and of queries, in Alertmanager's syntax.
//!
//! `name op value` with `=`, `!=`, `=~` and `!~`; names and values bare or in double quotes with Go's escapes;
//! lists with commas, in braces or not (`{a="b", "名称"=~"x|y"}`). Regular expressions are anchored at both
//! ends. A label that is not there counts as empty. The module knows no configuration file: errors say where in
//! the text they are, in bytes.

use std::fmt;

use regex::{Regex, RegexBuilder};

use crate::alert::Labels;

/// Most bytes a compiled regular expression may take.
const REGEX_BYTES_MAX: usize = 1 << 20;
/// Most bytes of lazily built tables of one regular expression.
const REGEX_TABLE_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting of groups in a regular expression.
const REGEX_DEPTH_MAX: u32 = 50;
/// Most matchers in one list.
const MATCHERS_PER_LIST_MAX: usize = 100;

/// One condition on one label.
#[derive(Clone)]
pub struct Matcher {
    name: String,
    value: String,
    test: Test,
}

#[derive(Clone)]
enum Test {
    Equal,
    NotEqual,
    Like(Regex),
    NotLike(Regex),
}

/// Why a text is not a matcher.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MatcherError {
    /// Where in the text, in bytes from its start; at most its length.
    pub offset: usize,
    /// What is wrong there and what to do.
    pub message: String,
}

impl Matcher {
    /// Reads exactly one matcher, in braces or not.
    pub fn parse(text: &str) -> Result<Self, MatcherError> {
        let mut list = Self::parse_list(text)?;
        match (list.pop(), list.len()) {
            (Some(only), 0) => Ok(only),
            (Some(_), more) => Err(error(0, format!("expected one matcher, found {}", more + 1))),
            (None, _) => Err(error(0, "expected a matcher such as `severity=\"critical\"`")),
        }
    }

    /// Reads a list of matchers, separated by commas, in braces or not. `{}` is the empty list.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, MatcherError> {
        let mut cursor = Cursor { text, offset: 0 };
        let braced = cursor.take("{");
        let mut list = Vec::new();
        loop {
            let done = if braced { cursor.take("}") } else { cursor.at_end() };
            if done && (braced || !list.is_empty()) {
                break;
            }
            if list.len() == MATCHERS_PER_LIST_MAX {
                return Err(error(
                    cursor.offset,
                    format!("more than {MATCHERS_PER_LIST_MAX} matchers in one list"),
                ));
            }
            list.push(cursor.matcher()?);
            if cursor.take(",") {
                continue;
            }
            if braced && !cursor.take("}") {
                return Err(error(cursor.offset, "expected `,` or `}` after a matcher"));
            }
            break;
        }
        if cursor.at_end() {
            Ok(list)
        } else {
            Err(error(
                cursor.offset,
                "expected `,` or the end after a matcher; put values with spaces or any of `{}!=~,\\\"'` in double quotes",
            ))
        }
    }

    /// The label it is about.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the labels satisfy it. A label that is not there counts as empty, as in Alertmanager.
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.name).unwrap_or("");
        match &self.test {
            Test::Equal => value == self.value,
            Test::NotEqual => value != self.value,
            Test::Like(regex) => regex.is_match(value),
            Test::NotLike(regex) => !regex.is_match(value),
        }
    }

    fn new(name: String, operator: Operator, value: String, value_at: usize) -> Result<Self, MatcherError> {
        let test = match operator {
            Operator::Equal => Test::Equal,
            Operator::NotEqual => Test::NotEqual,
            Operator::Like => Test::Like(anchored(&value, value_at)?),
            Operator::NotLike => Test::NotLike(anchored(&value, value_at)?),
        };
        Ok(Self { name, value, test })
    }
}

impl fmt::Display for Matcher {
    /// The canonical text, which [`Matcher::parse`] reads back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.name.is_empty() && self.name.chars().all(is_bare) {
            f.write_str(&self.name)?;
        } else {
            write_quoted(f, &self.name)?;
        }
        f.write_str(match self.test {
            Test::Equal => "=",
            Test::NotEqual => "!=",
            Test::Like(_) => "=~",
            Test::NotLike(_) => "!~",
        })?;
        write_quoted(f, &self.value)
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn error(offset: usize, message: impl Into<String>) -> MatcherError {
    MatcherError {
        offset,
        message: message.into(),
    }
}

/// Compiles `^(?:…)$`; the expression is also compiled alone, so that `a)|(b` cannot leave its group.
fn anchored(value: &str, offset: usize) -> Result<Regex, MatcherError> {
    let build = |pattern: &str| {
        RegexBuilder::new(pattern)
            .size_limit(REGEX_BYTES_MAX)
            .dfa_size_limit(REGEX_TABLE_BYTES_MAX)
            .nest_limit(REGEX_DEPTH_MAX)
            .build()
    };
    build(value)
        .and_then(|_| build(&format!("^(?:{value})$")))
        .map_err(|problem| {
            let text = if let regex::Error::CompiledTooBig(_) = problem {
                "it compiles to more than 1 MiB; make it simpler".to_owned()
            } else {
                last_line(&problem.to_string())
            };
            error(offset, format!("`{value}` is not a regular expression: {text}"))
        })
}

/// The sentence at the end of a regular expression's drawn error.
fn last_line(drawn: &str) -> String {
    let line = drawn.lines().last().unwrap_or(drawn).trim();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// Whether a character may stand in a name or value without quotes.
fn is_bare(c: char) -> bool {
    !c.is_whitespace() && !"{}!=~,\\\"'`".contains(c)
}

fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

#[derive(Clone, Copy)]
enum Operator {
    Equal,
    NotEqual,
    Like,
    NotLike,
}

/// The text and how far it has been read; always at a character's start.
struct Cursor<'a> {
    text: &'a str,
    offset: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.offset..).unwrap_or("")
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.offset += rest.len() - rest.trim_start().len();
    }

    fn at_end(&mut self) -> bool {
        self.skip_space();
        self.rest().is_empty()
    }

    /// Takes `token` after any white space.
    fn take(&mut self, token: &str) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(token);
        if found {
            self.offset += token.len();
        }
        found
    }

    fn matcher(&mut self) -> Result<Matcher, MatcherError> {
        let name_at = self.start();
        let name = self.word("a label name")?;
        if name.is_empty() {
            return Err(error(name_at, "a label name cannot be empty"));
        }
        let operator = if self.take("=~") {
            Operator::Like
        } else if self.take("!~") {
            Operator::NotLike
        } else if self.take("!=") {
            Operator::NotEqual
        } else if self.take("=") {
            Operator::Equal
        } else {
            return Err(error(
                self.offset,
                format!("expected `=`, `!=`, `=~` or `!~` after `{name}`"),
            ));
        };
        let value_at = self.start();
        let value = self.word("a value")?;
        Matcher::new(name, operator, value, value_at)
    }

    fn start(&mut self) -> usize {
        self.skip_space();
        self.offset
    }

    /// A bare or quoted word.
    fn word(&mut self, what: &str) -> Result<String, MatcherError> {
        let start = self.start();
        if self.take("\"") {
            return self.quoted(start);
        }
        let rest = self.rest();
        let length = rest.find(|c| !is_bare(c)).unwrap_or(rest.len());
        if length == 0 {
            let hint = match rest.chars().next() {
                Some('\'' | '`') => "; use double quotes",
                _ => "",
            };
            return Err(error(start, format!("expected {what}{hint}")));
        }
        self.offset += length;
        Ok(rest.get(..length).unwrap_or(rest).to_owned())
    }

    /// The rest of a quoted word whose opening quote stands at `start`.
    fn quoted(&mut self, start: usize) -> Result<String, MatcherError> {
        let mut bytes = Vec::new();
        loop {
            let at = self.offset;
            match self.char() {
                None | Some('\n') => return Err(error(start, "the double quote is not closed")),
                Some('"') => break,
                Some('\\') => self.escape(at, &mut bytes)?,
                Some(c) => push(&mut bytes, c),
            }
        }
        String::from_utf8(bytes).map_err(|_| error(start, "the escapes do not make valid UTF-8"))
    }

    fn char(&mut self) -> Option<char> {
        let c = self.rest().chars().next()?;
        self.offset += c.len_utf8();
        Some(c)
    }

    /// One of Go's escapes after its backslash at `at`.
    fn escape(&mut self, at: usize, bytes: &mut Vec<u8>) -> Result<(), MatcherError> {
        let simple = match self.char() {
            Some('a') => 0x07,
            Some('b') => 0x08,
            Some('f') => 0x0c,
            Some('n') => b'\n',
            Some('r') => b'\r',
            Some('t') => b'\t',
            Some('v') => 0x0b,
            Some('\\') => b'\\',
            Some('"') => b'"',
            Some('x') => return self.code_byte(at, 2, 16, bytes),
            Some('0'..='7') => {
                self.offset -= 1;
                return self.code_byte(at, 3, 8, bytes);
            }
            Some('u') => return self.code_point(at, 4, bytes),
            Some('U') => return self.code_point(at, 8, bytes),
            _ => {
                return Err(error(
                    at,
                    "unknown escape; write `\\\\` for a backslash (a regular expression's `\\d` is `\\\\d` in quotes)",
                ));
            }
        };
        bytes.push(simple);
        Ok(())
    }

    fn number(&mut self, at: usize, digits: usize, radix: u32) -> Result<u32, MatcherError> {
        let rest = self.rest();
        let number = rest
            .get(..digits)
            .filter(|text| text.chars().all(|c| c.is_digit(radix)))
            .and_then(|text| u32::from_str_radix(text, radix).ok())
            .ok_or_else(|| error(at, format!("this escape needs {digits} digits")))?;
        self.offset += digits;
        Ok(number)
    }

    fn code_byte(
        &mut self,
        at: usize,
        digits: usize,
        radix: u32,
        bytes: &mut Vec<u8>,
    ) -> Result<(), MatcherError> {
        let number = self.number(at, digits, radix)?;
        bytes.push(u8::try_from(number).map_err(|_| error(at, "this escape is larger than a byte"))?);
        Ok(())
    }

    fn code_point(&mut self, at: usize, digits: usize, bytes: &mut Vec<u8>) -> Result<(), MatcherError> {
        let number = self.number(at, digits, 16)?;
        let c = char::from_u32(number).ok_or_else(|| error(at, "this escape is not a character"))?;
        push(bytes, c);
        Ok(())
    }
}

fn push(bytes: &mut Vec<u8>, c: char) {
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    /// A text and the canonical texts of the matchers it holds, or the error with its offset.
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let found = match Matcher::parse_list(text) {
            Ok(list) => list
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" & "),
            Err(error) => format!("{}: {}", error.offset, error.message),
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn every_form_of_alertmanagers_syntax_is_read() {
        let cases = [
            (r#"severity="critical""#, r#"severity="critical""#),
            (r"severity=critical", r#"severity="critical""#),
            (r#"  severity  !=  "critical"  "#, r#"severity!="critical""#),
            (r#"{a="b",c=~"d"}"#, r#"a="b" & c=~"d""#),
            (r#"a="b", c!~d|e,"#, r#"a="b" & c!~"d|e""#),
            (r"{ a = b , }", r#"a="b""#),
            ("{}", ""),
            (r#""名 称"="值""#, r#""名 称"="值""#),
            (r"环境=生产", r#"环境="生产""#),
            (r#""a\"b"="c\\d\n\t""#, r#""a\"b"="c\\d\n\t""#),
            (r#"a="\x41\102\u4e2d\U0001F525""#, r#"a="AB中🔥""#),
            (r#"a="\xe4\xb8\xad""#, r#"a="中""#),
            (r#"a="""#, r#"a="""#),
            (r"foo.bar/baz:qux-1=x.y|z*", r#"foo.bar/baz:qux-1="x.y|z*""#),
        ];
        for (text, expected) in cases {
            check(text, expected);
        }
    }

    #[test]
    fn what_is_not_a_matcher_is_refused_at_its_place() {
        let end = "expected `,` or the end after a matcher; put values with spaces or any of `{}!=~,\\\"'` in double quotes";
        let escape = "unknown escape; write `\\\\` for a backslash (a regular expression's `\\d` is `\\\\d` in quotes)";
        let cases = [
            ("", "0: expected a label name".to_owned()),
            ("severity", "8: expected `=`, `!=`, `=~` or `!~` after `severity`".to_owned()),
            ("=x", "0: expected a label name".to_owned()),
            ("a=", "2: expected a value".to_owned()),
            ("a=b c", format!("4: {end}")),
            ("a='b'", "2: expected a value; use double quotes".to_owned()),
            (r#"{a="b""#, "6: expected `,` or `}` after a matcher".to_owned()),
            (r#"a="b"}"#, format!("5: {end}")),
            (r#"{a="b"} x"#, format!("8: {end}")),
            (r#"a="b"#, "2: the double quote is not closed".to_owned()),
            (r#"a=~"\d""#, format!("4: {escape}")),
            (r#"a="\xff""#, "2: the escapes do not make valid UTF-8".to_owned()),
            (r#"a="\ud800""#, "3: this escape is not a character".to_owned()),
            (r#"a="\777""#, "3: this escape is larger than a byte".to_owned()),
            (r#"a="\x4中""#, "3: this escape needs 2 digits".to_owned()),
            (r#"""="x""#, "0: a label name cannot be empty".to_owned()),
            (
                r#"a=~"(""#,
                "3: `(` is not a regular expression: unclosed group".to_owned(),
            ),
            (
                r#"a=~"x)|(y""#,
                "3: `x)|(y` is not a regular expression: unopened group".to_owned(),
            ),
            (
                r#"a=~"(\\w{100}){100}""#,
                "3: `(\\w{100}){100}` is not a regular expression: it compiles to more than 1 MiB; make it simpler"
                    .to_owned(),
            ),
        ];
        for (text, expected) in cases {
            check(text, &expected);
        }
    }

    #[test]
    fn one_matcher_is_exactly_one() {
        assert_eq!(Matcher::parse("{a=b}").unwrap().to_string(), r#"a="b""#);
        assert_eq!(
            Matcher::parse("a=b,c=d").unwrap_err().message,
            "expected one matcher, found 2"
        );
        assert!(Matcher::parse("{}").is_err());
    }

    #[test]
    fn an_absent_label_is_empty_and_expressions_are_anchored() {
        let labels = Labels::from_pairs([("env", "production"), ("team", "db")]);
        let cases = [
            (r#"env="production""#, true),
            (r#"env="prod""#, false),
            (r#"env!="prod""#, true),
            (r#"env=~"prod""#, false),
            (r#"env=~"prod.*""#, true),
            (r#"env=~"prod|production""#, true),
            (r#"env!~"dev|test""#, true),
            (r#"owner="""#, true),
            (r#"owner!="""#, false),
            (r#"owner=~".*""#, true),
            (r#"owner=~".+""#, false),
            (r#"owner!~".+""#, true),
        ];
        for (text, expected) in cases {
            assert_eq!(Matcher::parse(text).unwrap().matches(&labels), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_canonical_text_reads_back_as_itself(name in ".{1,8}", value in any::<String>()) {
            let matcher = Matcher::new(name.clone(), Operator::NotEqual, value.clone(), 0).unwrap();
            let again = Matcher::parse(&matcher.to_string()).unwrap();
            prop_assert_eq!((again.name, again.value), (name, value));
        }

        #[test]
        fn no_text_makes_the_reader_panic_and_offsets_lie_inside(text in r#"[a"\\{}=!~, xu0中]{0,24}"#) {
            if let Err(error) = Matcher::parse_list(&text) {
                prop_assert!(text.is_char_boundary(error.offset), "{} in {:?}", error.offset, text);
            }
        }
    }
}
