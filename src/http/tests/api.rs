//! The read API and the reload.

use super::*;

#[tokio::test]
async fn a_reload_tells_what_came_of_it() {
    let (server, _seen) = running().await;
    check(
        "good",
        &talk(server.address, &request("POST /-/reload", &[], b"")).await,
        200,
        None,
    );
    let reply = talk(server.address, &request("PUT /-/reload", &[], b"")).await;
    check("bad", &reply, 422, Some("bad_configuration"));
    assert_eq!(reply.json()["error"], "no such key `sourcs` in line 3");
}

#[tokio::test]
async fn the_read_api_has_its_public_names() {
    let (server, _seen) = running().await;
    let mut all = String::new();
    for path in ["alerts", "explain", "receivers", "digests", "refused", "status"] {
        let reply = talk(server.address, &request(&format!("GET /api/v1/{path}"), &[], b"")).await;
        check(path, &reply, 200, None);
        let pretty = serde_json::to_string_pretty(&reply.json()).unwrap();
        all.extend([
            "GET /api/v1/",
            path,
            "
",
            &pretty,
            "

",
        ]);
    }
    insta::assert_snapshot!(all.trim_end());
}

#[tokio::test]
async fn a_query_reaches_the_engine_as_it_was_asked() {
    let (to, asked) = std_mpsc::channel();
    let driver = handle_that(move |ask| match ask {
        Ask::Question(Question::Alerts { query, reply }) => {
            to.send(format!("{query:?}")).unwrap();
            reply.send(alert_list()).unwrap();
        }
        Ask::Question(Question::Explain { query, reply }) => {
            to.send(format!("{query:?}")).unwrap();
            reply
                .send(Explained {
                    total: 0,
                    alerts: Vec::new(),
                })
                .unwrap();
        }
        Ask::Digests { query, reply } => {
            to.send(format!("{:?} {}", query.receiver, query.limit)).unwrap();
            reply.send(Ok(Vec::new())).unwrap();
        }
        Ask::Refused { source, limit, reply } => {
            to.send(format!("{source:?} {limit}")).unwrap();
            reply.send(Ok(Vec::new())).unwrap();
        }
        Ask::Accept { .. }
        | Ask::Question(
            Question::Hasten { .. }
            | Question::BeginAnswer { .. }
            | Question::EndAnswer(..)
            | Question::Health { .. },
        )
        | Ask::KeepRefused(..) => {}
    });
    let server = run(plan(), Limits::default(), driver).await;
    let cases = [
        (
            "alerts",
            "AlertQuery { source: None, state: None, receiver: None, matchers: [], fingerprint: None, order: Arrival, skip: 0, limit: 100 }",
        ),
        (
            "alerts?source=a%20b&status=expired&receiver=ops&limit=0",
            r#"AlertQuery { source: Some("a b"), state: Some(Expired), receiver: Some("ops"), matchers: [], fingerprint: None, order: Arrival, skip: 0, limit: 0 }"#,
        ),
        (
            "explain?fingerprint=00000000000000ff",
            "AlertQuery { source: None, state: None, receiver: None, matchers: [], fingerprint: Some(00000000000000ff), \
             order: Arrival, skip: 0, limit: 3 }",
        ),
        ("digests?receiver=&limit=3", "None 3"),
        ("digests?receiver=ops", r#"Some("ops") 100"#),
        ("refused", "None 20"),
        ("refused?source=zabbix&limit=100", r#"Some("zabbix") 100"#),
    ];
    for (path, expected) in cases {
        let reply = talk(server.address, &request(&format!("GET /api/v1/{path}"), &[], b"")).await;
        check(path, &reply, 200, None);
        assert_eq!(asked.recv().unwrap(), expected, "{path}");
    }
}

#[tokio::test]
async fn a_query_that_makes_no_sense_is_refused_by_name() {
    let (server, _seen) = running().await;
    let cases = [
        (
            "alerts?colour=red",
            "there is no parameter `colour` here; there is `source`, `status`, `receiver`, `fingerprint`, `limit`, `filter`",
        ),
        (
            "alerts?status=broken",
            "`status=broken` is none of `firing`, `resolved`, `expired`",
        ),
        (
            "alerts?status=",
            "`status=` is none of `firing`, `resolved`, `expired`",
        ),
        ("digests?limit=", "`limit=` is no number from 0 to 10000"),
        ("alerts?limit=10001", "`limit=10001` is no number from 0 to 10000"),
        ("explain?limit=11", "`limit=11` is no number from 0 to 10"),
        (
            "explain?fingerprint=ff",
            "`fingerprint=ff` is no fingerprint: one is 16 hexadecimal digits, as `/api/v1/alerts` shows it",
        ),
        ("refused?limit=101", "`limit=101` is no number from 0 to 100"),
        ("digests?limit=-1", "`limit=-1` is no number from 0 to 10000"),
        ("alerts?source=a&source=b", "parameter `source` is given twice"),
        ("status?x", "there is no parameter `x` here; there is none"),
    ];
    for (path, error) in cases {
        let reply = talk(server.address, &request(&format!("GET /api/v1/{path}"), &[], b"")).await;
        check(path, &reply, 400, Some("bad_query"));
        assert_eq!(reply.json()["error"], error, "{path}");
    }
    let reply = talk(
        server.address,
        &request("GET /api/v1/alerts?filter=%3D%3D", &[], b""),
    )
    .await;
    check("filter", &reply, 400, Some("bad_query"));
}

#[tokio::test]
async fn the_page_of_alerts_is_for_people_and_shows_what_senders_said_as_text() {
    let (server, seen) = running().await;
    let reply = talk(server.address, &request("GET /alerts?receiver=ops", &[], b"")).await;
    let head = |name: &str| reply.header(name).unwrap_or_default().to_owned();
    assert_eq!(reply.status(), 200);
    assert_eq!(head("content-type"), "text/html; charset=utf-8");
    let policy = head("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"));
    assert!(reply.0.contains("7 firing") && reply.0.contains("DiskFull") && reply.0.contains("db-1"));
    assert!(reply.0.contains("https://runbooks.example.com/disk") && !reply.0.contains("javascript:"));
    assert!(reply.0.contains("🔴 2 · 🟠 4 · 🔵 1"), "{}", reply.0);
    assert!(reply.0.contains("1 – 1 of 7") && reply.0.contains("?receiver&#x3D;ops&amp;page&#x3D;2"));
    drop(seen);
    // What is typed into the field is said to be wrong, as text.
    let reply = talk(
        server.address,
        &request("GET /alerts?filter=%3Cscript%3E&filter=", &[], b""),
    )
    .await;
    assert_eq!(reply.status(), 400);
    assert!(
        reply.0.contains("&lt;script&gt;") && !reply.0.contains("<script"),
        "{}",
        reply.0
    );
}
