//! Keeps what comes in, to be replayed: a line of JSON for each body that was taken.
//!
//! A thread of its own writes, so that no sender waits for it: what finds no place in its queue is left out and
//! counted. A recording takes bounded room: when a file is half as large as both may be, it becomes the older one.
//!
//! **Invariant:** no credential is in it. Of a request it has the source, the content type and the body, blanked as
//! refused bodies are.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::alert::{SourceName, Timestamp};
use crate::plan::{Plan, Record};
use crate::secret::redact::Redactor;
use crate::telemetry::Metrics;

/// Bodies that may wait to be written; one more is left out.
const WAITING_MAX: usize = 1024;
/// Bytes of bodies that may wait to be written.
const WAITING_BYTES_MAX: usize = 32 << 20;
/// How long the last ones may take when the daemon ends.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// A body that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// When.
    pub at: Timestamp,
    /// By which source.
    pub source: String,
    /// As what.
    pub content_type: Option<String>,
    /// The body, inflated, without credentials.
    pub body: Vec<u8>,
}

/// The same as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// By RFC 3339.
    at: String,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    content_type: Option<String>,
    /// The body, when it is a text in UTF-8.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    body: Option<String>,
    /// The body, when it is not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    base64: Option<String>,
}

impl Recorded {
    /// As a line, its break included.
    pub fn to_line(&self) -> String {
        let body = std::str::from_utf8(&self.body).ok().map(str::to_owned);
        let base64 = body.is_none().then(|| BASE64_STANDARD.encode(&self.body));
        let line = Line {
            at: jiff::Timestamp::from_millisecond(self.at.0)
                .unwrap_or_default()
                .to_string(),
            source: self.source.clone(),
            content_type: self.content_type.clone(),
            body,
            base64,
        };
        // Texts and a time are JSON whatever they say.
        serde_json::to_string(&line).unwrap_or_default() + "\n"
    }

    /// Reads a line; says why it cannot.
    pub fn from_line(line: &str) -> Result<Self, String> {
        let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let body = match (line.body, line.base64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(code)) => BASE64_STANDARD
                .decode(code)
                .map_err(|error| format!("`base64`: {error}"))?,
            (Some(_), Some(_)) | (None, None) => {
                return Err("one of `body` and `base64` is needed".to_owned());
            }
        };
        let at: jiff::Timestamp = line.at.parse().map_err(|error| format!("`at`: {error}"))?;
        Ok(Self {
            at: Timestamp(at.as_millisecond()),
            source: line.source,
            content_type: line.content_type,
            body,
        })
    }
}

/// Why a body is not in the recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrecorded {
    /// Too much waits to be written.
    Busy,
    /// It alone is larger than a file may be.
    TooLarge,
    /// The file cannot be written.
    Disk,
}

impl Unrecorded {
    /// The stable name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::TooLarge => "too_large",
            Self::Disk => "disk",
        }
    }
}

/// The way to the recording's thread, which ends when this is dropped.
#[derive(Debug)]
pub struct Recorder {
    entries: mpsc::SyncSender<Entry>,
    room: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// A body on its way to the file.
#[derive(Debug)]
struct Entry {
    plan: Arc<Plan>,
    source: SourceName,
    at: Timestamp,
    content_type: Option<String>,
    body: Bytes,
    /// Its place in what may wait.
    _place: OwnedSemaphorePermit,
}

/// Comes to an end when everything is written.
#[derive(Debug)]
pub struct Closing(oneshot::Receiver<()>);

impl Closing {
    /// Waits for that, once the [`Recorder`] is gone.
    pub async fn ended(self) {
        if tokio::time::timeout(CLOSE_MAX, self.0).await.is_err() {
            tracing::warn!("not everything that came in could be recorded in time");
        }
    }
}

impl Recorder {
    /// Starts the thread.
    pub fn start(metrics: Arc<Metrics>) -> io::Result<(Self, Closing)> {
        let (entries, inbox) = mpsc::sync_channel::<Entry>(WAITING_MAX);
        let (ending, ended) = oneshot::channel();
        let mut scribe = Scribe::new(Arc::clone(&metrics));
        let work = move || {
            for entry in inbox {
                scribe.write(&entry);
            }
            // Nobody may be waiting.
            let _unheard = ending.send(());
        };
        drop(
            std::thread::Builder::new()
                .name("record".to_owned())
                .spawn(work)?,
        );
        let recorder = Self {
            entries,
            room: Arc::new(Semaphore::new(WAITING_BYTES_MAX)),
            metrics,
        };
        Ok((recorder, Closing(ended)))
    }

