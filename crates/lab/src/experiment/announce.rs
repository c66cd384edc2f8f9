//! Step 5, second half: a real server that announces the VIP in its own questions.
//!
//! IPv4: `arp_announce` off on real server 2, `arp_ignore` still on. It answers no ARP for the
//! VIP. But when it must find the client to reply, it asks "who has CLIENT? tell VIP", because the
//! waiting packet's source is the VIP, and the client learns from the question: VIP is at real
//! server 2. From then on the director is out of the path.
//!
//! IPv6: Linux takes the waiting packet's source for its solicitation only if that address is on
//! the interface it asks through. With the VIP on `lo` it never is; with the VIP on `eth0`, the
//! mistake of the first half, it is. The client's entry is then overwritten by a mere question,
//! while it has asked nothing and nobody has answered anything.

use netlink::{Mac, arp, ndp};

use super::Settings;
use super::flux::{be_silent, hold_on_interface, set_all};
use super::observe::{self, Bypass, is_answer};
use crate::capture::Seen;
use crate::frame::Content;
use crate::report::{Announce, Check, Question};
use crate::{Error, Family, Host, Lab, Mark, Point, Report, owner, realserver};

/// The server that is let loose.
const SERVER: Host = Host::Rs2;
/// Requests while it goes wrong, and after.
const REQUESTS: u32 = 4;
/// Two real servers of weight 1: of two requests one is for this server. Two more for good measure.
const TRIES_MAX: u32 = 4;

pub(super) fn run(
    lab: &mut Lab,
    _settings: &Settings,
    report: &mut Report,
) -> Result<Vec<Check>, Error> {
    let Observed {
        before,
        after,
        question,
        answers,
        bypass,
    } = observe::undisturbed(lab, go_wrong)?;
    let (content, said) = realserver::check(&lab.net, SERVER)?;
    be_silent(&lab.net, SERVER)?;
    let afterwards = observe::mend(lab, REQUESTS)?;

    let vip = lab.family().vip();
    let mut checks = vec![
        Check::equal(
            "before, the client's entry is the MAC of",
            &Host::Director.mac(),
            &before,
            owner,
        ),
        Check::that(
            format!(
                "{} asks for the client and gives {vip} as its own address",
                SERVER.title()
            ),
            question.is_some(),
            question
                .as_ref()
                .map_or_else(|| "it does not".to_owned(), Question::line),
        ),
        Check::equal(
            "answers for the VIP by that server",
            &0,
            &answers,
            usize::to_string,
        ),
        Check::equal(
            "after, the client's entry is the MAC of",
            &SERVER.mac(),
            &after,
            owner,
        ),
    ];
    checks.extend(bypass.checks(SERVER));
    checks.push(Check::that(
        "`dirigo realserver check` there explains it",
        !content,
        if content { "it is content" } else { "it does" },
    ));
    checks.extend(afterwards.checks());
    report.arp_announce = Some(Announce {
        suppressed: false,
        server: SERVER,
        client_entry_before: netlink::mac_text(&before),
        client_entry_after: netlink::mac_text(&after),
        question,
        answers_by_server: answers,
        requests: bypass.requests,
        answered_requests: bypass.answered,
        requests_seen_by_director: bypass.seen_by_director,
        check: said,
        afterwards,
    });
    Ok(checks)
}

/// What is seen while it goes wrong.
struct Observed {
    before: Mac,
    after: Mac,
    question: Option<Question>,
    answers: usize,
    bypass: Bypass,
}

/// From the good state into the bad.
fn go_wrong(lab: &Lab) -> Result<Observed, Error> {
    be_silent(&lab.net, SERVER)?;
    let before = observe::ask(lab)?.entry;
    match lab.family() {
        Family::Ipv4 => set_all(&lab.net, SERVER, "arp_announce", "0")?,
        Family::Ipv6 => hold_on_interface(&lab.net, SERVER)?,
    }
    let mark = lab.capture.mark();
    have_it_ask(lab)?;
    Ok(Observed {
        before,
        after: observe::client_entry(lab)?,
        question: question(lab, &mark),
        answers: answers_by_server(lab, &mark),
        bypass: observe::bypass(lab, REQUESTS)?,
    })
}

/// Requests until one is for the server, which has forgotten the client and must ask for it.
fn have_it_ask(lab: &Lab) -> Result<(), Error> {
    let client = Host::Client.address(lab.family());
    for _ in 0..TRIES_MAX {
        lab.net.forget(SERVER, client)?;
        if observe::request(lab, 1)? == [SERVER] {
            return Ok(());
        }
    }
    Ok(())
}

/// The server's question with the VIP as its sender, as the client received it.
fn question(lab: &Lab, mark: &Mark) -> Option<Question> {
    let vip = lab.family().vip();
    let client = Host::Client.address(lab.family());
    let seen = lab.capture.since(mark, Point::Host(Host::Client));
    let questions = seen
        .iter()
        .filter(|seen| !seen.outgoing)
        .filter_map(read_question);
    questions
        .filter(|question| question.sender_mac == netlink::mac_text(&SERVER.mac()))
        .find(|question| (question.sender_ip, question.target_ip) == (vip, client))
}

fn read_question(seen: &Seen) -> Option<Question> {
    match &seen.frame.content {
        Content::Arp(arp) if arp.operation == arp::Operation::Request => Some(Question {
            sender_mac: netlink::mac_text(&arp.sender_mac),
            sender_ip: arp.sender.into(),
            target_ip: arp.target.into(),
        }),
        Content::Ndp(ndp) if ndp.operation == ndp::Operation::Solicitation => Some(Question {
            sender_mac: netlink::mac_text(&ndp.mac?),
            sender_ip: ndp.source.into(),
            target_ip: ndp.target.into(),
        }),
        _ => None,
    }
}

fn answers_by_server(lab: &Lab, mark: &Mark) -> usize {
    let vip = lab.family().vip();
    let seen = lab.capture.since(mark, Point::Host(Host::Client));
    let answers = seen
        .iter()
        .filter(|seen| !seen.outgoing && seen.frame.from == SERVER.mac() && is_answer(seen, vip));
    answers.count()
}

impl Question {
    fn line(&self) -> String {
        let Self {
            sender_mac,
            sender_ip,
            target_ip,
        } = self;
        format!("who has {target_ip}? tell {sender_ip} at {sender_mac}")
    }
}
