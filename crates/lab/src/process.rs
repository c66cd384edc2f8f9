//! Processes that live as long as the lab: the director, the web servers.
//!
//! ```text
//! spawner thread ─► dirigo lab inside --netns NAME --tether PID -- nginx …
//!                     enters the namespace, asks to be killed with its parent, becomes nginx
//! ```
//!
//! Entering the namespace and tying the child to our life happen in a small program of our own
//! rather than between fork and exec: that needs no `unsafe`. The kernel sends the "parent died"
//! signal when the *thread* that made the child ends, so one thread, alive as long as the process,
//! makes them all.

use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};

use netlink::Namespace;
use nix::sched::CloneFlags;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::limits::{LOG_TAIL_BYTES, POLL};
use crate::{Error, Interrupt};

/// A running child. Dropping it kills it, unless it is to stay.
#[derive(Debug)]
pub struct Process {
    child: Child,
    what: String,
    log: PathBuf,
    stays: bool,
}

/// How to start a [`Process`].
#[derive(Debug)]
pub struct Start<'a> {
    /// The binary that knows `lab inside`.
    pub dirigo: &'a Path,
    /// Namespace name.
    pub namespace: &'a str,
    /// Whether it outlives this process.
    pub stays: bool,
    /// File for its output, standard error included; it is appended to.
    pub log: PathBuf,
    /// Program and arguments.
    pub words: Vec<std::ffi::OsString>,
}

impl Process {
    /// Starts it.
    pub fn start(start: Start<'_>) -> Result<Self, Error> {
        let what = start
            .words
            .first()
            .map(|word| word.display().to_string())
            .unwrap_or_default();
        let failed = |source| Error::io(format!("starting {what}"), source);
        let log = File::options()
            .create(true)
            .append(true)
            .open(&start.log)
            .map_err(failed)?;
        let mut command = Command::new(start.dirigo);
        command
            .args(["lab", "inside", "--netns", start.namespace])
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            // Ctrl-C is for the lab, which then ends its processes in order.
            .process_group(0);
        if !start.stays {
            command.args(["--tether", &std::process::id().to_string()]);
        }
        command.arg("--").args(&start.words);
        let child = on_spawner(command).map_err(failed)?;
        Ok(Self {
            child,
            what,
            log: start.log,
            stays: start.stays,
        })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub fn kill(&mut self) {
        // An error here says that it ended already.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }

    /// Asks it to end and waits for it, `limit` at most.
    pub fn terminate(
        &mut self,
        limit: std::time::Duration,
        interrupt: &Interrupt,
    ) -> Result<ExitStatus, Error> {
        if let Ok(pid) = i32::try_from(self.id()) {
            let _ended = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let status = interrupt.poll(limit, || Ok(self.ended()))?;
        status.ok_or_else(|| Error::Timeout {
            what: format!("{} to end after SIGTERM", self.what),
            seconds: limit.as_secs(),
            said: self.log_tail(),
        })
    }

    /// The end of what it said.
    #[must_use]
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.stays || std::thread::panicking() {
            self.kill();
        }
    }
}

/// The last lines of a file; nothing if it cannot be read.
pub(crate) fn tail(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let from = text.len().saturating_sub(LOG_TAIL_BYTES);
    String::from_utf8_lossy(&text[from..]).into_owned()
}

/// Runs a short command in a namespace to its end, `limit` at most, and returns its output.
pub(crate) fn run(
    namespace: &Namespace,
    command: &mut Command,
    limit: std::time::Duration,
    interrupt: &Interrupt,
) -> Result<Output, Error> {
    let words = words_of(command);
    let doing = || format!("running {words}");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let child = namespace.spawn(command).map_err(Error::netlink(doing()))?;
    let pid = i32::try_from(child.id()).unwrap_or(0);
    let (send, receive) = mpsc::channel();
    let reader = std::thread::spawn(move || send.send(child.wait_with_output()));
    let until = std::time::Instant::now() + limit;
    let kill_it = |reader: std::thread::JoinHandle<_>| {
        let _ended = kill(Pid::from_raw(pid), Signal::SIGKILL);
        let _joined = reader.join();
    };
    loop {
        match receive.recv_timeout(POLL) {
            Ok(output) => return output.map_err(|source| Error::io(doing(), source)),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(Error::io(doing(), std::io::ErrorKind::BrokenPipe));
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        if let Err(interrupted) = interrupt.check() {
            kill_it(reader);
            return Err(interrupted);
        }
        if std::time::Instant::now() >= until {
            kill_it(reader);
            return Err(Error::Command {
                command: words,
                how: format!("did not end within {} s", limit.as_secs()),
                said: String::new(),
            });
        }
    }
}

/// Output of a command that must succeed.
pub(crate) fn succeeded(command: &Command, output: Output) -> Result<String, Error> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let how = match output.status.signal() {
        Some(signal) => format!("was killed by signal {signal}"),
        None => format!("ended with {}", output.status),
    };
    Err(Error::Command {
        command: words_of(command),
        how,
        said: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// A command as one would type it.
fn words_of(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    let words: Vec<String> = words.map(|word| word.display().to_string()).collect();
    words.join(" ")
}

/// Becomes a program inside a namespace: the other half of [`Process::start`]. Returns only on
/// failure.
#[must_use]
pub fn become_inside(
    namespace: &str,
    tether: Option<u32>,
    words: &[std::ffi::OsString],
    environment: &[(&str, String)],
) -> Error {
    let Some((program, arguments)) = words.split_first() else {
        return Error::io("running nothing", std::io::ErrorKind::InvalidInput);
    };
    let doing = format!("running {}", program.display());
    if let Some(parent) = tether {
        if let Err(error) = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL) {
            return Error::io(doing, error);
        }
        // It may have died before we asked to die with it.
        if u32::try_from(Pid::parent().as_raw()) != Ok(parent) {
            return Error::Interrupted;
        }
    }
    let entered = Namespace::open(namespace).map_err(Error::netlink(doing.clone()));
    let namespace = match entered {
        Ok(namespace) => namespace,
        Err(error) => return error,
    };
    if let Err(error) = nix::sched::setns(namespace.fd(), CloneFlags::CLONE_NEWNET) {
        return Error::io(doing, error);
    }
    let mut command = Command::new(program);
    command.args(arguments);
    for (name, value) in environment {
        command.env(name, value);
    }
    Error::io(doing, command.exec())
}

type Job = (Command, mpsc::Sender<std::io::Result<Child>>);

/// Has the spawner thread start a command.
fn on_spawner(command: Command) -> std::io::Result<Child> {
    static SPAWNER: Mutex<Option<mpsc::Sender<Job>>> = Mutex::new(None);
    let (answer, child) = mpsc::channel();
    let mut spawner = SPAWNER.lock().unwrap_or_else(PoisonError::into_inner);
    let jobs = spawner.get_or_insert_with(|| {
        let (send, jobs) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, answer) in jobs {
                // Whoever asked is waiting; if not, its child is reaped by nobody else either.
                let _heard = answer.send(command.spawn());
            }
        });
        send
    });
    let gone = |_| std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    jobs.send((command, answer))
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::BrokenPipe))?;
    drop(spawner);
    child.recv().map_err(gone)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_quotes_its_words_and_what_it_said() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo no such thing >&2; exit 3"]);
        let output = command.output().unwrap();
        let error = succeeded(&command, output).unwrap_err().to_string();
        assert!(error.starts_with("`sh -c "), "{error}");
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.ends_with("no such thing"), "{error}");
    }
}
