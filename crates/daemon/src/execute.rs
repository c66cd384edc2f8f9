//! Plans are carried out here: each action goes to its room.

use std::net::IpAddr;
use std::time::Instant;

use anyhow::Context;
use api::{EventKind, Occurrence};
use control::{Action, Plan};
use tracing::warn;

use crate::announce::Announcements;
use crate::events;
use crate::host::Host;
use crate::plane::Plane;

/// The rooms that actions go to.
pub(crate) struct Rooms<P, H> {
    pub(crate) plane: P,
    pub(crate) host: H,
    pub(crate) announcements: Announcements,
}

impl<P: Plane, H: Host> Rooms<P, H> {
    /// Carries out a plan up to its end or its first failure.
    pub(crate) fn carry_out(&mut self, plan: &Plan) -> anyhow::Result<()> {
        plan.actions.iter().try_for_each(|action| {
            self.act(action)
                .with_context(|| format!("carrying out `{action}`"))
        })
    }

    /// Carries out everything that can be, for instance on the way back after a failure.
    pub(crate) fn carry_out_what_works(&mut self, plan: &Plan) {
        for action in &plan.actions {
            if let Err(error) = self.act(action) {
                warn!(%action, error = crate::chain(&error), "could not be done");
            }
        }
    }

    fn act(&mut self, action: &Action) -> anyhow::Result<()> {
        match action {
            Action::AddVip { address, interface } => {
                if self.host.add_vip(*address, interface)? {
                    tell(EventKind::VipAdded, *address, interface);
                }
                self.announcements
                    .begin(*address, interface, Instant::now());
                Ok(())
            }
            Action::AnnounceVip { address, interface } => {
                self.announcements
                    .begin(*address, interface, Instant::now());
                Ok(())
            }
            Action::RemoveVip { address, interface } => {
                self.announcements.cancel(*address);
                self.host.remove_vip(*address, interface)?;
                tell(EventKind::VipRemoved, *address, interface);
                Ok(())
            }
            other => self.plane.carry_out(other),
        }
    }

    /// Sends the announcements that are due.
    pub(crate) fn announce(&mut self, now: Instant) {
        for (address, interface) in self.announcements.due(now) {
            if let Err(error) = self.host.announce(address, &interface) {
                warn!(%address, interface, error = crate::chain(&error), "not announced");
            }
        }
    }
}

fn tell(kind: EventKind, vip: IpAddr, interface: &str) {
    events::emit(Occurrence::of(kind).vip(vip).interface(interface));
}
