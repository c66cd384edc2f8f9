//! The other side: what ipvsadm asks of the kernel, here of the daemon.

use std::ops::ControlFlow;

use api::{Change, Client, ClientError, Connection, Service, Timeouts};

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
        Client::connections(self, visit)
    }

    fn change(&mut self, change: &Change) -> Result<(), ClientError> {
        Client::change(self, change)
    }
}
