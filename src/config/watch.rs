//! Says when the files of a configuration have changed.
//!
//! What counts is content: the bytes of every file, and which files the patterns match. Events of the file
//! system only say when to look. They are taken from directories, so an editor's rename, a Kubernetes symlink
//! swap and a new included file are seen like any other; a look every few seconds catches what brings no event (a
//! network file system, a machine without room for another watch). A burst of events is one look.
//!
//! The watcher has its own thread and knows nothing of what a change leads to. Its signal has one slot: changes
//! that nobody has waited for yet are one change.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::{glob, yaml};

/// How long the files must be quiet before they are looked at.
const QUIET: Duration = Duration::from_millis(150);
/// How long a look can be put off by ever new events.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the files are looked at without any event.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Watches files until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    mailbox: Sender<Message>,
}

/// The receiving end of a [`Watcher`].
#[derive(Debug)]
pub struct Changes(Arc<Notify>);

impl Changes {
    /// Waits for the next change; returns at once when there was one since the last call. Cancel-safe.
    pub async fn changed(&mut self) {
        self.0.notified().await;
    }
}

/// What files held at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Snapshot(BTreeMap<PathBuf, u64>);

impl Snapshot {
    /// Reads the files, and which files the patterns match.
    pub fn of(files: &[PathBuf]) -> Self {
        let hash = |pattern: &PathBuf| {
            let mut hasher = DefaultHasher::new();
            for path in glob::expand(pattern) {
                path.hash(&mut hasher);
                super::files::read_bytes(&path, yaml::FILE_BYTES_MAX)
                    .ok()
                    .hash(&mut hasher);
            }
            hasher.finish()
        };
        Self(
            files
                .iter()
                .map(|pattern| (pattern.clone(), hash(pattern)))
                .collect(),
        )
    }
}

/// What the watcher's thread is told.
enum Message {
    /// Something happened in a watched directory.
    Event,
    /// Watch these from now on.
    Files(Vec<PathBuf>, Snapshot),
    /// The watcher was dropped.
    Stop,
}

impl Watcher {
    /// Begins to watch files and patterns of files, as [`super::Loaded::files`] names them.
    ///
    /// Changes are counted from this call; the error is that of starting a thread.
    pub fn new(files: &[PathBuf]) -> std::io::Result<(Self, Changes)> {
        Self::with(files, true, LOOK_EVERY)
    }

    /// Watches other files from now on. Call it after a reload, also after a failed one, with what the files held
    /// just before: whatever differs from that, however often it was seen already, is a change.
    pub fn rearm(&self, files: &[PathBuf], before: Snapshot) {
        // The thread ends only when this value does.
        let _running = self.mailbox.send(Message::Files(files.to_vec(), before));
    }

    fn with(files: &[PathBuf], events: bool, look_every: Duration) -> std::io::Result<(Self, Changes)> {
        let (mailbox, inbox) = mpsc::channel();
        let changed = Arc::new(Notify::new());
        let mut thread = Thread {
            eyes: events.then(|| eyes(mailbox.clone())).flatten(),
            watched: BTreeSet::new(),
            files: files.to_vec(),
            seen: Snapshot::default(),
            changed: Arc::clone(&changed),
            look_every,
        };
        thread.arm(Snapshot::default());
        std::thread::Builder::new()
            .name("config-watch".to_owned())
            .spawn(move || thread.run(&inbox))?;
        Ok((Self { mailbox }, Changes(changed)))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _running = self.mailbox.send(Message::Stop);
    }
}

/// The operating system's watcher, when there is one.
fn eyes(mailbox: Sender<Message>) -> Option<RecommendedWatcher> {
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Looking at files makes events of its own, which must not lead to another look.
        let own = event.is_ok_and(|event| match event.kind {
            EventKind::Access(kind) => kind != AccessKind::Close(AccessMode::Write),
            // A store or a log beside the files is written all the time, and would put the look off. Linux says
            // so when a file that was written is closed, which they never are.
            EventKind::Modify(ModifyKind::Data(_)) => cfg!(target_os = "linux"),
            EventKind::Any
            | EventKind::Create(_)
            | EventKind::Modify(_)
            | EventKind::Remove(_)
            | EventKind::Other => false,
        });
        if !own {
            let _running = mailbox.send(Message::Event);
        }
    });
    watcher
        .inspect_err(
            |error| tracing::warn!(%error, "no file events; configuration files are looked at every few seconds"),
        )
        .ok()
}

struct Thread {
    eyes: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    files: Vec<PathBuf>,
    /// What the files held when they were loaded or last looked at.
    seen: Snapshot,
    changed: Arc<Notify>,
    look_every: Duration,
}

