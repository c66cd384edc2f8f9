//! One real packet for each service and server, in a frame for that server's MAC, and two echo
//! requests to each host: what a client's packet meets, without disturbing anyone.
//!
//! ```text
//! SYN to the VIP, at the server's MAC ─► SYN ACK: it serves; we reset it at once
//!                                    ─► RST, ICMP error: it refuses
//!      UDP: an empty datagram; SCTP: an INIT, whose answer nobody remembers
//!                                    ─► nothing: the same to its real address, and an echo request
//! ```
//!
//! The frames leave by a raw socket, so no table of this host, and on the director no connection of
//! the data plane, knows of them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use api::Protocol;
use netlink::{FrameSocket, Mac};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, getsockname, socket,
};

use super::ears::{Ears, own_address};
use super::wire::{self, Ends, Reply, Unreachable};
use crate::Role;
use crate::facts::{Answer, Echo, Facts, Link, Path};
use crate::limits::{ANSWER, ECHO_BYTES, PATHS_MAX, TRIES};

/// A packet that waits for its answer.
struct Question {
    interface: u32,
    frame: Vec<u8>,
    ends: Ends,
    /// Our port, or the number of an echo.
    number: u16,
    /// The port asked for; 0 for an echo.
    port: u16,
    /// None for an echo.
    protocol: Option<Protocol>,
    reply: Option<Reply>,
    /// Keeps the port ours.
    _reserved: Option<OwnedFd>,
}

impl Question {
    /// Whether it began a connection, which must be ended.
    fn is_tcp(&self) -> bool {
        self.protocol == Some(Protocol::Tcp)
    }
}

/// First sequence number; a reset must name the next one.
const SEQUENCE: u32 = 0x6469_7269;

pub(super) fn walk(facts: &mut Facts, links: &[Link], ears: &mut Ears) -> Result<(), super::Error> {
    let mut sockets = BTreeMap::new();
    for link in links {
        sockets.insert(link.index, FrameSocket::open_answers(link.index)?);
    }
    facts.echoes = echoes(facts, links, &mut sockets);
    let mut paths = planned(facts);
    if paths.len() > PATHS_MAX {
        let left = paths.len() - PATHS_MAX;
        facts
            .unseen
            .push(format!("{left} of the ways to a server were not tried"));
        paths.truncate(PATHS_MAX);
    }
    let places: Vec<Option<Link>> = paths
        .iter()
        .map(|path| place(facts, links, path.mac))
        .collect();
    let first = ask(facts, &paths, &places, &mut sockets, &|path| {
        path.service.address.ip()
    });
    for (path, answer) in paths.iter_mut().zip(&first) {
        path.answer = answer.unwrap_or(Answer::Silent);
    }
    further(facts, &mut paths, &places, &mut sockets);
    ears.listen(Duration::ZERO);
    facts.paths = paths;
    Ok(())
}

/// Where to look: each server of each service from the director; the client's way from elsewhere.
fn planned(facts: &Facts) -> Vec<Path> {
    let path = |key: crate::facts::Key, server, mac| Path {
        service: key,
        server,
        mac,
        answer: Answer::Silent,
        at_real_address: None,
        vip_echo: None,
    };
    let asked = |address: IpAddr| facts.answers(address).map(|claim| claim.mac);
    let services = facts.segment.services.iter();
    let services = services.filter(|service| service.key.address.port() != 0);
    let mut paths = Vec::new();
    for service in services {
        match facts.role {
            Role::Director => {
                for destination in service.destinations.iter().filter(|one| !one.local) {
                    let server = destination.address.ip();
                    paths.extend(asked(server).map(|mac| path(service.key, Some(server), mac)));
                }
            }
            Role::Witness => {
                let vip = service.key.address.ip();
                paths.extend(asked(vip).take(1).map(|mac| path(service.key, None, mac)));
            }
            Role::Realserver => {}
        }
    }
    paths
}

/// The interface on which a MAC was heard.
fn place(facts: &Facts, links: &[Link], mac: Mac) -> Option<Link> {
    let claim = facts.claims.iter().find(|claim| claim.mac == mac)?;
    links
        .iter()
        .find(|link| link.name == claim.interface)
        .cloned()
}

fn ask(
    facts: &Facts,
    paths: &[Path],
    places: &[Option<Link>],
    sockets: &mut BTreeMap<u32, FrameSocket>,
    target: &dyn Fn(&Path) -> IpAddr,
) -> Vec<Option<Answer>> {
    let mut questions = Vec::new();
    let mut whose = Vec::new();
    for (at, (path, link)) in paths.iter().zip(places).enumerate() {
        let to = target(path);
        let question = link.as_ref().and_then(|link| {
            let ends = ends(facts, link, path.mac, to)?;
            opening(
                link,
                ends,
                path.service.protocol,
                path.service.address.port(),
            )
        });
        if let Some(question) = question {
            questions.push(question);
            whose.push(at);
        }
    }
    exchange(&mut questions, sockets);
    let mut answers = vec![None; paths.len()];
    for (question, at) in questions.iter().zip(whose) {
        answers[at] = Some(answer(question.reply, paths[at].service.protocol));
    }
    answers
}

