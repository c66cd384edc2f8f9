//! The BPF file system: where an instance lives, and whether what is there can be taken over.

use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use director::tables::{LAYOUT, Settings};

use crate::error::Error;
use crate::map::Words;
use crate::object::{MAPS, STAGES_MAP};

/// Where the BPF file system is looked for.
const MOUNT_POINT: &str = "/sys/fs/bpf";

/// The folder of an instance.
pub(crate) fn directory(root: &Path, instance: &str) -> Result<PathBuf, Error> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if instance.is_empty() || instance.len() > 64 || !instance.chars().all(is_plain) {
        return Err(Error::InstanceName {
            name: instance.to_owned(),
        });
    }
    Ok(root.join(instance))
}

/// Makes the folder, on a BPF file system; whether whole pins of our layout are in it.
pub(crate) fn prepare(directory: &Path) -> Result<bool, Error> {
    // Pins of another place (a descriptor, in a mount namespace that ends with its command) need no
    // mount of ours: it would be empty, and the next start would take it for the place.
    if directory.starts_with(MOUNT_POINT) {
        mount_bpffs()?;
    }
    let made = fs::create_dir_all(directory);
    made.map_err(|source| Error::io(format!("making {}", directory.display()), source))?;
    // First, so that maps of another version are never taken for the remains of a start.
    let found = layout(directory)?;
    if ![None, Some(0), Some(LAYOUT)].contains(&found) {
        return Err(Error::Layout {
            directory: directory.to_owned(),
            found: found.unwrap_or(0),
            expected: LAYOUT,
        });
    }
    let present = MAPS
        .iter()
        .filter(|name| directory.join(name).exists())
        .count();
    if present < MAPS.len() || found != Some(LAYOUT) {
        // None, or the remains of a start that was killed before it forwarded anything.
        remove_pins(directory)?;
        return Ok(false);
    }
    Ok(true)
}

/// Where the next set of programs has its stages: beside those that may be in use.
pub(crate) fn next_stages(directory: &Path) -> Result<PathBuf, Error> {
    let numbers = stages(directory)?
        .into_iter()
        .filter_map(|path| stages_number(&path));
    let next = numbers.max().unwrap_or(0) + 1;
    Ok(directory.join(format!("{STAGES_MAP}-{next}")))
}

/// Lets go of the stages of all sets of programs but one. The kernel empties them at once: call it when no
/// CPU is in their programs any more.
pub(crate) fn retire_stages(directory: &Path, but: &Path) -> Result<(), Error> {
    for path in stages(directory)? {
        if path != but {
            fs::remove_file(&path)
                .map_err(|source| Error::io(format!("removing {}", path.display()), source))?;
        }
    }
    Ok(())
}

/// Pinned stages, also one without a number.
fn stages(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let listing = |source| Error::io(format!("listing {}", directory.display()), source);
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(listing)? {
        let path = entry.map_err(listing)?.path();
        if path.ends_with(STAGES_MAP) || stages_number(&path).is_some() {
            found.push(path);
        }
    }
    Ok(found)
}

fn stages_number(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let number = name.strip_prefix(STAGES_MAP)?.strip_prefix('-')?;
    number.parse().ok()
}

/// Removes an instance's pins and its folder; whether there were any.
pub(crate) fn remove(directory: &Path) -> Result<bool, Error> {
    if !directory.exists() {
        return Ok(false);
    }
    remove_pins(directory)?;
    fs::remove_dir(directory)
        .map_err(|source| Error::io(format!("removing {}", directory.display()), source))?;
    // The root is shared by instances; it goes with the last.
    if let Some(root) = directory.parent() {
        let _ = fs::remove_dir(root);
    }
    Ok(true)
}

fn remove_pins(directory: &Path) -> Result<(), Error> {
    let listing = |source| Error::io(format!("listing {}", directory.display()), source);
    for entry in fs::read_dir(directory).map_err(listing)? {
        let path = entry.map_err(listing)?.path();
        fs::remove_file(&path)
            .map_err(|source| Error::io(format!("removing {}", path.display()), source))?;
    }
    Ok(())
}

/// The layout that pinned settings speak of: 0 when they were never written, nothing when there are none.
fn layout(directory: &Path) -> Result<Option<u32>, Error> {
    let name = "SETTINGS";
    let path = directory.join(name);
    if !path.exists() {
        return Ok(None);
    }
    let data = aya::maps::MapData::from_pin(path);
    let data = data.map_err(|source| Error::map(name, source))?;
    let info = data.info().map_err(|source| Error::map(name, source))?;
    if info.value_size() as usize != size_of::<Settings>() {
        return Ok(Some(u32::MAX));
    }
    let words = Words::map(data.fd(), 1, size_of::<Settings>())?;
    let settings = words.read::<Settings>(0);
    Ok(Some(settings.map_or(0, |settings| settings.layout)))
}

/// Mounts the BPF file system where it is looked for, unless it is there.
fn mount_bpffs() -> Result<(), Error> {
    let place = MOUNT_POINT;
    let kind = nix::sys::statfs::statfs(place).map(|stat| stat.filesystem_type());
    if kind.is_ok_and(|kind| kind == nix::sys::statfs::BPF_FS_MAGIC) {
        return Ok(());
    }
    let flags = nix::mount::MsFlags::MS_NOSUID
        | nix::mount::MsFlags::MS_NODEV
        | nix::mount::MsFlags::MS_NOEXEC;
    nix::mount::mount(Some("bpf"), place, Some("bpf"), flags, Some("mode=0700")).map_err(|errno| {
        Error::io(
            format!("mounting the BPF file system on {place}"),
            io::Error::from(errno),
        )
    })
}

/// Memory that the kernel accounts to a map or program, from `/proc/self/fdinfo`.
pub(crate) fn memlock_bytes(fd: RawFd) -> Result<u64, Error> {
    let path = format!("/proc/self/fdinfo/{fd}");
    let text =
        fs::read_to_string(&path).map_err(|source| Error::io(format!("reading {path}"), source))?;
    let value = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    Ok(value
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    use nix::sys::statfs::{TMPFS_MAGIC, statfs};

    use super::*;

    /// Runs in mounts of its own, with nothing on [`MOUNT_POINT`]; they end with the thread.
    fn without_bpffs(test: impl FnOnce() + Send) {
        let none = None::<&str>;
        let alone = || {
            unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).unwrap();
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
            mount(none, "/sys", Some("tmpfs"), MsFlags::empty(), none).unwrap();
            fs::create_dir_all(MOUNT_POINT).unwrap();
            test();
        };
        std::thread::scope(|scope| scope.spawn(alone).join().unwrap());
    }

    #[test]
    fn the_bpf_file_system_is_mounted_only_for_pins_that_go_there() {
        let root = nix::unistd::geteuid().is_root();
        assert!(
            root || std::env::var("CI").as_deref() != Ok("true"),
            "this test needs root, and CI must give it"
        );
        if !root {
            println!("skipped: needs root");
            return;
        }
        without_bpffs(|| {
            let elsewhere = Path::new("/sys/elsewhere/dirigo/one");
            assert!(!prepare(elsewhere).unwrap());
            let found = statfs(MOUNT_POINT).unwrap().filesystem_type();
            assert_eq!(found, TMPFS_MAGIC);

            let here = Path::new(MOUNT_POINT).join("dirigo/one");
            assert!(!prepare(&here).unwrap());
            let found = statfs(MOUNT_POINT).unwrap().filesystem_type();
            assert_eq!(found, nix::sys::statfs::BPF_FS_MAGIC);
        });
    }
}
