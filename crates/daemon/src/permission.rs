//! What the process must be allowed to do, and the letting go of everything else.

use anyhow::Context;
use caps::{CapSet, Capability, CapsHashSet};

/// A capability that is kept.
struct Kept {
    capability: Capability,
    /// What for.
    reason: &'static str,
    /// Without it nothing works; without the others, what the reason says.
    is_needed: bool,
}

const fn needed(capability: Capability, reason: &'static str) -> Kept {
    Kept {
        capability,
        reason,
        is_needed: true,
    }
}

const fn useful(capability: Capability, reason: &'static str) -> Kept {
    Kept {
        capability,
        reason,
        is_needed: false,
    }
}

/// All that is kept; `docs/privileges.md` says more of each, and a test compares.
const KEPT: &[Kept] = &[
    needed(
        Capability::CAP_NET_ADMIN,
        "to attach the program and hold addresses",
    ),
    needed(Capability::CAP_NET_RAW, "to ask for MAC addresses"),
    needed(
        Capability::CAP_SYS_ADMIN,
        "to make the checks' network namespace",
    ),
    needed(Capability::CAP_BPF, "to load the program"),
    needed(
        Capability::CAP_PERFMON,
        "to load the program without detours against Spectre in it",
    ),
    useful(Capability::CAP_SETUID, "to run a script check as its user"),
    useful(
        Capability::CAP_SETGID,
        "to run a script check as its user's group",
    ),
    useful(
        Capability::CAP_KILL,
        "to end a script check whose time is over",
    ),
    useful(
        Capability::CAP_NET_BIND_SERVICE,
        "to listen on a port below 1024, if the configuration says so",
    ),
    useful(
        Capability::CAP_CHOWN,
        "to give the socket to the group dirigo",
    ),
];

/// What is missing, for people; empty if nothing is.
pub(crate) fn missing() -> Vec<String> {
    missing_of(&caps::read(None, CapSet::Effective).unwrap_or_default())
}

fn missing_of(effective: &CapsHashSet) -> Vec<String> {
    KEPT.iter()
        .filter(|kept| kept.is_needed && !effective.contains(&kept.capability))
        .map(|kept| format!("{} ({})", kept.capability, kept.reason))
        .collect()
}

/// Lets go of every other capability for good, and of gaining any by running a program. It is the calling thread's and
/// of those that it starts: call it before the first.
pub(crate) fn reduce() -> anyhow::Result<()> {
    nix::sys::prctl::set_no_new_privs().context("giving up new privileges")?;
    let permitted = caps::read(None, CapSet::Permitted)?;
    let kept = KEPT.iter().map(|kept| kept.capability);
    let kept: CapsHashSet = kept.filter(|one| permitted.contains(one)).collect();
    caps::clear(None, CapSet::Ambient).context("clearing ambient capabilities")?;
    // Only this one may be without CAP_SETPCAP, as in a container that has taken it away; what follows does not need it.
    if permitted.contains(&Capability::CAP_SETPCAP) {
        for capability in caps::read(None, CapSet::Bounding)?.difference(&kept) {
            caps::drop(None, CapSet::Bounding, *capability)
                .with_context(|| format!("letting go of {capability}"))?;
        }
    }
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, &kept).context("letting go of capabilities")?;
    }
    caps::clear(None, CapSet::Inheritable).context("clearing inheritable capabilities")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_reason() {
        let mut all = caps::all();
        assert!(missing_of(&all).is_empty());
        all.remove(&Capability::CAP_BPF);
        all.remove(&Capability::CAP_KILL);
        assert_eq!(missing_of(&all), ["CAP_BPF (to load the program)"]);
        let needed = KEPT.iter().filter(|kept| kept.is_needed).count();
        assert_eq!(missing_of(&CapsHashSet::default()).len(), needed);
    }

    #[test]
    fn the_page_of_privileges_names_every_capability_that_is_kept_and_no_other() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/privileges.md");
        let page = std::fs::read_to_string(page).unwrap();
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `CAP_"));
        let named: Vec<_> = rows
            .filter_map(|row| Some(format!("CAP_{}", row.split_once('`')?.0)))
            .collect();
        let kept: Vec<_> = KEPT
            .iter()
            .map(|kept| kept.capability.to_string())
            .collect();
        assert_eq!(named, kept);
    }
}