/// For those that did not accept: would they, at their own address? Do they know the VIP at all?
fn further(
    facts: &Facts,
    paths: &mut [Path],
    places: &[Option<Link>],
    sockets: &mut BTreeMap<u32, FrameSocket>,
) {
    let is_odd = |path: &Path| {
        let silent = path.answer == Answer::Silent && path.service.protocol == Protocol::Tcp;
        path.server.is_some() && (silent || path.answer == Answer::Refused)
    };
    let odd: Vec<usize> = (0..paths.len()).filter(|at| is_odd(&paths[*at])).collect();
    let some: Vec<Path> = odd.iter().map(|at| paths[*at].clone()).collect();
    let some_places: Vec<Option<Link>> = odd.iter().map(|at| places[*at].clone()).collect();
    let real = |path: &Path| path.server.unwrap_or_else(|| path.service.address.ip());
    let answers = ask(facts, &some, &some_places, sockets, &real);
    let mut echoes = Vec::new();
    let mut whose = Vec::new();
    for (path, link) in some.iter().zip(&some_places) {
        let Some(link) = link else { continue };
        let number = 0x4000 + echoes.len() as u16;
        if let Some(ends) = ends(facts, link, path.mac, path.service.address.ip()) {
            echoes.push(echo(link, ends, number, ECHO_BYTES.into()));
            whose.push((path.mac, path.service.address.ip()));
        }
    }
    exchange(&mut echoes, sockets);
    for ((at, path), answer) in odd.iter().zip(&some).zip(answers) {
        paths[*at].at_real_address = answer;
        let known = whose
            .iter()
            .position(|key| *key == (path.mac, path.service.address.ip()));
        let heard = known.and_then(|at| echoes.get(at));
        paths[*at].vip_echo = heard.map(|question| question.reply == Some(Reply::Echo));
    }
}

/// A small and a large echo request to each host that answered for its own address, and to the
/// director at the VIP.
fn echoes(facts: &Facts, links: &[Link], sockets: &mut BTreeMap<u32, FrameSocket>) -> Vec<Echo> {
    let mut targets: Vec<IpAddr> = facts.servers();
    targets.extend(&facts.segment.directors);
    if facts.role != Role::Director {
        targets.extend(&facts.segment.vips);
    }
    targets.truncate(PATHS_MAX);
    let mut questions = Vec::new();
    let mut echoes: Vec<Echo> = Vec::new();
    for target in targets {
        let claims: Vec<_> = facts.answers(target).cloned().collect();
        // Who answers for an address that two have is another finding's matter.
        let [claim] = claims.as_slice() else { continue };
        let link = links.iter().find(|link| link.name == claim.interface);
        let known = echoes.iter().any(|echo| echo.mac == claim.mac);
        let Some((link, ends)) =
            link.and_then(|link| Some((link, ends(facts, link, claim.mac, target)?)))
        else {
            continue;
        };
        if known {
            continue;
        }
        let number = 0x2000 + 2 * echoes.len() as u16;
        questions.push(echo(link, ends, number, ECHO_BYTES.into()));
        questions.push(echo(link, ends, number + 1, link.mtu as usize));
        echoes.push(Echo {
            address: target,
            mac: claim.mac,
            interface: link.name.clone(),
            small: false,
            large_bytes: link.mtu,
            large: false,
        });
    }
    exchange(&mut questions, sockets);
    for (echo, pair) in echoes.iter_mut().zip(questions.chunks(2)) {
        let answered = |at: usize| {
            pair.get(at)
                .is_some_and(|one| one.reply == Some(Reply::Echo))
        };
        (echo.small, echo.large) = (answered(0), answered(1));
    }
    echoes
}

fn ends(facts: &Facts, link: &Link, to_mac: Mac, to: IpAddr) -> Option<Ends> {
    Some(Ends {
        from_mac: link.mac,
        to_mac,
        from: own_address(&facts.host, link, to)?,
        to,
    })
}

fn opening(link: &Link, ends: Ends, protocol: Protocol, port: u16) -> Option<Question> {
    let (reserved, number) = reserve(ends.from, protocol)?;
    let frame = match protocol {
        Protocol::Tcp => wire::syn(&ends, number, port, SEQUENCE),
        Protocol::Udp => wire::datagram(&ends, number, port),
        Protocol::Sctp => wire::init(&ends, number, port, SEQUENCE),
    };
    Some(Question {
        interface: link.index,
        frame,
        ends,
        number,
        port,
        protocol: Some(protocol),
        reply: None,
        _reserved: reserved,
    })
}

