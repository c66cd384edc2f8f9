//! What the steps have in common: asking, requesting, counting in captures.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use netlink::{Mac, arp, ndp};

use crate::capture::Seen;
use crate::frame::Content;
use crate::http::{self, Answer};
use crate::limits::{ANNOUNCING, FURTHER_ANSWERS, UNDISTURBED_TRIES};
use crate::report::{Afterwards, Check};
use crate::{Error, Host, Lab, Mark, Point, realserver};

/// A question for the VIP's MAC, from the client, and what came of it.
pub(super) struct Asked {
    /// First answer first.
    pub answered_by: Vec<Host>,
    /// Who got the question.
    pub asked: Vec<Host>,
    /// What the client believes.
    pub entry: Mac,
}

/// Makes the client forget the VIP's MAC and ask again.
pub(super) fn ask(lab: &Lab) -> Result<Asked, Error> {
    let vip = lab.family().vip();
    let mark = lab.capture.mark();
    lab.net.forget(Host::Client, vip)?;
    lab.net.resolve(Host::Client, vip)?;
    // A second answer may replace the first (IPv6) or be ignored (IPv4): look when all are in.
    lab.net.interrupt().pause(FURTHER_ANSWERS)?;
    let entry = client_entry(lab)?;
    let got_question = |host: &Host| {
        let seen = lab.capture.since(&mark, Point::Host(*host));
        seen.iter()
            .any(|seen| !seen.outgoing && is_question(seen, vip))
    };
    Ok(Asked {
        answered_by: answered_by(lab, &mark),
        asked: Host::ALL.into_iter().filter(got_question).collect(),
        entry,
    })
}

/// What the client believes to be the VIP's MAC.
pub(super) fn client_entry(lab: &Lab) -> Result<Mac, Error> {
    let vip = lab.family().vip();
    let entry = lab.net.neighbour(Host::Client, vip)?;
    entry.ok_or_else(|| Error::Timeout {
        what: format!("the client to know the MAC of {vip}"),
        seconds: 0,
        said: "its neighbour table has no usable entry".to_owned(),
    })
}

/// Who answered the client's questions for the VIP since a mark, first answer first.
pub(super) fn answered_by(lab: &Lab, mark: &Mark) -> Vec<Host> {
    let vip = lab.family().vip();
    let seen = lab.capture.since(mark, Point::Host(Host::Client));
    let mut hosts = Vec::new();
    for seen in seen
        .iter()
        .filter(|seen| !seen.outgoing && is_answer(seen, vip))
    {
        if let Some(host) = Host::of_mac(&seen.frame.from)
            && !hosts.contains(&host)
        {
            hosts.push(host);
        }
    }
    hosts
}

/// The client's question. An announcement by the director is a question in form only.
fn is_question(seen: &Seen, vip: IpAddr) -> bool {
    if seen.frame.from != Host::Client.mac() {
        return false;
    }
    match &seen.frame.content {
        Content::Arp(arp) => arp.operation == arp::Operation::Request && vip == arp.target,
        Content::Ndp(ndp) => ndp.operation == ndp::Operation::Solicitation && vip == ndp.target,
        _ => false,
    }
}

/// Observes something that an announcement by the director would undo, again if there was one. A
/// fresh director announces the VIP some seconds long, as it should; the counter-experiments show
/// what happens in the hours between.
pub(super) fn undisturbed<T>(
    lab: &Lab,
    mut observe: impl FnMut(&Lab) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut tries = 0;
    loop {
        tries += 1;
        let mark = lab.capture.mark();
        let observed = observe(lab)?;
        if tries >= UNDISTURBED_TRIES || !announced_by_director(lab, &mark) {
            return Ok(observed);
        }
        lab.net.interrupt().pause(ANNOUNCING)?;
    }
}

/// Whether the client heard an announcement of the VIP from the director since a mark.
fn announced_by_director(lab: &Lab, mark: &Mark) -> bool {
    let vip = lab.family().vip();
    let seen = lab.capture.since(mark, Point::Host(Host::Client));
    let mut from_director = seen
        .iter()
        .filter(|seen| !seen.outgoing && seen.frame.from == Host::Director.mac());
    from_director.any(|seen| match &seen.frame.content {
        Content::Arp(arp) => vip == arp.sender && vip == arp.target,
        Content::Ndp(ndp) => {
            let announced = matches!(
                ndp.operation,
                ndp::Operation::Advertisement {
                    solicited: false,
                    ..
                }
            );
            announced && vip == ndp.target
        }
        _ => false,
    })
}

