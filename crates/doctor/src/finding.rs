//! What an examination finds: what was seen, why it matters, and the commands that mend it.

use std::net::IpAddr;

use serde::Serialize;

use crate::Role;

/// The result of an examination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Nothing is wrong: no problem and no risk.
    pub ok: bool,
    /// Where it was made.
    pub role: Role,
    /// The VIPs it is about.
    pub vips: Vec<IpAddr>,
    /// The interfaces of the segment, and what counts on each.
    pub interfaces: Vec<Interface>,
    /// Everything that is not as it should be, the worst first.
    pub findings: Vec<Finding>,
    /// What could not be looked at, and why.
    pub unseen: Vec<String>,
}

/// An interface as it counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its MTU.
    pub mtu: u32,
    /// Its XDP program's mode, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xdp: Option<String>,
    /// Settings of IPv4 by their names.
    pub settings: std::collections::BTreeMap<&'static str, Setting>,
}

/// A setting as it stands on an interface: what is written, and what the kernel makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The value of `all`.
    pub all: i64,
    /// The interface's own.
    pub interface: i64,
    /// What counts.
    pub effective: i64,
}

/// One deviation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// For programs.
    pub code: Code,
    /// How much it matters.
    pub severity: Severity,
    /// The host at fault.
    pub host: HostName,
    /// The VIP it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vip: Option<IpAddr>,
    /// The interfaces it is about, on the host at fault.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
    /// What was seen.
    pub seen: String,
    /// Why it matters.
    pub why: String,
    /// The commands that mend it, in order.
    pub fix: Vec<String>,
    /// The host they are for, if it is not the one at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix_on: Option<HostName>,
}

/// A host as a finding names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct HostName {
    /// What it is: `director`, `real server`, `witness`, `host`.
    pub role: String,
    /// Its address, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Its MAC, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// It is the host that was examined.
    pub here: bool,
}

impl std::fmt::Display for HostName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.role)?;
        if let Some(address) = self.address {
            write!(f, " {address}")?;
        }
        if let Some(mac) = &self.mac {
            write!(f, " ({mac})")?;
        }
        Ok(())
    }
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Something does not work, or not reliably.
    Problem,
    /// It works, and will not when something else changes, or works slower than it could.
    Risk,
    /// Worth knowing; no reason to act.
    Note,
}

