//! The kernel: its age, BPF, connection tracking, its own balancer, clock and memory.

use super::hosts;
use super::neighbour::service_words;
use crate::facts::{Facts, Role};
use crate::finding::{Code, Finding};
use crate::limits::{CONNTRACK_FULL_PERCENT, MEMORY_LOW_PERCENT};

/// Debian 12's, the oldest the lab is run on.
const OLDEST: (u32, u32) = (6, 1);
/// Clocks whose reading is a walk over a bus.
const SLOW: [&str; 4] = ["hpet", "acpi_pm", "jiffies", "pit"];

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = conntrack(facts).into_iter().collect();
    if facts.role == Role::Director {
        findings.extend(age(facts));
        findings.extend(jit(facts));
        findings.extend(bpffs(facts));
        findings.extend(ipvs(facts));
        findings.extend(clock(facts));
    }
    findings.extend(memory(facts));
    findings
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(|letter: char| !letter.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn age(facts: &Facts) -> Option<Finding> {
    let found = version(&facts.host.kernel)?;
    (found < OLDEST).then(|| {
        Finding::problem(
            Code::KernelOld,
            hosts::here(facts),
            format!("the kernel is {}", facts.host.kernel),
            format!(
                "Dirigo is tried on {}.{} and newer; older ones may refuse its program",
                OLDEST.0, OLDEST.1
            ),
        )
        .risk()
        .fix("apt-get install linux-image-amd64")
    })
}

fn jit(facts: &Facts) -> Option<Finding> {
    let value = facts.host.sysctls.get("net/core/bpf_jit_enable")?;
    (*value == 0).then(|| {
        Finding::problem(
            Code::BpfJitOff,
            hosts::here(facts),
            "net.core.bpf_jit_enable is 0",
            "the program is interpreted, instruction by instruction, at ten times its cost",
        )
        .risk()
        .fix("sysctl -w net.core.bpf_jit_enable=1")
    })
}

fn bpffs(facts: &Facts) -> Option<Finding> {
    (!facts.host.bpffs).then(|| {
        Finding::problem(
            Code::BpffsMissing,
            hosts::here(facts),
            "no BPF file system is on /sys/fs/bpf",
            "program, table and connections are pinned there, so that they outlive the daemon",
        )
        .fix("mount -t bpf bpf /sys/fs/bpf")
    })
}

fn ipvs(facts: &Facts) -> Vec<Finding> {
    let ours = facts.segment.services.iter();
    let both = ours.filter(|service| {
        service.key.mark.is_none() && facts.host.ipvs.contains(&service.key.address)
    });
    let found = both.map(|service| {
        let address = service.key.address;
        Finding::problem(
            Code::IpvsActive,
            hosts::here(facts),
            format!("the kernel's own IPVS has the service {address}, too"),
            "it no longer sees the service's packets, but would, with other connections, as soon as the \
             director lets go; and its table misleads whoever reads it",
        )
        .risk()
        .fix(format!("ipvsadm -D {}", service_words(service.key)))
        .about(address.ip())
    });
    found.collect()
}

fn clock(facts: &Facts) -> Option<Finding> {
    let current = facts.host.clocksource.as_deref()?;
    if !SLOW.contains(&current) {
        return None;
    }
    let better = facts
        .host
        .clocksources
        .iter()
        .find(|name| !SLOW.contains(&name.as_str()))?;
    Some(
        Finding::problem(
            Code::ClockSlow,
            hosts::here(facts),
            format!("the clock source is {current}; {better} is there"),
            "the program reads the clock for every packet, which this source makes a microsecond's work",
        )
        .risk()
        .fix(format!(
            "echo {better} > /sys/devices/system/clocksource/clocksource0/current_clocksource"
        )),
    )
}

fn conntrack(facts: &Facts) -> Option<Finding> {
    let (count, most) = facts.host.conntrack?;
    if most == 0 || count.saturating_mul(100) < most.saturating_mul(CONNTRACK_FULL_PERCENT) {
        return None;
    }
    Some(
        Finding::problem(
            Code::ConntrackFull,
            hosts::here(facts),
            format!("connection tracking has {count} entries of {most}"),
            "a new connection that finds the table full is dropped before any rule sees it",
        )
        .fix(format!(
            "sysctl -w net.netfilter.nf_conntrack_max={}",
            (most * 4).max(262_144)
        )),
    )
}

fn memory(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some((available, all)) = facts.host.memory_kib
        && all > 0
        && available.saturating_mul(100) < all.saturating_mul(MEMORY_LOW_PERCENT)
    {
        findings.push(
            Finding::problem(
                Code::MemoryLow,
                hosts::here(facts),
                format!(
                    "{} MiB of {} MiB of memory are available",
                    available / 1_024,
                    all / 1_024
                ),
                "the kernel ends processes when none is left, the daemon or the service among them",
            )
            .risk()
            .fix("ps -eo rss,pid,args --sort=-rss | head"),
        );
    }
    let daemon = facts
        .segment
        .daemon
        .as_ref()
        .filter(|_| facts.role == Role::Director);
    if let Some(daemon) = daemon
        && let Some((limit, used)) = daemon.memory
        && used.saturating_mul(10) > limit.saturating_mul(9)
    {
        let unit = daemon.unit.as_deref().unwrap_or("dirigo.service");
        findings.push(
            Finding::problem(
                Code::MemoryLow,
                hosts::here(facts),
                format!("the daemon uses {used} of the {limit} bytes that its control group may"),
                "above the limit the kernel ends it",
            )
            .risk()
            .fix(format!("systemctl set-property {unit} MemoryMax=infinity")),
        );
    }
    findings
}
