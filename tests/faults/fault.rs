//! What can be made to go wrong, each with its own way of doing and undoing it.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::door::Mode;
use crate::ground::run;
use crate::producer::Producer;
use crate::world::{DATABASE, GARBAGE, World};

/// Bytes of a page of the database.
const PAGE_BYTES: usize = 4096;
/// Connections that keep descriptors for themselves.
const CONNECTIONS_HELD: usize = 60;
/// Descriptors that are left to a process that shall run out of them.
const DESCRIPTORS_LEFT: usize = 3;
/// Memory that is left to a process that shall run out of it.
const MEMORY_LEFT_BYTES: u64 = 256 * 1024;

/// One way to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    Killed,
    KilledAtStart,
    Stopped,
    StoppedForLong,
    Terminated,
    DiskFull,
    DiskReadOnly,
    DirectoryReadOnly,
    ClockAhead,
    ClockBack,
    NameUnresolved,
    CertificateSelfSigned,
    CertificateExpired,
    CertificateOfOther,
    CertificatesMissing,
    ConnectionRefused,
    ConnectionSilent,
    AnswerTorn,
    DescriptorsExhausted,
    MemoryExhausted,
    ConfigurationGarbage,
    Storm,
    LogDeleted,
    FileDeleted,
    FileCut,
    FileScribbled,
    FileCutBetweenRuns,
    FileScribbledBetweenRuns,
}

impl Fault {
    pub(crate) const ALL: [Self; 28] = [
        Self::Killed,
        Self::KilledAtStart,
        Self::Stopped,
        Self::StoppedForLong,
        Self::Terminated,
        Self::DiskFull,
        Self::DiskReadOnly,
        Self::DirectoryReadOnly,
        Self::ClockAhead,
        Self::ClockBack,
        Self::NameUnresolved,
        Self::CertificateSelfSigned,
        Self::CertificateExpired,
        Self::CertificateOfOther,
        Self::CertificatesMissing,
        Self::ConnectionRefused,
        Self::ConnectionSilent,
        Self::AnswerTorn,
        Self::DescriptorsExhausted,
        Self::MemoryExhausted,
        Self::ConfigurationGarbage,
        Self::Storm,
        Self::LogDeleted,
        Self::FileDeleted,
        Self::FileCut,
        Self::FileScribbled,
        Self::FileCutBetweenRuns,
        Self::FileScribbledBetweenRuns,
    ];

    /// As the table of results says it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Killed => "`kill -9`",
            Self::KilledAtStart => "`kill -9` during start",
            Self::Stopped => "`SIGSTOP`, a moment",
            Self::StoppedForLong => "`SIGSTOP`, longer than every time-out",
            Self::Terminated => "`SIGTERM` and restart",
            Self::DiskFull => "disk full",
            Self::DiskReadOnly => "files read-only while open",
            Self::DirectoryReadOnly => "directory without write permission",
            Self::ClockAhead => "clock hours ahead",
            Self::ClockBack => "clock hours back",
            Self::NameUnresolved => "DingTalk's name does not resolve",
            Self::CertificateSelfSigned => "certificate self-signed",
            Self::CertificateExpired => "certificate expired",
            Self::CertificateOfOther => "certificate of another host",
            Self::CertificatesMissing => "no root certificates at start",
            Self::ConnectionRefused => "connections refused",
            Self::ConnectionSilent => "connections hang",
            Self::AnswerTorn => "answers torn in the middle",
            Self::DescriptorsExhausted => "file descriptors exhausted",
            Self::MemoryExhausted => "memory exhausted",
            Self::ConfigurationGarbage => "configuration replaced by garbage",
            Self::Storm => "a thousand alerts at once",
            Self::LogDeleted => "database's log deleted",
            Self::FileDeleted => "database deleted",
            Self::FileCut => "database cut short",
            Self::FileScribbled => "database scribbled on",
            Self::FileCutBetweenRuns => "database cut short between runs",
            Self::FileScribbledBetweenRuns => "database scribbled on between runs",
        }
    }

    /// Whether an operator has to bring another database afterwards.
    pub(crate) const fn destroys(self) -> bool {
        matches!(
            self,
            Self::FileDeleted
                | Self::FileCut
                | Self::FileScribbled
                | Self::FileCutBetweenRuns
                | Self::FileScribbledBetweenRuns
        )
    }

    /// Whether the disk does not take what is told meanwhile.
    pub(crate) const fn stops_store(self) -> bool {
        self.destroys() || matches!(self, Self::DiskFull | Self::DiskReadOnly)
    }

    /// Whether it can keep an answer of DingTalk's from being heard or kept.
    pub(crate) const fn makes_doubtful(self) -> bool {
        let interrupts = matches!(
            self,
            Self::Killed | Self::KilledAtStart | Self::Stopped | Self::StoppedForLong | Self::MemoryExhausted
        );
        interrupts || self.stops_store() || self.door().is_some()
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "most faults are elsewhere")]
    const fn door(self) -> Option<Mode> {
        match self {
            Self::CertificateSelfSigned => Some(Mode::SelfSigned),
            Self::CertificateExpired => Some(Mode::Expired),
            Self::CertificateOfOther => Some(Mode::OtherHost),
            Self::ConnectionRefused => Some(Mode::Shut),
            Self::ConnectionSilent => Some(Mode::Silent),
            Self::AnswerTorn => Some(Mode::Torn),
            _ => None,
        }
    }
}

