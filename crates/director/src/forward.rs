//! The whole data path, in order.

use crate::arrival::{Arrival, Outcome};
use crate::connection::{self, Entry, State};
use crate::ethernet::LinkHeader;
use crate::fragment;
use crate::frame::Frame;
use crate::headers::{ETHER_TYPE_ARP, ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, Mac};
use crate::icmp::Errors;
use crate::limits::INTERFACES;
use crate::packet::{Event, Fragment, Header, Network, NetworkV4, NetworkV6, Packet};
use crate::persistence;
use crate::reply::reply;
use crate::rewrite::direct_routing;
use crate::tables::{Egress, Settings, Tables, setting};
use crate::time::Instant;
use crate::verdict::{Counter, DropReason, PassReason, ReplyReason, Verdict};

/// What comes after a step.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: this becomes of the frame.
    Done(Verdict),
    /// [`fast_v6`](crate::fast_v6): it is IPv6.
    FastV6,
    /// [`whole`]: it is not plain.
    Whole,
    /// [`begin`] for IPv4: it belongs to no connection.
    BeginV4,
    /// The same for IPv6.
    BeginV6,
    /// [`answer`]: its sender is told.
    Answer(ReplyReason),
}

/// Decides one frame and, if it is ours, readdresses it.
///
/// In the kernel each step is a program that calls its successor; the counter is moved by the one that
/// decides. A step that does not decide leaves the frame as it was.
#[inline(always)]
pub fn forward(frame: &mut impl Frame, tables: &impl Tables) -> Verdict {
    let next = crate::fast(frame, tables, |next| next);
    go_on(frame, tables, next)
}

/// Decides one frame from a step on.
#[inline(always)]
pub fn go_on(frame: &mut impl Frame, tables: &impl Tables, mut next: Next) -> Verdict {
    let verdict = loop {
        next = match next {
            Next::Done(verdict) => break verdict,
            Next::FastV6 => crate::fast_v6(frame, tables, |next| next),
            Next::Whole => whole(frame, tables),
            Next::BeginV4 => begin::<NetworkV4>(frame, tables),
            Next::BeginV6 => begin::<NetworkV6>(frame, tables),
            Next::Answer(reason) => Next::Done(answer(frame, tables, reason)),
        };
    };
    tables.count_verdict(verdict);
    verdict
}

/// Packets of known connections that are not plain, later fragments, ICMP errors: all that
/// [`fast`](fn@crate::fast) leaves and that makes no connection.
#[inline(always)]
pub fn whole(frame: &mut impl Frame, tables: &impl Tables) -> Next {
    step(frame, tables, &Known)
}

/// Packets of one family that make a connection, if they may.
#[inline(always)]
pub fn begin<N: Errors>(frame: &mut impl Frame, tables: &impl Tables) -> Next {
    match LinkHeader::read(frame) {
        Some(link) if link.ether_type == N::ETHER_TYPE => {
            balance::<N>(frame, tables, link, &Beginning)
        }
        // Whoever came before saw this family.
        _ => Next::Done(Verdict::Drop(DropReason::Internal)),
    }
}

/// Answers a frame's sender, in the frame's place, if it may be answered.
#[inline(always)]
pub fn answer(frame: &mut impl Frame, tables: &impl Tables, reason: ReplyReason) -> Verdict {
    let Some(link) = LinkHeader::read(frame) else {
        return Verdict::Drop(DropReason::MalformedEthernet);
    };
    let answered = match link.ether_type {
        ETHER_TYPE_IPV4 => reply::<NetworkV4>(frame, tables, link, reason),
        ETHER_TYPE_IPV6 => reply::<NetworkV6>(frame, tables, link, reason),
        _ => None,
    };
    match answered {
        Some(()) => Verdict::Reply(reason),
        None => Verdict::Drop(reason.otherwise()),
    }
}

