//! Ending a daemon from outside, and taking away what a dead one left.

use std::time::Instant;

use api::{Client, ClientError, Stop};
use tracing::info;

use crate::bpffs::PinRoot;
use crate::files::{Files, Lock};
use crate::host::{self, Host};
use crate::{Error, limits, permission};

/// What `down` found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Down {
    /// A daemon was there and has stopped.
    Stopped,
    /// No daemon was there; what it left has been taken away.
    Released,
    /// As `Released`, but nobody knows which virtual addresses it had added: they stay.
    ReleasedWithoutAddresses {
        /// Why its state cannot be read.
        reason: String,
    },
    /// Nothing was there.
    Nothing,
}

/// Stops the daemon of an instance; with `release`, forwarding too.
///
/// # Errors
///
/// When no daemon runs and nothing is to be released, when the daemon refuses or does not go, or
/// when the kernel refuses.
pub fn down(instance: &str, release: bool) -> Result<Down, Error> {
    let files = Files::of(instance)?;
    match Client::new(instance).stop(Stop { release }) {
        Ok(()) => {
            wait_until_gone(&files)?;
            Ok(Down::Stopped)
        }
        Err(ClientError::Unreachable { .. }) if release => release_dead(instance, &files),
        Err(error @ ClientError::Unreachable { .. }) => Err(Error::Unreachable(error)),
        Err(error @ ClientError::NotPermitted { .. }) => Err(Error::NotPermitted {
            missing: vec![error.to_string()],
        }),
        Err(error) => Err(Error::Other(error.into())),
    }
}

/// The daemon answers before it goes; its lock says when it has gone.
fn wait_until_gone(files: &Files) -> anyhow::Result<()> {
    let until = Instant::now() + limits::DOWN_WAIT;
    loop {
        match files.lock()? {
            Lock::Ours(held) => {
                return files.discard_lock(held);
            }
            Lock::Theirs(pid) => anyhow::ensure!(
                Instant::now() < until,
                "the daemon (pid {}) has agreed to stop and still runs after {} s: look at its \
                 log, or end it with: kill {}",
                pid.unwrap_or_default(),
                limits::DOWN_WAIT.as_secs(),
                pid.unwrap_or_default()
            ),
        }
        std::thread::sleep(limits::TICK);
    }
}

fn release_dead(instance: &str, files: &Files) -> Result<Down, Error> {
    let missing = permission::missing();
    if !missing.is_empty() {
        return Err(Error::NotPermitted { missing });
    }
    let held = files.lock_soon()?;
    let removed = take_away(instance, files, &PinRoot::find())?;
    files.remove_socket()?;
    files.discard_lock(held)?;
    Ok(removed)
}

/// Takes away everything of an instance that has no daemon, but the lock that the caller holds.
pub(crate) fn take_away(instance: &str, files: &Files, root: &PinRoot) -> anyhow::Result<Down> {
    // A state that cannot be read does not stop us: the rest is taken away all the same.
    let loaded = files.load();
    let had_addresses = match &loaded {
        Ok(Some(saved)) => remove_vips(&saved.state).map(|()| true)?,
        Ok(None) | Err(_) => false,
    };
    let had_pins = dataplane::Dataplane::release(root.path(), instance)?;
    files.forget()?;
    Ok(match loaded {
        Err(error) => Down::ReleasedWithoutAddresses {
            reason: crate::chain(&error),
        },
        Ok(_) if had_addresses || had_pins => Down::Released,
        Ok(_) => Down::Nothing,
    })
}

/// Removes the addresses that the dead daemon had added.
fn remove_vips(state: &control::State) -> anyhow::Result<()> {
    let mut host = host::Kernel::open()?;
    for (address, vip) in state.vips.iter().filter(|(_, vip)| vip.ours) {
        host.remove_vip(*address, &vip.interface)?;
        info!(%address, interface = vip.interface, "virtual address removed");
    }
    Ok(())
}
