//! What a lab leaves on the machine while it stands, and how all of it goes away again.
//!
//! ```text
//! /run/dirigo/lab/NAME.json        this state: written first, removed last
//! /run/dirigo/lab/NAME/            configuration, logs, web server files
//! /run/netns/dirigo-lab-NAME-HOST  the namespaces (`ip netns` lists them)
//! /run/dirigo/lab-NAME.*           the director's socket, lock and state; its instance is lab-NAME
//! /sys/fs/bpf/dirigo/lab-NAME/     the director's maps and link
//! ```
//!
//! There is one way out, [`State::clean`]: success, failure, Ctrl-C, `lab down` and the sweep after
//! a crash all take it. Processes are found by the namespace they live in, so none is forgotten and
//! none that is not the lab's is touched.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use netlink::Namespace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::limits::{GONE_MAX, NAME_MAX, POLL};
use crate::{Error, Family, Host};

/// Where labs are listed.
const ROOT: &str = "/run/dirigo/lab";
/// Where the director pins.
const PINS: &str = "/sys/fs/bpf/dirigo";
/// Begin of every namespace of every lab.
const PREFIX: &str = "dirigo-lab-";
/// The namespace of the bridge.
pub(crate) const SWITCH: &str = "switch";

/// A lab on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Its name.
    pub name: String,
    /// Its family.
    pub family: Family,
    /// The binary its director runs.
    pub dirigo: PathBuf,
    /// Whether it stands without its owner (`lab up`, `--keep`).
    pub standing: bool,
    /// The process that built it.
    pub owner: u32,
    /// When that process started, in clock ticks since boot: process ids are used again.
    pub owner_started: u64,
}

impl State {
    /// Takes a name for a new lab of this process.
    ///
    /// A crashed lab of the same name is cleaned away first.
    pub fn claim(name: &str, family: Family, dirigo: &Path) -> Result<Self, Error> {
        check_name(name)?;
        let owner = std::process::id();
        let state = Self {
            name: name.to_owned(),
            family,
            dirigo: dirigo.to_owned(),
            standing: false,
            owner,
            owner_started: started(owner).unwrap_or(0),
        };
        if Self::load(name)?.is_some_and(|before| !before.is_alive()) {
            state.clean();
        }
        let doing = || format!("claiming the lab name {name}");
        match state.write(|draft| fs::hard_link(draft, state.file())) {
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::AlreadyExists => {
                return Err(Error::Exists {
                    name: name.to_owned(),
                });
            }
            written => written?,
        }
        fs::create_dir_all(state.directory()).map_err(|source| Error::io(doing(), source))?;
        Ok(state)
    }

    /// The lab of this name, if there is one.
    pub fn load(name: &str) -> Result<Option<Self>, Error> {
        check_name(name)?;
        Ok(read(&Path::new(ROOT).join(format!("{name}.json"))))
    }

    /// Every lab on the machine, by name.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let Ok(entries) = fs::read_dir(ROOT) else {
            return Vec::new();
        };
        let mut states: Vec<Self> = entries
            .filter_map(|entry| read(&entry.ok()?.path()))
            .collect();
        states.sort_by(|a, b| a.name.cmp(&b.name));
        states
    }

    /// Writes it again, for instance when the lab is left standing.
    pub fn save(&self) -> Result<(), Error> {
        self.write(|draft| fs::rename(draft, self.file()))
    }

    /// Writes a draft and has it published in one piece, so that nobody reads half a state.
    fn write(&self, publish: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<(), Error> {
        let failed = |source| Error::io(format!("writing {}", self.file().display()), source);
        let draft = Path::new(ROOT).join(format!(".{}.{}", self.name, std::process::id()));
        let written = serde_json::to_vec_pretty(self)
            .map_err(std::io::Error::from)
            .and_then(|text| write_making_place(&draft, &text))
            .and_then(|()| publish(&draft));
        // After a rename it is gone already.
        let _gone = fs::remove_file(&draft);
        written.map_err(failed)
    }

    /// Whether somebody still wants it: it was left standing, or its owner lives.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.standing || started(self.owner).is_some_and(|ticks| ticks == self.owner_started)
    }

    /// The instance name of its director.
    #[must_use]
    pub fn instance(&self) -> String {
        format!("lab-{}", self.name)
    }

    /// Name of a host's namespace under `/run/netns`.
    #[must_use]
    pub fn namespace(&self, host: Host) -> String {
        self.namespace_of(host.name())
    }

    /// Name of the bridge's namespace.
    #[must_use]
    pub fn switch(&self) -> String {
        self.namespace_of(SWITCH)
    }

    /// Where its files are.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        Path::new(ROOT).join(&self.name)
    }

    /// Takes everything away. Returns what could not be; a thing that is gone already is no trouble.
    pub fn clean(&self) -> Vec<String> {
        let names = Host::ALL.map(|host| self.namespace(host));
        let names = names.into_iter().chain([self.switch()]);
        let mut troubles: Vec<String> = names.filter_map(|name| end(&name)).collect();
        let mut gone = |path: PathBuf, removed: std::io::Result<()>| {
            if let Err(error) = removed
                && error.kind() != ErrorKind::NotFound
            {
                troubles.push(format!("removing {}: {error}", path.display()));
            }
        };
        let pins = Path::new(PINS).join(self.instance());
        gone(pins.clone(), fs::remove_dir_all(&pins));
        for file in self.daemon_files() {
            let removed = match file.is_dir() {
                true => fs::remove_dir_all(&file),
                false => fs::remove_file(&file),
            };
            gone(file, removed);
        }
        gone(self.directory(), fs::remove_dir_all(self.directory()));
        gone(self.file(), fs::remove_file(self.file()));
        // The last one to leave closes the door; another lab's files keep it open.
        let _others = fs::remove_dir(ROOT);
        troubles
    }

    /// The director's socket, lock and state.
    fn daemon_files(&self) -> Vec<PathBuf> {
        let begin = format!("{}.", self.instance());
        let socket = api::socket_path(&self.instance());
        let entries = socket.parent().map(fs::read_dir).into_iter().flatten();
        let files = entries
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()));
        files
            .filter(|path| {
                let name = path.file_name().unwrap_or_default();
                name.to_string_lossy().starts_with(&begin)
            })
            .collect()
    }

    fn file(&self) -> PathBuf {
        Path::new(ROOT).join(format!("{}.json", self.name))
    }

    fn namespace_of(&self, host: &str) -> String {
        format!("{PREFIX}{}-{host}", self.name)
    }
}