/// A step that chooses a destination.
trait Step {
    /// Chooses it, or says what comes instead.
    fn choose<N: Errors>(
        &self,
        frame: &impl Frame,
        tables: &impl Tables,
        settings: &Settings,
        header: Header<N>,
        now: Instant,
    ) -> Result<Choice, Next>;
}

#[inline(always)]
fn step(frame: &mut impl Frame, tables: &impl Tables, step: &impl Step) -> Next {
    let Some(link) = LinkHeader::read(frame) else {
        return Next::Done(Verdict::Drop(DropReason::MalformedEthernet));
    };
    match link.ether_type {
        ETHER_TYPE_IPV4 => balance::<NetworkV4>(frame, tables, link, step),
        ETHER_TYPE_IPV6 => balance::<NetworkV6>(frame, tables, link, step),
        ETHER_TYPE_ARP => Next::Done(Verdict::Pass(PassReason::Arp)),
        _ => Next::Done(Verdict::Pass(PassReason::NotIp)),
    }
}

#[inline(always)]
fn balance<N: Errors>(
    frame: &mut impl Frame,
    tables: &impl Tables,
    link: LinkHeader,
    step: &impl Step,
) -> Next {
    let mut header = match N::parse(frame, link.at, tables) {
        Ok(header) => header,
        Err(verdict) => return Next::Done(verdict),
    };
    header.transport = frame.blur(header.transport);
    let not_ours = Next::Done(Verdict::Pass(PassReason::NotForThisHost));
    let Some((_, ingress)) = ingress(frame.ingress(), tables) else {
        return not_ours;
    };
    if link.addresses.destination() != Mac::from_word(ingress.mac) {
        return not_ours;
    }
    let Some(settings) = tables.settings() else {
        return Next::Done(Verdict::Pass(PassReason::NotReady));
    };
    match step.choose(frame, tables, settings, header, tables.now()) {
        Ok(choice) => send(frame, tables, &header, ingress, choice),
        Err(next) => next,
    }
}

/// Where a packet goes, and why.
#[derive(Clone, Copy)]
struct Choice {
    destination: u32,
    /// It made a connection.
    is_new: bool,
    /// Nobody is told what becomes of it: an ICMP error, or a piece that is not the first (RFC 1122
    /// §3.2.2).
    is_unanswerable: bool,
}

impl Choice {
    #[inline(always)]
    fn known(destination: u32) -> Self {
        Self {
            destination,
            is_new: false,
            is_unanswerable: false,
        }
    }
}

/// Destinations of what is known: of the first fragment, of the quoted connection, of the connection.
struct Known;

impl Step for Known {
    #[inline(always)]
    fn choose<N: Errors>(
        &self,
        frame: &impl Frame,
        tables: &impl Tables,
        settings: &Settings,
        header: Header<N>,
        now: Instant,
    ) -> Result<Choice, Next> {
        if let Fragment::Later(identification) = header.fragment {
            let first = fragment::follow(tables, settings, &header, identification, now.tick());
            let destination = first.ok_or(pass(PassReason::Fragment))?;
            tables.count_event(Counter::FragmentFollowed);
            return Ok(Choice {
                is_unanswerable: true,
                ..Choice::known(destination)
            });
        }
        if header.protocol == N::ICMP {
            return quoted(frame, tables, settings, &header, now);
        }
        let packet = Packet::parse(frame, header).map_err(Next::Done)?;
        let choice = connection(tables, settings, &packet, now)?;
        remember_fragment(tables, settings, &header, choice, now);
        Ok(choice)
    }
}

/// Destinations of new connections.
struct Beginning;

