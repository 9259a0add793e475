//! Lines that are read as they were written, files that stay small, and faults of the disk.

use super::*;

/// A configuration that records into `directory`.
fn plan(directory: &Path, bytes_max: u64) -> Arc<Plan> {
    let mut plan = Plan::builtin(directory);
    plan.record = Some(Record {
        path: directory.join("recording.jsonl"),
        bytes_max,
    });
    Arc::new(plan)
}

fn entry(plan: &Arc<Plan>, body: &str) -> Entry {
    Entry {
        plan: Arc::clone(plan),
        source: SourceName::from("json"),
        at: Timestamp(1_767_585_600_123),
        content_type: None,
        body: Bytes::copy_from_slice(body.as_bytes()),
        _place: Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap(),
    }
}

/// The bodies in a file.
fn bodies(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text
        .lines()
        .map(|line| Recorded::from_line(line).unwrap_or_else(|error| panic!("{line}: {error}")));
    lines.map(|line| String::from_utf8(line.body).unwrap()).collect()
}

fn unrecorded(metrics: &Metrics, reason: &str) -> bool {
    let scraped = metrics.encode(crate::telemetry::Snapshot {
        health: None,
        quotas: &[],
        started_at: Timestamp(0),
        now: Timestamp(0),
    });
    scraped.contains(&format!(
        r#"dingest_bodies_unrecorded_total{{source="json",reason="{reason}"}} 1"#
    ))
}

#[test]
fn a_line_is_read_as_it_was_written() {
    for (body, content_type) in [
        (&b"{\"a\": 1}\n"[..], None),
        ("告警".as_bytes(), Some("application/json; charset=utf-8")),
        (
            b"\xff\x00",
            Some("application/x-www-form-urlencoded; charset=gbk"),
        ),
        (b"", None),
    ] {
        let recorded = Recorded {
            at: Timestamp(1_767_585_600_123),
            source: "值班".to_owned(),
            content_type: content_type.map(str::to_owned),
            body: body.to_vec(),
        };
        let line = recorded.to_line();
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert_eq!(Recorded::from_line(&line), Ok(recorded));
    }
    let line = Recorded::from_line(r#"{"at":"2026-01-05T04:00:00.123Z","source":"json","body":"{}"}"#);
    assert_eq!(line.map(|line| line.at), Ok(Timestamp(1_767_585_600_123)));
    for broken in [
        "{",
        r#"{"at":"now","source":"json","body":""}"#,
        r#"{"at":"2026-01-05T04:00:00Z","source":"json"}"#,
        r#"{"at":"2026-01-05T04:00:00Z","source":"json","body":"","base64":""}"#,
        r#"{"at":"2026-01-05T04:00:00Z","source":"json","base64":"?"}"#,
    ] {
        assert!(Recorded::from_line(broken).is_err(), "{broken}");
    }
}

#[test]
fn two_files_take_bounded_room_and_hold_the_newest() {
    let directory = tempfile::tempdir().unwrap();
    let plan = plan(directory.path(), 2000);
    let mut scribe = Scribe::new(Arc::new(Metrics::new()));
    for number in 0..100 {
        scribe.write(&entry(&plan, &format!("{{\"number\":{number}}}")));
    }
    let record = plan.record.clone().unwrap();
    let (older, newer) = (record.older(), record.path);
    let size = |path: &Path| std::fs::metadata(path).unwrap().len();
    assert!(size(&older) <= 1000 && size(&newer) <= 1000);
    let all: Vec<String> = bodies(&older).into_iter().chain(bodies(&newer)).collect();
    assert!(all.len() > 10, "{all:?}");
    let newest: Vec<String> = (100 - all.len()..100)
        .map(|number| format!("{{\"number\":{number}}}"))
        .collect();
    assert_eq!(all, newest);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&newer).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_line_that_was_cut_off_spoils_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let plan = plan(directory.path(), 1 << 20);
    let path = plan.record.clone().unwrap().path;
    std::fs::write(&path, "{\"at\":\"2026-0").unwrap();
    let mut scribe = Scribe::new(Arc::new(Metrics::new()));
    scribe.write(&entry(&plan, "{}"));
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = text.lines().map(Recorded::from_line).collect();
    assert!(matches!(&lines[..], [Err(_), Ok(_)]), "{lines:?}");
}

#[test]
fn a_file_that_is_taken_away_is_left_alone_and_another_begun() {
    let directory = tempfile::tempdir().unwrap();
    let plan = plan(directory.path(), 1 << 20);
    let path = plan.record.clone().unwrap().path;
    let taken = directory.path().join("taken.jsonl");
    let mut scribe = Scribe::new(Arc::new(Metrics::new()));
    scribe.write(&entry(&plan, "1"));
    std::fs::rename(&path, &taken).unwrap();
    scribe.write(&entry(&plan, "2"));
    scribe.write(&entry(&plan, "3"));
    assert_eq!(bodies(&taken), ["1"]);
    assert_eq!(bodies(&path), ["2", "3"]);
    std::fs::remove_file(&path).unwrap();
    scribe.write(&entry(&plan, "4"));
    assert_eq!(bodies(&path), ["4"]);
}

#[test]
fn what_is_not_recorded_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::new());
    let small = plan(directory.path(), 200);
    let mut scribe = Scribe::new(Arc::clone(&metrics));
    scribe.write(&entry(&small, &"x".repeat(200)));
    assert!(unrecorded(&metrics, "too_large"));

    let nowhere = plan(&directory.path().join("nowhere"), 2000);
    scribe.write(&entry(&nowhere, "{}"));
    assert!(unrecorded(&metrics, "disk"));
    std::fs::create_dir(directory.path().join("nowhere")).unwrap();
    scribe.write(&entry(&nowhere, "{}"));
    assert_eq!(bodies(&nowhere.record.clone().unwrap().path), ["{}"]);
}

#[test]
fn a_body_for_which_there_is_no_room_is_counted_and_nobody_waits() {
    let directory = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::new());
    let (recorder, _recording) = Recorder::start(Arc::clone(&metrics)).unwrap();
    let source = SourceName::from("json");
    let full = Arc::clone(&recorder.room)
        .try_acquire_many_owned(u32::try_from(WAITING_BYTES_MAX).unwrap())
        .unwrap();
    let body = Bytes::from_static(b"{}");
    recorder.keep(&plan(directory.path(), 2000), &source, Timestamp(0), None, body);
    assert!(unrecorded(&metrics, "busy"));
    drop(full);
}
