//! Network namespaces: a network of one's own, and ways to work inside.
//!
//! ```text
//! Namespace::create ──► alive as long as a descriptor, a name or a process holds it
//!     .run(closure)     on a fresh thread inside; the caller's thread never moves
//!     .spawn(command)   a child inside
//! /run/netns/NAME       a name others can use (`ip netns exec NAME …`)
//! ```

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use nix::mount::{MntFlags, MsFlags};
use nix::sched::CloneFlags;

use crate::Error;

/// Where named namespaces stand, as `ip netns` has it.
const NAMES: &str = "/run/netns";
/// The namespace of the thread that opens this file.
const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace, kept alive by its descriptor.
#[derive(Debug)]
pub struct Namespace {
    file: File,
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Namespace {
    /// Makes a namespace without a name. It ends with the last descriptor, interface owner or
    /// process in it, so nothing is left behind however the caller ends. Its `lo` is down.
    pub fn create() -> Result<Self, Error> {
        let attempt = "making a network namespace";
        let file = on_fresh_thread(|| {
            nix::sched::unshare(CloneFlags::CLONE_NEWNET)?;
            File::open(OWN)
        });
        Ok(Self {
            file: file.map_err(|source| Error::system(attempt, source))?,
        })
    }

    /// Makes a namespace and binds it to a name under `/run/netns`; it stays until
    /// [`Namespace::delete`].
    pub fn create_named(name: &str) -> Result<Self, Error> {
        let attempt = || format!("making the network namespace {name}");
        let path = name_path(name)?;
        let failed = |source: std::io::Error| Error::system(attempt(), source);
        std::fs::create_dir_all(NAMES).map_err(failed)?;
        File::create_new(&path).map_err(failed)?;
        let made = on_fresh_thread(|| {
            nix::sched::unshare(CloneFlags::CLONE_NEWNET)?;
            bind(Path::new(OWN), &path)?;
            File::open(OWN)
        });
        match made {
            Ok(file) => Ok(Self { file }),
            Err(source) => {
                let _unbound = std::fs::remove_file(&path);
                Err(failed(source))
            }
        }
    }

    /// Opens a namespace by its name under `/run/netns`.
    pub fn open(name: &str) -> Result<Self, Error> {
        let attempt = || format!("opening the network namespace {name}");
        let file =
            File::open(name_path(name)?).map_err(|source| Error::system(attempt(), source))?;
        Ok(Self { file })
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Self, Error> {
        let file = File::open(OWN)
            .map_err(|source| Error::system("opening the own network namespace", source))?;
        Ok(Self { file })
    }

    /// The namespace of a process.
    pub fn of_process(pid: u32) -> Result<Self, Error> {
        let file = File::open(format!("/proc/{pid}/ns/net")).map_err(|source| {
            Error::system(
                format!("opening the network namespace of process {pid}"),
                source,
            )
        })?;
        Ok(Self { file })
    }

    /// Takes a name away. The namespace ends when nothing else holds it.
    pub fn delete(name: &str) -> Result<(), Error> {
        let attempt = || format!("removing the network namespace {name}");
        let path = name_path(name)?;
        match nix::mount::umount2(&path, MntFlags::MNT_DETACH) {
            // Not a mount: the rest of a creation that was cut short.
            Ok(()) | Err(nix::errno::Errno::EINVAL) => {}
            Err(error) => return Err(Error::system(attempt(), error)),
        }
        std::fs::remove_file(&path).map_err(|source| Error::system(attempt(), source))
    }

    /// The names under `/run/netns`.
    #[must_use]
    pub fn names() -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(NAMES) else {
            return Vec::new();
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.collect()
    }

    /// Its descriptor, for [`crate::Netlink::add_veth`] and the like.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// A second descriptor of the same namespace.
    pub fn try_clone(&self) -> Result<Self, Error> {
        let file = self.file.try_clone();
        Ok(Self {
            file: file.map_err(|source| Error::system("duplicating a namespace", source))?,
        })
    }

    /// Runs a closure on a fresh thread inside and returns what it returns.
    ///
    /// Sockets it opens stay inside when they come back out.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        let done = on_fresh_thread(|| {
            nix::sched::setns(&self.file, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        });
        done.map_err(|source| Error::system("entering a network namespace", source))
    }

    /// Starts a child inside. It inherits the namespace from the thread that starts it, so nothing
    /// runs between fork and exec.
    ///
    /// That thread ends at once: `PR_SET_PDEATHSIG` in the child would fire then.
    pub fn spawn(&self, command: &mut Command) -> Result<Child, Error> {
        let attempt = format!("starting {}", command.get_program().display());
        self.run(|| command.spawn())?
            .map_err(|source| Error::system(attempt, source))
    }
}

/// Runs a closure on a fresh thread inside a namespace; see [`Namespace::run`].
pub fn run<T: Send>(namespace: &Namespace, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    namespace.run(work)
}

/// A thread that changes its namespace must not live on to run other work, so each gets its own.
fn on_fresh_thread<T: Send>(
    work: impl FnOnce() -> std::io::Result<T> + Send,
) -> std::io::Result<T> {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn name_path(name: &str) -> Result<PathBuf, Error> {
    let fits = !name.is_empty() && name != "." && name != ".." && !name.contains('/');
    if fits {
        return Ok(Path::new(NAMES).join(name));
    }
    Err(Error::system(
        format!("naming a network namespace {name:?}"),
        std::io::Error::from_raw_os_error(libc::EINVAL),
    ))
}

fn bind(from: &Path, to: &Path) -> std::io::Result<()> {
    let none = None::<&str>;
    Ok(nix::mount::mount(
        Some(from),
        to,
        none,
        MsFlags::MS_BIND,
        none,
    )?)
}
