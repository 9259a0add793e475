//! Configuration files.
#![no_main]
use std::sync::LazyLock;

static FILE: LazyLock<std::path::PathBuf> = LazyLock::new(|| {
    let directory = std::env::temp_dir().join(format!("dingest-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    directory.join("dingest.yaml")
});

/// Whether every path and pattern in it stays below the directory: others would search this machine.
fn stays(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text).replace("https://", "").replace("http://", "");
    let leaves = ["..", "\\x", "\\u", "\\U"].iter().any(|step| text.contains(step));
    let mut before = ' ';
    !leaves
        && text.chars().all(|c| {
            let fine = c != '/' || before.is_ascii_alphanumeric();
            before = c;
            fine
        })
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if stays(bytes) {
        dingest::fuzzing::configuration(&FILE, bytes);
    }
});
