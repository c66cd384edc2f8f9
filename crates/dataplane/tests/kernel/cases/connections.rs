//! A connection's life, as far as the client's half shows it: states, gauges, and when it ends.

use director::PassReason::NoConnection;

use crate::case::{Case, case};
use crate::packet::{ACK, CLIENT, CLIENT_6, FIN, PSH, RST, SYN, tcp, udp};
use crate::world::{A, B, Change, DNS, HTTP};

pub fn cases() -> Vec<Case> {
    [states(), identity(), ends()]
        .into_iter()
        .flatten()
        .collect()
}

/// A connection to A that saw `flags` after its SYN.
fn life(name: &'static str, flags: &[u8], state: &'static str, is_active: bool) -> Case {
    let later = flags
        .iter()
        .map(|f| tcp(CLIENT, 40_000, HTTP, *f).goes_to(A));
    case(name)
        .frame(tcp(CLIENT, 40_000, HTTP, SYN).begins_at(A))
        .frames(later)
        .remembers(&[(40_000, A, state)])
        .gauges(A, u32::from(is_active), u32::from(!is_active))
}

fn states() -> Vec<Case> {
    vec![
        life("a SYN makes a half-open connection", &[], "SYN_RECV", true),
        life(
            "a SYN that is sent again changes nothing",
            &[SYN, SYN],
            "SYN_RECV",
            true,
        ),
        life("an ACK establishes it", &[ACK], "ESTABLISHED", true),
        life(
            "data keeps it established",
            &[ACK, ACK | PSH, ACK],
            "ESTABLISHED",
            true,
        ),
        life(
            "a SYN on an established connection leaves it so",
            &[ACK, SYN],
            "ESTABLISHED",
            true,
        ),
        life(
            "a FIN ends the client's half",
            &[ACK, FIN | ACK],
            "FIN_WAIT",
            false,
        ),
        life(
            "what follows a FIN is still ending",
            &[ACK, FIN | ACK, ACK, FIN],
            "FIN_WAIT",
            false,
        ),
        life(
            "a SYN after a FIN opens it again",
            &[ACK, FIN, SYN],
            "SYN_RECV",
            true,
        ),
        life(
            "a FIN while half open waits out its time",
            &[FIN],
            "TIME_WAIT",
            false,
        ),
        life(
            "an ACK in that wait changes nothing",
            &[FIN, ACK],
            "TIME_WAIT",
            false,
        ),
        life(
            "a reset closes an established connection",
            &[ACK, RST],
            "CLOSE",
            false,
        ),
        life(
            "a reset of a half-open connection is not believed",
            &[RST],
            "SYN_RECV",
            true,
        ),
        life(
            "a reset during the end closes it",
            &[ACK, FIN, RST],
            "CLOSE",
            false,
        ),
        life(
            "after a reset only a SYN counts",
            &[ACK, RST, ACK, FIN],
            "CLOSE",
            false,
        ),
        life("a segment without flags closes", &[ACK, 0], "CLOSE", false),
        life(
            "reset wins over all flags",
            &[ACK, RST | SYN | FIN | ACK],
            "CLOSE",
            false,
        ),
        life(
            "FIN wins over ACK, SYN over FIN",
            &[ACK, SYN | FIN],
            "ESTABLISHED",
            true,
        ),
        case("a SYN that carries an ACK makes a connection as well")
            .frame(tcp(CLIENT, 40_000, HTTP, SYN | ACK).begins_at(A))
            .remembers(&[(40_000, A, "SYN_RECV")]),
        case("a datagram makes a connection of UDP's one state, and inactive")
            .frame(udp(CLIENT, 40_000, DNS).begins_at(A))
            .frame(udp(CLIENT, 40_000, DNS).payload(300).goes_to(A))
            .remembers(&[(40_000, A, "UDP")])
            .gauges(A, 0, 1)
            .sent(A, 1, 2, 37 + 328),
    ]
}

