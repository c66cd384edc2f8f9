//! What would become of a packet, in the table's words: the data plane says what happens, here numbers get names.

use std::net::SocketAddr;

use api::{ExplainQuery, Explanation, Fate, Refusal, RefusalCode};
use control::State;
use dataplane::Flow;
use director::Verdict;

use crate::plane::Plane;

/// Explains a packet: what becomes of it, and what would if its destination died.
pub(crate) fn explain(
    state: &State,
    plane: &impl Plane,
    query: &ExplainQuery,
) -> Result<Explanation, Refusal> {
    let flow = Flow {
        protocol: query.protocol.number(),
        client: query.client,
        virtual_address: query.virtual_address,
    };
    let ask = |dead| plane.explain(&flow, dead).map_err(|error| refused(&error));
    let found = ask(None)?;
    let otherwise = match found.destination {
        Some(destination) => Some(fate(state, query, &ask(Some(destination))?)),
        None => None,
    };
    let key = found.service.as_ref().and_then(crate::plane::service_key);
    let service = key.and_then(|key| state.services.get(&key));
    Ok(Explanation {
        query: *query,
        service: key,
        scheduler: service.map(|service| service.settings.scheduler.clone()),
        decision: decision(state, query, found.decision),
        fate: fate(state, query, &found),
        otherwise,
    })
}

fn refused(error: &anyhow::Error) -> Refusal {
    Refusal {
        code: RefusalCode::BadRequest,
        message: crate::chain(error),
    }
}

fn fate(state: &State, query: &ExplainQuery, found: &dataplane::Explanation) -> Fate {
    let interface = found.interface.map(|index| {
        let mut egress = state.egress.values();
        let named = egress.find(|one| one.index == index);
        named.map_or_else(|| format!("number {index}"), |one| one.name.clone())
    });
    Fate {
        verdict: verdict(found.verdict),
        counter: found.counter.to_owned(),
        destination: (found.destination).and_then(|id| address(state, query, id)),
        mac: found.mac.as_ref().map(netlink::mac_text),
        interface,
    }
}

/// The address of a destination, deleted ones included.
fn address(state: &State, query: &ExplainQuery, id: u32) -> Option<SocketAddr> {
    let listed = state.destinations.get(&id);
    let gone = || state.trash.get(&id).map(|gone| &gone.destination);
    let mut address = listed.or_else(gone)?.address;
    // One of a service of every port has the port of the packet.
    if address.port() == 0 {
        address.set_port(query.virtual_address.port());
    }
    Some(address)
}

fn verdict(verdict: Verdict) -> api::Verdict {
    match verdict {
        Verdict::Pass(_) => api::Verdict::Pass,
        Verdict::Drop(_) => api::Verdict::Drop,
        Verdict::Transmit => api::Verdict::Transmit,
        Verdict::Redirect { .. } => api::Verdict::Redirect,
        Verdict::Reply(_) => api::Verdict::Reply,
    }
}

fn decision(state: &State, query: &ExplainQuery, decision: dataplane::Decision) -> api::Decision {
    use dataplane::Decision;
    match decision {
        Decision::None => api::Decision::None,
        Decision::Connection { state, expires_s } => api::Decision::Connection {
            state: state.to_owned(),
            expires_s: expires_s.into(),
        },
        Decision::Template => api::Decision::Template,
        Decision::Rotation { position, cycle } => api::Decision::Rotation { position, cycle },
        Decision::Table {
            slot,
            slots,
            tried,
            destination,
        } => api::Decision::Table {
            slot,
            slots,
            tried,
            destination: address(state, query, destination),
        },
        Decision::List {
            destinations,
            is_drawn,
        } => api::Decision::List {
            destinations,
            is_drawn,
        },
    }
}
