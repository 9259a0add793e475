//! Which path is what, who may use it, and what is answered when.

use super::*;

#[tokio::test]
async fn every_path_and_method_has_its_answer_and_none_redirects() {
    let (server, _seen) = running().await;
    let cases = [
        ("POST /v1/hooks/alertmanager", FIRING, 200, None),
        ("POST /v1/hooks/alertmanager/", FIRING, 200, None),
        ("POST /v1/hooks/alert%6danager", FIRING, 200, None),
        ("POST /v1/hooks/alertmanager?x=y", FIRING, 200, None),
        ("PUT /v1/hooks/alertmanager", FIRING, 200, None),
        (
            "POST /v1/hooks/alertmanager",
            r#"{"version":"4","alerts":[]}"#,
            200,
            None,
        ),
        ("GET /v1/hooks/alertmanager", "", 405, Some("method")),
        ("DELETE /v1/hooks/alertmanager", "", 405, Some("method")),
        ("POST /v1/hooks/nobody", FIRING, 404, Some("no_such_source")),
        (
            "POST /v1/hooks/alertmanager/secret",
            FIRING,
            404,
            Some("no_source_for_path"),
        ),
        ("POST /v1/hooks/", FIRING, 404, Some("no_such_path")),
        ("POST /", FIRING, 404, Some("no_such_path")),
        ("POST /v1/hooks/alertmanager", "{", 400, Some("not_json")),
        ("POST /api/v2/alerts", RULED, 200, None),
        ("POST /v1/hooks/rules/api/v2/alerts", RULED, 200, None),
        ("POST /v1/hooks/rules", RULED, 200, None),
        (
            "POST /v1/hooks/alertmanager/api/v2/alerts",
            RULED,
            404,
            Some("no_source_for_path"),
        ),
        ("POST /dingtalk/whoever/send", FIRING, 200, None),
        ("GET /healthz", "", 200, None),
        ("GET /readyz", "", 200, None),
        ("GET /metrics", "", 200, None),
        ("POST /metrics", "", 405, Some("method")),
        ("GET /api/v1/alerts", "", 200, None),
        ("GET /api/v1/status/", "", 200, None),
        ("POST /api/v1/status", "", 405, Some("method")),
        ("GET /-/reload", "", 405, Some("method")),
    ];
    for (line, body, status, reason) in cases {
        check(
            line,
            &talk(server.address, &request(line, &[], body.as_bytes())).await,
            status,
            reason,
        );
    }
    let refused = talk(server.address, &request("GET /v1/hooks/alertmanager", &[], b"")).await;
    assert_eq!(refused.header("allow"), Some("POST, PUT"));
    let head = talk(server.address, &request("HEAD /healthz", &[], b"")).await;
    assert_eq!((head.status(), head.body()), (200, ""));
}

#[tokio::test]
async fn what_was_taken_is_told() {
    let (server, seen) = running().await;
    let reply = talk(
        server.address,
        &request("POST /v1/hooks/alertmanager", &[], FIRING.as_bytes()),
    )
    .await;
    let expected = r#"{"accepted":1,"new":1,"resolved":0,"repeats":0,"refused":0,"ignored":0,"truncated":0,"problems":[],"more_problems":0}"#;
    assert_eq!(reply.body(), format!("{expected}\n"));
    assert_eq!(seen.recv().unwrap(), Seen::Accepted("alertmanager".to_owned(), 1));
    let ruler = talk(
        server.address,
        &request("POST /api/v2/alerts", &[], RULED.as_bytes()),
    )
    .await;
    assert_eq!(
        (ruler.status(), ruler.body()),
        (200, format!("{expected}\n").as_str())
    );
    assert_eq!(seen.recv().unwrap(), Seen::Accepted("rules".to_owned(), 1));
    let partly = RULED.replace('[', "[17,");
    let reply = talk(
        server.address,
        &request("POST /api/v2/alerts", &[], partly.as_bytes()),
    )
    .await;
    assert_eq!(
        (reply.status(), &reply.json()["problems"][0]["index"]),
        (200, &0.into()),
        "{reply:?}"
    );
}

