//! What became of one packet for each service and server.

use std::net::{IpAddr, SocketAddr};

use super::hosts;
use super::neighbour::service_words;
use super::service::redirect;
use crate::facts::{Answer, Facts, Path};
use crate::finding::{Code, Finding, HostName};

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let of_path = |path: &Path| match path.server {
        Some(server) => at_server(facts, path, server),
        None => through_director(facts, path),
    };
    facts.paths.iter().filter_map(of_path).collect()
}

fn name(path: &Path) -> String {
    let protocol = path.service.protocol.name().to_ascii_uppercase();
    format!("{protocol} {}", path.service.address)
}

/// A server that is drained may be at rest.
fn is_drained(facts: &Facts, path: &Path, server: IpAddr) -> bool {
    let service = facts
        .segment
        .services
        .iter()
        .find(|service| service.key == path.service);
    let mut mine = service
        .into_iter()
        .flat_map(|service| &service.destinations);
    mine.any(|one| one.address.ip() == server && one.weight == 0)
}

fn at_server(facts: &Facts, path: &Path, server: IpAddr) -> Option<Finding> {
    if is_drained(facts, path, server) {
        return None;
    }
    let host = HostName {
        mac: Some(netlink::mac_text(&path.mac)),
        ..hosts::server(facts, server)
    };
    let vip = path.service.address.ip();
    let finding = match (path.answer, path.service.protocol) {
        (Answer::Accepted { .. }, _) | (Answer::Silent, api::Protocol::Udp) => return None,
        (Answer::Refused, _) => refused(facts, path, server, host),
        (Answer::Prohibited, _) => filtered(path, host, "rejects"),
        (Answer::Silent, _) if has_vip(facts, path, server) => {
            filtered(path, host, "does not answer")
        }
        (Answer::Silent, _) => missing(path, server, host),
    };
    Some(finding.about(vip))
}

/// Whether the server knows the VIP: it answers an echo request for it, or answers none at all.
fn has_vip(facts: &Facts, path: &Path, server: IpAddr) -> bool {
    let echoes = facts
        .echoes
        .iter()
        .any(|echo| echo.address == server && echo.small);
    match path.vip_echo {
        Some(true) => true,
        Some(false) if echoes => false,
        // It answers no echo at all: if its own address takes the connection, the VIP is the matter.
        _ => matches!(
            path.at_real_address,
            None | Some(Answer::Silent | Answer::Prohibited)
        ),
    }
}

fn refused(facts: &Facts, path: &Path, server: IpAddr, host: HostName) -> Finding {
    let port = path.service.address.port();
    if matches!(path.at_real_address, Some(Answer::Accepted { .. })) {
        let mut finding = Finding::problem(
            Code::ServiceOnRealAddressOnly,
            host,
            format!(
                "real server {server} refuses {}, but accepts port {port} at {server}",
                name(path)
            ),
            "the program listens on the server's own address alone. Direct routing delivers packets for the \
             VIP: let it listen on the VIP or on all addresses. Until then this server may redirect them",
        );
        finding.fix = redirect(path.service);
        return finding;
    }
    Finding::problem(
        Code::ServiceClosed,
        host,
        format!("real server {server} refuses {}: nothing listens there", name(path)),
        "clients that the scheduler sends there are refused. Start the program on that server; until \
         then, let it have no new connections",
    )
    .fix(format!(
        "dirigo ipvsadm -e {} -r {} -g -w 0",
        service_words(path.service),
        listed(facts, path, server)
    ))
    .fix_at(hosts::here(facts))
}

/// The server as the service has it: of a service by firewall mark without a port.
fn listed(facts: &Facts, path: &Path, server: IpAddr) -> SocketAddr {
    let mut services = facts.segment.services.iter();
    let service = services.find(|service| service.key == path.service);
    let mut all = service
        .into_iter()
        .flat_map(|service| &service.destinations);
    let found = all.find(|one| one.address.ip() == server);
    found.map_or(
        SocketAddr::new(server, path.service.address.port()),
        |one| one.address,
    )
}

fn filtered(path: &Path, host: HostName, verb: &str) -> Finding {
    Finding::problem(
        Code::ServiceFiltered,
        host.clone(),
        format!("{host} {verb} a packet for {}, although it has the address", name(path)),
        "a firewall rule, a full connection tracking table or reverse path filtering swallows it there; \
         the doctor names which when run on that server",
    )
    .fix(own_doctor(path))
}

/// What to run on the server.
fn own_doctor(path: &Path) -> String {
    let vip = path.service.address.ip();
    format!(
        "dirigo doctor --role realserver --vip {vip} --service {}",
        path.service
    )
}

fn missing(path: &Path, server: IpAddr, host: HostName) -> Finding {
    let vip = path.service.address.ip();
    let mut finding = Finding::problem(
        Code::VipMissingOnServer,
        host,
        format!(
            "real server {server} does not answer for {vip}, neither a packet for {} nor an echo request",
            name(path)
        ),
        "the server does not hold the VIP, or its lo is off, or a rule there drops what comes for the VIP or \
         what it answers (its own doctor tells which): the clients of its share wait in vain",
    );
    if vip.is_ipv4() {
        finding
            .fix
            .push("sysctl -w net.ipv4.conf.all.arp_ignore=1".to_owned());
        finding
            .fix
            .push("sysctl -w net.ipv4.conf.all.arp_announce=2".to_owned());
    } else {
        finding
            .fix
            .push("sysctl -w net.ipv6.conf.lo.disable_ipv6=0".to_owned());
    }
    finding.fix.push("ip link set lo up".to_owned());
    finding.fix.push(hosts::hold_on_lo(vip));
    finding.fix.push(own_doctor(path));
    finding
}

/// The client's own way.
fn through_director(facts: &Facts, path: &Path) -> Option<Finding> {
    let vip = path.service.address.ip();
    let host = hosts::at(facts, path.mac);
    let (seen, why) = match (path.answer, path.service.protocol) {
        (Answer::Accepted { .. }, _) | (Answer::Silent, api::Protocol::Udp) => return None,
        (Answer::Refused, _) => (
            format!("{} is refused", name(path)),
            "the director passed the packet on and a real server refused it: nothing listens there",
        ),
        (Answer::Prohibited, _) => (
            format!("{} is rejected", name(path)),
            "no real server is eligible, or a firewall rejects the packet",
        ),
        (Answer::Silent, _) => (
            format!("{} gives no answer through {host}", name(path)),
            "the packet, or the real server's reply, is lost: on the director, on a server, or on its way \
             back here",
        ),
    };
    Some(
        Finding::problem(Code::ServiceUnreachable, host, seen, why)
            .fix("dirigo doctor")
            .about(vip),
    )
}
