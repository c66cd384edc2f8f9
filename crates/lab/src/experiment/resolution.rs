//! Step 1: who answers for the VIP.
//!
//! Three hosts hold it; one may answer. The question must be seen to reach the others, or their
//! silence would prove nothing.

use super::Settings;
use super::observe::{self, names};
use crate::report::{Check, Resolution};
use crate::{Error, Host, Lab, Report, owner};

pub(super) fn run(
    lab: &mut Lab,
    _settings: &Settings,
    report: &mut Report,
) -> Result<Vec<Check>, Error> {
    let asked = observe::ask(lab)?;
    let checks = vec![
        Check::equal(
            "the question reaches",
            &vec![Host::Director, Host::Rs1, Host::Rs2],
            &asked.asked,
            |hosts| names(hosts),
        ),
        Check::equal(
            "the VIP is answered by",
            &vec![Host::Director],
            &asked.answered_by,
            |hosts| names(hosts),
        ),
        Check::equal(
            "the client's entry for the VIP is the MAC of",
            &Host::Director.mac(),
            &asked.entry,
            owner,
        ),
    ];
    report.arp = Some(Resolution {
        vip_answered_by: asked.answered_by,
        asked: asked.asked,
        client_entry: netlink::mac_text(&asked.entry),
        client_entry_host: Host::of_mac(&asked.entry),
    });
    Ok(checks)
}
