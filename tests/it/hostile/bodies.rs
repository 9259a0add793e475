//! Bodies that become more than they seem: gzip in gzip, gzip that lies, gzip that becomes gigabytes.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::future::join_all;
use serde_json::Value;

use super::*;
use crate::alerts::webhook;
use crate::chat::chat;
use crate::daemon::Home;

/// Bombs at the same time.
const BOMBS: usize = 48;
/// What a bomb becomes: a thousand times its size.
const INFLATED_BYTES: usize = 1 << 30;
/// Most the daemon may ever have held: what all bodies together may take, decoded once more, and itself.
const PEAK_MIB_MAX: usize = 600;
const MORE_MIB_MAX: usize = 64;

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).expect("memory");
    encoder.finish().expect("memory")
}

/// A gigabyte of white space, in a megabyte.
fn bomb() -> Vec<u8> {
    let piece = vec![b' '; 1 << 20];
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..INFLATED_BYTES / piece.len() {
        encoder.write_all(&piece).expect("memory");
    }
    encoder.finish().expect("memory")
}

/// With other last bytes: four of a checksum, four of a length.
fn lying(mut body: Vec<u8>, from_end: usize, byte: u8) -> Vec<u8> {
    let at = body.len() - from_end;
    body[at] ^= byte;
    body
}

async fn post(daemon: &Daemon, body: Vec<u8>) -> (u16, Value) {
    let request = daemon.http().post(daemon.url("/v1/hooks/alertmanager"));
    let answer = request.header("content-encoding", "gzip").body(body).send().await;
    let answer = answer.expect("an answer");
    let status = answer.status().as_u16();
    let text = answer.bytes().await.expect("a whole answer");
    (status, serde_json::from_slice(&text).expect("JSON"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gzip_that_is_not_what_it_says_gets_a_reason() {
    let chat = chat(&["ops"]).await;
    let home = Home::with(&chat, &rest());
    let daemon = Daemon::start(&home).await;
    let whole = webhook(&[firing("zipped")]).to_string();
    let once = gzip(whole.as_bytes());
    let half = once[..once.len() / 2].to_vec();
    let mut garbage = once.clone();
    garbage.extend_from_slice(b"garbage");
    let members: Vec<u8> = whole.as_bytes().chunks(10).flat_map(gzip).collect();
    let empty_members = gzip(b"").repeat(50_000);
    for (name, body, status, reason) in [
        ("gzip", once.clone(), 200, Value::Null),
        ("gzip of many members", members, 200, Value::Null),
        ("gzip in gzip", gzip(&once), 400, "not_json".into()),
        ("gzip in gzip in gzip", gzip(&gzip(&once)), 400, "not_json".into()),
        (
            "a length that lies",
            lying(once.clone(), 1, 0x7f),
            400,
            "bad_gzip".into(),
        ),
        (
            "a checksum that lies",
            lying(once.clone(), 5, 1),
            400,
            "bad_gzip".into(),
        ),
        ("half of it", half, 400, "bad_gzip".into()),
        ("more behind it", garbage, 400, "bad_gzip".into()),
        ("members of nothing", empty_members, 400, "not_json".into()),
        ("nothing", Vec::new(), 400, "bad_gzip".into()),
    ] {
        let (got, answer) = super::bodies::post(&daemon, body).await;
        assert_eq!((got, &answer["reason"]), (status, &reason), "{name}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gzip_bombs_are_defused_within_bounded_memory() {
    let chat = chat(&["ops"]).await;
    let home = Home::with(
        &chat,
        &format!(
            "sources:\n  - {{ name: alertmanager, type: alertmanager }}\n  - {{ name: bombs, type: json }}\n{}",
            rest()
        ),
    );
    let daemon = Daemon::start(&home).await;
    let before = Footprint::of(&daemon);
    let bomb = bomb();
    assert!(bomb.len() < INFLATED_BYTES / 900);
    let neighbour = Neighbour::begin(&daemon);
    let posts = (0..BOMBS).map(|_| async {
        let request = daemon.http().post(daemon.url("/v1/hooks/bombs"));
        let request = request.header("content-encoding", "gzip").body(bomb.clone());
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a whole answer");
        (status, text)
    });
    let mut defused = 0;
    for (status, text) in join_all(posts).await {
        match status {
            413 => defused += 1,
            503 => assert!(text.contains("source_busy"), "{text}"),
            _ => panic!("{status}: {text}"),
        }
    }
    neighbour.end().await;
    assert!(defused > 0);
    let peak = memory_mib(&daemon, "VmHWM:");
    assert!(peak <= PEAK_MIB_MAX, "the daemon held {peak} MiB");
    before.is_restored(&daemon, MORE_MIB_MAX).await;
}