impl Step for Beginning {
    #[inline(always)]
    fn choose<N: Errors>(
        &self,
        frame: &impl Frame,
        tables: &impl Tables,
        settings: &Settings,
        header: Header<N>,
        now: Instant,
    ) -> Result<Choice, Next> {
        let packet = Packet::parse(frame, header).map_err(Next::Done)?;
        let first = match header.fragment {
            Fragment::First(identification) => 1 << 32 | u64::from(identification),
            _ => 0,
        };
        // A number, so that a verifier forgets by which of many ways it came about.
        let first = tables.blur(first, now.ns);
        let arrival = Arrival::of(&packet, tables, settings, now);
        connection::warm(tables, settings, arrival.hash);
        let destination = match tables.connect(arrival) {
            Outcome::Connected(destination) => destination,
            Outcome::Refused => return Err(Next::Answer(ReplyReason::PortUnreachable)),
            Outcome::Passed(reason) => return Err(pass(reason)),
            Outcome::Dropped(reason) => return Err(drop_it(reason)),
        };
        if first != 0 {
            tables.count_event(Counter::FragmentFirst);
            let tick = now.tick();
            fragment::remember(tables, settings, &header, first as u32, destination, tick);
        }
        Ok(Choice {
            is_new: true,
            ..Choice::known(destination)
        })
    }
}

#[inline(always)]
fn pass(reason: PassReason) -> Next {
    Next::Done(Verdict::Pass(reason))
}

#[inline(always)]
fn drop_it(reason: DropReason) -> Next {
    Next::Done(Verdict::Drop(reason))
}

#[inline(always)]
fn remember_fragment<N: Network>(
    tables: &impl Tables,
    settings: &Settings,
    header: &Header<N>,
    choice: Choice,
    now: Instant,
) {
    if let Fragment::First(identification) = header.fragment {
        tables.count_event(Counter::FragmentFirst);
        let tick = now.tick();
        fragment::remember(
            tables,
            settings,
            header,
            identification,
            choice.destination,
            tick,
        );
    }
}

/// The destination of the connection that an ICMP error is about; its timer is left alone.
#[inline(always)]
fn quoted<N: Errors>(
    frame: &impl Frame,
    tables: &impl Tables,
    settings: &Settings,
    header: &Header<N>,
    now: Instant,
) -> Result<Choice, Next> {
    const NOT_OURS: Next = Next::Done(Verdict::Pass(PassReason::Icmp));
    // Of a fragmented error the rest would go astray: the host gathers it, and has no use for it.
    if header.fragment != Fragment::Whole {
        return Err(NOT_OURS);
    }
    let hash = N::quoted_flow(frame, header, settings).ok_or(NOT_OURS)?;
    let found = connection::find(tables, settings, hash).ok_or(NOT_OURS)?;
    let entry = connection::read(found.slot, hash).ok_or(NOT_OURS)?;
    if entry.destination() == 0 || entry.is_expired(settings, now.tick()) {
        return Err(NOT_OURS);
    }
    tables.count_event(Counter::IcmpErrorForwarded);
    Ok(Choice {
        is_unanswerable: true,
        ..Choice::known(entry.destination())
    })
}

/// The destination of a packet's connection.
#[inline(always)]
fn connection<N: Network>(
    tables: &impl Tables,
    settings: &Settings,
    packet: &Packet<N>,
    now: Instant,
) -> Result<Choice, Next> {
    let tick = now.tick();
    let hash = packet.hash(settings);
    let found = connection::find(tables, settings, hash).ok_or(N::BEGIN)?;
    let entry = connection::read(found.slot, hash).ok_or(N::BEGIN)?;
    match judge(tables, settings, packet.event, entry, found.index, tick) {
        Life::GoesOn => {
            move_on(tables, &found, entry, packet.event, tick);
            Ok(Choice::known(entry.destination()))
        }
        // The timer is not restarted, so that the connection ends.
        Life::Orphaned => Err(drop_it(DropReason::DestinationGone)),
        Life::Over => {
            connection::release_if(tables, &found, hash, entry);
            Err(N::BEGIN)
        }
        Life::Succeeded => {
            connection::end(tables, found.slot, entry);
            Err(N::BEGIN)
        }
    }
}

