//! What an experiment showed, as data. `dirigo lab run --json` prints it as it is.
//!
//! MACs, addresses and hosts are texts, so that a reader needs nothing but JSON. A section that was
//! not reached is `null` or empty.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use crate::page::Kind;
use crate::{Family, Host};

/// The whole experiment.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of the lab.
    pub version: &'static str,
    /// The kernel's release.
    pub kernel: String,
    /// Name of the lab.
    pub name: String,
    /// `ipv4` or `ipv6`.
    pub family: Family,
    /// How the director's program is attached: `native` or `generic`; empty until it runs.
    pub mode: String,
    /// Who serves the pages.
    pub pages: Option<Kind>,
    /// The virtual address.
    pub vip: IpAddr,
    /// The four hosts.
    pub hosts: Vec<HostRow>,
    /// Step 1.
    pub arp: Option<Resolution>,
    /// Step 2: the table as printed.
    pub ipvsadm: Option<String>,
    /// Step 3.
    pub spread: Vec<Spread>,
    /// Step 4: one request, hop by hop.
    pub hops: Vec<Hop>,
    /// Step 4: replies seen at the director's port since the lab was built.
    pub reply_frames_via_director: Option<usize>,
    /// Step 4: all frames of that one request.
    pub director_port: Option<PortFrames>,
    /// Step 5, first half.
    pub arp_flux: Option<Flux>,
    /// Step 5, second half.
    pub arp_announce: Option<Announce>,
    /// Step 6, a weight of 0.
    pub drain: Option<Drain>,
    /// Step 6, a failing server.
    pub removal: Option<Removal>,
    /// Each step with what it should have shown and what it did.
    pub steps: Vec<Step>,
    /// Why the experiment ended early.
    pub error: Option<String>,
    /// How long it took.
    pub duration_ms: u128,
    /// Every step showed what it should.
    pub ok: bool,
}

/// One of the four hosts.
#[derive(Clone, Debug, Serialize)]
pub struct HostRow {
    /// Its name.
    pub host: Host,
    /// Its address.
    pub address: IpAddr,
    /// Its MAC.
    pub mac: String,
    /// What it does with the VIP.
    pub vip: &'static str,
}

/// One step of the experiment.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// 1 to 6.
    pub step: u8,
    /// What it shows.
    pub title: String,
    /// What was looked at.
    pub checks: Vec<Check>,
    /// All of them.
    pub ok: bool,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What should be seen.
    pub should: String,
    /// What was seen.
    pub did: String,
    /// Whether they agree.
    pub ok: bool,
}

/// A question for the VIP's MAC and its answers.
#[derive(Clone, Debug, Serialize)]
pub struct Resolution {
    /// Hosts that answered, first answer first.
    pub vip_answered_by: Vec<Host>,
    /// Hosts that were asked: the question was captured on their interface.
    pub asked: Vec<Host>,
    /// What the client then believes.
    pub client_entry: String,
    /// Whose MAC that is.
    pub client_entry_host: Option<Host>,
}

/// How a number of requests spread.
#[derive(Clone, Debug, Serialize)]
pub struct Spread {
    /// The scheduler.
    pub scheduler: &'static str,
    /// Weight by real server.
    pub weights: BTreeMap<Host, u32>,
    /// Requests answered by each real server.
    pub requests: BTreeMap<Host, u32>,
    /// Requests each should have answered, least and most.
    pub expected: BTreeMap<Host, [u32; 2]>,
    /// Who answered, in order.
    pub sequence: Vec<Host>,
}

/// One hop of one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// Whose frame it is.
    pub from: Host,
    /// Who takes it.
    pub to: Host,
    /// Ethernet source.
    pub src_mac: String,
    /// Ethernet destination.
    pub dst_mac: String,
    /// IP source.
    pub src_ip: IpAddr,
    /// IP destination.
    pub dst_ip: IpAddr,
    /// TCP source port.
    pub src_port: u16,
    /// TCP destination port.
    pub dst_port: u16,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Where the same frame was captured.
    pub captured_at: Vec<&'static str>,
}

/// The frames of one connection, counted at each point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PortFrames {
    /// What the client sent.
    pub sent_by_client: usize,
    /// Of these, to the director.
    pub into_director: usize,
    /// What the director passed on.
    pub out_of_director: usize,
    /// What the real server received.
    pub received_by_server: usize,
    /// What the real server sent.
    pub sent_by_server: usize,
    /// Of these, what the client received.
    pub received_by_client: usize,
    /// Replies at the director's port.
    pub replies_at_director: usize,
    /// The kernel's own count at the switch's port: frames from the director in that time.
    pub kernel_out_of_director: u64,
    /// The same, towards the director.
    pub kernel_into_director: u64,
}

