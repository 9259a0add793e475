//! Secrets from where they are kept. No message quotes one.

use std::path::{Path, PathBuf};

use crate::config::exposure::readers;
use crate::config::read::{At, Given, SecretText};
use crate::config::report::{Findings, Place, Secrets};
use crate::secret::Secret;

/// Most bytes of a secret.
const SECRET_BYTES_MAX: usize = 16 << 10;

/// Fetches a secret, when it is given. `key` is its name without `_file` and `_env`.
pub(super) fn secret(given: &Given<SecretText>, key: &str, findings: &mut Findings) -> Option<Secret> {
    text(given, key, findings).map(|(text, _)| Secret::new(text))
}

/// Fetches a secret of visible ASCII characters: tokens, which travel in headers and URLs.
pub(super) fn token(given: &Given<SecretText>, key: &str, findings: &mut Findings) -> Option<Secret> {
    let (text, place) = text(given, key, findings)?;
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some(Secret::new(text));
    }
    findings
        .error(place, format!("`{key}` holds a character that no token has"))
        .help("look for spaces, line breaks and quotes that were copied along");
    None
}

/// The text of a secret and where it is named.
pub(super) fn text(given: &Given<SecretText>, key: &str, findings: &mut Findings) -> Option<(String, Place)> {
    let At { value, place } = given.get()?;
    let place = *place;
    let fetched = match value {
        SecretText::Inline(text) => Ok(text.clone()),
        SecretText::Env(_) | SecretText::File(_) if findings.secrets() == Secrets::Invented => {
            Ok(invented(key).to_owned())
        }
        SecretText::Env(name) => std::env::var(name).map_err(|problem| match problem {
            std::env::VarError::NotPresent => format!("the environment variable `{name}` is not set"),
            std::env::VarError::NotUnicode(_) => format!("the environment variable `{name}` is not UTF-8"),
        }),
        SecretText::File(name) => {
            let path = credential(name).unwrap_or_else(|| findings.resolve(place.file, name));
            if findings.watch(path.clone()) {
                warn_of_readers(&path, place, findings);
            }
            crate::config::files::read(&path, SECRET_BYTES_MAX)
                .map(|text| without_line_break(&text).to_owned())
                .map_err(|problem| format!("cannot read `{}`: {problem}", path.display()))
        }
    };
    match fetched {
        Ok(text) if text.is_empty() => {
            findings.error(place, format!("`{key}` is empty"));
            None
        }
        Ok(text) => Some((text, place)),
        Err(problem) => {
            let is_handed_over = matches!(value, SecretText::File(_)) && credentials().is_some();
            findings.error(place, problem).maybe_help(is_handed_over.then(|| {
                "systemd hands secrets over when the service starts: `systemctl restart dingest` for a new one"
                    .to_owned()
            }));
            None
        }
    }
}

/// What stands for a secret that is not needed.
fn invented(key: &str) -> &'static str {
    match key {
        "url" => "https://oapi.dingtalk.com/robot/send?access_token=rehearsal",
        _ => "rehearsal",
    }
}

/// Where systemd puts what it hands over to a service.
fn credentials() -> Option<std::ffi::OsString> {
    std::env::var_os("CREDENTIALS_DIRECTORY")
}

/// The file among the credentials of a systemd service. `LoadCredential=secrets:/etc/dingest/secrets` hands the file
/// `secrets/ops.url` over under the name `secrets_ops.url`, so one configuration does for the service and for a shell.
fn credential(name: &str) -> Option<PathBuf> {
    let directory = credentials()?;
    if !Path::new(name).is_relative() {
        return None;
    }
    // A file that is included from a directory of its own climbs out of it first.
    let name = name.trim_start_matches("../").replace('/', "_");
    Some(Path::new(&directory).join(name)).filter(|path| path.is_file())
}

/// Says once who else may read the file of a secret.
fn warn_of_readers(path: &Path, place: Place, findings: &mut Findings) {
    let Some(readers) = readers(path) else { return };
    let path = path.display();
    findings
        .warning(
            Some(place),
            format!("the file of this secret, `{path}`, can be read by {readers}"),
        )
        .help(format!(
            "let only the user of this process read it: `chmod 600 {path}`, or 640 with a group of that user's"
        ));
}

/// Editors and `echo` end a file with a line break that is not part of the secret; anything else is.
fn without_line_break(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_line_break_is_not_part_of_a_secret() {
        let cases = [
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            (" a ", " a "),
            ("a", "a"),
        ];
        for (file, secret) in cases {
            assert_eq!(without_line_break(file), secret);
        }
    }
}