impl Thread {
    fn run(mut self, inbox: &mpsc::Receiver<Message>) {
        loop {
            match inbox.recv_timeout(self.look_every) {
                Ok(Message::Event) => {
                    if !self.settle(inbox) {
                        return;
                    }
                }
                Ok(Message::Files(files, before)) => {
                    self.files = files;
                    self.arm(before);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
            self.look();
        }
    }

    /// Waits until events stop coming. `false` when it is time to end.
    fn settle(&mut self, inbox: &mpsc::Receiver<Message>) -> bool {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            match inbox.recv_timeout(QUIET) {
                Ok(Message::Event) => {}
                Ok(Message::Files(files, before)) => {
                    self.files = files;
                    self.arm(before);
                }
                Err(RecvTimeoutError::Timeout) => return true,
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        true
    }

    fn look(&mut self) {
        self.watch_directories();
        let now = Snapshot::of(&self.files);
        if now != self.seen {
            self.seen = now;
            self.changed.notify_one();
        }
    }

    /// Takes up a new list of files. What they held before they were loaded counts: they may have changed since,
    /// and then the next look says so.
    fn arm(&mut self, before: Snapshot) {
        self.watch_directories();
        self.seen = Snapshot::of(&self.files);
        for (file, hash) in before.0 {
            if let Some(seen) = self.seen.0.get_mut(&file) {
                *seen = hash;
            }
        }
    }

    /// Watches the directories in which something can happen to the files.
    fn watch_directories(&mut self) {
        let Some(eyes) = &mut self.eyes else { return };
        let wanted: BTreeSet<PathBuf> = self.files.iter().flat_map(|file| directories(file)).collect();
        for old in self.watched.difference(&wanted) {
            // It may be gone, and its watch with it.
            let _gone = eyes.unwatch(old);
        }
        let mut watched = BTreeSet::new();
        for directory in wanted {
            let known = self.watched.contains(&directory);
            match if known {
                Ok(())
            } else {
                eyes.watch(&directory, RecursiveMode::NonRecursive)
            } {
                Ok(()) => {
                    watched.insert(directory);
                }
                Err(error) => {
                    tracing::debug!(directory = %directory.display(), %error, "directory cannot be watched");
                }
            }
        }
        self.watched = watched;
    }
}

/// The directories of a file or pattern: where its name stands, and where the file itself is when that is a link.
fn directories(file: &Path) -> Vec<PathBuf> {
    let mut found = glob::directories(file);
    for path in glob::expand(file) {
        if let Some(directory) = path.canonicalize().ok().as_deref().and_then(Path::parent) {
            found.push(directory.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Long enough for a machine under load; a test that passes never waits so long.
    const DEADLINE: Duration = Duration::from_secs(60);
    /// So long that only an event can be what was seen.
    const NEVER: Duration = Duration::from_secs(3600);

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    async fn expect_change(changes: &mut Changes) {
        tokio::time::timeout(DEADLINE, changes.changed())
            .await
            .expect("a change is seen");
    }

    /// Watches `files` of a fresh directory that `prepare` fills, and expects to see what `change` does.
    async fn check(files: &[&str], prepare: impl FnOnce(&Path), change: impl FnOnce(&Path)) {
        let directory = tempfile::tempdir().unwrap();
        prepare(directory.path());
        let files: Vec<PathBuf> = files.iter().map(|file| directory.path().join(file)).collect();
        let (_watcher, mut changes) = Watcher::with(&files, true, NEVER).unwrap();
        change(directory.path());
        expect_change(&mut changes).await;
    }

    #[tokio::test]
    async fn a_write_in_place_is_seen() {
        check(
            &["a.yaml"],
            |dir| write(&dir.join("a.yaml"), "1"),
            |dir| write(&dir.join("a.yaml"), "2"),
        )
        .await;
    }

    #[tokio::test]
    async fn an_editors_rename_over_the_file_is_seen() {
        check(
            &["a.yaml"],
            |dir| write(&dir.join("a.yaml"), "1"),
            |dir| {
                write(&dir.join(".a.yaml.swp"), "2");
                std::fs::rename(dir.join(".a.yaml.swp"), dir.join("a.yaml")).unwrap();
            },
        )
        .await;
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_symlink_swap_as_kubernetes_does_it_is_seen() {
        use std::os::unix::fs::symlink;
        check(
            &["a.yaml"],
            |dir| {
                write(&dir.join("..1/a.yaml"), "1");
                symlink("..1", dir.join("..data")).unwrap();
                symlink("..data/a.yaml", dir.join("a.yaml")).unwrap();
            },
            |dir| {
                write(&dir.join("..2/a.yaml"), "2");
                symlink("..2", dir.join("..data_tmp")).unwrap();
                std::fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
            },
        )
        .await;
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_change_behind_a_link_into_another_directory_is_seen() {
        check(
            &["here/a.yaml"],
            |dir| {
                write(&dir.join("there/real.yaml"), "1");
                std::fs::create_dir(dir.join("here")).unwrap();
                std::os::unix::fs::symlink(dir.join("there/real.yaml"), dir.join("here/a.yaml")).unwrap();
            },
            |dir| write(&dir.join("there/real.yaml"), "2"),
        )
        .await;
    }

    #[tokio::test]
    async fn a_file_that_a_pattern_matches_from_now_on_is_seen() {
        check(
            &["a.yaml", "rules.d/*.yaml"],
            |dir| {
                write(&dir.join("a.yaml"), "1");
                write(&dir.join("rules.d/README"), "");
            },
            |dir| write(&dir.join("rules.d/new.yaml"), "routes: []"),
        )
        .await;
    }

    #[tokio::test]
    async fn a_secret_that_appears_or_goes_is_seen() {
        check(
            &["a.yaml", "secrets/token"],
            |dir| {
                write(&dir.join("a.yaml"), "1");
                std::fs::create_dir(dir.join("secrets")).unwrap();
            },
            |dir| write(&dir.join("secrets/token"), "x"),
        )
        .await;
        check(
            &["secrets/token"],
            |dir| write(&dir.join("secrets/token"), "x"),
            |dir| std::fs::remove_file(dir.join("secrets/token")).unwrap(),
        )
        .await;
    }

    #[tokio::test]
    async fn other_files_are_watched_after_rearming() {
        let directory = tempfile::tempdir().unwrap();
        let (old, new) = (directory.path().join("1/old"), directory.path().join("2/new"));
        write(&old, "1");
        write(&new, "1");
        let (watcher, mut changes) = Watcher::with(std::slice::from_ref(&old), true, NEVER).unwrap();
        let files = [old.clone(), new.clone()];
        watcher.rearm(&files, Snapshot::of(&files));
        // The mailbox is in order: once a change of the old file is seen, the new list has been taken up.
        write(&old, "2");
        expect_change(&mut changes).await;
        write(&new, "2");
        expect_change(&mut changes).await;
    }

    #[test]
    fn a_change_between_loading_and_rearming_is_not_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.yaml");
        write(&file, "1");
        let mut thread = Thread {
            eyes: None,
            watched: BTreeSet::new(),
            files: vec![file.clone()],
            seen: Snapshot::default(),
            changed: Arc::new(Notify::new()),
            look_every: NEVER,
        };
        thread.arm(Snapshot::default());
        let loaded = Snapshot::of(&thread.files);
        assert_eq!(thread.seen, loaded);
        write(&file, "2");
        thread.arm(loaded.clone());
        assert_eq!(thread.seen, loaded);
        thread.look();
        assert_ne!(thread.seen, loaded);
    }

    #[tokio::test]
    async fn a_change_back_to_what_was_last_seen_is_not_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.yaml");
        write(&file, "1");
        let files = [file.clone()];
        // No event, and no look but the one that follows the new list.
        let (watcher, mut changes) = Watcher::with(&files, false, NEVER).unwrap();
        write(&file, "2");
        let before = Snapshot::of(&files);
        // Here somebody loads 2 without waiting for the watcher to see it.
        write(&file, "1");
        watcher.rearm(&files, before);
        expect_change(&mut changes).await;
    }

    #[tokio::test]
    async fn without_events_a_change_is_found_by_looking() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.yaml");
        write(&file, "1");
        let files = [file.clone()];
        let (_watcher, mut changes) = Watcher::with(&files, false, Duration::from_millis(5)).unwrap();
        write(&file, "2");
        expect_change(&mut changes).await;
    }

    #[test]
    fn only_content_and_names_make_a_difference() {
        let directory = tempfile::tempdir().unwrap();
        let files = [directory.path().join("a.yaml"), directory.path().join("d/*.yaml")];
        let mut states = vec![Snapshot::of(&files)];
        write(&files[0], "1");
        states.push(Snapshot::of(&files));
        write(&directory.path().join("d/x.yaml"), "1");
        states.push(Snapshot::of(&files));
        write(&directory.path().join("d/x.yaml"), "2");
        states.push(Snapshot::of(&files));
        let distinct: BTreeSet<_> = states.iter().collect();
        assert_eq!(distinct.len(), states.len());

        let last = Snapshot::of(&files);
        write(&directory.path().join("d/x.yaml"), "2");
        write(&directory.path().join("d/other.txt"), "2");
        assert_eq!(
            Snapshot::of(&files),
            last,
            "the same content again, and a file of no concern"
        );
    }
}
