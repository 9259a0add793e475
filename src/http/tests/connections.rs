//! Connections: slow ones, too many of them, and their end.

use super::*;

#[tokio::test]
async fn slow_clients_are_dropped() {
    let (to, seen) = std_mpsc::channel();
    let server = run(plan(), hasty(), handle_that(answers(to))).await;
    let silent = talk(server.address, b"").await;
    assert!(
        silent.0.is_empty(),
        "a connection without a request is closed: {silent:?}"
    );
    let half_a_head = talk(server.address, b"POST /v1/hooks/alertmanager HTTP/1.1\r\nHost:").await;
    assert_ne!(half_a_head.status(), 200, "{half_a_head:?}");
    let half_a_body =
        "POST /v1/hooks/alertmanager HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{\"alerts\"";
    check(
        "half a body",
        &talk(server.address, half_a_body.as_bytes()).await,
        408,
        Some("slow_body"),
    );

    let mut trickle = TcpStream::connect(server.address).await.unwrap();
    trickle.write_all(half_a_body.as_bytes()).await.unwrap();
    let (mut answer, mut drops) = trickle.into_split();
    let dropping = tokio::spawn(async move {
        let mut beat = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            beat.tick().await;
            if drops.write_all(b" ").await.is_err() {
                return;
            }
        }
    });
    let mut text = Vec::new();
    // A reset after the answer is as good as a close.
    let _reset = answer.read_to_end(&mut text).await;
    check(
        "a byte at a time",
        &Reply(String::from_utf8(text).unwrap()),
        408,
        Some("slow_body"),
    );
    dropping.await.unwrap();
    assert_eq!(seen.try_iter().count(), 0);
}

#[tokio::test]
async fn a_client_that_closes_its_side_after_writing_is_answered() {
    let (server, _seen) = running().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(&request("POST /v1/hooks/alertmanager", &[], FIRING.as_bytes()))
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    check("half closed", &read(&mut stream).await, 200, None);
}

#[tokio::test]
async fn a_connection_serves_on_after_a_refusal() {
    let (server, _seen) = running().await;
    let refused = format!(
        "POST /v1/hooks/bearer HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{FIRING}",
        FIRING.len()
    );
    let both = [
        refused.into_bytes(),
        request("POST /v1/hooks/alertmanager", &[], FIRING.as_bytes()),
    ]
    .concat();
    let replies = exchange(server.address, &both).await;
    assert!(
        replies.0.starts_with("HTTP/1.1 401") && replies.0.contains("HTTP/1.1 200"),
        "{replies:?}"
    );
}

#[tokio::test]
async fn at_the_limit_of_connections_the_next_one_waits_for_its_turn() {
    let (to, _seen) = std_mpsc::channel();
    let limits = Limits {
        connections_max: 1,
        ..Limits::default()
    };
    let server = run(plan(), limits, handle_that(answers(to))).await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    first
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut piece = [0; 12];
    first.read_exact(&mut piece).await.unwrap();
    let second = tokio::spawn({
        let address = server.address;
        async move { talk(address, &request("GET /healthz", &[], b"")).await }
    });
    let waited = |text: &str| text.contains("dingest_http_connections_waited_total 1");
    let snapshot = crate::telemetry::Snapshot {
        health: None,
        monthly_quota: None,
        started_at: Timestamp(0),
        now: Timestamp(0),
    };
    while !waited(&server.metrics.encode(snapshot)) {
        tokio::task::yield_now().await;
    }
    assert!(!second.is_finished());
    drop(first);
    check("after the first", &second.await.unwrap(), 200, None);
}

#[tokio::test]
async fn shutdown_lets_a_request_under_way_finish_and_takes_no_more() {
    let (to, mut accepted) = mpsc::channel(1);
    let driver = handle_that(move |ask| {
        if let Ask::Accept { reply, .. } = ask {
            to.try_send(reply).unwrap();
        }
    });
    let server = run(plan(), Limits::default(), driver).await;
    let idle = TcpStream::connect(server.address).await.unwrap();
    let address = server.address;
    let under_way = tokio::spawn(async move {
        talk(
            address,
            &request("POST /v1/hooks/alertmanager", &[], FIRING.as_bytes()),
        )
        .await
    });
    let reply = accepted.recv().await.unwrap();
    server.stop.send(()).unwrap();
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    reply.send(Ok(BTreeMap::from([(Verdict::New, 1)]))).unwrap();
    check("under way", &under_way.await.unwrap(), 200, None);
    assert_eq!(server.stopped.await.unwrap(), 0, "nothing was cut");
    drop(idle);
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let limits = Limits {
        drain_millis_max: 50,
        ..Limits::default()
    };
    let (to, mut asked) = mpsc::channel(1);
    let server = run(plan(), limits, handle_that(move |ask| to.try_send(ask).unwrap())).await;
    let address = server.address;
    let hanging = tokio::spawn(async move {
        talk(
            address,
            &request("POST /v1/hooks/alertmanager", &[], FIRING.as_bytes()),
        )
        .await
    });
    let _unanswered = asked.recv().await.unwrap();
    server.stop.send(()).unwrap();
    assert_eq!(server.stopped.await.unwrap(), 1);
    assert_eq!(
        hanging.await.unwrap().status(),
        0,
        "cut, never answered with success"
    );
}

#[tokio::test]
async fn a_unix_socket_is_this_machine_and_a_stale_file_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("http.sock");
    let listen = Listen::Unix(path.clone());
    drop(Listener::bind(&listen).await.unwrap());
    let listener = Listener::bind(&listen).await.unwrap();
    assert!(Listener::bind(&listen).await.is_err(), "somebody answers there");
    assert!(listener.address().is_none());
    let other = directory.path().join("notes.txt");
    std::fs::write(&other, "mine").unwrap();
    assert!(Listener::bind(&Listen::Unix(other.clone())).await.is_err());
    assert_eq!(
        std::fs::read(&other).unwrap(),
        b"mine",
        "no file of somebody else's is removed"
    );
    assert!(
        Head {
            peer: None,
            headers: HeaderMap::new()
        }
        .is_local()
    );
}
