//! The program at the director's port of the switch.
//!
//! A veth delivers what its peer sends by `XDP_TX` only if it has an XDP program itself
//! (`veth_xdp_flush` in Linux `drivers/net/veth.c`; switching GRO on, which also enables its NAPI, was
//! tried on 6.18 and is not enough). Real network cards need nothing of the kind. So a program that
//! passes everything sits there, kept by a process of its own: it must outlive the builder of a
//! lab that is left standing.

use std::convert::Infallible;
use std::io::Write;

use crate::limits::FLUSH_READY_MAX;
use crate::process::Process;
use crate::{Error, Host, Net};

/// What [`hold`] says when the program is attached.
const ATTACHED: &str = "attached";

/// Starts the keeper at the switch and waits until the program is attached.
pub(crate) fn start(net: &Net) -> Result<Process, Error> {
    let port = Host::Director.name();
    let words = [
        net.dirigo().as_os_str(),
        "lab".as_ref(),
        "flush".as_ref(),
        port.as_ref(),
    ];
    let words = words.map(std::ffi::OsStr::to_owned).to_vec();
    let mut process = net.spawn_at_switch("flush", words)?;
    let ready = net.interrupt().poll(FLUSH_READY_MAX, || {
        if process.log_tail().trim_end() == ATTACHED {
            return Ok(Some(true));
        }
        Ok(process.ended().map(|_| false))
    })?;
    match ready {
        Some(true) => Ok(process),
        Some(false) => Err(Error::NoXdp {
            said: process.log_tail(),
        }),
        None => Err(Error::Timeout {
            what: "an XDP program on the director's port".to_owned(),
            seconds: FLUSH_READY_MAX.as_secs(),
            said: process.log_tail(),
        }),
    }
}

/// Attaches the program to an interface of this process's namespace and keeps it, for ever.
pub fn hold(interface: &str) -> Result<Infallible, Error> {
    let failed = |source| Error::io(format!("attaching a program to {interface}"), source);
    let _program =
        dataplane::attach_pass(interface).map_err(|error| failed(std::io::Error::other(error)))?;
    writeln!(std::io::stdout(), "{ATTACHED}").map_err(failed)?;
    loop {
        std::thread::park();
    }
}
