//! What would become of a packet, in the table's words: the data plane says what happens, here numbers get names.

use std::net::{IpAddr, SocketAddr};

use api::{
    EXPLAIN_FRAME_BYTES, ExplainFrame, ExplainQuery, ExplainedFrame, Explanation, Fate, Protocol,
    Refusal, RefusalCode, ServerExplanation, ServerShare, ServiceKey,
};
use control::State;
use data_encoding::HEXLOWER_PERMISSIVE;
use dataplane::Flow;
use director::Verdict;
use director::headers::ETHERNET_BYTES;
use trace::Frame;

use crate::estimates::Estimates;
use crate::forecast::{self, Gauges};
use crate::plane::Plane;
use crate::view;

/// What is asked about.
#[derive(Debug)]
pub(crate) enum Question {
    /// The packet that begins a connection.
    Flow(ExplainQuery),
    /// A frame of a capture.
    Frame(Captured),
}

/// A frame of a capture, as long as it was on the wire.
#[derive(Debug)]
pub(crate) struct Captured {
    bytes: Vec<u8>,
    missing: u32,
    to_director: bool,
}

impl Question {
    /// Reads a frame.
    ///
    /// # Errors
    ///
    /// When it is not hexadecimal, or shorter or longer than a frame can be.
    pub(crate) fn of_frame(asked: &ExplainFrame) -> Result<Self, Refusal> {
        let bad = |message: String| Refusal {
            code: RefusalCode::BadRequest,
            message,
        };
        let mut bytes = HEXLOWER_PERMISSIVE
            .decode(asked.hex.as_bytes())
            .map_err(|error| {
                bad(format!(
                    "hex: two hexadecimal digits a byte are wanted: {error}"
                ))
            })?;
        if bytes.len() < ETHERNET_BYTES {
            return Err(bad(format!(
                "hex: {} bytes are no frame: an Ethernet header has {ETHERNET_BYTES}",
                bytes.len()
            )));
        }
        let length = asked.length as usize;
        if !(bytes.len()..=EXPLAIN_FRAME_BYTES).contains(&length) {
            return Err(bad(format!(
                "length: {length}; at least as many bytes as hex has ({}), and at most {EXPLAIN_FRAME_BYTES}, are right",
                bytes.len()
            )));
        }
        let missing = (length - bytes.len()) as u32;
        bytes.resize(length, 0);
        Ok(Self::Frame(Captured {
            bytes,
            missing,
            to_director: asked.to_director,
        }))
    }
}

/// Explains a packet: what becomes of it, and what would if its destination died.
pub(crate) fn explain(
    state: &State,
    plane: &impl Plane,
    question: &Question,
) -> Result<Explanation, Refusal> {
    match question {
        Question::Flow(query) => {
            let flow = Flow {
                protocol: query.protocol.number(),
                client: query.client,
                virtual_address: query.virtual_address,
            };
            let ask = |dead| plane.explain(&flow, dead);
            told(state, Some(*query), None, &ask)
        }
        Question::Frame(captured) => explain_frame(state, plane, captured),
    }
}

fn explain_frame(
    state: &State,
    plane: &impl Plane,
    captured: &Captured,
) -> Result<Explanation, Refusal> {
    let macs = plane.ingress_macs();
    let mut bytes = captured.bytes.clone();
    if let (true, Some(mac), Some(to)) = (
        captured.to_director,
        macs.first(),
        bytes.first_chunk_mut::<6>(),
    ) {
        *to = *mac;
    }
    let frame = Frame::read(&bytes);
    let flow = frame.as_ref().and_then(Frame::flow);
    let query = flow.and_then(|flow| {
        Some(ExplainQuery {
            protocol: Protocol::of_number(flow.protocol)?,
            client: flow.client,
            virtual_address: flow.service,
        })
    });
    let words = frame.map(|frame| ExplainedFrame {
        is_to_director: macs.contains(&frame.dst_mac),
        missing: captured.missing,
        hop: frame.hop(bytes.len() as u32, String::new()),
        what: frame.what,
    });
    let ask = |dead| plane.explain_frame(&bytes, dead);
    told(state, query, words, &ask)
}

/// What is needed to say which clients a real server gets. The actor takes it; whoever asked computes.
pub(crate) struct Reverse {
    server: IpAddr,
    state: State,
    gauges: Gauges,
    served: Vec<(ServiceKey, api::Destination)>,
}

impl Reverse {
    /// Takes it.
    pub(crate) fn new(
        state: &State,
        plane: &impl Plane,
        estimates: &Estimates,
        server: IpAddr,
    ) -> Self {
        let served = view::of_server(state, plane, estimates, server);
        let lists = served.iter().filter_map(|(key, _)| state.services.get(key));
        let ids = lists.flat_map(|service| &service.list);
        Self {
            server,
            gauges: ids.map(|id| (*id, plane.gauges(*id))).collect(),
            served,
            state: state.clone(),
        }
    }

    /// Computes.
    pub(crate) fn explain(self) -> ServerExplanation {
        let state = &self.state;
        let share = |key: &ServiceKey, one: &api::Destination| {
            // What IPVS knows of an overload is decided packet by packet: such a one gets nobody.
            let is_passed_by = one.overloaded || one.settings.weight == 0;
            match is_passed_by {
                true => Some((0, 0)),
                false => forecast::share(key, state, &self.gauges, one.destination),
            }
        };
        let services = self
            .served
            .into_iter()
            .filter_map(|(service, destination)| {
                let settings = &state.services.get(&service)?.settings;
                let (share, sample) = share(&service, &destination).unzip();
                Some(ServerShare {
                    scheduler: settings.scheduler.clone(),
                    is_persistent: settings.persistence.is_some(),
                    service,
                    share,
                    sample: sample.unwrap_or(0),
                    destination,
                })
            });
        ServerExplanation {
            server: self.server,
            services: services.collect(),
            generation: state.generation,
        }
    }
}

fn told(
    state: &State,
    query: Option<ExplainQuery>,
    frame: Option<ExplainedFrame>,
    ask: &dyn Fn(Option<u32>) -> anyhow::Result<dataplane::Explanation>,
) -> Result<Explanation, Refusal> {
    let ask = |dead| ask(dead).map_err(|error| refused(&error));
    let found = ask(None)?;
    let otherwise = match found.destination {
        Some(destination) => Some(fate(state, query.as_ref(), &ask(Some(destination))?)),
        None => None,
    };
    let key = found.service.as_ref().and_then(crate::plane::service_key);
    let service = key.and_then(|key| state.services.get(&key));
    Ok(Explanation {
        query,
        frame,
        generation: state.generation,
        service: key,
        scheduler: service.map(|service| service.settings.scheduler.clone()),
        decision: decision(state, query.as_ref(), found.decision),
        fate: fate(state, query.as_ref(), &found),
        otherwise,
    })
}

fn refused(error: &anyhow::Error) -> Refusal {
    Refusal {
        code: RefusalCode::BadRequest,
        message: crate::chain(error),
    }
}

fn fate(state: &State, query: Option<&ExplainQuery>, found: &dataplane::Explanation) -> Fate {
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
fn address(state: &State, query: Option<&ExplainQuery>, id: u32) -> Option<SocketAddr> {
    let listed = state.destinations.get(&id);
    let gone = || state.trash.get(&id).map(|gone| &gone.destination);
    let mut address = listed.or_else(gone)?.address;
    // One of a service of every port has the port of the packet.
    if let (0, Some(query)) = (address.port(), query) {
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

fn decision(
    state: &State,
    query: Option<&ExplainQuery>,
    decision: dataplane::Decision,
) -> api::Decision {
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
