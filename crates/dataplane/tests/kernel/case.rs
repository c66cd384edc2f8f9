//! A golden case: what it shows, the tables, and frame by frame what comes and what becomes of it.

use director::{Counter, DropReason, PassReason, ReplyReason, Verdict};

use crate::packet::{DIRECTOR, DIRECTOR_2, Packet};
use crate::world::{self, Change, ELSEWHERE, classic};

/// One line of the table.
pub struct Case {
    /// What it shows, as a sentence.
    pub name: &'static str,
    /// Connections that the table has room for.
    pub connections_max: u32,
    /// Whether the kernel can be asked.
    pub in_kernel: bool,
    /// Whether the control plane has written settings.
    pub is_ready: bool,
    pub world: Vec<Change>,
    pub steps: Vec<Step>,
}

/// What happens next.
pub enum Step {
    /// A frame comes.
    Frame(Exchange),
    /// The tables change.
    Change(Change),
    /// Connections that are remembered now: client port, destination, state.
    Remembers(Vec<(u16, u32, &'static str)>),
    /// Active and inactive connections of a destination.
    Gauges(u32, u32, u32),
    /// Connections, packets and bytes of a destination.
    Sent(u32, u64, u64, u64),
}

/// A frame and what is to become of it.
pub struct Exchange {
    pub frame: Vec<u8>,
    pub verdict: Verdict,
    pub out: Vec<u8>,
    /// Counters that move beside the verdict's.
    pub beside: Vec<Counter>,
}

/// Room for the connections of all but the cases about a full table.
pub const ROOMY: u32 = 1_024;

pub fn case(name: &'static str) -> Case {
    Case {
        name,
        connections_max: ROOMY,
        in_kernel: true,
        is_ready: true,
        world: classic(),
        steps: Vec::new(),
    }
}

impl Case {
    pub fn room(mut self, connections_max: u32) -> Self {
        self.connections_max = connections_max;
        self
    }

    /// The kernel refuses to be asked, as the case's comment says.
    pub fn native_only(mut self) -> Self {
        self.in_kernel = false;
        self
    }

    /// No settings yet. [`dirigo_dataplane::Dataplane::open`] always leaves some in the kernel.
    pub fn without_settings(mut self) -> Self {
        self.is_ready = false;
        self.native_only()
    }

    /// Other tables from the start.
    pub fn given(mut self, changes: impl IntoIterator<Item = Change>) -> Self {
        self.world.extend(changes);
        self
    }

    pub fn frame(mut self, exchange: Exchange) -> Self {
        self.steps.push(Step::Frame(exchange));
        self
    }

    pub fn frames(mut self, exchanges: impl IntoIterator<Item = Exchange>) -> Self {
        self.steps.extend(exchanges.into_iter().map(Step::Frame));
        self
    }

    pub fn then(mut self, change: Change) -> Self {
        self.steps.push(Step::Change(change));
        self
    }

    pub fn remembers(mut self, connections: &[(u16, u32, &'static str)]) -> Self {
        self.steps.push(Step::Remembers(connections.to_vec()));
        self
    }

    pub fn gauges(mut self, destination: u32, active: u32, inactive: u32) -> Self {
        self.steps.push(Step::Gauges(destination, active, inactive));
        self
    }

    pub fn sent(mut self, destination: u32, connections: u64, packets: u64, bytes: u64) -> Self {
        let step = Step::Sent(destination, connections, packets, bytes);
        self.steps.push(step);
        self
    }
}

/// Bytes that no builder writes, and their fate.
pub struct Raw(pub Vec<u8>);

impl Raw {
    pub fn passes(&self, reason: PassReason) -> Exchange {
        self.leaves_untouched(Verdict::Pass(reason))
    }

    pub fn is_dropped(&self, reason: DropReason) -> Exchange {
        self.leaves_untouched(Verdict::Drop(reason))
    }

    fn leaves_untouched(&self, verdict: Verdict) -> Exchange {
        Exchange {
            out: self.0.clone(),
            frame: self.0.clone(),
            verdict,
            beside: Vec::new(),
        }
    }

    pub fn becomes(self, verdict: Verdict, out: Vec<u8>) -> Exchange {
        Exchange {
            frame: self.0,
            verdict,
            out,
            beside: Vec::new(),
        }
    }
}

impl Exchange {
    pub fn and(mut self, counter: Counter) -> Self {
        self.beside.push(counter);
        self
    }

    pub fn makes_a_connection(self) -> Self {
        self.and(Counter::ConnectionNew)
    }
}

impl Packet {
    pub fn raw(&self) -> Raw {
        Raw(self.bytes())
    }

    /// With its bytes changed behind the builder's back.
    pub fn edited(&self, edit: impl Fn(&mut Vec<u8>)) -> Raw {
        let mut bytes = self.bytes();
        edit(&mut bytes);
        Raw(bytes)
    }

    pub fn passes(&self, reason: PassReason) -> Exchange {
        self.raw().passes(reason)
    }

    pub fn is_dropped(&self, reason: DropReason) -> Exchange {
        self.raw().is_dropped(reason)
    }

    /// Goes to a real server on the interface it came in by.
    pub fn goes_to(&self, destination: u32) -> Exchange {
        let out = self.forwarded(world::mac(destination), DIRECTOR);
        self.raw().becomes(Verdict::Transmit, out)
    }

    /// Goes there as the first packet of a connection.
    pub fn begins_at(&self, destination: u32) -> Exchange {
        self.goes_to(destination).makes_a_connection()
    }

    /// Goes to a real server behind the other interface.
    pub fn is_redirected_to(&self, destination: u32) -> Exchange {
        let out = self.forwarded(world::mac(destination), DIRECTOR_2);
        let interface = ELSEWHERE;
        self.raw().becomes(Verdict::Redirect { interface }, out)
    }

    pub fn is_answered_port_unreachable(&self) -> Exchange {
        let verdict = Verdict::Reply(ReplyReason::PortUnreachable);
        self.raw().becomes(verdict, self.port_unreachable())
    }

    pub fn is_answered_time_exceeded(&self) -> Exchange {
        let verdict = Verdict::Reply(ReplyReason::TimeExceeded);
        self.raw().becomes(verdict, self.time_exceeded())
    }
}