/// A real server that answers for the VIP.
#[derive(Clone, Debug, Serialize)]
pub struct Flux {
    /// Always false here: that is the experiment.
    pub suppressed: bool,
    /// The real server that was let loose.
    pub server: Host,
    /// Everybody who answered, first answer first.
    pub answered_by: Vec<Host>,
    /// What the client believed before.
    pub client_entry_before: String,
    /// And after.
    pub client_entry_after: String,
    /// How often it was asked until the real server won.
    pub races: u32,
    /// How the entry was taken: `answer`, or `unsolicited advertisement` (IPv6).
    pub taken_by: &'static str,
    /// Requests made then.
    pub requests: u32,
    /// Who answered them.
    pub answered_requests: BTreeMap<Host, u32>,
    /// Connections of which any frame reached the director.
    pub requests_seen_by_director: usize,
    /// What `dirigo realserver check` says on that server.
    pub check: String,
    /// Suppression on again.
    pub afterwards: Afterwards,
}

/// A real server that announces the VIP in its own questions.
#[derive(Clone, Debug, Serialize)]
pub struct Announce {
    /// Always false here.
    pub suppressed: bool,
    /// The real server that was let loose.
    pub server: Host,
    /// What the client believed before.
    pub client_entry_before: String,
    /// And after.
    pub client_entry_after: String,
    /// The question that did it.
    pub question: Option<Question>,
    /// Answers for the VIP by that server meanwhile.
    pub answers_by_server: usize,
    /// Requests made then.
    pub requests: u32,
    /// Who answered them.
    pub answered_requests: BTreeMap<Host, u32>,
    /// Connections of which any frame reached the director.
    pub requests_seen_by_director: usize,
    /// What `dirigo realserver check` says on that server.
    pub check: String,
    /// Suppression on again.
    pub afterwards: Afterwards,
}

/// "Who has the client's address? Tell the VIP."
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Question {
    /// MAC of who asks.
    pub sender_mac: String,
    /// Address it gives as its own.
    pub sender_ip: IpAddr,
    /// Address it asks for.
    pub target_ip: IpAddr,
}

/// The way back: suppression on again, the client asks anew.
#[derive(Clone, Debug, Serialize)]
pub struct Afterwards {
    /// Who answers for the VIP now.
    pub vip_answered_by: Vec<Host>,
    /// What the client believes now.
    pub client_entry: String,
    /// Requests made then.
    pub requests: u32,
    /// Those of which frames reached the director.
    pub requests_seen_by_director: usize,
    /// Whether `dirigo realserver check` is content on both.
    pub check_ok: bool,
}

/// A weight of 0.
#[derive(Clone, Debug, Serialize)]
pub struct Drain {
    /// The real server whose weight was set to 0.
    pub server: Host,
    /// Long-lived connections, opened before.
    pub established: Vec<Established>,
    /// Who answered connections opened after.
    pub new: BTreeMap<Host, u32>,
    /// The table then.
    pub ipvsadm: String,
}

/// A server that failed and was removed.
#[derive(Clone, Debug, Serialize)]
pub struct Removal {
    /// The real server.
    pub server: Host,
    /// Requests while it failed, and how many of them did.
    pub requests_while_failing: u32,
    /// Of these, failed ones.
    pub failed: u32,
    /// Long-lived connections to the other server.
    pub established: Vec<Established>,
    /// Who answered connections opened after the removal.
    pub new: BTreeMap<Host, u32>,
    /// Who answered when it was back.
    pub after_return: BTreeMap<Host, u32>,
}

/// A long-lived connection, asked before and after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Established {
    /// The client's port.
    pub client_port: u16,
    /// Who answered before.
    pub before: Host,
    /// Who answered after; nobody if it broke.
    pub after: Option<Host>,
}

impl Report {
    /// An empty report.
    #[must_use]
    pub fn new(name: &str, family: Family) -> Self {
        let kernel = nix::sys::utsname::uname();
        let release = kernel.map(|kernel| kernel.release().display().to_string());
        Self {
            version: env!("CARGO_PKG_VERSION"),
            kernel: release.unwrap_or_default(),
            name: name.to_owned(),
            family,
            mode: String::new(),
            pages: None,
            vip: family.vip(),
            hosts: Host::ALL.map(|host| HostRow::new(host, family)).to_vec(),
            arp: None,
            ipvsadm: None,
            spread: Vec::new(),
            hops: Vec::new(),
            reply_frames_via_director: None,
            director_port: None,
            arp_flux: None,
            arp_announce: None,
            drain: None,
            removal: None,
            steps: Vec::new(),
            error: None,
            duration_ms: 0,
            ok: false,
        }
    }
}

impl HostRow {
    fn new(host: Host, family: Family) -> Self {
        Self {
            host,
            address: host.address(family),
            mac: netlink::mac_text(&host.mac()),
            vip: match host {
                Host::Client => "-",
                Host::Director => "on eth0, answers for it",
                Host::Rs1 | Host::Rs2 => "on lo, silent",
            },
        }
    }
}

impl Check {
    /// Something that should equal something.
    pub fn equal<T: PartialEq + std::fmt::Debug>(
        what: &str,
        should: &T,
        did: &T,
        say: impl Fn(&T) -> String,
    ) -> Self {
        Self {
            should: format!("{what}: {}", say(should)),
            did: say(did),
            ok: should == did,
        }
    }

    /// Something that should be so, with the words for what was seen.
    pub fn that(should: impl Into<String>, ok: bool, did: impl Into<String>) -> Self {
        Self {
            should: should.into(),
            did: did.into(),
            ok,
        }
    }
}
