//! The other side: what ipvsadm asks of the kernel, here of the daemon.

use std::ops::ControlFlow;

use api::{
    Change, Client, ClientError, Connection, ConnectionQuery, Rates, Refusal, Service, Stats,
    Timeouts,
};

/// Where the table is. The daemon in production, a small table in tests.
pub trait Kernel {
    /// Whether anybody is there, asked before work that may need nobody.
    fn reach(&mut self) -> Result<(), ClientError>;
    /// All services with their destinations, newest destination first.
    fn services(&mut self) -> Result<Vec<Service>, ClientError>;
    /// The idle timeouts.
    fn timeouts(&mut self) -> Result<Timeouts, ClientError>;
    /// Every remembered connection, until `visit` breaks.
    fn connections(
        &mut self,
        visit: &mut dyn FnMut(Connection) -> ControlFlow<()>,
    ) -> Result<(), ClientError>;
    /// One change; done when this returns.
    fn change(&mut self, change: &Change) -> Result<(), ClientError>;
    /// Many, in order; for each the refusal, if there was one.
    fn changes(&mut self, changes: &[Change]) -> Result<Vec<Option<Refusal>>, ClientError>;
    /// Counters of the whole director.
    fn totals(&mut self) -> Result<Totals, ClientError>;
}

/// Counters and rates of all services together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Since they were zeroed.
    pub stats: Stats,
    /// Per second.
    pub rates: Rates,
}

impl Kernel for Client {
    fn reach(&mut self) -> Result<(), ClientError> {
        self.status().map(drop)
    }

    fn services(&mut self) -> Result<Vec<Service>, ClientError> {
        Client::services(self)
    }

    fn timeouts(&mut self) -> Result<Timeouts, ClientError> {
        self.status().map(|status| status.timeouts)
    }

    fn connections(
        &mut self,
        visit: &mut dyn FnMut(Connection) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        Client::connections(self, &ConnectionQuery::default(), visit)
    }

    fn change(&mut self, change: &Change) -> Result<(), ClientError> {
        Client::change(self, change)
    }

    fn changes(&mut self, changes: &[Change]) -> Result<Vec<Option<Refusal>>, ClientError> {
        self.change_all(changes)
    }

    fn totals(&mut self) -> Result<Totals, ClientError> {
        self.status().map(|status| Totals {
            stats: status.stats,
            rates: status.rates,
        })
    }
}