#[tokio::test]
async fn alertmanagers_own_path_needs_one_source_or_one_of_that_name() {
    let (server, _seen) = running().await;
    let mut several = plan();
    several
        .sources
        .extend([source("more-rules", SourceKind::Prometheus, Auth::None)]);
    let mut named = several.clone();
    named
        .sources
        .extend([source("prometheus", SourceKind::Prometheus, Auth::None)]);
    let mut none = plan();
    none.sources.clear();
    for (plan, status) in [(several, 404), (named, 200), (none, 404)] {
        server
            .prepared
            .send_modify(|prepared| prepared.plan = Arc::new(plan));
        let reply = talk(
            server.address,
            &request("POST /api/v2/alerts", &[], RULED.as_bytes()),
        )
        .await;
        check("a new plan is in force at once", &reply, status, None);
    }
}

#[tokio::test]
async fn the_machine_itself_is_told_apart_from_the_network() {
    let (server, _seen) = running().await;
    let far = ["X-Forwarded-For: 192.0.2.1"];
    for line in [
        "GET /alerts",
        "GET /api/v1/alerts",
        "GET /api/v1/explain",
        "GET /api/v1/status",
        "GET /api/v1/receivers",
        "GET /api/v1/digests",
        "GET /api/v1/refused",
        "POST /-/reload",
    ] {
        check(
            line,
            &talk(server.address, &request(line, &far, b"")).await,
            403,
            Some("forbidden"),
        );
    }
    for line in ["GET /healthz", "GET /readyz", "GET /metrics"] {
        check(
            line,
            &talk(server.address, &request(line, &far, b"")).await,
            200,
            None,
        );
    }
    let mut open = plan();
    open.server.allow_unauthenticated = true;
    server
        .prepared
        .send_modify(|prepared| prepared.plan = Arc::new(open));
    for line in ["GET /api/v1/status", "POST /v1/hooks/alertmanager"] {
        check(
            line,
            &talk(server.address, &request(line, &far, FIRING.as_bytes())).await,
            200,
            None,
        );
    }
    let head = |peer: &str| Head {
        peer: Some(peer.parse().unwrap()),
        headers: HeaderMap::new(),
    };
    assert!(head("[::ffff:127.0.0.1]:9").is_local() && head("[::1]:9").is_local());
    assert!(!head("192.0.2.1:9").is_local() && !head("[::ffff:192.0.2.1]:9").is_local());
}

/// What cannot be taken responsibility for is refused with the source's busy status and a time to come again.
#[track_caller]
fn check_busy(case: &str, reply: &Reply, status: u16, reason: &str) {
    check(case, reply, status, Some(reason));
    assert_eq!(reply.header("retry-after"), Some("5"), "{case}: {reply:?}");
}

#[tokio::test]
async fn what_cannot_be_made_durable_is_never_answered_with_200() {
    let no_room = BTreeMap::from([(Verdict::New, 3), (Verdict::OverLimit, 1)]);
    let cases = [
        (Err(Unavailable::InboxFull), "inbox_full"),
        (Err(Unavailable::SourceBusy), "source_busy"),
        (Err(Unavailable::StoreFailed), "store_failed"),
        (Err(Unavailable::ShuttingDown), "shutting_down"),
        (Ok(no_room), "no_room"),
    ];
    let body = request("POST /v1/hooks/alertmanager", &[], FIRING.as_bytes());
    for (outcome, reason) in cases {
        for status in [503, 429] {
            let outcome = outcome.clone();
            let driver = handle_that(move |ask| {
                if let Ask::Accept { reply, .. } = ask {
                    reply.send(outcome.clone()).unwrap();
                }
            });
            let mut plan = plan();
            plan.sources
                .values_mut()
                .for_each(|source| source.busy_status = status);
            let server = run(plan, Limits::default(), driver).await;
            check_busy(reason, &talk(server.address, &body).await, status, reason);
        }
    }
    let mut kept = Vec::new();
    let server = run(plan(), hasty(), handle_that(move |ask| kept.push(ask))).await;
    check_busy("no answer", &talk(server.address, &body).await, 503, "slow_store");
    let (gone, _) = mpsc::channel(1);
    let server = run(plan(), Limits::default(), Handle::new(gone)).await;
    check_busy(
        "no driver",
        &talk(server.address, &body).await,
        503,
        "shutting_down",
    );
    let ready = talk(server.address, &request("GET /readyz", &[], b"")).await;
    check_busy("no driver", &ready, 503, "shutting_down");
    let scrape = talk(server.address, &request("GET /metrics", &[], b"")).await;
    check("metrics without a driver", &scrape, 200, None);
}

