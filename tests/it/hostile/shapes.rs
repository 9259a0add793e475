//! What is no request, or more than one, or not what it seems.

use super::*;
use crate::alerts::webhook;
use crate::chat::chat;
use crate::daemon::{Home, configuration};

/// Requests in one write.
const PIPELINED: usize = 500;
/// Time for an answer to something that never ends.
const ENDS_MAX: Duration = Duration::from_secs(5);
const MORE_MIB_MAX: usize = 32;

/// Something that is sent, and the statuses of the answers to it; then the daemon closes.
struct Shape {
    name: &'static str,
    bytes: Vec<u8>,
    statuses: &'static [u16],
}

fn shape(name: &'static str, bytes: impl Into<Vec<u8>>, statuses: &'static [u16]) -> Shape {
    Shape {
        name,
        bytes: bytes.into(),
        statuses,
    }
}

/// A whole webhook with one alert, with other lines in its head.
fn posts(node: &str, lines: &str, body: impl Fn(&str) -> String) -> String {
    let webhook = webhook(&[firing(node)]).to_string();
    let lines = lines.replace("{length}", &webhook.len().to_string());
    let body = body(&webhook);
    format!("POST /v1/hooks/alertmanager HTTP/1.1\r\nHost: x\r\n{lines}\r\n{body}")
}

fn as_it_is(body: &str) -> String {
    body.to_owned()
}

fn in_chunks(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
}

/// What makes two readers see different requests. Nothing with `smuggled` in it may ever be taken.
fn smuggling() -> Vec<Shape> {
    let smuggled = posts("smuggled", "Content-Length: {length}\r\n", as_it_is);
    let hidden = |body: &str| format!("{}{smuggled}", in_chunks(body));
    vec![
        shape(
            "a length and chunks",
            posts(
                "seen-1",
                "Content-Length: 2000\r\nTransfer-Encoding: chunked\r\n",
                hidden,
            ),
            &[200],
        ),
        shape(
            "chunks and a length",
            posts(
                "seen-2",
                "Transfer-Encoding: chunked\r\nContent-Length: 2000\r\n",
                hidden,
            ),
            &[200],
        ),
        shape(
            "two lengths",
            posts(
                "smuggled",
                "Content-Length: {length}\r\nContent-Length: 7\r\n",
                as_it_is,
            ),
            &[400],
        ),
        shape(
            "two lengths in one line",
            posts("smuggled", "Content-Length: {length}, 7\r\n", as_it_is),
            &[400],
        ),
        shape(
            "a length with a sign",
            posts("smuggled", "Content-Length: +{length}\r\n", as_it_is),
            &[400],
        ),
        shape(
            "a length beyond all numbers",
            posts(
                "smuggled",
                "Content-Length: 99999999999999999999999\r\n",
                as_it_is,
            ),
            &[400],
        ),
    ]
}

