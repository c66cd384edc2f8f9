//! A program that is told an event: as its standard input in JSON, and as variables.
//!
//! It runs as a user that is not root, in a process group of its own, which is killed as a whole when the
//! time is over or the program has ended; in `/`, with a few variables and nothing else.

use std::process::Stdio;

use anyhow::{Context as _, bail};
use api::Event;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, User};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::limits;

/// A program, and as whom it runs.
pub(super) struct Script {
    command: Vec<String>,
    /// User and group; none when the daemon itself is not root.
    as_whom: Option<(u32, u32)>,
}

impl Script {
    pub(super) fn new(command: &[String], user: &str) -> anyhow::Result<Self> {
        let as_whom = match nix::unistd::geteuid().is_root() {
            true => Some(find(user)?),
            false => None,
        };
        Ok(Self {
            command: command.to_vec(),
            as_whom,
        })
    }

    pub(super) async fn run(&self, event: &Event, json: &str) -> Result<(), String> {
        let mut command = self.command(event).ok_or("the command is empty")?;
        let spawned = command.spawn();
        let mut child = spawned.map_err(|error| format!("cannot be started: {error}"))?;
        let _group = child.id().map(Group);
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let feed = async move {
            if let Some(mut stdin) = stdin {
                // One that does not read is not wrong: it has the variables.
                let _gone = stdin.write_all(format!("{json}\n").as_bytes()).await;
            }
        };
        let hear = async move {
            let mut text = Vec::new();
            if let Some(mut stderr) = stderr {
                let mut bounded = (&mut stderr).take(limits::NOTIFY_OUTPUT_BYTES);
                let _end = bounded.read_to_end(&mut text).await;
                let _end = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
            }
            text
        };
        let (ended, text, ()) = tokio::join!(child.wait(), hear, feed);
        let status = ended.map_err(|error| error.to_string())?;
        if status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&text);
        let said = text.lines().next().unwrap_or_default().trim();
        Err(match said.is_empty() {
            true => status.to_string(),
            false => format!("{status}: {said}"),
        })
    }

    fn command(&self, event: &Event) -> Option<Command> {
        let (program, arguments) = self.command.split_first()?;
        let what = &event.what;
        let variables = [
            ("ID", Some(event.id.to_string())),
            ("TIME", Some(event.time.clone())),
            ("EVENT", Some(what.kind.name().to_owned())),
            ("LEVEL", Some(what.level.name().to_owned())),
            ("TEXT", Some(what.to_string())),
            ("SERVICE", what.service.map(|one| one.to_string())),
            ("DESTINATION", what.destination.map(|one| one.to_string())),
            ("SERVER", what.server.map(|one| one.to_string())),
            ("CHECK", what.check.clone()),
            ("INTERFACE", what.interface.clone()),
            ("VIP", what.vip.map(|one| one.to_string())),
            ("MAC", what.mac.clone()),
            ("OLD", what.old.clone()),
            ("NEW", what.new.clone()),
            ("REASON", what.reason.clone()),
        ];
        let variables = variables
            .into_iter()
            .filter_map(|(name, value)| Some((format!("DIRIGO_{name}"), value?)));
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir("/")
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .envs(variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        // std also leaves root's supplementary groups when it changes the user.
        if let Some((user, group)) = self.as_whom {
            command.uid(user).gid(group);
        }
        Some(command)
    }
}

fn find(user: &str) -> anyhow::Result<(u32, u32)> {
    let found = User::from_name(user).with_context(|| format!("looking up the user {user}"))?;
    match found {
        None => bail!("there is no user {user} to run the program as: set user to one that exists"),
        Some(found) if found.uid.is_root() => {
            bail!(
                "{user} is root, and programs that are told do not run as root: set user to another"
            )
        }
        Some(found) => Ok((found.uid.as_raw(), found.gid.as_raw())),
    }
}

/// Kills all processes of a group when it is over, whichever way.
struct Group(u32);

impl Drop for Group {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.0) {
            // The group is gone if all have ended by themselves.
            let _gone = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
