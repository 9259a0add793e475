//! The file system a daemon's state is on: a small disk of its own where that is allowed, a directory otherwise.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Room for the database of some minutes, and soon full.
const DISK_BYTES: u64 = 24 << 20;

/// Where state lives; it goes with the test.
#[derive(Debug)]
pub(crate) struct Ground {
    directory: TempDir,
    mounted: bool,
}

impl Ground {
    /// A directory.
    pub(crate) fn plain() -> Self {
        let ground = Self {
            directory: TempDir::new().expect("a temporary directory"),
            mounted: false,
        };
        fs::create_dir(ground.path()).expect("a directory in it");
        ground
    }

    /// A disk of its own, or why there cannot be one.
    pub(crate) fn disk() -> Result<Self, String> {
        let mut ground = Self::plain();
        let image = ground.directory.path().join("image");
        File::create(&image)
            .and_then(|file| file.set_len(DISK_BYTES))
            .map_err(|error| error.to_string())?;
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-m", "0"])
            .arg(&image))?;
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&image)
            .arg(ground.path()))?;
        ground.mounted = true;
        Ok(ground)
    }

    /// The directory for configuration and state.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Outside the disk.
    pub(crate) fn beside(&self) -> &Path {
        self.directory.path()
    }

    /// Takes all space there is.
    pub(crate) fn fill(&self) -> Result<(), String> {
        if !self.mounted {
            return Err("there is no disk of its own to fill".to_owned());
        }
        let mut ballast = File::create(self.ballast()).map_err(|error| error.to_string())?;
        for size in [1 << 20, 1 << 12, 1] {
            let piece = vec![0; size];
            while ballast.write_all(&piece).is_ok() {}
        }
        Ok(())
    }

    /// Gives it back.
    pub(crate) fn empty(&self) {
        // There may be none.
        drop(fs::remove_file(self.ballast()));
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if self.mounted {
            drop(run(Command::new("umount").arg("--lazy").arg(self.path())));
        }
    }
}

/// Runs a command, and says what it said when it fails.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("`{name}`: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{name}`: {}", said.trim()))
}
