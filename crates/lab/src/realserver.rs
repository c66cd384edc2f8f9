//! The real servers' half, set up by the binary: `dirigo realserver up|check --vip VIP`.

use std::process::{Command, Output};

use crate::{Error, Host, Net};

/// Prepares a host: VIP on `lo`, suppression on.
pub fn up(net: &Net, host: Host) -> Result<(), Error> {
    let mut command = command(net, "up");
    // Namespaces share the file system, so each real server remembers in a place of its own.
    command
        .arg("--state")
        .arg(net.state().directory().join(format!("{host}-state")));
    net.exec_ok(host, &mut command).map(drop)
}

/// Whether the host is a good real server, and the explanation.
pub fn check(net: &Net, host: Host) -> Result<(bool, String), Error> {
    let Output { status, stdout, .. } = net.exec(host, &mut command(net, "check"))?;
    let said = String::from_utf8_lossy(&stdout).into_owned();
    Ok((status.success(), said))
}

fn command(net: &Net, verb: &str) -> Command {
    let mut command = Command::new(net.dirigo());
    command.args(["realserver", verb, "--vip", &net.family().vip().to_string()]);
    command
}