/// What a packet finds of its connection.
enum Life {
    GoesOn,
    /// Its destination was deleted.
    Orphaned,
    Over,
    /// It is over because of this packet, which begins the next one. Until that has its destination this one counts:
    /// in IPVS a timer takes it away, a moment later (`ip_vs_conn_expire_now`).
    Succeeded,
}

/// Whether a connection goes on with this packet. The rules are IPVS's, see [`setting`] and
/// [`Settings::conn_reuse_mode`].
#[inline(always)]
fn judge(
    tables: &impl Tables,
    settings: &Settings,
    event: Event,
    entry: Entry,
    index: u32,
    tick: u32,
) -> Life {
    if entry.destination() == 0 || entry.is_expired(settings, tick) {
        return Life::Over;
    }
    let link = tables.link(entry.destination());
    let forgets_orphans = settings.flags & setting::EXPIRE_NODEST_CONN != 0;
    // Reuse is asked about before the destination (ipvs §3.1): a SYN on a closed connection begins another.
    if event == Event::Syn || event == Event::Init {
        let is_left = forgets_orphans && link.is_drained();
        let is_reused = settings.conn_reuse_mode != 0
            && (entry.state().is_over()
                || settings.conn_reuse_mode >= 2 && entry.state() == State::FIN_WAIT)
            && tables.tuple(index).is_none_or(|tuple| tuple.life == 0);
        if is_left || is_reused {
            return Life::Succeeded;
        }
    }
    if !link.is_gone() {
        Life::GoesOn
    } else if forgets_orphans {
        Life::Over
    } else {
        Life::Orphaned
    }
}

/// Moves a connection on; the first time it is established, its template is proved.
#[inline(always)]
fn move_on<T: Tables>(
    tables: &T,
    found: &connection::Found<'_, T::Word>,
    entry: Entry,
    event: Event,
    tick: u32,
) {
    let state = connection::renew(tables, found.slot, entry, event, tick);
    if state.is_established()
        && !entry.state().is_established()
        && let Some(tuple) = tables.tuple(found.index)
    {
        persistence::assure(tables, tuple.life.into());
    }
}

/// Sends a packet on its way.
#[inline(always)]
fn send<N: Network>(
    frame: &mut impl Frame,
    tables: &impl Tables,
    header: &Header<N>,
    ingress: Egress,
    choice: Choice,
) -> Next {
    let link = tables.link(choice.destination);
    if link.is_gone() {
        return drop_it(DropReason::DestinationGone);
    }
    // Counted before it is sent: what the wire does to it is not the service's matter (ipvs §5).
    let connections = u64::from(choice.is_new);
    tables.account(choice.destination, connections, header.length as u64);
    if link.is_local() {
        return pass(PassReason::LocalDestination);
    }
    if !link.is_via() {
        return drop_it(DropReason::DestinationUnresolved);
    }
    if N::hops(header.lifetime) <= 1 {
        return if choice.is_unanswerable {
            drop_it(DropReason::TimeExceeded)
        } else {
            Next::Answer(ReplyReason::TimeExceeded)
        };
    }
    let Some(egress) = tables
        .egress(link.egress())
        .filter(|egress| egress.interface != 0)
    else {
        return drop_it(DropReason::Internal);
    };
    let source = Mac::from_word(egress.mac);
    let Some(()) = direct_routing(frame, header, link.mac(), source) else {
        return drop_it(DropReason::Internal);
    };
    Next::Done(if egress.interface == ingress.interface {
        Verdict::Transmit
    } else {
        Verdict::Redirect {
            interface: egress.interface,
        }
    })
}

/// The interface a frame came in by, and its slot. Nearly always the first.
#[inline(always)]
pub(crate) fn ingress(interface: u32, tables: &impl Tables) -> Option<(u32, Egress)> {
    for slot in 0..INTERFACES {
        let egress = tables.egress(slot)?;
        if egress.interface == interface {
            return Some((slot, egress));
        }
    }
    None
}