fn echo(link: &Link, ends: Ends, number: u16, bytes: usize) -> Question {
    Question {
        interface: link.index,
        frame: wire::echo(&ends, number, bytes),
        ends,
        number,
        port: 0,
        protocol: None,
        reply: None,
        _reserved: None,
    }
}

/// A port of our own that the kernel gives to nobody else meanwhile. Bound, but not listening.
///
/// Of SCTP, which many kernels do not have, there is nothing to reserve: a port that nobody is given is taken, and what
/// comes back is nobody's.
fn reserve(address: IpAddr, protocol: Protocol) -> Option<(Option<OwnedFd>, u16)> {
    const NEVER_GIVEN: std::ops::Range<u16> = 0xf000..0xff00;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let kind = match protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
        Protocol::Sctp => {
            let number = NEXT.fetch_add(1, Ordering::Relaxed) % NEVER_GIVEN.len() as u16;
            return Some((None, NEVER_GIVEN.start + number));
        }
    };
    let family = match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None).ok()?;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    let port = match address {
        IpAddr::V4(four) => {
            bind(fd, &SockaddrIn::from(std::net::SocketAddrV4::new(four, 0))).ok()?;
            getsockname::<SockaddrIn>(fd).ok()?.port()
        }
        IpAddr::V6(six) => {
            let any = std::net::SocketAddrV6::new(six, 0, 0, 0);
            bind(fd, &SockaddrIn6::from(any)).ok()?;
            getsockname::<SockaddrIn6>(fd).ok()?.port()
        }
    };
    Some((Some(socket), port))
}

/// Sends what was not answered yet and listens, some times over.
fn exchange(questions: &mut [Question], sockets: &mut BTreeMap<u32, FrameSocket>) {
    for _ in 0..TRIES {
        if questions.iter().all(|question| question.reply.is_some()) {
            return;
        }
        for question in questions.iter().filter(|question| question.reply.is_none()) {
            if let Some(socket) = sockets.get(&question.interface) {
                // An interface that went down answers nothing, which is what is found then.
                let _sent = socket.send(&question.frame);
            }
        }
        let until = Instant::now() + ANSWER;
        while Instant::now() < until && questions.iter().any(|question| question.reply.is_none()) {
            for (index, socket) in sockets.iter_mut() {
                hear(*index, socket, questions);
            }
        }
    }
    for question in questions
        .iter()
        .filter(|question| question.is_tcp() && question.reply.is_none())
    {
        end(
            question,
            SEQUENCE.wrapping_add(1),
            sockets.get(&question.interface),
        );
    }
}

fn hear(index: u32, socket: &mut FrameSocket, questions: &mut [Question]) {
    while let Ok(Some(frame)) = socket.recv(Some(Duration::from_millis(5))) {
        let Some(heard) = (!frame.outgoing)
            .then(|| wire::read(&frame.bytes))
            .flatten()
        else {
            continue;
        };
        let asked = questions.iter_mut().find(|question| {
            question.interface == index
                && question.reply.is_none()
                && (question.number, question.ends.to) == (heard.number, heard.from)
        });
        let Some(question) = asked else { continue };
        question.reply = Some(heard.reply);
        if let Reply::Accepted { acknowledged, .. } = heard.reply {
            end(question, acknowledged, Some(socket));
        }
    }
}

/// The server forgets the connection at once.
fn end(question: &Question, sequence: u32, socket: Option<&FrameSocket>) {
    let frame = wire::reset(&question.ends, question.number, question.port, sequence);
    if let Some(socket) = socket {
        // If it is lost, the server gives up by itself.
        let _sent = socket.send(&frame);
    }
}

fn answer(reply: Option<Reply>, protocol: Protocol) -> Answer {
    match (reply, protocol) {
        (Some(Reply::Accepted { mss, .. }), _) => Answer::Accepted { mss },
        (Some(Reply::Reset), _) => Answer::Refused,
        (Some(Reply::Associated), _) => Answer::Accepted { mss: None },
        (Some(Reply::Aborted), _) => Answer::Refused,
        (
            Some(Reply::Error {
                unreachable: Unreachable::Port,
            }),
            Protocol::Udp,
        )
        | (
            Some(Reply::Error {
                unreachable: Unreachable::Protocol,
            }),
            Protocol::Sctp,
        ) => Answer::Refused,
        (Some(Reply::Error { .. }), _) => Answer::Prohibited,
        (Some(Reply::Echo) | None, _) => Answer::Silent,
    }
}
