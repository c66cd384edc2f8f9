//! What a `[[service]]` does beside being there: scheduler and flags, persistence, one-packet scheduling, its
//! share; and the thresholds of a destination.

use api::{Family, Netmask, Persistence, Protocol, SchedulerFlags};

use crate::mistake::Reason;
use crate::notes::Notes;
use crate::schema;
use crate::section::{At, Section};
use crate::values::{Share, Threshold};
use crate::{Scheduler, Seconds, read};

pub(crate) fn scheduler(section: &Section<'_>, notes: &mut Notes<'_>) -> Option<Scheduler> {
    let word = section.string(&schema::SCHEDULER, notes)?;
    let found = Scheduler::named(word.value);
    if found.is_none() {
        let names = Scheduler::ALL.map(Scheduler::name);
        notes.add(
            word.at,
            read::unknown_value(&schema::SCHEDULER, word.value, &names),
        );
    }
    found
}

/// `["sh-port"]`: names that mean something to the scheduler.
pub(crate) fn flags(
    section: &Section<'_>,
    scheduler: Scheduler,
    notes: &mut Notes<'_>,
) -> SchedulerFlags {
    let mut flags = SchedulerFlags::NONE;
    let Some(names) = section.strings(&schema::FLAGS, notes) else {
        return flags;
    };
    for name in names.value {
        match SchedulerFlags::named(name.value, scheduler.name()) {
            Some(flag) => flags = flags.with(flag),
            None => {
                let flag = name.value.into();
                notes.add(name.at, Reason::UnknownFlag { flag, scheduler });
            }
        }
    }
    flags
}

/// `of` is what a message calls the service.
pub(crate) fn persistence(
    section: &Section<'_>,
    of: Option<(Family, String)>,
    notes: &mut Notes<'_>,
) -> Option<Persistence> {
    let timeout = section.number(&schema::PERSISTENCE, Seconds::try_from, notes);
    let text = section.string(&schema::NETMASK, notes);
    if let Some(at) = section.position(&schema::NETMASK)
        && section.position(&schema::PERSISTENCE).is_none()
    {
        notes.add(at, Reason::NetmaskWithoutPersistence);
    }
    let netmask = text.zip(of);
    let netmask = netmask.and_then(|(text, (family, of))| netmask_of(&text, family, of, notes));
    Some(Persistence {
        timeout_s: timeout?.value.into(),
        netmask,
    })
}

/// An IPv4 mask or the length of an IPv6 prefix, as `-M` takes them.
fn netmask_of(
    text: &At<&str>,
    family: Family,
    of: String,
    notes: &mut Notes<'_>,
) -> Option<Netmask> {
    let (netmask, advice) = match family {
        Family::V4 => (
            text.value.parse().ok().map(Netmask::V4),
            "an IPv4 mask, for example \"255.255.255.0\"",
        ),
        Family::V6 => {
            let prefix: Option<u8> = text.value.parse().ok();
            let good = prefix.filter(|prefix| (1..=128).contains(prefix));
            (
                good.map(Netmask::V6),
                "the length of an IPv6 prefix, for example \"64\"",
            )
        }
    };
    if netmask.is_none() {
        let reason = Reason::BadNetmask {
            netmask: text.value.into(),
            of,
            advice,
        };
        notes.add(text.at, reason);
    }
    netmask
}

/// For UDP, and for firewall marks, which have no protocol.
pub(crate) fn one_packet(
    section: &Section<'_>,
    protocol: Option<Protocol>,
    notes: &mut Notes<'_>,
) -> bool {
    let one_packet = section.flag(&schema::ONE_PACKET, notes).unwrap_or(false);
    if one_packet
        && let Some(protocol) = protocol.filter(|protocol| *protocol != Protocol::Udp)
        && let Some(at) = section.position(&schema::ONE_PACKET)
    {
        notes.add(at, Reason::OnePacketNotUdp { protocol });
    }
    one_packet
}

pub(crate) fn share(section: &Section<'_>, notes: &mut Notes<'_>) -> Option<u8> {
    let share = section.number(&schema::SHARE, Share::try_from, notes)?;
    u8::try_from(u32::from(share.value)).ok()
}

/// Upper and lower threshold of a destination.
pub(crate) fn thresholds(section: &Section<'_>, notes: &mut Notes<'_>) -> (u32, u32) {
    let mut threshold = |key| section.number(key, Threshold::try_from, notes);
    let upper = threshold(&schema::UPPER_THRESHOLD).map_or(0, |upper| upper.value.into());
    let lower = threshold(&schema::LOWER_THRESHOLD);
    let Some(lower) = lower else {
        return (upper, 0);
    };
    let (at, lower) = (lower.at, u32::from(lower.value));
    if lower > upper {
        notes.add(at, Reason::LowerAboveUpper { lower, upper });
    }
    (upper, lower)
}