/// Removes labs whose owner died without cleaning, and namespaces that belong to no lab.
/// Returns the names of the labs.
pub fn sweep() -> Vec<String> {
    let crashed = State::all().into_iter().filter(|state| !state.is_alive());
    let swept: Vec<String> = crashed
        .map(|state| {
            state.clean();
            state.name
        })
        .collect();
    let known: Vec<String> = State::all().into_iter().map(|state| state.name).collect();
    let orphans = Namespace::names().into_iter().filter(|name| {
        let lab = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.rsplit_once('-'));
        lab.is_some_and(|(lab, _host)| !known.iter().any(|name| name == lab))
    });
    for orphan in orphans {
        end(&orphan);
    }
    swept
}

fn check_name(name: &str) -> Result<(), Error> {
    let fits = (1..=NAME_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if fits {
        return Ok(());
    }
    Err(Error::Name {
        found: name.to_owned(),
    })
}

/// Writes a file, and its directory if need be. The last lab to end removes the directory, maybe
/// just now: then it is made again.
fn write_making_place(file: &Path, text: &[u8]) -> std::io::Result<()> {
    const TRIES: u32 = 8;
    let mut tried = Ok(());
    for _ in 0..TRIES {
        fs::create_dir_all(ROOT)?;
        tried = fs::write(file, text);
        if !matches!(&tried, Err(error) if error.kind() == ErrorKind::NotFound) {
            break;
        }
    }
    tried
}

fn read(path: &Path) -> Option<State> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// When a process started, in clock ticks since boot: field 22 of `/proc/PID/stat`, counted after
/// the command name, which may hold anything.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_command, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

/// Ends a namespace and all that runs in it. What could not be done comes back.
fn end(namespace: &str) -> Option<String> {
    let until = Instant::now() + GONE_MAX;
    loop {
        let inside = processes_in(namespace);
        for pid in &inside {
            // It may have ended by itself; then there is nothing to end.
            let _ended = kill(*pid, Signal::SIGKILL);
        }
        if inside.is_empty() {
            break;
        }
        if Instant::now() >= until {
            return Some(format!("processes {inside:?} in {namespace} do not end"));
        }
        std::thread::sleep(POLL);
    }
    match Namespace::delete(namespace) {
        Err(error) if !error.is_not_found() => Some(error.to_string()),
        _ => None,
    }
}

/// The processes of a namespace, but for this one, whose threads may visit it.
fn processes_in(namespace: &str) -> Vec<Pid> {
    let identity = |path: &Path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let Some(wanted) = identity(&Path::new("/run/netns").join(namespace)) else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers
        .filter(|number: &i32| *number != Pid::this().as_raw())
        .filter(|number| identity(Path::new(&format!("/proc/{number}/ns/net"))) == Some(wanted))
        .map(Pid::from_raw)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_plain() {
        for good in ["lab", "r1234", "a-b"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        let long = "a".repeat(NAME_MAX + 1);
        for bad in ["", "Lab", "a/b", "..", "a b", long.as_str()] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn this_process_has_started_and_an_impossible_one_has_not() {
        assert!(started(std::process::id()).is_some());
        assert_eq!(started(u32::MAX), None);
    }
}