/// The same with codings of bodies.
fn smuggling_in_chunks() -> Vec<Shape> {
    vec![
        shape(
            "a coding nobody knows",
            posts("smuggled", "Transfer-Encoding: xchunked\r\n", in_chunks),
            &[400],
        ),
        shape(
            "chunks that are not last",
            posts("smuggled", "Transfer-Encoding: chunked, identity\r\n", in_chunks),
            &[400],
        ),
        shape(
            "a space before the colon",
            posts("smuggled", "Content-Length : {length}\r\n", as_it_is),
            &[400],
        ),
        shape(
            "a folded line",
            posts(
                "smuggled",
                "X-Folded: a\r\n b\r\nContent-Length: {length}\r\n",
                as_it_is,
            ),
            &[400],
        ),
        shape(
            "a length hidden in a folded line",
            posts(
                "smuggled",
                "X-Folded: a\r\n Content-Length: {length}\r\n",
                as_it_is,
            ),
            &[400],
        ),
        shape(
            "chunks of a size that is none",
            posts("smuggled", "Transfer-Encoding: chunked\r\n", |body| {
                format!("0x{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
            }),
            &[400],
        ),
        shape(
            "chunks of a size beyond all numbers",
            posts("smuggled", "Transfer-Encoding: chunked\r\n", |body| {
                format!("fffffffffffffffff\r\n{body}\r\n0\r\n\r\n")
            }),
            &[400],
        ),
        shape(
            "chunks in HTTP/1.0",
            posts("smuggled", "Transfer-Encoding: chunked\r\n", in_chunks).replace("HTTP/1.1", "HTTP/1.0"),
            &[400],
        ),
    ]
}

/// What is no request.
fn strange() -> Vec<Shape> {
    vec![
        shape("HTTP/0.9", "GET /healthz\r\n\r\n", &[400]),
        // Closed: such a client could not read an answer in HTTP/1.1.
        shape("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04", &[]),
        shape("HTTP/3.7", "GET /healthz HTTP/3.7\r\n\r\n", &[400]),
        shape(
            "TLS",
            b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03\x5f\x0a\x0d\x0a\x0d\x0a".to_vec(),
            &[400],
        ),
        shape("SSH", "SSH-2.0-OpenSSH_9.2\r\n\r\n", &[400]),
        shape("nothing but zeros", vec![0; 1000], &[400]),
        shape(
            "a NUL in the path",
            "GET /health\0z HTTP/1.1\r\nHost: x\r\n\r\n",
            &[400],
        ),
        shape(
            "a NUL in a name",
            "GET /healthz HTTP/1.1\r\nX\0Y: x\r\n\r\n",
            &[400],
        ),
        shape(
            "a NUL in a value",
            "GET /healthz HTTP/1.1\r\nX: a\0b\r\n\r\n",
            &[400],
        ),
        shape(
            "a bare CR in a value",
            "GET /healthz HTTP/1.1\r\nX: a\rb: c\r\n\r\n",
            &[400],
        ),
        shape(
            "a path of no characters",
            "GET  HTTP/1.1\r\nHost: x\r\n\r\n",
            &[400],
        ),
        shape(
            "a path of no encoding",
            b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            &[400, 404],
        ),
    ]
}

/// What is a request, of a form or a size that nobody expects.
fn unexpected() -> Vec<Shape> {
    vec![
        shape(
            "a tunnel",
            "CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n",
            &[404],
        ),
        shape(
            "about the server",
            "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
            &[404],
        ),
        shape(
            "for a proxy",
            "GET http://example.com/healthz HTTP/1.1\r\nHost: x\r\n\r\n",
            &[200],
        ),
        shape(
            "a method as long as a novel",
            format!("{} /healthz HTTP/1.1\r\n\r\n", "A".repeat(60_000)),
            &[405],
        ),
        shape(
            "a path as long as a novel",
            format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(60_000)),
            &[404],
        ),
        shape(
            "a path longer than a head may be",
            format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(200_000)),
            &[414, 431],
        ),
        shape(
            "a header longer than a head may be",
            format!("GET /healthz HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(200_000)),
            &[431],
        ),
        shape(
            "a thousand headers",
            format!("GET /healthz HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(1000)),
            &[431],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_readers_could_see_differently_smuggles_nothing() {
    let chat = chat(&["ops"]).await;
    let home = Home::with(&chat, &rest());
    let daemon = Daemon::start(&home).await;
    for Shape {
        name,
        bytes,
        statuses: expected,
    } in smuggling().into_iter().chain(smuggling_in_chunks())
    {
        let text = exchange(&daemon, &bytes).await;
        assert_eq!(statuses(&text), expected, "{name}: {text}");
    }
    let list = daemon.api("/api/v1/alerts").await.to_string();
    assert!(list.contains("seen-1") && list.contains("seen-2"), "{list}");
    assert!(!list.contains("smuggled"), "{list}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_is_answered_and_closed() {
    let chat = chat(&["ops"]).await;
    let home = Home::with(&chat, &rest());
    let daemon = Daemon::start(&home).await;
    let before = Footprint::of(&daemon);
    let neighbour = Neighbour::begin(&daemon);
    for Shape {
        name,
        bytes,
        statuses: expected,
    } in strange().into_iter().chain(unexpected())
    {
        let asked = Instant::now();
        let text = exchange(&daemon, &bytes).await;
        let got = statuses(&text);
        let answered = usize::from(!expected.is_empty());
        assert!(
            got.len() == answered && got.iter().all(|it| expected.contains(it)),
            "{name}: {text}"
        );
        assert!(asked.elapsed() < ENDS_MAX, "{name} took {:?}", asked.elapsed());
    }
    neighbour.end().await;
    before.is_restored(&daemon, MORE_MIB_MAX).await;
}

/// What goes on and on: a beginning, and what is repeated until the daemon has had enough.
fn endless() -> Vec<(Shape, &'static [u8])> {
    let chunked = |rest: &str| posts("endless", "Transfer-Encoding: chunked\r\n", |_| rest.to_owned());
    vec![
        (shape("a line", "GET /", &[414, 431]), b"aaaaaaaaaaaaaaaa"),
        (
            shape("a header", "GET /healthz HTTP/1.1\r\nX: ", &[431]),
            b"aaaaaaaaaaaaaaaa",
        ),
        (
            shape("headers", "GET /healthz HTTP/1.1\r\n", &[431]),
            b"X-Another: one\r\n",
        ),
        (shape("line ends", "", &[400, 431]), b"\r\n\r\n\r\n"),
        (
            shape("chunks", chunked(""), &[413]),
            b"10\r\n                \r\n",
        ),
        (shape("chunks of a byte", chunked(""), &[413]), b"1\r\n \r\n"),
        (
            shape("one chunk", chunked("ffffffff\r\n"), &[413]),
            b"                ",
        ),
        (
            shape("a chunk's extension", chunked("1;"), &[400, 413]),
            b"aaaaaaaaaaaaaaaa",
        ),
        (shape("a chunk's size", chunked(""), &[408]), b"0000000000000000"),
        (
            shape("trailers", chunked("1\r\n{\r\n0\r\n"), &[400]),
            b"X-Another: one\r\n",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_never_ends_is_ended() {
    let chat = chat(&["ops"]).await;
    let home = Home::new();
    let text = configuration(chat.url(), &rest());
    home.configure(&text.replace("127.0.0.1:0 }", "127.0.0.1:0, body_limit: 1MiB }"));
    let daemon = Daemon::start(&home).await;
    let before = Footprint::of(&daemon);
    let neighbour = Neighbour::begin(&daemon);
    for (
        Shape {
            name,
            bytes,
            statuses: expected,
        },
        again,
    ) in endless()
    {
        let stream = stranger(&daemon, 2).await.expect("a connection");
        let (mut answers, mut asking) = stream.into_split();
        let again = again.repeat(1024);
        let asking = tokio::spawn(async move {
            let mut sent = asking.write_all(&bytes).await;
            while sent.is_ok() {
                sent = asking.write_all(&again).await;
            }
        });
        let begun = Instant::now();
        let text = everything(&mut answers).await;
        let told = statuses(&text);
        // Who still writes may see the connection reset before it sees the answer.
        assert!(
            told.iter().all(|it| expected.contains(it)) && told.len() <= 1,
            "{name}: {text}"
        );
        let ended = timeout(ENDS_MAX, asking).await;
        assert!(ended.is_ok(), "{name} went on for {:?}", begun.elapsed());
    }
    neighbour.end().await;
    let list = daemon.api("/api/v1/alerts").await.to_string();
    assert!(!list.contains("endless"), "{list}");
    before.is_restored(&daemon, MORE_MIB_MAX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_one_write_are_all_answered_in_order() {
    let chat = chat(&["ops"]).await;
    let home = Home::with(&chat, &rest());
    let daemon = Daemon::start(&home).await;
    let mut bytes = String::new();
    let mut expected = Vec::new();
    for number in 0..PIPELINED {
        let (request, status) = match number % 4 {
            0 => (
                posts(
                    &format!("piped-{number}"),
                    "Content-Length: {length}\r\n",
                    as_it_is,
                ),
                200,
            ),
            1 => (posts("none", "Content-Length: 2\r\n", |_| "{]".to_owned()), 400),
            2 => (format!("GET /nothing/{number} HTTP/1.1\r\nHost: x\r\n\r\n"), 404),
            _ => ("DELETE /healthz HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 405),
        };
        bytes += &request;
        expected.push(status);
    }
    let text = exchange(&daemon, bytes.as_bytes()).await;
    assert_eq!(statuses(&text), expected);
    let list = daemon.api("/api/v1/alerts").await;
    assert_eq!(list["total"], serde_json::Value::from(PIPELINED / 4));
}
