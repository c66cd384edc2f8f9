//! What `up` found, so that `down` can put it back.
//!
//! One JSON file, replaced whole. It lives in `/run`, which a reboot clears together with the
//! settings it speaks of; should it survive one elsewhere, the boot it names gives it away.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::{Error, Key};

const FILE: &str = "realserver.json";
const LOCK: &str = "realserver.lock";
/// Raised when the file's meaning changes.
const VERSION: u32 = 1;

/// What `up` found and did, over all its runs since the last `down`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    version: u32,
    /// The kernel's name for this boot.
    boot: String,
    /// Inode of the network namespace.
    namespace: u64,
    /// Per VIP, the prefixes under which it already stood on `lo`.
    pub vips: BTreeMap<IpAddr, Vec<u8>>,
    /// Per setting, what was found and what was set.
    pub settings: BTreeMap<Key, Saved>,
}

/// A setting before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    /// Before the first `up`.
    pub found: i32,
    /// What `up` wrote.
    pub set: i32,
}

impl State {
    /// Nothing done yet, in this boot and namespace.
    pub(crate) fn fresh() -> Result<Self, Error> {
        Ok(Self {
            version: VERSION,
            boot: boot()?,
            namespace: namespace()?,
            vips: BTreeMap::new(),
            settings: BTreeMap::new(),
        })
    }

    /// For tests of the decisions, which read no boot and no namespace.
    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self {
            version: VERSION,
            boot: String::new(),
            namespace: 0,
            vips: BTreeMap::new(),
            settings: BTreeMap::new(),
        }
    }

    /// The file's text.
    pub(crate) fn text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self)
            .expect("a state is maps with string keys, which JSON can express");
        text.push('\n');
        text
    }

    /// Whether the suppression of ARP is still needed.
    pub(crate) fn needs_arp(&self) -> bool {
        self.vips.keys().any(IpAddr::is_ipv4)
    }
}

/// The state file of a directory.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// Keeps two runs from planning on the same facts.
pub(crate) fn lock(dir: &Path) -> Result<Flock<File>, Error> {
    fs::create_dir_all(dir).map_err(Error::file("making the directory", dir))?;
    let path = dir.join(LOCK);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(Error::file("opening the lock", &path))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| Error::file("locking", path)(errno.into()))
}

/// Reads the state; `None` if there is none, or only one of an earlier boot.
pub(crate) fn read(dir: &Path) -> Result<Option<State>, Error> {
    let path = path(dir);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::file("reading", path)(source)),
    };
    let state = match serde_json::from_str::<State>(&text) {
        Ok(state) if state.version == VERSION => state,
        Ok(state) => {
            let found = state.version;
            let source = serde::de::Error::custom(format!("version {found}, not {VERSION}"));
            return Err(Error::StateUnreadable { path, source });
        }
        Err(source) => return Err(Error::StateUnreadable { path, source }),
    };
    if state.boot != boot()? {
        return Ok(None);
    }
    let ours = namespace()?;
    if state.namespace != ours {
        let theirs = state.namespace;
        return Err(Error::OtherNamespace { path, theirs, ours });
    }
    Ok(Some(state))
}

/// Replaces a file so that a reader, or a crash, sees the old text or the new, never half of one.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), Error> {
    let failed = |source| Error::file("writing", path)(source);
    let dir = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(dir).map_err(failed)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = dir.join(format!(".{name}.{}", std::process::id()));
    let written = File::create(&beside)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _half = fs::remove_file(&beside);
    }
    written.map_err(failed)
}

fn boot() -> Result<String, Error> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = fs::read_to_string(path).map_err(Error::file("reading", path))?;
    Ok(text.trim().to_owned())
}

fn namespace() -> Result<u64, Error> {
    let path = "/proc/thread-self/ns/net";
    let facts = fs::metadata(path).map_err(Error::file("reading", path))?;
    Ok(facts.ino())
}