    /// Keeps a body that was taken, if there is room, where the configuration says.
    pub(crate) fn keep(
        &self,
        plan: &Arc<Plan>,
        source: &SourceName,
        at: Timestamp,
        content_type: Option<&str>,
        body: Bytes,
    ) {
        let bytes = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let place = Arc::clone(&self.room).try_acquire_many_owned(bytes).ok();
        let kept = place.is_some_and(|place| {
            let entry = Entry {
                plan: Arc::clone(plan),
                source: source.clone(),
                at,
                content_type: content_type.map(str::to_owned),
                body,
                _place: place,
            };
            self.entries.try_send(entry).is_ok()
        });
        if !kept {
            self.metrics.unrecorded(source, Unrecorded::Busy);
        }
    }
}

/// Who writes.
struct Scribe {
    metrics: Arc<Metrics>,
    /// Made for the configuration that the last body came in by.
    redactor: Option<(Arc<Plan>, Redactor)>,
    open: Option<Open>,
    /// Whether the last attempt to write failed, which is logged once.
    failing: bool,
}

/// A file that is being written.
struct Open {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
    file: File,
    bytes: u64,
}

impl Scribe {
    fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            redactor: None,
            open: None,
            failing: false,
        }
    }

    fn write(&mut self, entry: &Entry) {
        let Some(record) = entry.plan.record.clone() else {
            return;
        };
        let line = self.line(entry);
        if line.len() as u64 > record.file_bytes_max() {
            self.metrics.unrecorded(&entry.source, Unrecorded::TooLarge);
            return;
        }
        match self.append(&record, line.as_bytes()) {
            Ok(()) if self.failing => {
                self.failing = false;
                tracing::info!("what comes in is recorded again");
            }
            Ok(()) => {}
            Err(error) => {
                // Whatever is in the file, the next line begins on a line of its own.
                self.open = None;
                self.metrics.unrecorded(&entry.source, Unrecorded::Disk);
                if !std::mem::replace(&mut self.failing, true) {
                    let path = record.path.display();
                    tracing::error!(%error, %path, "what comes in cannot be recorded");
                }
            }
        }
    }

    fn line(&mut self, entry: &Entry) -> String {
        let plan = &entry.plan;
        let known = self.redactor.take().filter(|(known, _)| Arc::ptr_eq(known, plan));
        let (_, redactor) = self
            .redactor
            .insert(known.unwrap_or_else(|| (Arc::clone(plan), Redactor::new(plan.secrets()))));
        let recorded = Recorded {
            at: entry.at,
            source: entry.source.as_str().to_owned(),
            content_type: entry.content_type.clone(),
            body: redactor.body(&entry.body),
        };
        recorded.to_line()
    }

    fn append(&mut self, record: &Record, line: &[u8]) -> io::Result<()> {
        let open = self.open.take().filter(|open| open.is_still_at(&record.path));
        let mut open = match open {
            Some(open) => open,
            None => Open::at(&record.path)?,
        };
        if open.bytes + line.len() as u64 > record.file_bytes_max() {
            std::fs::rename(&record.path, record.older())?;
            open = Open::at(&record.path)?;
        }
        open.file.write_all(line)?;
        open.bytes += line.len() as u64;
        self.open = Some(open);
        Ok(())
    }
}

impl Open {
    /// Whether what is open still stands at `path`: it may have been moved away to be replayed.
    fn is_still_at(&self, path: &Path) -> bool {
        self.path == path && std::fs::metadata(path).is_ok_and(|there| self.identity == identity(&there))
    }

    /// Goes on with a file, or begins it, readable by its owner only.
    fn at(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        let metadata = file.metadata()?;
        let mut bytes = metadata.len();
        // A process that was killed may have left half a line.
        let mut last = [b'\n'];
        if bytes > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        if last != [b'\n'] {
            file.write_all(b"\n")?;
            bytes += 1;
        }
        Ok(Self {
            path: path.to_owned(),
            identity: identity(&metadata),
            file,
            bytes,
        })
    }
}

/// Device and inode.
fn identity(of: &Metadata) -> (u64, u64) {
    (of.dev(), of.ino())
}

#[cfg(test)]
mod tests;
