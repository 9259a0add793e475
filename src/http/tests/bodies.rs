//! Bodies of every size and coding.

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_read_or_as_soon_as_it_shows() {
    let (server, seen) = running().await;
    let declared = format!(
        "POST /v1/hooks/alertmanager HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        BODY_LIMIT_BYTES + 1
    );
    check(
        "declared",
        &talk(server.address, declared.as_bytes()).await,
        413,
        Some("too_large"),
    );
    let asking = declared.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    let reply = talk(server.address, asking.as_bytes()).await;
    check(
        "a sender that asks first is not told to go on",
        &reply,
        413,
        Some("too_large"),
    );
    let mut chunked = Vec::new();
    for _ in 0..5 {
        chunked.extend_from_slice(b"4000\r\n");
        chunked.resize(chunked.len() + 0x4000, b' ');
        chunked.extend_from_slice(b"\r\n");
    }
    let endless = request(
        "POST /v1/hooks/alertmanager",
        &["Transfer-Encoding: chunked"],
        &chunked,
    );
    check(
        "chunked",
        &talk(server.address, &endless).await,
        413,
        Some("too_large"),
    );
    // A sender that goes on writing gets to read the answer, instead of a reset.
    let whole = request("POST /v1/hooks/alertmanager", &[], &vec![b' '; 4 * 1024 * 1024]);
    check(
        "sent whole",
        &talk(server.address, &whole).await,
        413,
        Some("too_large"),
    );
    let fits = format!("{FIRING}{}", " ".repeat(BODY_LIMIT_BYTES - FIRING.len()));
    let fits = talk(
        server.address,
        &request("POST /v1/hooks/alertmanager", &[], fits.as_bytes()),
    )
    .await;
    check("exactly the limit", &fits, 200, None);
    assert_eq!(seen.try_iter().count(), 1);
}

