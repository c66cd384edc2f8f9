//! Which way the kernel would send a packet.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
    RouteVia,
};

use crate::address::family;
use crate::{Error, Netlink, host_prefix};

/// Where a packet to one address would go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The interface it leaves by.
    pub interface: u32,
    /// The router it is handed to; without one the address itself is the neighbour.
    pub gateway: Option<IpAddr>,
    /// The source address the kernel would choose.
    pub source: Option<IpAddr>,
    /// The address is this host's own.
    pub local: bool,
}

impl Netlink {
    /// Where a packet to `destination` would go; `None` if there is no route.
    pub fn route_to(&self, destination: IpAddr) -> Result<Option<Route>, Error> {
        let message = to_prefix(destination, host_prefix(&destination));
        let request = RouteNetlinkMessage::GetRoute(message);
        match self.ask(request, &|| {
            format!("looking up the route to {destination}")
        }) {
            Ok(RouteNetlinkMessage::NewRoute(answer)) => Ok(parse(&answer)),
            Ok(_) => Ok(None),
            Err(error) if is_no_route(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Adds a route to `destination`/`prefix` by a gateway, an interface, or both.
    pub fn add_route(
        &self,
        destination: IpAddr,
        prefix: u8,
        gateway: Option<IpAddr>,
        interface: Option<u32>,
    ) -> Result<(), Error> {
        let mut message = to_prefix(destination, prefix);
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.kind = RouteType::Unicast;
        // Without a router the destination is on the link itself; IPv6 has no such scope.
        if gateway.is_none() && destination.is_ipv4() {
            message.header.scope = RouteScope::Link;
        }
        let gateway_attribute = gateway.map(|gateway| RouteAttribute::Gateway(gateway.into()));
        message.attributes.extend(gateway_attribute);
        message
            .attributes
            .extend(interface.map(RouteAttribute::Oif));
        let message = RouteNetlinkMessage::NewRoute(message);
        self.change(message, NLM_F_CREATE | NLM_F_EXCL, &|| {
            format!("adding a route to {destination}/{prefix}")
        })
    }
}

fn to_prefix(destination: IpAddr, prefix: u8) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(&destination);
    message.header.destination_prefix_length = prefix;
    // A default route has no destination attribute.
    if prefix > 0 {
        let destination = RouteAttribute::Destination(destination.into());
        message.attributes.push(destination);
    }
    message
}

/// What the kernel answers for "no way there": no route, unreachable, prohibited, blackhole.
fn is_no_route(error: &Error) -> bool {
    matches!(error, Error::Refused { .. })
        && matches!(
            error.errno(),
            Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL)
        )
}

fn parse(message: &RouteMessage) -> Option<Route> {
    let mut interface = None;
    let mut gateway = None;
    let mut source = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(found) => interface = Some(*found),
            RouteAttribute::Gateway(found) => gateway = address(found),
            RouteAttribute::Via(RouteVia::Inet6(found)) => gateway = Some(IpAddr::V6(*found)),
            RouteAttribute::Via(RouteVia::Inet(found)) => gateway = Some(IpAddr::V4(*found)),
            RouteAttribute::PrefSource(found) => source = address(found),
            _ => {}
        }
    }
    match message.header.kind {
        RouteType::Unicast | RouteType::Local => Some(Route {
            interface: interface?,
            gateway,
            source,
            local: message.header.kind == RouteType::Local,
        }),
        _ => None,
    }
}

fn address(found: &RouteAddress) -> Option<IpAddr> {
    match found {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}
