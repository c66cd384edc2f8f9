//! Looking again and again, and telling what came and what went.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::time::Duration;

use netlink::Mac;

use crate::facts::Facts;
use crate::finding::{Code, Finding, HostName, Report};
use crate::limits::CHANGES_MAX;
use crate::observe::{Ears, Error, observe_with};
use crate::{Options, examine};

/// What changed since the last look.
#[derive(Clone, Debug)]
pub struct News {
    /// The whole of it.
    pub report: Report,
    /// Findings that were not there before.
    pub new: Vec<Finding>,
    /// Findings that are no longer there.
    pub gone: Vec<Finding>,
}

type Key = (Code, HostName, Option<IpAddr>, Vec<String>);

/// Looks every `pause` and tells what changed, until told to stop. Between two looks it listens, so
/// that a single announcement is not missed.
pub fn watch(
    options: &Options,
    pause: Duration,
    tell: &mut dyn FnMut(News) -> ControlFlow<()>,
) -> Result<(), Error> {
    let mut ears = Ears::default();
    let mut before: Vec<Finding> = Vec::new();
    let mut neighbours = Neighbours::default();
    loop {
        let mut facts = observe_with(options, &mut ears)?;
        ears.forget();
        neighbours.note(&mut facts);
        let report = examine(&facts);
        let is_in =
            |one: &Finding, list: &[Finding]| list.iter().any(|other| key(other) == key(one));
        let new = report
            .findings
            .iter()
            .filter(|one| !is_in(one, &before))
            .cloned()
            .collect();
        let gone = before
            .iter()
            .filter(|one| !is_in(one, &report.findings))
            .cloned()
            .collect();
        before.clone_from(&report.findings);
        if tell(News { report, new, gone }).is_break() {
            return Ok(());
        }
        ears.listen(pause);
        if !options.probe {
            std::thread::sleep(pause);
        }
    }
}

fn key(finding: &Finding) -> Key {
    let Finding {
        code,
        host,
        vip,
        interfaces,
        ..
    } = finding;
    (*code, host.clone(), *vip, interfaces.clone())
}

/// How often each entry changed its MAC.
#[derive(Default)]
struct Neighbours {
    seen: BTreeMap<(String, IpAddr), (Mac, u32)>,
}

impl Neighbours {
    fn note(&mut self, facts: &mut Facts) {
        for entry in &mut facts.host.neighbours {
            let Some(mac) = entry.mac else { continue };
            let place = (entry.interface.clone(), entry.address);
            if self.seen.len() >= CHANGES_MAX && !self.seen.contains_key(&place) {
                continue;
            }
            let known = self.seen.entry(place).or_insert((mac, 0));
            if known.0 != mac {
                *known = (mac, known.1.saturating_add(1));
            }
            entry.changes = known.1;
        }
    }
}
