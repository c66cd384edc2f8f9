//! A program of the administrator's.
//!
//! It runs as a user that is not root, in a process group of its own, which is killed as a whole
//! when the time is over or the script has ended; in `/`, with three variables and nothing else, and it can gain
//! no privileges (`no_new_privs`).

use std::process::{ExitStatus, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::sync::Semaphore;

use super::Target;
use super::socket::Ends;
use crate::check::Script;
use crate::limits;
use crate::reason::Reason;

/// What is going on while there is no room: not the real server's fault.
pub(super) const WAITING: &str = "waiting for other scripts to end";

static RUNNING: Semaphore = Semaphore::const_new(limits::SCRIPTS);

pub(super) async fn ask(script: &Script, target: &Target, ends: &Ends<'_>) -> Result<(), Reason> {
    ends.set_stage(WAITING);
    let _turn = RUNNING.acquire().await;
    ends.set_stage("running the script");
    let mut command = command(script, target)?;
    // Of this thread, and of what it starts from now on: no setuid program gives the script more than it has.
    // Before each start, because it is the thread that counts and costs nothing.
    nix::sys::prctl::set_no_new_privs()
        .map_err(|errno| Reason::Local(format!("giving up privileges for the script: {errno}")))?;
    let mut child = command.spawn().map_err(|error| {
        Reason::Local(format!("starting {}: {error}", script.command.join(" ")))
    })?;
    let _group = child.id().map(Group);
    let mut output = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        let mut bounded = (&mut stdout).take(limits::OUTPUT_BYTES as u64);
        let _end = bounded.read_to_end(&mut output).await;
        // The rest is read and thrown away: it must neither wait for a reader nor miss one.
        let _end = tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await;
    }
    let ended = child.wait().await;
    let status = ended.map_err(|error| ends.failed(&error))?;
    if status.success() {
        return Ok(());
    }
    let output = String::from_utf8_lossy(&output);
    Err(Reason::Script {
        how: how(status),
        output: output.lines().next().unwrap_or_default().trim().to_owned(),
    })
}

fn command(script: &Script, target: &Target) -> Result<Command, Reason> {
    let nothing = || Reason::Local("the script's command is empty".to_owned());
    let (program, arguments) = script.command.split_first().ok_or_else(nothing)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir("/")
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("DIRIGO_SERVER", target.server.to_string())
        .env("DIRIGO_VIP", target.to.ip().to_string())
        .env("DIRIGO_PORT", target.to.port().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    // std also leaves root's supplementary groups when it changes the user.
    if nix::unistd::geteuid().is_root() {
        let (user, group) = user(&script.user)?;
        command.uid(user).gid(group);
    }
    Ok(command)
}

/// Numbers of the script's user and its group.
fn user(name: &str) -> Result<(u32, u32), Reason> {
    let found = nix::unistd::User::from_name(name)
        .map_err(|error| Reason::Local(format!("looking up the user {name}: {error}")))?;
    match found {
        None => Err(Reason::Local(format!(
            "there is no user {name} to run the script as"
        ))),
        Some(user) if user.uid.is_root() => Err(Reason::Local(format!(
            "{name} is root, and scripts do not run as root: set user to another"
        ))),
        Some(user) => Ok((user.uid.as_raw(), user.gid.as_raw())),
    }
}

fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// Kills all processes of a group when the attempt ends, whichever way.
struct Group(u32);

impl Drop for Group {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.0) {
            // The group is gone if all have ended by themselves.
            let _gone = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
