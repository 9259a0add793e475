//! Connections: slow ones, too many of them, and their end.

use super::*;
use crate::driver::steering::Accepted;

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

/// A connection from an address of this machine: all of 127.0.0.0/8 is.
async fn connect_from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
    socket.connect(to).await.unwrap()
}

async fn ask_from(last: u8, to: SocketAddr) -> Reply {
    let mut stream = connect_from(last, to).await;
    stream
        .write_all(&request("GET /healthz", &[], b""))
        .await
        .unwrap();
    read(&mut stream).await
}

/// A connection whose request was answered and that is kept open.
async fn idle_from(last: u8, to: SocketAddr) -> TcpStream {
    let mut stream = connect_from(last, to).await;
    ask_again(&mut stream).await;
    stream
}

async fn ask_again(stream: &mut TcpStream) {
    let asked = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(asked).await.unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"}\n") {
        assert_ne!(stream.read_buf(&mut text).await.unwrap(), 0, "closed");
    }
}

/// A server whose driver keeps webhooks waiting, and connections that wait there.
async fn occupied(limits: Limits, by: &[u8]) -> (Running, Vec<TcpStream>, Vec<oneshot::Sender<Accepted>>) {
    let (to, mut accepted) = mpsc::unbounded_channel();
    let driver = handle_that(move |ask| {
        if let Ask::Accept { reply, .. } = ask {
            to.send(reply).unwrap();
        }
    });
    let server = run(plan(), limits, driver).await;
    let (mut streams, mut replies) = (Vec::new(), Vec::new());
    for last in by {
        let mut stream = connect_from(*last, server.address).await;
        let webhook = request("POST /v1/hooks/alertmanager", &[], FIRING.as_bytes());
        stream.write_all(&webhook).await.unwrap();
        streams.push(stream);
        replies.push(accepted.recv().await.unwrap());
    }
    (server, streams, replies)
}

/// Waits until a line stands in the metrics.
async fn metric(server: &Running, line: &str) {
    let snapshot = crate::telemetry::Snapshot {
        health: None,
        quotas: &[],
        started_at: Timestamp(0),
        now: Timestamp(0),
    };
    while !server.metrics.encode(snapshot).contains(line) {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

fn places_for(connections_max: usize) -> Limits {
    Limits {
        connections_max,
        ..Limits::default()
    }
}

#[tokio::test]
async fn at_the_limit_of_connections_the_next_one_waits_for_its_turn() {
    let (server, mut streams, mut replies) = occupied(places_for(2), &[1, 2]).await;
    let waiting = tokio::spawn(ask_from(3, server.address));
    metric(&server, "dingest_http_connections_waited_total 1").await;
    assert!(!waiting.is_finished());
    replies.remove(0).send(Ok(BTreeMap::new())).unwrap();
    check("served whole", &read(&mut streams[0]).await, 200, None);
    check("after the first", &waiting.await.unwrap(), 200, None);
}

#[tokio::test]
async fn whoever_is_idle_for_longest_gives_way_to_who_needs_the_place() {
    let (server, _seen) = running_with(places_for(4)).await;
    let mut first = idle_from(1, server.address).await;
    let mut second = idle_from(2, server.address).await;
    let mut third = idle_from(3, server.address).await;
    let _silent = connect_from(4, server.address).await;
    metric(&server, "dingest_http_connections 4").await;
    ask_again(&mut first).await;
    check("a newcomer", &ask_from(5, server.address).await, 200, None);
    assert!(read(&mut second).await.0.is_empty(), "closed");
    ask_again(&mut first).await;
    ask_again(&mut third).await;
    metric(
        &server,
        "dingest_http_connections_cut_total{reason=\"gave_way\"} 1",
    )
    .await;
}

#[tokio::test]
async fn one_address_may_have_half_of_the_connections_and_its_idle_ones_give_way_to_its_own() {
    let limits = Limits {
        address_wait_millis_max: 50,
        ..places_for(8)
    };
    let (server, _streams, mut replies) = occupied(limits, &[1; 4]).await;
    let refused = ask_from(1, server.address).await;
    check("one more", &refused, 503, Some("address_busy"));
    assert_eq!(refused.header("retry-after"), Some("5"));
    check("somebody else", &ask_from(2, server.address).await, 200, None);
    metric(
        &server,
        "dingest_http_connections_cut_total{reason=\"address_busy\"} 1",
    )
    .await;

    replies.remove(0).send(Ok(BTreeMap::new())).unwrap();
    metric(&server, "dingest_http_connections 3").await;
    let mut idle = idle_from(1, server.address).await;
    let mut of_another = idle_from(2, server.address).await;
    check(
        "an idle one leaves",
        &ask_from(1, server.address).await,
        200,
        None,
    );
    assert!(read(&mut idle).await.0.is_empty(), "closed");
    ask_again(&mut of_another).await;
}

#[tokio::test]
async fn too_many_that_wait_are_closed_at_once() {
    let limits = Limits {
        address_wait_millis_max: 60_000,
        ..places_for(8)
    };
    let (server, _streams, _replies) = occupied(limits, &[1; 4]).await;
    let _waiting = connect_from(1, server.address).await;
    assert!(ask_from(1, server.address).await.0.is_empty(), "closed");
    metric(
        &server,
        "dingest_http_connections_cut_total{reason=\"address_busy\"} 1",
    )
    .await;
    check("somebody else", &ask_from(2, server.address).await, 200, None);
}

#[tokio::test]
async fn half_a_head_gives_way_and_a_request_under_way_does_not() {
    let (server, mut streams, mut replies) = occupied(places_for(4), &[1]).await;
    let mut half = connect_from(1, server.address).await;
    half.write_all(b"POST /v1/hooks/alertmanager HTTP/1.1\r\nHost:")
        .await
        .unwrap();
    metric(&server, "dingest_http_connections 2").await;
    check("the next one", &ask_from(1, server.address).await, 200, None);
    assert!(read(&mut half).await.0.is_empty(), "closed");
    replies.remove(0).send(Ok(BTreeMap::new())).unwrap();
    check("under way", &read(&mut streams[0]).await, 200, None);
}

#[tokio::test]
async fn who_does_not_read_the_answers_is_cut_off() {
    let (server, _seen) = running_with(hasty()).await;
    let (_unread, mut asking) = TcpStream::connect(server.address).await.unwrap().into_split();
    let asked = "GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1_000);
    while asking.write_all(asked.as_bytes()).await.is_ok() {}
    metric(
        &server,
        "dingest_http_connections_cut_total{reason=\"slow_reader\"} 1",
    )
    .await;
    metric(&server, "dingest_http_connections 0").await;
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
