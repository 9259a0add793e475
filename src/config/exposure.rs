//! Who else on this machine may read a file.
//!
//! A file is as open as its mode and every directory above it let it be. What others cannot reach is not reported:
//! credentials of systemd (a directory of their own, mode 0500), and volumes of Kubernetes, which only the container's
//! own processes see. Neither is what administrators may read, nor what only a group of ours may.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path};

/// Who may read a file beside us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Every user.
    Everybody,
    /// A group that we are not in, by its number.
    Group(u32),
}

impl fmt::Display for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody => f.write_str("every user of this machine"),
            Self::Group(gid) => write!(f, "the group {gid}, which this process is not in"),
        }
    }
}

/// Mode and group of a file or directory.
#[derive(Clone, Copy, Debug)]
struct Access {
    mode: u32,
    gid: u32,
}

impl From<Metadata> for Access {
    fn from(metadata: Metadata) -> Self {
        Self {
            mode: metadata.mode(),
            gid: metadata.gid(),
        }
    }
}

/// The group of administrators. An access list shows as rights of the group in the mode, as systemd's do.
const ROOT: u32 = 0;

/// Who may read the file; `None` when nobody else may, or when that cannot be told.
pub(crate) fn readers(path: &Path) -> Option<Readers> {
    let path = fs::canonicalize(path).ok()?;
    if is_volume(&path) {
        return None;
    }
    let file = fs::metadata(&path).ok()?.into();
    let above: Option<Vec<Access>> = path
        .ancestors()
        .skip(1)
        .map(|directory| fs::metadata(directory).ok().map(Access::from))
        .collect();
    judge(file, &above?, &own_groups())
}

/// Kubernetes swaps a link `..data` between directories named after the time: `..2026_11_24_18_00_00.1234`.
fn is_volume(path: &Path) -> bool {
    path.components()
        .any(|part| matches!(part, Component::Normal(name) if name.to_string_lossy().starts_with("..")))
}

fn judge(file: Access, above: &[Access], ours: &BTreeSet<u32>) -> Option<Readers> {
    let open = |to_group: Option<u32>| {
        above.iter().all(|directory| {
            directory.mode & 0o001 != 0 || (to_group == Some(directory.gid) && directory.mode & 0o010 != 0)
        })
    };
    if file.mode & 0o004 != 0 && open(None) {
        return Some(Readers::Everybody);
    }
    let foreign = file.gid != ROOT && !ours.contains(&file.gid);
    (file.mode & 0o040 != 0 && foreign && open(Some(file.gid))).then_some(Readers::Group(file.gid))
}

/// The groups this process is in.
fn own_groups() -> BTreeSet<u32> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .filter_map(|line| line.strip_prefix("Gid:").or(line.strip_prefix("Groups:")))
        .flat_map(str::split_whitespace)
        .filter_map(|gid| gid.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    const OPEN: Access = Access { mode: 0o755, gid: 0 };

    #[track_caller]
    fn check(case: &str, (mode, gid): (u32, u32), above: &[(u32, u32)], expected: Option<Readers>) {
        let mut directories = vec![OPEN];
        directories.extend(above.iter().map(|&(mode, gid)| Access { mode, gid }));
        let ours = BTreeSet::from([1000, 1001]);
        assert_eq!(
            judge(Access { mode, gid }, &directories, &ours),
            expected,
            "{case}"
        );
    }

    #[test]
    fn a_file_is_as_open_as_its_mode_and_the_directories_above_let_it_be() {
        let (everybody, group) = (Some(Readers::Everybody), Some(Readers::Group(50)));
        check("as editors leave it", (0o644, 1000), &[], everybody);
        check("of root, for all", (0o444, 0), &[], everybody);
        check("ours alone", (0o600, 1000), &[], None);
        check("of root, for our group", (0o440, 1001), &[], None);
        check("of root, for a foreign group", (0o440, 50), &[], group);
        check("of root and its group", (0o440, 0), &[], None);
        check("write-only for others", (0o602, 1000), &[], None);
        check("in a closed directory", (0o644, 1000), &[(0o700, 1000)], None);
        check(
            "in a directory one can enter but not list",
            (0o644, 1000),
            &[(0o711, 0)],
            everybody,
        );
        check("in a directory of that group", (0o640, 50), &[(0o750, 50)], group);
        check(
            "in a directory of another group",
            (0o640, 50),
            &[(0o750, 51)],
            None,
        );
        check("a credential of systemd", (0o400, 0), &[(0o500, 1000)], None);
        check(
            "a credential with an access list",
            (0o440, 0),
            &[(0o550, 0)],
            None,
        );
    }

    #[test]
    fn the_modes_of_real_files_are_looked_at_and_volumes_of_kubernetes_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        fs::create_dir_all(at("volume/..2026_11_24")).unwrap();
        for file in ["token", "volume/..2026_11_24/token"] {
            fs::write(at(file), "x").unwrap();
            mode(&at(file), 0o644);
        }
        symlink("..2026_11_24", at("volume/..data")).unwrap();
        symlink("..data/token", at("volume/token")).unwrap();
        mode(directory.path(), 0o700);
        assert_eq!(readers(&at("token")), None);
        mode(directory.path(), 0o755);
        let reachable = std::env::temp_dir()
            .ancestors()
            .all(|above| fs::metadata(above).is_ok_and(|it| it.mode() & 0o001 != 0));
        assert_eq!(readers(&at("token")), reachable.then_some(Readers::Everybody));
        assert_eq!(readers(&at("volume/token")), None);
        mode(&at("token"), 0o600);
        assert_eq!(readers(&at("token")), None);
        assert_eq!(readers(&at("nothing")), None);
    }
}
