//! Configuration files.
#![no_main]
use std::sync::LazyLock;

static FILE: LazyLock<std::path::PathBuf> = LazyLock::new(|| {
    let directory = std::env::temp_dir().join(format!("dingest-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    directory.join("dingest.yaml")
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // A pattern that begins at the root would search this machine.
    if !bytes.contains(&b'/') && !bytes.windows(2).any(|pair| pair == b"..") {
        dingest::fuzzing::configuration(&FILE, bytes);
    }
});
