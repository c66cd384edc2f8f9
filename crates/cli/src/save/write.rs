//! Files are replaced, each whole or not at all; what was there before stays beside them.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// The ending of what was there before: not `.toml`, so that it is no piece.
pub(super) const BEFORE: &str = ".before";

/// A file to be replaced.
pub(super) struct New<'a> {
    pub path: PathBuf,
    /// What must be in it still.
    pub old: &'a [u8],
    pub text: &'a str,
}

/// The way back.
pub(super) struct Backups(Vec<PathBuf>);

impl Backups {
    /// Puts the files back that were replaced.
    pub fn restore(self) -> anyhow::Result<()> {
        for path in self.0 {
            let before = beside(&path, BEFORE);
            std::fs::rename(&before, &path)
                .with_context(|| format!("putting {} back", path.display()))?;
            sync_folder(&path)?;
        }
        Ok(())
    }
}

/// Replaces all: every one is on disk beside its place before the first is put there.
pub(super) fn all(files: &[New<'_>]) -> anyhow::Result<Backups> {
    let mut ready = Vec::new();
    let prepared = files.iter().try_for_each(|file| {
        // What a link points to is replaced, not the link.
        let path = std::fs::canonicalize(&file.path)?;
        ready.push((beside_hidden(&path), path.clone()));
        prepare(&path, file)
    });
    let done = prepared
        .context("writing the new files beside the old ones")
        .and_then(|()| put_in_place(files, &ready));
    for (new, _) in &ready {
        let _used_up = std::fs::remove_file(new);
    }
    done?;
    Ok(Backups(ready.into_iter().map(|(_, path)| path).collect()))
}

fn prepare(path: &Path, file: &New<'_>) -> std::io::Result<()> {
    let like = std::fs::metadata(path)?;
    write_like(&beside_hidden(path), file.text.as_bytes(), &like)?;
    // Under its last name only when whole.
    let before = beside_hidden(&beside(path, BEFORE));
    write_like(&before, file.old, &like)?;
    std::fs::rename(&before, beside(path, BEFORE))
}

/// Writes a file with another's owner and mode, down to the disk.
fn write_like(path: &Path, bytes: &[u8], like: &std::fs::Metadata) -> std::io::Result<()> {
    let _left_by_a_killed_one = std::fs::remove_file(path);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
        fchown(&file, Some(like.uid()), Some(like.gid()))?;
    }
    file.set_permissions(std::fs::Permissions::from_mode(like.mode() & 0o7777))?;
    file.sync_all()
}

fn put_in_place(files: &[New<'_>], ready: &[(PathBuf, PathBuf)]) -> anyhow::Result<()> {
    for (file, (_, path)) in files.iter().zip(ready) {
        let now = std::fs::read(path).with_context(|| path.display().to_string())?;
        ensure!(
            now == file.old,
            "{} was changed by somebody else at this moment: nothing is saved",
            path.display()
        );
    }
    for (at, (new, path)) in ready.iter().enumerate() {
        let put = std::fs::rename(new, path).map_err(anyhow::Error::from);
        if let Err(error) = put.and_then(|()| sync_folder(path)) {
            let done = ready.iter().take(at).map(|(_, path)| path.clone());
            Backups(done.collect()).restore()?;
            return Err(error.context(format!("replacing {}", path.display())));
        }
    }
    Ok(())
}

fn sync_folder(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    Ok(std::fs::File::open(folder)?.sync_all()?)
}

fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(what);
    name.into()
}

/// A hidden file is no piece either.
fn beside_hidden(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_file_is_replaced_with_its_mode_and_owner_and_can_be_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (
            folder.path().join("a.toml"),
            folder.path().join("link.toml"),
        );
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let is_root = nix::unistd::geteuid().is_root();
        if is_root {
            std::os::unix::fs::chown(&path, Some(65_534), Some(65_534)).unwrap();
        }
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let new = |old| New {
            path: link.clone(),
            old,
            text: "new",
        };
        let backups = all(&[new(b"old")]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert!(link.is_symlink(), "the link stays a link");
        assert_eq!(mode(&path), 0o640);
        let before = beside(&path, BEFORE);
        assert_eq!(
            (mode(&before), std::fs::read_to_string(&before).unwrap()),
            (0o640, "old".into())
        );
        if is_root {
            assert_eq!(std::fs::metadata(&path).unwrap().uid(), 65_534);
        }
        backups.restore().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");

        let refused = all(&[new(b"another")]).err().unwrap();
        assert!(refused.to_string().contains("somebody else"), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert!(left.len() <= 3, "{left:?}");
    }
}