impl World {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the door's faults are done with by then"
    )]
    /// Makes it go wrong. An error says why that is not possible here.
    pub(crate) async fn inject(&mut self, fault: Fault) -> Result<(), String> {
        self.note_begin(fault);
        if let Some(mode) = fault.door() {
            self.door.set(mode);
            return Ok(());
        }
        match fault {
            Fault::Killed => self.keeper.signal("KILL"),
            Fault::KilledAtStart => self.kill_at_start().await,
            Fault::Stopped => {
                let span = Duration::from_millis(self.dice.range(200, 2_000));
                self.stop_for(span).await;
            }
            // Longer than our time-out for DingTalk and the senders' for us.
            Fault::StoppedForLong => self.stop_for(Duration::from_secs(12)).await,
            Fault::Terminated => self.keeper.signal("TERM"),
            // A limit of the size of files looks the same to the one who writes.
            Fault::DiskFull => self
                .ground
                .fill()
                .or_else(|_| self.keeper.limit("--fsize=1:unlimited"))?,
            Fault::DiskReadOnly => self.set_immutable(true)?,
            Fault::DirectoryReadOnly => self.set_mode(0o500),
            Fault::ClockAhead => self.step_clock(6)?,
            Fault::ClockBack => self.step_clock(-6)?,
            // A label of more than 63 characters is no name, so that nobody has to be asked.
            Fault::NameUnresolved => self.configure(&format!("https://{}.invalid", "x".repeat(70))),
            Fault::CertificatesMissing => {
                self.keeper.hold("TERM").await;
                fs::rename(self.door.authority(), self.unauthorised()).map_err(|error| error.to_string())?;
                self.keeper.release();
            }
            Fault::DescriptorsExhausted => self.exhaust_descriptors().await?,
            Fault::MemoryExhausted => self.exhaust_memory()?,
            Fault::ConfigurationGarbage => self.write_configuration(GARBAGE),
            Fault::Storm => self.producer.iter().for_each(Producer::storm),
            Fault::LogDeleted => drop(fs::remove_file(self.state(&format!("{DATABASE}-wal")))),
            Fault::FileDeleted => drop(fs::remove_file(self.state(DATABASE))),
            Fault::FileCut => cut(&self.state(DATABASE)),
            Fault::FileScribbled => scribble(&self.state(DATABASE)),
            Fault::FileCutBetweenRuns => {
                self.keeper.hold("TERM").await;
                cut(&self.state(DATABASE));
                self.keeper.release();
            }
            Fault::FileScribbledBetweenRuns => {
                self.keeper.hold("TERM").await;
                scribble(&self.state(DATABASE));
                self.keeper.release();
            }
            _ => {}
        }
        Ok(())
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "most faults pass by themselves")]
    /// Undoes it, as far as there is something to undo.
    pub(crate) async fn lift(&mut self, fault: Fault) {
        if fault.door().is_some() {
            self.door.set(Mode::Open);
        }
        match fault {
            Fault::DiskFull => {
                self.ground.empty();
                // The process may be another one by now.
                drop(self.keeper.limit("--fsize=unlimited:unlimited"));
                self.repair_configuration();
            }
            Fault::DiskReadOnly => drop(self.set_immutable(false)),
            Fault::DirectoryReadOnly => self.set_mode(0o700),
            Fault::ClockAhead | Fault::ClockBack => drop(self.step_clock(0)),
            Fault::NameUnresolved | Fault::ConfigurationGarbage => self.configure(&self.door.url()),
            Fault::CertificatesMissing => drop(fs::rename(self.unauthorised(), self.door.authority())),
            Fault::DescriptorsExhausted => {
                self.connections.clear();
                drop(self.keeper.limit("--nofile=1024"));
            }
            Fault::MemoryExhausted => drop(self.keeper.limit("--as=unlimited")),
            _ if fault.destroys() => self.replace_lost().await,
            _ => {}
        }
        self.note_end(fault);
    }

    /// Where the one root certificate is while there is none.
    fn unauthorised(&self) -> PathBuf {
        self.door.authority().with_extension("away")
    }

    async fn kill_at_start(&mut self) {
        for _ in 0..4 {
            self.keeper.signal("KILL");
            // Until the manager has started it again, and then a moment of its start.
            tokio::time::sleep(Duration::from_millis(self.dice.range(170, 290))).await;
        }
        self.keeper.signal("KILL");
    }

    async fn stop_for(&mut self, span: Duration) {
        self.keeper.signal("STOP");
        tokio::time::sleep(span).await;
        self.keeper.signal("CONT");
    }

    /// Not even the superuser may write to an immutable file, nor make one in an immutable directory.
    fn set_immutable(&self, immutable: bool) -> Result<(), String> {
        let flag = if immutable { "+i" } else { "-i" };
        let log = self.state(&format!("{DATABASE}-wal"));
        if log.exists() {
            run(Command::new("chattr").arg(flag).arg(log))?;
        }
        run(Command::new("chattr").arg(flag).arg(self.state(DATABASE)))
    }

    fn set_mode(&self, mode: u32) {
        fs::set_permissions(self.ground.path(), Permissions::from_mode(mode)).expect("the owner may do that");
    }

    /// Takes every descriptor the process may still open.
    async fn exhaust_descriptors(&mut self) -> Result<(), String> {
        let Some(pid) = self.keeper.pid() else {
            return Ok(());
        };
        let open = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        self.keeper
            .limit(&format!("--nofile={}:1024", open + DESCRIPTORS_LEFT))?;
        for _ in 0..CONNECTIONS_HELD {
            if let Ok(connection) = tokio::net::TcpStream::connect(self.address()).await {
                self.connections.push(connection);
            }
        }
        Ok(())
    }

    fn exhaust_memory(&self) -> Result<(), String> {
        let Some(pid) = self.keeper.pid() else {
            return Ok(());
        };
        let status = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
        let pages = status
            .split(' ')
            .next()
            .and_then(|pages| pages.parse::<u64>().ok());
        let bytes = pages.unwrap_or_default() * PAGE_BYTES as u64 + MEMORY_LEFT_BYTES;
        self.keeper.limit(&format!("--as={bytes}:unlimited"))
    }
}

/// Takes the second half of the file away.
fn cut(path: &Path) {
    if let Ok(file) = OpenOptions::new().write(true).open(path) {
        let pages = file.metadata().map_or(0, |meta| meta.len()) / PAGE_BYTES as u64;
        drop(file.set_len(pages / 2 * PAGE_BYTES as u64));
    }
}

/// Writes noise over every other page but the first.
fn scribble(path: &Path) {
    if let Ok(file) = OpenOptions::new().write(true).open(path) {
        let pages = file.metadata().map_or(0, |meta| meta.len()) / PAGE_BYTES as u64;
        let noise = [0xa5; PAGE_BYTES];
        for page in (1..pages).step_by(2) {
            drop(file.write_all_at(&noise, page * PAGE_BYTES as u64));
        }
    }
}