#[tokio::test]
async fn a_chunked_body_is_put_together() {
    let (server, seen) = running().await;
    let mut chunks = Vec::new();
    for chunk in FIRING.as_bytes().chunks(50) {
        write!(chunks, "{:x}\r\n", chunk.len()).unwrap();
        chunks.extend_from_slice(chunk);
        chunks.extend_from_slice(b"\r\n");
    }
    chunks.extend_from_slice(b"0\r\n\r\n");
    let whole = request(
        "POST /v1/hooks/alertmanager",
        &["Transfer-Encoding: chunked"],
        &chunks,
    );
    check("chunked", &talk(server.address, &whole).await, 200, None);
    assert_eq!(seen.recv().unwrap(), Seen::Accepted("alertmanager".to_owned(), 1));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn gzip_is_read_up_to_the_limit_and_other_codings_are_refused() {
    let (server, seen) = running().await;
    let bomb = gzip(&vec![b' '; 20 * 1024 * 1024]);
    assert!(bomb.len() < BODY_LIMIT_BYTES, "only inflated it is too large");
    let cases: [(&str, Vec<u8>, u16, Option<&str>); 6] = [
        ("gzip", gzip(FIRING.as_bytes()), 200, None),
        ("X-GZip", gzip(FIRING.as_bytes()), 200, None),
        ("identity", FIRING.as_bytes().to_vec(), 200, None),
        ("gzip", bomb, 413, Some("too_large")),
        ("gzip", FIRING.as_bytes().to_vec(), 400, Some("bad_gzip")),
        ("br", FIRING.as_bytes().to_vec(), 415, Some("content_coding")),
    ];
    for (coding, body, status, reason) in cases {
        let header = format!("Content-Encoding: {coding}");
        let reply = talk(
            server.address,
            &request("POST /v1/hooks/alertmanager", &[&header], &body),
        )
        .await;
        check(&header, &reply, status, reason);
    }
    let compressed = gzip(FIRING.as_bytes());
    let signature = format!(
        "X-Grafana-Alerting-Signature: {}",
        signed("hmac-secret", &compressed)
    );
    let reply = talk(
        server.address,
        &request(
            "POST /v1/hooks/signed",
            &[&signature, "Content-Encoding: gzip"],
            &compressed,
        ),
    )
    .await;
    check("the signature is over the bytes as received", &reply, 200, None);
    assert_eq!(
        seen.try_iter()
            .filter(|it| matches!(it, Seen::Accepted(..)))
            .count(),
        4
    );
}

#[tokio::test]
async fn a_refused_body_is_kept_inflated_with_the_reason() {
    let (server, seen) = running().await;
    let body = gzip(b"not what we hoped for");
    let reply = talk(
        server.address,
        &request("POST /v1/hooks/alertmanager", &["Content-Encoding: gzip"], &body),
    )
    .await;
    check("refused", &reply, 400, Some("not_json"));
    let Seen::Refused(kept) = seen.recv().unwrap() else {
        panic!("not kept")
    };
    assert_eq!(kept.source.as_str(), "alertmanager");
    assert_eq!(kept.body, b"not what we hoped for");
    assert_eq!(reply.json()["error"], kept.reason.as_str());
}

#[tokio::test]
async fn a_refused_body_is_kept_without_the_credentials_in_it() {
    let (server, seen) = running().await;
    let body = r#"{"auth":"t0ken\/\u00e4 t0ken/ä","password":"theirs","n":"#;
    let refused = request("POST /v1/hooks/alertmanager", &[], body.as_bytes());
    check(
        "refused",
        &talk(server.address, &refused).await,
        400,
        Some("not_json"),
    );
    let Seen::Refused(kept) = seen.recv().unwrap() else {
        panic!("not kept")
    };
    let text = String::from_utf8(kept.body).unwrap();
    assert_eq!(text, r#"{"auth":"*** ***","password":***,"n":"#);
}

#[tokio::test]
async fn a_broken_gzip_is_kept_as_far_as_it_could_be_inflated() {
    let (server, seen) = running().await;
    let whole = gzip(b"not what we hoped for");
    let broken = &whole[..whole.len() - 4];
    let refused = request("POST /v1/hooks/alertmanager", &["Content-Encoding: gzip"], broken);
    check(
        "refused",
        &talk(server.address, &refused).await,
        400,
        Some("bad_gzip"),
    );
    let Seen::Refused(kept) = seen.recv().unwrap() else {
        panic!("not kept")
    };
    assert_eq!(String::from_utf8(kept.body).unwrap(), "not what we hoped for");
}

#[tokio::test]
async fn refused_bodies_nobody_has_time_for_are_dropped_and_counted() {
    let mut held = Vec::new();
    let driver = handle_that(move |ask| {
        if let Ask::KeepRefused(body, keeping) = ask {
            held.push((body, keeping));
        }
    });
    let server = run(plan(), Limits::default(), driver).await;
    for _ in 0..7 {
        let refused = request("POST /v1/hooks/alertmanager", &[], b"{");
        check(
            "refused",
            &talk(server.address, &refused).await,
            400,
            Some("not_json"),
        );
    }
    let scrape = talk(server.address, &request("GET /metrics", &[], b"")).await;
    let dropped = r#"dingest_refused_bodies_dropped_total{source="alertmanager"} 3"#;
    assert!(scrape.body().contains(dropped), "{}", scrape.body());
}

#[tokio::test]
async fn the_same_body_twice_at_once_is_taken_twice() {
    let (server, seen) = running().await;
    let body = request("POST /v1/hooks/alertmanager", &[], FIRING.as_bytes());
    let (one, two) = tokio::join!(talk(server.address, &body), talk(server.address, &body));
    assert_eq!((one.status(), two.status()), (200, 200));
    assert_eq!(seen.try_iter().count(), 2, "the engine folds them, not we");
}

#[tokio::test]
async fn bodies_wait_unread_while_others_fill_the_room() {
    let (to, seen) = std_mpsc::channel();
    let limits = Limits {
        bodies_bytes_max: 1024,
        room_millis_max: 50,
        ..Limits::default()
    };
    let server = run(plan(), limits, handle_that(answers(to))).await;
    let whole = request("POST /v1/hooks/alertmanager", &[], FIRING.as_bytes());
    let (begin, end) = whole.split_at(whole.len() - 1);
    let mut first = TcpStream::connect(server.address).await.unwrap();
    first.write_all(begin).await.unwrap();
    // Once the other is refused for want of room, the first has all of it.
    loop {
        let other = talk(server.address, &whole).await;
        if other.status() == 503 {
            check("no room", &other, 503, Some("source_busy"));
            break;
        }
    }
    let elsewhere = request("POST /api/v2/alerts", &[], RULED.as_bytes());
    let other = talk(server.address, &elsewhere).await;
    check("no room for anybody", &other, 503, Some("bodies_full"));
    first.write_all(end).await.unwrap();
    check("the first", &read(&mut first).await, 200, None);
    check("room again", &talk(server.address, &whole).await, 200, None);
    assert!(seen.try_iter().count() >= 2);
}

#[tokio::test]
async fn a_mapping_that_never_ends_is_refused_with_its_limit_and_counted() {
    let (server, _seen) = running().await;
    let endless = request("POST /v1/hooks/endless", &[], b"{\"a\": 1}");
    let reply = talk(server.address, &endless).await;
    check("endless", &reply, 400, Some("mapping_limit"));
    assert!(
        reply
            .0
            .contains("`labels` failed: it takes more than 8000000 steps"),
        "{reply:?}"
    );
    let snapshot = crate::telemetry::Snapshot {
        health: None,
        quotas: &[],
        started_at: Timestamp(0),
        now: Timestamp(0),
    };
    let metrics = server.metrics.encode(snapshot);
    assert!(
        metrics.contains("dingest_mapping_limits_total{source=\"endless\"} 1"),
        "{metrics}"
    );
}
