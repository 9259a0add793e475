//! Patterns of file names: `*` and `?` in any part of a path, as in `rules.d/*.yaml`.
//!
//! As in a shell, a pattern does not match names that begin with a dot, which is also how editors' swap files
//! and Kubernetes' `..data` stay out.

use std::path::{Path, PathBuf};

use regex::Regex;

/// Whether a path is a pattern.
pub(crate) fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?'])
}

/// The existing paths a pattern matches, sorted; a path that is no pattern is itself, existing or not.
pub(crate) fn expand(pattern: &Path) -> Vec<PathBuf> {
    if !is_pattern(pattern) {
        return vec![pattern.to_owned()];
    }
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let name = Path::new(component.as_os_str());
        found = if is_pattern(name) {
            let wanted = name_pattern(&name.to_string_lossy());
            found
                .iter()
                .flat_map(|directory| children(directory, wanted.as_ref()))
                .collect()
        } else {
            found.iter().map(|path| path.join(name)).collect()
        };
    }
    found.retain(|path| path.exists());
    found.sort();
    found
}

/// The directories whose entries decide what a pattern matches: those that exist.
pub(crate) fn directories(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    let mut below = pattern.parent();
    while let Some(directory) = below {
        let directory = if directory.as_os_str().is_empty() {
            Path::new(".")
        } else {
            directory
        };
        found.extend(expand(directory).into_iter().filter(|path| path.is_dir()));
        if !is_pattern(directory) {
            break;
        }
        below = directory.parent();
    }
    found
}

fn children(directory: &Path, wanted: Option<&Regex>) -> Vec<PathBuf> {
    let listed = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    let Ok(entries) = std::fs::read_dir(listed) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.') && wanted.is_some_and(|wanted| wanted.is_match(name)))
        .map(|name| directory.join(name))
        .collect()
}

/// The regular expression of one part of a path.
fn name_pattern(name: &str) -> Option<Regex> {
    let body: String = name
        .chars()
        .map(|c| match c {
            '*' => ".*".to_owned(),
            '?' => ".".to_owned(),
            c => regex::escape(&c.to_string()),
        })
        .collect();
    Regex::new(&format!("^(?s:{body})$")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_sorted_names_in_any_part_and_no_hidden_ones() {
        let directory = tempfile::tempdir().unwrap();
        for name in [
            "a/2.yaml",
            "a/1.yaml",
            "a/.swp.yaml",
            "b/3.yaml",
            "b/3.yml",
            "c.yaml",
        ] {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = |pattern: &str| {
            expand(&directory.path().join(pattern))
                .iter()
                .map(|path| path.strip_prefix(directory.path()).unwrap().display().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(found("a/*.yaml"), ["a/1.yaml", "a/2.yaml"]);
        assert_eq!(found("?/*.y*ml"), ["a/1.yaml", "a/2.yaml", "b/3.yaml", "b/3.yml"]);
        assert_eq!(found("*.yaml"), ["c.yaml"]);
        assert_eq!(found("nothing/*.yaml"), [""; 0]);
        assert_eq!(found("plain.yaml"), ["plain.yaml"]);
    }
}
