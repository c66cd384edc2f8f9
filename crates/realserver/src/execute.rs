//! The one place that changes this host.

use std::fs;
use std::io::ErrorKind;

use netlink::{AddressFlags, Netlink};

use crate::sysctl::LO;
use crate::{Error, Step, state};

/// Carries the steps out in order; at the first failure, takes back those done, last first.
pub(crate) fn run(steps: &[Step]) -> Result<(), Error> {
    let netlink = Netlink::open()?;
    for (done, step) in steps.iter().enumerate() {
        if let Err(cause) = act(&netlink, step) {
            return Err(undo(&netlink, &steps[..done], cause));
        }
    }
    Ok(())
}

fn undo(netlink: &Netlink, done: &[Step], cause: Error) -> Error {
    let mut left = Vec::new();
    for reverse in done.iter().rev().filter_map(Step::reverse) {
        if let Err(error) = act(netlink, &reverse) {
            left.push(format!("{reverse} ({error})"));
        }
    }
    if left.is_empty() {
        return cause;
    }
    let cause = Box::new(cause);
    Error::NotUndone { cause, left }
}

fn act(netlink: &Netlink, step: &Step) -> Result<(), Error> {
    match step {
        Step::Set { key, to, .. } => key.write(*to),
        Step::SwitchLoOn => Ok(netlink.set_up(netlink.link(LO)?.index)?),
        Step::AddAddress { address, prefix } => {
            let flags = AddressFlags {
                no_dad: address.is_ipv6(),
                preferred_zero: address.is_ipv6(),
            };
            let lo = netlink.link(LO)?.index;
            accept(
                netlink.add_address(lo, *address, *prefix, flags),
                netlink::Error::is_exists,
            )
        }
        Step::RemoveAddress { address, prefix } => {
            let lo = netlink.link(LO)?.index;
            let done = netlink.delete_address(lo, *address, *prefix);
            accept(done, netlink::Error::is_not_found)
        }
        Step::File {
            path,
            to: Some(text),
            ..
        } => state::replace(path, text),
        Step::File { path, to: None, .. }
        | Step::Link {
            path, make: false, ..
        } => match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Error::file("removing", path)(error))
            }
            _ => Ok(()),
        },
        Step::Link {
            path,
            target,
            make: true,
        } => {
            if let Some(dir) = path.parent() {
                fs::create_dir_all(dir).map_err(Error::file("making the directory", dir))?;
            }
            std::os::unix::fs::symlink(target, path).map_err(Error::file("linking", path))
        }
    }
}

/// Somebody else may have done it between our look and our step.
fn accept(
    done: Result<(), netlink::Error>,
    harmless: impl FnOnce(&netlink::Error) -> bool,
) -> Result<(), Error> {
    match done {
        Err(error) if !harmless(&error) => Err(error.into()),
        _ => Ok(()),
    }
}