#[tokio::test]
async fn we_are_not_ready_while_the_store_takes_no_writes() {
    let driver = handle_that(|ask| {
        if let Ask::Question(Question::Health { reply }) = ask {
            let broken = Health {
                store_writable: false,
                ..health()
            };
            reply.send(broken).unwrap();
        }
    });
    let server = run(plan(), Limits::default(), driver).await;
    let ready = talk(server.address, &request("GET /readyz", &[], b"")).await;
    check_busy("readyz", &ready, 503, "store_failed");
    check(
        "healthz",
        &talk(server.address, &request("GET /healthz", &[], b"")).await,
        200,
        None,
    );
}

#[tokio::test]
async fn requests_and_refusals_are_counted_by_source() {
    let (server, _seen) = running().await;
    for (line, body) in [
        ("POST /v1/hooks/alertmanager", FIRING),
        ("POST /v1/hooks/alertmanager", "{"),
        ("POST /v1/hooks/bearer", FIRING),
        ("POST /v1/hooks/nobody", FIRING),
        ("POST /nowhere", FIRING),
    ] {
        talk(server.address, &request(line, &[], body.as_bytes())).await;
    }
    let scrape = talk(server.address, &request("GET /metrics", &[], b"")).await;
    assert_eq!(
        scrape.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    for sample in [
        r#"dingest_webhook_requests_total{source="alertmanager",status="200"} 1"#,
        r#"dingest_webhook_requests_total{source="alertmanager",status="400"} 1"#,
        r#"dingest_webhook_refusals_total{source="bearer",reason="unauthorized"} 1"#,
        r#"dingest_alerts_received_total{source="alertmanager"} 1"#,
        r#"dingest_alert_verdicts_total{source="alertmanager",verdict="new"} 1"#,
        "dingest_webhook_unrouted_total 2",
        "dingest_http_connections 1",
        r#"dingest_quota_per_month{quota="webhook"} 3000"#,
    ] {
        assert!(
            scrape.body().lines().any(|line| line == sample),
            "{sample} is missing in\n{}",
            scrape.body()
        );
    }
}

#[test]
fn a_path_is_shown_without_what_may_be_a_token() {
    for (path, found, not_found) in [
        ("/v1/hooks/grafana", "/v1/hooks/grafana", "/v1/hooks/***"),
        ("/v1/hooks/grafana/", "/v1/hooks/grafana/", "/v1/hooks/***"),
        (
            "/v1/hooks/grafana/s3cret",
            "/v1/hooks/grafana/***",
            "/v1/hooks/***/***",
        ),
        (
            "//v1//hooks/grafana//s3cret/",
            "/v1/hooks/grafana/***",
            "/v1/hooks/***/***",
        ),
        (
            "/v1/hooks/rules/api/v2/alerts",
            "/v1/hooks/rules/api/v2/alerts",
            "/v1/hooks/***/api/v2/alerts",
        ),
        (
            "/v1/hooks/rules/api/v2/alerts/s3cret",
            "/v1/hooks/rules/***",
            "/v1/hooks/***/api/v2/alerts/***",
        ),
        ("/api/v1/alerts", "/api/v1/alerts", "/api/v1/alerts"),
        (
            "/v1/hook/grafana/s3cret",
            "/v1/hook/grafana/s3cret",
            "/v1/***/***/***",
        ),
        ("/", "/", ""),
    ] {
        assert_eq!(shown(path, true), found, "{path}");
        assert_eq!(shown(path, false), not_found, "{path}");
    }
    let literal = |part: &str| {
        part.trim()
            .strip_prefix('"')
            .and_then(|it| it.strip_suffix('"'))
            .map(str::to_owned)
    };
    let words: std::collections::BTreeSet<String> = include_str!("../../http.rs")
        .split("warp::path!(")
        .skip(1)
        .flat_map(|rest| {
            rest.split(')')
                .next()
                .unwrap_or_default()
                .split('/')
                .filter_map(literal)
        })
        .collect();
    assert!(words.iter().eq(WORDS.iter()), "{words:?}");
}
