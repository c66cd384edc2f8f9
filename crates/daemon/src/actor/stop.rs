//! The end of a daemon, with or without its forwarding.

use api::{Author, EventKind, Occurrence, Refusal};
use control::Plan;
use tracing::error;

use super::{Actor, internal};
use crate::events;
use crate::host::Host;
use crate::plane::Plane;

impl<P: Plane, H: Host> Actor<P, H> {
    /// An orderly end: forwarding stays, unless it is released.
    pub(super) fn stop(&mut self, release: bool, by: Author) -> Result<(), Refusal> {
        crate::notify(&[sd_notify::NotifyState::Stopping]);
        self.save_health_if_behind();
        self.health.stop();
        for waiting in std::mem::take(&mut self.waiting) {
            (waiting.reply)();
        }
        self.end_traces();
        let done = if release {
            self.release()
        } else {
            self.save_for_good()
        };
        match done {
            Ok(()) => {
                let what = match release {
                    true => "forwarding has ended",
                    false => "forwarding goes on",
                };
                let stopped = Occurrence::of(EventKind::DaemonStopped);
                events::emit(stopped.by(by).because(what));
                events::bus().close();
                Ok(())
            }
            Err(error) => {
                error!(
                    release,
                    error = crate::chain(&error),
                    "not stopped in order"
                );
                Err(internal(&error))
            }
        }
    }

    /// Has the next start follow the file in everything it names, unless we must go on after all.
    fn save_for_good(&mut self) -> anyhow::Result<()> {
        let applied = self.state.applied.take();
        let saved = self.save_whole(&Plan::default());
        if saved.is_err() {
            self.state.applied = applied;
        }
        saved
    }

    /// Virtual addresses first: from then on nothing arrives.
    fn release(&mut self) -> anyhow::Result<()> {
        let ours = self.state.vips.iter().filter(|(_, vip)| vip.ours);
        let plan = Plan {
            actions: ours
                .map(|(address, vip)| control::Action::RemoveVip {
                    address: *address,
                    interface: vip.interface.clone(),
                })
                .collect(),
        };
        self.rooms.carry_out_what_works(&plan);
        self.rooms.plane.release()?;
        self.files.forget()
    }
}
