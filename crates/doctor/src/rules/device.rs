//! What a card and its driver do by themselves.

use super::hosts;
use crate::facts::{Facts, Link, Role};
use crate::finding::{Code, Finding};
use crate::limits::RX_RING_MIN;

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for link in facts.host.segment_links().filter(|link| link.up) {
        findings.extend(tx_checksum(facts, link));
        if facts.role == Role::Director {
            findings.extend(lro(facts, link));
        }
        // Virtual links have no card; their queues and rings are numbers without one.
        if link.kind.is_empty() && facts.role == Role::Director {
            findings.extend(queues(facts, link));
            findings.extend(rss(facts, link));
            findings.extend(ring(facts, link));
        }
    }
    findings
}

/// On veth nobody finishes the checksum when an XDP program sends the frame on.
fn tx_checksum(facts: &Facts, link: &Link) -> Option<Finding> {
    if link.kind != "veth" || !link.tx_checksum {
        return None;
    }
    let finding = Finding::problem(
        Code::TxChecksumOffload,
        hosts::here(facts),
        format!("{} is a veth and leaves checksums to a device that is not there", link.name),
        "a frame that XDP takes and sends on never gets its checksum finished: the real server drops it, \
         so connections of this host through the director hang",
    )
    .fix(format!("ethtool -K {} tx off", link.name))
    .on(&link.name);
    Some(if facts.role == Role::Witness {
        finding
    } else {
        finding.risk()
    })
}

fn lro(facts: &Facts, link: &Link) -> Option<Finding> {
    link.lro.then(|| {
        Finding::problem(
            Code::LroOn,
            hosts::here(facts),
            format!("LRO is on for {}", link.name),
            "the card merges segments of a connection into one that is larger than the MTU and cannot be \
             cut again: such a frame cannot be sent on. Most drivers also refuse native XDP then",
        )
        .fix(format!("ethtool -K {} lro off", link.name))
        .on(&link.name)
    })
}

fn queues(facts: &Facts, link: &Link) -> Option<Finding> {
    let (used, most, combined) = link.queues?;
    let wanted = most.min(facts.host.processors);
    if used >= wanted || wanted < 2 {
        return None;
    }
    let kind = if combined { "combined" } else { "rx" };
    Some(
        Finding::problem(
            Code::QueuesFew,
            hosts::here(facts),
            format!(
                "{} receives on {used} queues; the card has {most}, the machine {} processors",
                link.name, facts.host.processors
            ),
            "each queue is one processor's work; the others look on while it drops",
        )
        .risk()
        .fix(format!("ethtool -L {} {kind} {wanted}", link.name))
        .on(&link.name),
    )
}

fn rss(facts: &Facts, link: &Link) -> Option<Finding> {
    let (used, ..) = link.queues?;
    let spread = link.rss.as_ref().filter(|spread| !spread.is_empty())?;
    let count = u32::try_from(spread.len()).ok()?;
    (count < used).then(|| {
        Finding::problem(
            Code::RssUneven,
            hosts::here(facts),
            format!("RSS spreads over {count} of {used} queues of {}", link.name),
            "queues that RSS leaves out receive nothing; their processors look on",
        )
        .risk()
        .fix(format!("ethtool -X {} equal {used}", link.name))
        .on(&link.name)
    })
}

fn ring(facts: &Facts, link: &Link) -> Option<Finding> {
    let (now, most) = link.rx_ring?;
    if now == 0 || now >= RX_RING_MIN || most < RX_RING_MIN {
        return None;
    }
    Some(
        Finding::problem(
            Code::RxRingSmall,
            hosts::here(facts),
            format!(
                "the receive ring of {} has {now} places; {most} are possible",
                link.name
            ),
            "a burst of clients fills it within a millisecond, and what comes then is lost",
        )
        .risk()
        .fix(format!(
            "ethtool -G {} rx {}",
            link.name,
            most.min(2 * RX_RING_MIN)
        ))
        .on(&link.name),
    )
}
