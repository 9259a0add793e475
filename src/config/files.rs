//! Reading small text files, with sentences for what goes wrong.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

/// The text of a file of at most so many bytes, or why there is none.
pub(crate) fn read(path: &Path, bytes_max: usize) -> Result<String, String> {
    let bytes = read_bytes(path, bytes_max)?;
    String::from_utf8(bytes)
        .map_err(|problem| format!("it is not UTF-8 at byte {}", problem.utf8_error().valid_up_to()))
}

/// The bytes of a file, at most so many, or why there are none.
pub(crate) fn read_bytes(path: &Path, bytes_max: usize) -> Result<Vec<u8>, String> {
    // Opening a pipe would wait for its writer, which may never come.
    let kind = std::fs::metadata(path).map_err(|problem| sentence(&problem))?;
    if !kind.is_file() {
        return Err(if kind.is_dir() {
            "it is a directory"
        } else {
            "it is not a file"
        }
        .to_owned());
    }
    let file = File::open(path).map_err(|problem| sentence(&problem))?;
    let mut bytes = Vec::new();
    file.take(bytes_max as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|problem| sentence(&problem))?;
    if bytes.len() > bytes_max {
        return Err(format!("it has more than {bytes_max} bytes"));
    }
    Ok(bytes)
}

fn sentence(problem: &std::io::Error) -> String {
    if problem.kind() == ErrorKind::NotFound {
        "there is no such file".to_owned()
    } else if problem.kind() == ErrorKind::PermissionDenied {
        "permission denied".to_owned()
    } else {
        problem.to_string()
    }
}
