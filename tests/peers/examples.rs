//! What the examples tell senders to write.

use std::path::Path;

use crate::process::run;
use crate::world::text;

#[test]
#[ignore = "needs Debian's prometheus and prometheus-alertmanager"]
fn the_senders_side_of_the_examples_is_valid() {
    let senders = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/senders");
    check("amtool", &["check-config"], &senders.join("alertmanager.yml"));
    check(
        "promtool",
        &["check", "config", "--syntax-only"],
        &senders.join("prometheus.yml"),
    );
}

#[track_caller]
fn check(tool: &str, arguments: &[&str], file: &Path) {
    let file = text(file);
    let (content, said) = run(tool, &[arguments, &[file.as_str()]].concat(), None);
    assert!(content, "{said}");
}