fn identity() -> Vec<Case> {
    let other = std::net::IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 2));
    vec![
        case("client, client's port, service's port and protocol make a connection")
            .frames([
                tcp(CLIENT, 40_000, HTTP, SYN).begins_at(A),
                tcp(CLIENT, 40_001, HTTP, SYN).begins_at(B),
                tcp(other, 40_000, HTTP, SYN).begins_at(A),
                udp(CLIENT, 40_000, DNS).begins_at(A),
                tcp(CLIENT_6, 40_000, HTTP, SYN).begins_at(A),
            ])
            .frames([
                tcp(CLIENT, 40_001, HTTP, ACK).goes_to(B),
                tcp(CLIENT, 40_000, HTTP, ACK).goes_to(A),
                tcp(CLIENT, 40_002, HTTP, ACK).passes(NoConnection),
                tcp(other, 40_001, HTTP, ACK).passes(NoConnection),
            ])
            .gauges(A, 3, 1)
            .gauges(B, 1, 0),
        case("a SYN on a connection that waits out its time makes a new one")
            .frame(tcp(CLIENT, 40_000, HTTP, SYN).begins_at(A))
            .frame(tcp(CLIENT, 40_000, HTTP, FIN).goes_to(A))
            .frame(tcp(CLIENT, 40_000, HTTP, SYN).begins_at(B))
            .remembers(&[(40_000, B, "SYN_RECV")])
            .gauges(A, 0, 0)
            .gauges(B, 1, 0),
        case("a SYN on a closed connection makes a new one")
            .frame(tcp(CLIENT, 40_000, HTTP, SYN).begins_at(A))
            .frame(tcp(CLIENT, 40_000, HTTP, ACK).goes_to(A))
            .frame(tcp(CLIENT, 40_000, HTTP, RST).goes_to(A))
            .frame(tcp(CLIENT, 40_000, HTTP, SYN).begins_at(B))
            .remembers(&[(40_000, B, "SYN_RECV")]),
    ]
}

fn ends() -> Vec<Case> {
    let of = |flags| tcp(CLIENT, 40_000, HTTP, flags);
    let established = |name| {
        case(name)
            .frame(of(SYN).begins_at(A))
            .frame(of(ACK).goes_to(A))
    };
    vec![
        case("a half-open connection is forgotten after a minute")
            .frame(of(SYN).begins_at(A))
            .then(Change::Age(61))
            .frame(of(ACK).passes(NoConnection))
            .remembers(&[])
            .gauges(A, 0, 0),
        established("an established connection lives for 15 idle minutes")
            .then(Change::Age(898))
            .frame(of(ACK).goes_to(A))
            .then(Change::Age(898))
            .frame(of(ACK).goes_to(A))
            .gauges(A, 1, 0),
        established("after 15 idle minutes it is forgotten")
            .then(Change::Age(902))
            .frame(of(ACK).passes(NoConnection))
            .gauges(A, 0, 0),
        established("a SYN on what has run out makes a new connection")
            .then(Change::Age(902))
            .frame(of(SYN).begins_at(B))
            .gauges(A, 0, 0)
            .gauges(B, 1, 0),
        established("a closed connection is forgotten after ten seconds")
            .frame(of(RST).goes_to(A))
            .then(Change::Age(11))
            .frame(of(ACK).passes(NoConnection))
            .remembers(&[]),
        case("a UDP flow that paused for five minutes is scheduled anew")
            .frame(udp(CLIENT, 40_000, DNS).begins_at(A))
            .then(Change::Age(298))
            .frame(udp(CLIENT, 40_000, DNS).goes_to(A))
            .then(Change::Age(302))
            .frame(udp(CLIENT, 40_000, DNS).begins_at(B))
            .gauges(A, 0, 0)
            .gauges(B, 0, 1),
        established("timeouts can be set while connections live")
            .then(Change::Timeouts(30, 20, 10))
            .then(Change::Age(28))
            .frame(of(ACK).goes_to(A))
            .frame(of(FIN).goes_to(A))
            .then(Change::Age(22))
            .frame(of(ACK).passes(NoConnection))
            .frame(udp(CLIENT, 40_000, DNS).begins_at(A))
            .then(Change::Age(12))
            .frame(udp(CLIENT, 40_000, DNS).begins_at(B)),
    ]
}
