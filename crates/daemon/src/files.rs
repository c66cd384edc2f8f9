//! The files of an instance: lock, state, socket.
//!
//! ```text
//! /run/dirigo/<instance>.lock    held while a daemon lives; its pid, folder and command, a line each
//! /run/dirigo/<instance>.state.json   the table and the plan being carried out: a line of it all, then
//!                                     one for each step since
//! /run/dirigo/<instance>.health.json  which destinations were well, and which not
//! /run/dirigo/<instance>.generations  the configurations that were followed
//! /run/dirigo/<instance>.sock    the API
//! ```

use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use control::{Delta, Plan, Saved, State};
use nix::fcntl::{Flock, FlockArg};

use crate::generations::Generations;
use crate::health::Believed;
use crate::{Error, limits};

/// Where the files of one instance are.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    folder: PathBuf,
    instance: String,
}

/// What was written of the state: the whole, and what changed since behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    whole: u64,
    behind: u64,
}

impl Written {
    /// Whether so much was written behind the whole that it is better written anew.
    pub(crate) fn is_long(&self) -> bool {
        self.behind > self.whole.max(limits::STATE_TAIL_BYTES)
    }
}

/// Who holds the lock.
pub(crate) enum Lock {
    /// We do, until this is dropped.
    Ours(Held),
    /// A living daemon; its pid if it wrote one.
    Theirs(Option<u32>),
}

/// The lock, held.
pub(crate) struct Held {
    lock: Flock<std::fs::File>,
}

impl Held {
    /// Notes how this daemon was started, so that `dirigo doctor` can say how to start it again when
    /// it has died: its folder, and its words as JSON.
    pub(crate) fn note_command(&self) -> anyhow::Result<()> {
        let folder = std::env::current_dir()?;
        let mut words = vec![std::env::current_exe()?.display().to_string()];
        let given = std::env::args_os().skip(1);
        words.extend(given.map(|word| word.to_string_lossy().into_owned()));
        let mut file: &std::fs::File = &self.lock;
        writeln!(file, "{}", folder.display())?;
        writeln!(file, "{}", serde_json::to_string(&words)?)?;
        Ok(())
    }
}