/// An answer, not an announcement: ARP replies always are, advertisements if solicited.
pub(super) fn is_answer(seen: &Seen, vip: IpAddr) -> bool {
    match &seen.frame.content {
        Content::Arp(arp) => arp.operation == arp::Operation::Reply && vip == arp.sender,
        Content::Ndp(ndp) => {
            let solicited = matches!(
                ndp.operation,
                ndp::Operation::Advertisement {
                    solicited: true,
                    ..
                }
            );
            solicited && vip == ndp.target
        }
        _ => false,
    }
}

/// One request per connection, all of which must be answered by a real server.
pub(super) fn request(lab: &Lab, count: u32) -> Result<Vec<Host>, Error> {
    let service = lab.family().service();
    (0..count)
        .map(|_| served_by(&http::get(&lab.net, Host::Client, service)?))
        .collect()
}

/// Which real server an answer is from.
pub(super) fn served_by(answer: &Answer) -> Result<Host, Error> {
    answer.server().ok_or_else(|| Error::Answer {
        from: answer.from.to_string(),
        detail: format!("status {}, page {:?}", answer.status, answer.body),
    })
}

/// How many of each.
pub(super) fn tally(servers: &[Host]) -> BTreeMap<Host, u32> {
    let mut counts = BTreeMap::from(Host::SERVERS.map(|server| (server, 0)));
    for server in servers {
        *counts.entry(*server).or_default() += 1;
    }
    counts
}

/// Connections to the service of which any frame went to the director since a mark.
pub(super) fn connections_at_director(lab: &Lab, mark: &Mark) -> usize {
    let service = lab.family().service();
    let seen = lab.capture.since(mark, Point::DirectorPort);
    let clients: BTreeSet<SocketAddr> = seen
        .iter()
        .filter(|seen| seen.outgoing && seen.frame.to == Host::Director.mac())
        .filter_map(|seen| seen.frame.segment())
        .filter(|segment| segment.destination == service)
        .map(|segment| segment.source)
        .collect();
    clients.len()
}

/// Requests that go wrong: made while the client's entry is a real server's.
pub(super) struct Bypass {
    pub requests: u32,
    pub answered: BTreeMap<Host, u32>,
    pub seen_by_director: usize,
}

/// Makes requests with the client's table as it is.
pub(super) fn bypass(lab: &Lab, requests: u32) -> Result<Bypass, Error> {
    let mark = lab.capture.mark();
    let servers = request(lab, requests)?;
    Ok(Bypass {
        requests,
        answered: tally(&servers),
        seen_by_director: connections_at_director(lab, &mark),
    })
}

impl Bypass {
    /// All answered by `server`, none seen by the director.
    pub(super) fn checks(&self, server: Host) -> [Check; 2] {
        let direct = self.answered.get(&server) == Some(&self.requests);
        [
            Check::that(
                format!("all requests go straight to {}", server.title()),
                direct,
                counts(&self.answered),
            ),
            Check::equal(
                "requests seen by the director",
                &0,
                &self.seen_by_director,
                usize::to_string,
            ),
        ]
    }
}

/// Suppression on again everywhere; the client asks anew and makes requests.
pub(super) fn mend(lab: &Lab, requests: u32) -> Result<Afterwards, Error> {
    let mut check_ok = true;
    for server in Host::SERVERS {
        realserver::up(&lab.net, server)?;
        check_ok &= realserver::check(&lab.net, server)?.0;
    }
    let asked = ask(lab)?;
    let mark = lab.capture.mark();
    request(lab, requests)?;
    Ok(Afterwards {
        vip_answered_by: asked.answered_by,
        client_entry: netlink::mac_text(&asked.entry),
        requests,
        requests_seen_by_director: connections_at_director(lab, &mark),
        check_ok,
    })
}

impl Afterwards {
    /// The director is back in the path.
    pub(super) fn checks(&self) -> [Check; 3] {
        let requests = usize::try_from(self.requests).unwrap_or(usize::MAX);
        [
            Check::that(
                "suppressed again, `dirigo realserver check` is content",
                self.check_ok,
                if self.check_ok { "it is" } else { "it is not" },
            ),
            Check::equal(
                "suppressed again, the VIP is answered by",
                &vec![Host::Director],
                &self.vip_answered_by,
                |hosts| names(hosts),
            ),
            Check::equal(
                "suppressed again, requests seen by the director",
                &requests,
                &self.requests_seen_by_director,
                usize::to_string,
            ),
        ]
    }
}

/// `director and rs1`
pub(super) fn names(hosts: &[Host]) -> String {
    match hosts {
        [] => "nobody".to_owned(),
        hosts => {
            let names: Vec<&str> = hosts.iter().map(|host| host.name()).collect();
            names.join(" and ")
        }
    }
}

/// `rs1 10, rs2 10`
pub(super) fn counts(counts: &BTreeMap<Host, u32>) -> String {
    let each: Vec<String> = counts
        .iter()
        .map(|(host, count)| format!("{host} {count}"))
        .collect();
    each.join(", ")
}
