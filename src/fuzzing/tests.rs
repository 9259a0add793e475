//! The fuzz targets' checks on inputs that have a structure; `fuzz/` finds those that have none.

use proptest::prelude::*;

use super::*;

/// Pieces that mean something to one of the readers.
const PIECES: &str = "\\PC{0,12}|[\\x00-\\x7f]{0,12}|\
    [\u{1e}@*_`<>&#+=~|:!/\\\\. \n\t\u{202e}\u{200b}0-9-]{0,12}|\\[|\\]\\(|\\)|http://x|\
    www\\.x\\.y|@1[0-9]{10}|!\\[a\\]\\(b\\)|<font color=red>|\
    &lt;|&#64;|\n- x|\n# x|\r\n\r\n|\\*\\*|```|\n---|@所有人|@all|javascript:x|\
    https://a\\.b/\\)\\[c\\]\\(d|[x长]{800,1500}";

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(PIECES, 0..30).prop_map(|pieces| pieces.concat())
}

fn tokens(tokens: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(tokens), 0..24).prop_map(|tokens| tokens.concat())
}

const JQ: &[&str] = &[
    ".",
    "..",
    ".a",
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    "|",
    ",",
    " as $x ",
    "$x",
    "1",
    "1e9",
    "\"x\"",
    "+",
    "*",
    "-",
    "/",
    "%",
    "==",
    "<",
    "//",
    " and ",
    "?",
    "[]",
    ":",
    ";",
    "def f: ",
    "f",
    "reduce ",
    "foreach ",
    "range(9)",
    "range(1e9)",
    "repeat(.)",
    "recurse",
    "until(.; .)",
    "limit(9; .)",
    "first",
    "tojson",
    "fromjson",
    "test(\"a*\")",
    "gsub(\"\"; \"a\")",
    "|=",
    "+=",
    "try ",
    " catch ",
    "if ",
    " then ",
    " else ",
    " end",
    "label $l | ",
    "break $l",
    "@json",
    "@uri",
    "sort",
    "group_by(.)",
    "implode",
    "explode",
    "length",
    "has(0)",
    "index(1)",
    "contains(.)",
    "to_entries",
    "walk(.)",
    "error",
    "empty",
    "null",
    "splits(\"\")",
    "ltrimstr(\"x\")",
    "tonumber",
    "infinite",
    "nan",
    "strftime(\"%Y\")",
    "combinations",
    "transpose",
    "del(.a)",
];

const TEMPLATE: &[&str] = &[
    "{{",
    "}}",
    "{{{",
    "}}}",
    "{{#each sections}}",
    "{{#each alerts}}",
    "{{#each @root.sections}}",
    "{{/each}}",
    "{{#if x}}",
    "{{else}}",
    "{{/if}}",
    "{{> digest}}",
    "{{> other}}",
    "{{this}}",
    "{{../x}}",
    "{{headline}}",
    "{{join what \", \"}}",
    "{{link summary url}}",
    "{{links links}}",
    "{{truncate summary 3}}",
    "{{upper name}}",
    "{{labels.alertname}}",
    "(",
    ")",
    "text ",
    "\n",
    "@",
    "{{lookup this 'a'}}",
    "{{#with first}}",
    "{{/with}}",
    "{{!-- c --}}",
    "\\{{",
    "{{~x~}}",
    "{{*inline}}",
];

const YAML: &[&str] = &[
    "sources:",
    "bots:",
    "receivers:",
    "route:",
    "include:",
    "templates:",
    "\n",
    "\n  ",
    "\n    ",
    "- ",
    "{ ",
    " }",
    "[",
    "]",
    "name: a",
    "type: json",
    "&a ",
    "*a",
    "<<: *a",
    "mapping:",
    "labels: .",
    "x: ",
    "'",
    "\"",
    "|\n",
    ">\n",
    "# c",
    "~",
    "!t ",
    "access_token: t",
    "bots: [a]",
    "matchers: ['a=~\"b\"']",
    "group_wait: 1s",
    "/dev/zero",
    "/dev/stdin",
    "*.yaml",
    "\u{0}",
    "\t",
    ", ",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_label_never_mentions_somebody_breaks_out_of_its_item_or_injects_a_link(text in text()) {
        labels(&text);
    }

    #[test]
    fn any_template_and_any_text_end_in_messages_that_fit(form in tokens(TEMPLATE), text in text()) {
        template(&form, &text);
    }

    #[test]
    fn any_body_is_read_or_refused_twice_alike(bytes in prop::collection::vec(any::<u8>(), 0..400), text in text()) {
        body(&bytes);
        body(text.as_bytes());
        body(format!("payload={text}").as_bytes());
        body(format!("--x\r\nContent-Disposition: form-data; name=\"payload\"\r\n\r\n{text}\r\n--x--").as_bytes());
    }

    #[test]
    fn any_program_of_a_mapping_ends(program in tokens(JQ), text in text()) {
        let text = serde_json::Value::from(text);
        mapping(&program, format!(r#"{{"a": [1, {{"b": {text}}}, null]}}"#).as_bytes());
    }

    #[test]
    fn any_matcher_is_refused_or_read_back_as_it_was(text in "\\PC{0,30}|[a-c=!~\"\\\\,{} ]{0,30}") {
        matchers(&text);
    }

    #[test]
    fn any_configuration_is_loaded_or_refused_with_a_reason(text in tokens(YAML), raw in "\\PC{0,60}") {
        let directory = tempfile::tempdir().unwrap();
        configuration(&directory.path().join("x.yaml"), text.as_bytes());
        configuration(&directory.path().join("x.yaml"), raw.as_bytes());
    }

    #[test]
    fn no_answer_but_errcode_0_is_success(status in 100..600_u16, code in "0|-1|310000|130101|null|\"0\"|[0-9]{1,30}", text in text()) {
        answer(status, None, format!(r#"{{"errcode": {code}, "errmsg": {}}}"#, serde_json::Value::from(text.clone())).as_bytes());
        answer(status, Some("text/html"), text.as_bytes());
    }

    #[test]
    fn any_stored_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        stored(&bytes);
    }
}

#[test]
fn known_hostile_bodies_are_answered() {
    let deep = 10_000;
    for text in [
        "[".repeat(deep),
        "{\"a\":".repeat(deep),
        format!("{}{}", "[".repeat(deep), "]".repeat(deep)),
        format!("{{\"alerts\":{}{}}}", "[".repeat(deep), "]".repeat(deep)),
        "\u{0}".repeat(1000),
        format!(
            r#"{{"alerts":[{{"status":"firing","labels":{{"a":"{}"}}}}]}}"#,
            "x".repeat(1 << 20)
        ),
        format!(
            r#"{{"alerts":[{{"status":"firing","labels":{{{}}}}}]}}"#,
            (0..100_000)
                .map(|n| format!("\"l{n}\":\"v\""))
                .collect::<Vec<_>>()
                .join(",")
        ),
    ] {
        body(text.as_bytes());
    }
    body(b"{\"alerts\":[{\"status\":\"firing\",\"labels\":{\"a\":\"\xff\xfe\"}}]}");
}