impl Severity {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Risk => "risk",
            Self::Note => "note",
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Kinds of finding. `docs/doctor.md` has the reason and the fix of each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// As it is written in JSON and in the manual.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

codes! {
    /// No daemon answers.
    DaemonUnreachable = "daemon-unreachable",
    /// Nobody answers for the VIP.
    VipUnanswered = "vip-unanswered",
    /// A real server answers for the VIP.
    VipAnsweredByServer = "vip-answered-by-server",
    /// A host that is neither director nor known real server answers for the VIP.
    VipAnsweredByOther = "vip-answered-by-other",
    /// Several hosts answer, and it is not known which is the director.
    VipAnsweredBySeveral = "vip-answered-by-several",
    /// A host announces the VIP as its own, or asks with it as sender.
    VipAnnounced = "vip-announced",
    /// Another host has an address of this one, or two others share one.
    AddressConflict = "address-conflict",
    /// Two addresses are at the same MAC.
    MacShared = "mac-shared",
    /// A real server does not answer for its own address.
    ServerSilent = "server-silent",
    /// The neighbour entry is not what the host says.
    NeighbourWrong = "neighbour-wrong",
    /// The neighbour entry failed although the host answers.
    NeighbourFailed = "neighbour-failed",
    /// The neighbour entry keeps changing.
    NeighbourFlapping = "neighbour-flapping",
    /// The daemon cannot reach a real server although it answers.
    ServerUnresolved = "server-unresolved",
    /// The VIP is not where it must be.
    VipMissing = "vip-missing",
    /// The VIP has the prefix of a network.
    VipPrefix = "vip-prefix",
    /// The VIP is on an interface that answers for it.
    VipOnRealInterface = "vip-on-real-interface",
    /// The VIP is on an interface without ARP, instead of `lo`.
    VipOnSilentInterface = "vip-on-silent-interface",
    /// The VIP is on a host that has no business with it.
    VipOnWitness = "vip-on-witness",
    /// IPv6: the VIP is not in use yet.
    VipTentative = "vip-tentative",
    /// IPv6: the VIP is not in use because another host has it.
    VipDadFailed = "vip-dad-failed",
    /// IPv6: the VIP may be chosen as source of the host's own connections.
    VipPreferred = "vip-preferred",
    /// `lo` is off.
    LoDown = "lo-down",
    /// An interface is off or has no wire.
    InterfaceDown = "interface-down",
    /// An interface does no ARP.
    ArpOff = "arp-off",
    /// The director's settings keep it from answering for the VIP.
    DirectorSilent = "director-silent",
    /// `all/arp_announce` twice, `all/arp_ignore` never.
    AllArpIgnoreForgotten = "all-arp-ignore-forgotten",
    /// `arp_ignore` on `lo` alone.
    ArpIgnoreOnLoOnly = "arp-ignore-on-lo-only",
    /// An interface answers ARP for the VIP.
    ArpIgnore = "arp-ignore",
    /// `arp_announce` on `lo` alone.
    ArpAnnounceOnLoOnly = "arp-announce-on-lo-only",
    /// ARP requests of an interface may carry the VIP.
    ArpAnnounce = "arp-announce",
    /// ARP is answered only where the reply would be routed.
    ArpFilter = "arp-filter",
    /// A host answers ARP for others.
    ProxyArp = "proxy-arp",
    /// Reverse path filtering drops, or will drop, clients' packets.
    RpFilterStrict = "rp-filter-strict",
    /// A real server's replies go through the director.
    ReplyThroughDirector = "reply-through-director",
    /// There is no way back to clients.
    NoRouteBack = "no-route-back",
    /// One host carries smaller packets than another.
    MtuMismatch = "mtu-mismatch",
    /// The director's program is not on its interface.
    XdpMissing = "xdp-missing",
    /// XDP runs in the stack, not in the driver.
    XdpGeneric = "xdp-generic",
    /// Another XDP program is on the interface.
    XdpForeign = "xdp-foreign",
    /// One processor does the work of all.
    QueuesFew = "queues-few",
    /// RSS leaves queues out.
    RssUneven = "rss-uneven",
    /// The card merges what it receives.
    LroOn = "lro-on",
    /// Checksums are left to a device that is not there.
    TxChecksumOffload = "tx-checksum-offload",
    /// The receive ring is small.
    RxRingSmall = "rx-ring-small",
    /// The kernel is older than what this was made for.
    KernelOld = "kernel-old",
    /// BPF programs are interpreted.
    BpfJitOff = "bpf-jit-off",
    /// No BPF file system.
    BpffsMissing = "bpffs-missing",
    /// The kernel's own balancer has the same service.
    IpvsActive = "ipvs-active",
    /// A firewall rule drops the service's packets.
    FirewallDrops = "firewall-drops",
    /// A firewall rule may drop the service's packets.
    FirewallMayDrop = "firewall-may-drop",
    /// The connection tracking table is full.
    ConntrackFull = "conntrack-full",
    /// Nothing listens on the service's port.
    ServiceClosed = "service-closed",
    /// The program listens on the real address alone.
    ServiceOnRealAddressOnly = "service-on-real-address-only",
    /// A packet for the VIP is not answered, and the host does not know the VIP.
    VipMissingOnServer = "vip-missing-on-server",
    /// A packet for the VIP is swallowed by a host that has it.
    ServiceFiltered = "service-filtered",
    /// A client's packet gets no answer.
    ServiceUnreachable = "service-unreachable",
    /// The clock costs a system call's worth of time.
    ClockSlow = "clock-slow",
    /// Memory is short.
    MemoryLow = "memory-low",
}

impl Finding {
    /// A problem of a host.
    pub(crate) fn problem(
        code: Code,
        host: HostName,
        seen: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        Self {
            code,
            severity: Severity::Problem,
            host,
            vip: None,
            interfaces: Vec::new(),
            seen: seen.into(),
            why: why.into(),
            fix: Vec::new(),
            fix_on: None,
        }
    }

    pub(crate) fn risk(mut self) -> Self {
        self.severity = Severity::Risk;
        self
    }

    pub(crate) fn about(mut self, vip: IpAddr) -> Self {
        self.vip = Some(vip);
        self
    }

    pub(crate) fn on(mut self, interface: &str) -> Self {
        self.interfaces.push(interface.to_owned());
        self
    }

    pub(crate) fn fix(mut self, command: impl Into<String>) -> Self {
        self.fix.push(command.into());
        self
    }

    pub(crate) fn fix_at(mut self, host: HostName) -> Self {
        self.fix_on = Some(host);
        self
    }
}

impl Report {
    /// Sorts, and says whether nothing is wrong.
    #[must_use]
    pub fn new(
        role: Role,
        vips: Vec<IpAddr>,
        interfaces: Vec<Interface>,
        mut findings: Vec<Finding>,
        unseen: Vec<String>,
    ) -> Self {
        findings.sort_by(|a, b| {
            let key = |finding: &Finding| (finding.severity, finding.code, finding.vip);
            key(a).cmp(&key(b)).then_with(|| a.host.cmp(&b.host))
        });
        findings.dedup();
        Self {
            ok: findings.iter().all(|one| one.severity == Severity::Note),
            role,
            vips,
            interfaces,
            findings,
            unseen,
        }
    }
}

/// A word as a shell reads it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./=:,@".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}
