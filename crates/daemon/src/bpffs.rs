//! Where pins outlive us: a BPF file system that is not ours alone.
//!
//! `ip netns exec` gives its command a mount namespace of its own with an empty `/sys`. A BPF
//! file system mounted there would go with the command, and with it program and connections: a
//! killed daemon would take forwarding down. So when ours is missing and a process that started
//! us (the shell, the init, the kernel) has other mounts with one, that one is used, through a
//! descriptor.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use tracing::{info, warn};

use crate::limits;

const MOUNT_POINT: &str = "/sys/fs/bpf";

/// A folder for pins.
#[derive(Clone, Debug)]
pub(crate) struct PinRoot {
    path: PathBuf,
    /// Keeps `path` meaning something.
    _folder: Option<Arc<File>>,
}

impl PinRoot {
    /// The folder that outlives us, or with a warning the one that may not.
    pub(crate) fn find() -> Self {
        if is_bpffs() {
            return Self::here();
        }
        let mut others = mount_namespaces_of_ancestors();
        others.extend(mount_namespace_of_kernel());
        for namespace in &others {
            match folder_in(namespace) {
                Ok(folder) => {
                    info!(mounts = %namespace.display(), "pins go where our mounts do not end");
                    return Self::through(folder);
                }
                Err(error) => info!(
                    mounts = %namespace.display(),
                    error = crate::chain(&error),
                    "no place for pins"
                ),
            }
        }
        if !others.is_empty() {
            warn!(
                "forwarding will end with this mount namespace; to keep it, mount the BPF file \
                 system first (mount -t bpf bpf {MOUNT_POINT}) or enter the network namespace \
                 with nsenter --net"
            );
        }
        Self::here()
    }

    fn here() -> Self {
        Self {
            path: dataplane::PIN_ROOT.into(),
            _folder: None,
        }
    }

    fn through(folder: File) -> Self {
        Self {
            path: format!("/proc/self/fd/{}/dirigo", folder.as_raw_fd()).into(),
            _folder: Some(Arc::new(folder)),
        }
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn is_bpffs() -> bool {
    statfs(MOUNT_POINT).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
}

/// Mount namespaces of those that started us, nearest first, without our own and repetitions.
fn mount_namespaces_of_ancestors() -> Vec<PathBuf> {
    let identity = |path: &Path| std::fs::read_link(path).ok();
    let Some(ours) = identity(Path::new("/proc/self/ns/mnt")) else {
        return Vec::new();
    };
    let mut seen = vec![ours];
    let mut found = Vec::new();
    let mut pid = nix::unistd::getppid().as_raw();
    for _ in 0..limits::ANCESTORS {
        if pid <= 0 {
            break;
        }
        let path = PathBuf::from(format!("/proc/{pid}/ns/mnt"));
        if let Some(one) = identity(&path)
            && !seen.contains(&one)
        {
            seen.push(one);
            found.push(path);
        }
        pid = parent_of(pid);
    }
    found
}

/// The mounts that the machine started with, seen from the kernel's own process: the first
/// process hides its own from those that may do less than it.
fn mount_namespace_of_kernel() -> Option<PathBuf> {
    let name = std::fs::read_to_string("/proc/2/comm").ok()?;
    (name.trim() == "kthreadd").then(|| "/proc/2/ns/mnt".into())
}

fn parent_of(pid: i32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    line.and_then(|parent| parent.trim().parse().ok())
        .unwrap_or(0)
}

/// Opens the BPF file system of another mount namespace. A thread goes there and ends, so that
/// the rest of this process stays where it is.
fn folder_in(namespace: &Path) -> anyhow::Result<File> {
    let namespace = File::open(namespace)?;
    let thread = std::thread::spawn(move || -> anyhow::Result<File> {
        // Threads share their root and working folder, which a mount namespace replaces.
        unshare(CloneFlags::CLONE_FS)?;
        setns(&namespace, CloneFlags::CLONE_NEWNS).context("entering the mount namespace")?;
        anyhow::ensure!(is_bpffs(), "no BPF file system is on {MOUNT_POINT} there");
        OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_PATH | nix::libc::O_DIRECTORY)
            .open(MOUNT_POINT)
            .with_context(|| format!("opening {MOUNT_POINT} there"))
    });
    thread
        .join()
        .map_err(|_| anyhow::anyhow!("the look into other mounts failed"))?
}
