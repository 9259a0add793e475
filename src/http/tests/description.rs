//! The description of the interface (`docs/openapi.json`) against the code: every answer that any test of this module
//! gets is looked up in it ([`hold`]), every path of the filters stands in it, and nothing else does.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::*;

static DESCRIPTION: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap());

/// What a path allows where a GET is described.
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "LOCK",
];

/// Follows a reference inside the description.
fn resolved(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        Some(reference) => DESCRIPTION.pointer(reference.trim_start_matches('#')).unwrap(),
        None => value,
    }
}

fn paths() -> impl Iterator<Item = (&'static String, &'static Value)> {
    DESCRIPTION["paths"].as_object().unwrap().iter()
}

/// The described path a requested one is an instance of: the one with the fewest parameters.
fn described(path: &str) -> Option<&'static Value> {
    let path = path.split('?').next().unwrap_or_default();
    let segments = |path: &'_ str| -> Vec<String> {
        path.split('/')
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let asked = segments(path);
    paths()
        .filter(|(template, _)| {
            let template = segments(template);
            template.len() == asked.len()
                && template
                    .iter()
                    .zip(&asked)
                    .all(|(t, it)| t.starts_with('{') || t == it)
        })
        .min_by_key(|(template, _)| template.matches('{').count())
        .map(|(_, item)| item)
}

/// Holds an answer against what is described for its request.
#[track_caller]
pub(super) fn hold(request: &[u8], reply: &Reply) {
    let text = String::from_utf8_lossy(request);
    let mut words = text.split(' ');
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return;
    };
    if !reply.0.starts_with("HTTP/1.1 ") || !path.starts_with('/') {
        return;
    }
    let case = || format!("{method} {path}: {reply:?}");
    let item = described(path);
    let reading = if method == "HEAD" {
        "get"
    } else {
        &method.to_lowercase()
    };
    let operation = item.and_then(|item| item.get(reading));
    let error = "#/components/schemas/Error";
    let (headers, content) = if let Some(operation) = operation {
        let status = reply.status().to_string();
        let answer = operation["responses"].get(&status);
        let answer = resolved(answer.unwrap_or_else(|| panic!("not described: {}", case())));
        (&answer["headers"], &answer["content"])
    } else {
        // 405 with `Allow` at a path, 404 at none, as the introduction says.
        let expected = if item.is_some() { 405 } else { 404 };
        assert_eq!(reply.status(), expected, "{}", case());
        (&Value::Null, &Value::Null)
    };
    for (name, header) in headers.as_object().into_iter().flatten() {
        let there = reply.header(&name.to_lowercase()).is_some();
        assert!(there || header["required"] != true, "no {name}: {}", case());
    }
    let found = reply.header("content-type").unwrap_or_default();
    let found = found.split(';').next().unwrap_or_default();
    let schema = match content.as_object() {
        Some(content) => &content
            .get(found)
            .unwrap_or_else(|| panic!("of another type: {}", case()))["schema"],
        None => &json!({ "$ref": error }),
    };
    if method == "HEAD" || found != "application/json" {
        return;
    }
    let mut root = json!({ "components": DESCRIPTION["components"] });
    root["allOf"] = json!([schema]);
    let validator = jsonschema::draft202012::new(&root).unwrap();
    let problems: Vec<String> = validator
        .iter_errors(&reply.json())
        .map(|it| it.to_string())
        .collect();
    assert!(problems.is_empty(), "{problems:?}: {}", case());
}

/// The paths of the filters as the source has them: `warp::path!("v1" / "hooks" / Segment)`.
fn filters() -> BTreeSet<String> {
    include_str!("../../http.rs")
        .split("warp::path!(")
        .skip(1)
        .map(|rest| {
            let (path, _) = rest.split_once(')').unwrap();
            let segments = path.split('/').map(|it| it.trim().trim_matches('"'));
            segments.fold(String::new(), |path, it| path + "/" + it)
        })
        .collect()
}

#[test]
fn the_paths_described_are_those_there_are() {
    let described: BTreeSet<String> = paths()
        .map(|(path, _)| {
            path.split('/').skip(1).fold(String::new(), |path, it| {
                path + "/" + if it.starts_with('{') { "Segment" } else { it }
            })
        })
        .collect();
    assert_eq!(described, filters());
    assert_eq!(DESCRIPTION["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn a_path_takes_the_methods_that_are_described_and_names_them_when_asked_by_another() {
    let (server, _seen) = running().await;
    for (template, item) in paths() {
        let path = template
            .replace(
                "{source}",
                if template.ends_with("/alerts") {
                    "rules"
                } else {
                    "alertmanager"
                },
            )
            .replace("{token}", "t0ken")
            .replace("{receiver}", "ops");
        let known = |method: &&str| {
            let method = if *method == "HEAD" {
                "get".to_owned()
            } else {
                method.to_lowercase()
            };
            item.get(method).is_some()
        };
        let allow = METHODS.into_iter().filter(known).collect::<Vec<_>>().join(", ");
        for method in METHODS {
            // `talk` holds every answer against the description.
            let reply = talk(server.address, &request(&format!("{method} {path}"), &[], b"")).await;
            if known(&method) {
                assert_ne!(reply.status(), 405, "{method} {path}");
            } else {
                assert_eq!(reply.status(), 405, "{method} {path}");
                assert_eq!(reply.header("allow"), Some(allow.as_str()), "{method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn the_description_is_served() {
    let (server, _seen) = running().await;
    let far = ["X-Forwarded-For: 192.0.2.1"];
    let reply = talk(server.address, &request("GET /api/v1/openapi.json", &far, b"")).await;
    check("openapi.json", &reply, 200, None);
    assert_eq!(reply.json(), *DESCRIPTION);
}

#[test]
fn the_reasons_described_are_those_there_are() {
    let source = include_str!("../reply.rs");
    let (_, body) = source.split_once("const fn reason(").unwrap();
    let (body, _) = body.split_once("\n    }\n").unwrap();
    let names: BTreeSet<&str> = body.split('"').skip(1).step_by(2).collect();
    let described = &DESCRIPTION["components"]["schemas"]["Error"]["properties"]["reason"]["enum"];
    let described: BTreeSet<&str> = described
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(described, names);
}

#[tokio::test]
#[should_panic(expected = "not described")]
async fn an_answer_that_is_not_described_is_noticed() {
    hold(
        b"GET /healthz HTTP/1.1",
        &Reply("HTTP/1.1 418 x\r\n\r\n{}".to_owned()),
    );
}

#[tokio::test]
#[should_panic(expected = "is not one of")]
async fn a_body_that_is_not_as_described_is_noticed() {
    let body =
        "HTTP/1.1 404 x\r\ncontent-type: application/json\r\n\r\n{\"error\":\"x\",\"reason\":\"whim\"}";
    hold(b"GET /nowhere HTTP/1.1", &Reply(body.to_owned()));
}