impl Files {
    /// The files of an instance, if it can have any.
    pub(crate) fn of(instance: &str) -> Result<Self, Error> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let fits = (1..=limits::INSTANCE_NAME_BYTES).contains(&instance.len());
        if !fits || !instance.bytes().all(is_plain) {
            let name = instance.to_owned();
            return Err(Error::InstanceName { name });
        }
        let socket = api::socket_path(instance);
        let folder = socket.parent().unwrap_or(Path::new("/run/dirigo"));
        Ok(Self::within(folder, instance))
    }

    pub(crate) fn within(folder: &Path, instance: &str) -> Self {
        Self {
            folder: folder.to_owned(),
            instance: instance.to_owned(),
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("sock")
    }

    fn state(&self) -> PathBuf {
        self.path("state.json")
    }

    fn health(&self) -> PathBuf {
        self.path("health.json")
    }

    /// The configurations that were followed.
    pub(crate) fn generations(&self) -> Generations {
        Generations::within(self.path("generations"))
    }

    fn lock_file(&self) -> PathBuf {
        self.path("lock")
    }

    fn path(&self, kind: &str) -> PathBuf {
        self.folder.join(format!("{}.{kind}", self.instance))
    }

    /// Takes the lock for a daemon, or refuses. A daemon that is being killed is given time to
    /// go: its end takes longer than the command that follows the `kill`.
    pub(crate) fn lock_soon(&self) -> Result<Held, Error> {
        let until = Instant::now() + limits::LOCK_WAIT;
        loop {
            match self.lock()? {
                Lock::Ours(held) => return Ok(held),
                Lock::Theirs(pid) if Instant::now() >= until => {
                    return Err(Error::AlreadyRunning { pid });
                }
                Lock::Theirs(_) => std::thread::sleep(limits::TICK),
            }
        }
    }

    /// Takes the lock, or says who has it.
    pub(crate) fn lock(&self) -> anyhow::Result<Lock> {
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("making {}", self.folder.display()))?;
        let path = self.lock_file();
        loop {
            let file = std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o644)
                .open(&path)
                .with_context(|| format!("opening {}", path.display()))?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(mut lock) => {
                    // Whoever held it before may have removed the file: then ours has no name.
                    let named = std::fs::metadata(&path).map(|found| found.ino()).ok();
                    if named != Some(lock.metadata()?.ino()) {
                        continue;
                    }
                    lock.set_len(0)?;
                    lock.rewind()?;
                    writeln!(lock, "{}", std::process::id())?;
                    return Ok(Lock::Ours(Held { lock }));
                }
                Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
                    let mut text = String::new();
                    file.read_to_string(&mut text)?;
                    let pid = text
                        .lines()
                        .next()
                        .and_then(|line| line.trim().parse().ok());
                    return Ok(Lock::Theirs(pid));
                }
                Err((_, error)) => {
                    return Err(error).with_context(|| format!("locking {}", path.display()));
                }
            }
        }
    }

    /// Writes the state and the plan that is about to be carried out, in one step. Of the plan, what it takes
    /// away: a next daemon makes all the rest anew.
    pub(crate) fn save(&self, state: &State, pending: &Plan) -> anyhow::Result<Written> {
        /// As [`Saved`], without copies of what may be large.
        #[derive(serde::Serialize)]
        struct Borrowed<'a> {
            version: u32,
            state: &'a State,
            pending: &'a Plan,
        }
        let saved = Borrowed {
            version: Saved::VERSION,
            state,
            pending: &pending.removals(),
        };
        let (path, beside) = (self.state(), self.path("state.json.new"));
        let write = || -> anyhow::Result<u64> {
            let mut text = serde_json::to_vec(&saved)?;
            text.push(b'\n');
            std::fs::write(&beside, &text)?;
            std::fs::rename(&beside, &path)?;
            Ok(text.len() as u64)
        };
        let whole = write().with_context(|| format!("writing {}", path.display()))?;
        Ok(Written { whole, behind: 0 })
    }

    /// Writes what a step changed behind what was written before, if that is the shorter way.
    pub(crate) fn append(&self, delta: &Delta, written: &mut Written) -> anyhow::Result<()> {
        let path = self.state();
        let write = || -> anyhow::Result<u64> {
            let mut text = serde_json::to_vec(delta)?;
            text.push(b'\n');
            let mut file = std::fs::OpenOptions::new().append(true).open(&path)?;
            file.write_all(&text)?;
            Ok(text.len() as u64)
        };
        let bytes = write().with_context(|| format!("writing behind {}", path.display()))?;
        written.behind += bytes;
        Ok(())
    }

    /// Whether an earlier daemon wrote something.
    pub(crate) fn has_state(&self) -> bool {
        self.state().exists()
    }

    /// What an earlier daemon wrote; `None` if there is nothing.
    pub(crate) fn load(&self) -> anyhow::Result<Option<Saved>> {
        let path = self.state();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("reading {}", path.display()));
            }
        };
        /// Read first: another version may have another shape.
        #[derive(serde::Deserialize)]
        struct Version {
            version: u32,
        }
        let mut lines = text.split(|byte| *byte == b'\n');
        let whole = lines.next().unwrap_or_default();
        let found: Version = serde_json::from_slice(whole)
            .with_context(|| format!("{} is damaged", path.display()))?;
        anyhow::ensure!(
            found.version == Saved::VERSION,
            "{} has version {}, this daemon reads {}: run `dirigo down --release --instance {}` \
             with the version that wrote it, then start this one",
            path.display(),
            found.version,
            Saved::VERSION,
            self.instance
        );
        let mut saved: Saved = serde_json::from_slice(whole)
            .with_context(|| format!("{} is damaged", path.display()))?;
        // A line that was not written to its end was that of a step which was never carried out.
        let read = |line: &[u8]| serde_json::from_slice::<Delta>(line).ok();
        let mut deltas: Vec<Delta> = lines.map_while(read).collect();
        if let Some(last) = deltas.last_mut() {
            saved.pending = std::mem::take(&mut last.pending);
        }
        saved.state.follow(deltas);
        Ok(Some(saved))
    }

    /// Writes what is believed of real servers.
    pub(crate) fn save_health(&self, believed: &Believed) -> anyhow::Result<()> {
        let path = self.health();
        let beside = self.path("health.json.new");
        let write = || -> anyhow::Result<()> {
            std::fs::write(&beside, serde_json::to_vec(believed)?)?;
            std::fs::rename(&beside, &path)?;
            Ok(())
        };
        write().with_context(|| format!("writing {}", path.display()))
    }

    /// What an earlier daemon believed; nothing if that is not known.
    pub(crate) fn load_health(&self) -> Believed {
        let read = std::fs::read(self.health()).ok();
        read.and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default()
    }

    /// Lets go of the lock, and leaves no file behind if there is nothing else. After this, what
    /// has the names of the files is not ours.
    pub(crate) fn discard_lock(&self, held: Held) -> anyhow::Result<()> {
        if !self.state().exists() {
            remove(&self.lock_file())?;
        }
        drop(held);
        Ok(())
    }

    /// Removes the state of an instance that is released. Lock and socket keep their names as long
    /// as the process works: the next daemon waits for them.
    pub(crate) fn forget(&self) -> anyhow::Result<()> {
        self.generations().forget_all()?;
        remove(&self.health())?;
        remove(&self.state())
    }

    /// Removes the socket. Only who holds the lock may.
    pub(crate) fn remove_socket(&self) -> anyhow::Result<()> {
        remove(&self.socket())
    }
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_told_the_pid_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::within(folder.path(), "one");
        let Ok(Lock::Ours(held)) = files.lock() else {
            panic!("the lock is free");
        };
        assert!(matches!(
            files.lock(),
            Ok(Lock::Theirs(Some(pid))) if pid == std::process::id()
        ));
        drop(held);
        assert!(matches!(files.lock(), Ok(Lock::Ours(_))));
    }

    #[test]
    fn a_name_that_leaves_the_folder_names_no_instance() {
        for name in ["", "../etc", "a/b", "a b", &"x".repeat(65)] {
            assert!(
                matches!(Files::of(name), Err(Error::InstanceName { .. })),
                "{name}"
            );
        }
        assert!(Files::of("lab-4_director").is_ok());
    }

    #[test]
    fn what_was_saved_is_loaded_and_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::within(folder.path(), "one");
        assert!(files.load().unwrap().is_none());
        let mut state = State::default();
        state.sequence = 7;
        files.save(&state, &Plan::default()).unwrap();
        assert_eq!(files.load().unwrap().unwrap().state, state);
        let Ok(Lock::Ours(held)) = files.lock() else {
            panic!("the lock is free");
        };
        files.forget().unwrap();
        assert!(files.load().unwrap().is_none());
        assert!(matches!(files.lock(), Ok(Lock::Theirs(_))));
        files.discard_lock(held).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_state_of_another_version_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::within(folder.path(), "one");
        std::fs::write(files.state(), r#"{"version":99,"shape":"other"}"#).unwrap();
        let error = files.load().unwrap_err().to_string();
        assert!(error.contains("version 99"), "{error}");
        assert!(error.contains("dirigo down --release"), "{error}");
    }

    #[test]
    fn what_is_written_behind_the_state_is_followed_and_a_torn_end_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::within(folder.path(), "one");
        let mut state = State::default();
        let mut written = files.save(&state, &Plan::default()).unwrap();
        for n in 1..=3_u32 {
            let change = api::Change::AddService {
                service: format!("tcp:192.0.2.{n}:80").parse().unwrap(),
                settings: api::ServiceSettings::of("rr"),
            };
            let event = control::Event::Change(change);
            let plan = control::step(&mut state, event, &control::Observed::default()).unwrap();
            files.append(&state.delta(&plan), &mut written).unwrap();
        }
        assert_eq!(files.load().unwrap().unwrap().state, state);

        let whole = std::fs::read(files.state()).unwrap();
        std::fs::write(files.state(), &whole[..whole.len() - 5]).unwrap();
        let loaded = files.load().unwrap().unwrap().state;
        assert_eq!(loaded.services.len(), 2);
    }
}
