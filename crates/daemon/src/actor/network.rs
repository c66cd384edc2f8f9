//! What the network tells, and what follows from it.

use std::net::IpAddr;

use control::{Action, Event, LinkReport, Plan};
use tracing::{error, info, warn};

use super::Actor;
use crate::host::Host;
use crate::plane::Plane;
use crate::resolver::Notice;

impl<P: Plane, H: Host> Actor<P, H> {
    pub(super) fn notice(&mut self, notice: Notice) {
        let event = match notice {
            Notice::Links(links) => {
                for (address, link) in &links {
                    self.log_link(*address, link);
                }
                Event::Links(links)
            }
            Notice::Interface { index, name, mac } => {
                self.attach_if_new(index, &name);
                self.restore_vips();
                Event::Interface { index, name, mac }
            }
            Notice::InterfaceGone { index } => Event::InterfaceGone { index },
            Notice::AddressGone { address } => {
                if self.state.vips.contains_key(&address) {
                    self.restore_vips();
                }
                return;
            }
        };
        if let Err(refusal) = self.apply(event) {
            error!(%refusal, "the network changed and could not be followed");
        }
        self.answer_waiting();
    }

    fn log_link(&self, address: IpAddr, link: &LinkReport) {
        match link {
            LinkReport::Unresolved { reason } => {
                warn!(real_server = %address, reason, "real server unresolved");
            }
            LinkReport::Local => info!(real_server = %address, "real server is this host"),
            LinkReport::Via { mac, interface } => {
                let mut egress = self.state.egress.values();
                let interface = egress
                    .find(|egress| egress.index == *interface)
                    .map(|egress| egress.name.as_str());
                let mac = netlink::mac_text(mac);
                info!(real_server = %address, mac, interface, "real server resolved");
            }
        }
    }

    /// An interface of the configuration came back, as another one: it needs the program too.
    fn attach_if_new(&mut self, index: u32, name: &str) {
        let plane = &mut self.rooms.plane;
        let is_wanted = self.state.interfaces.iter().any(|wanted| wanted == name);
        if !is_wanted
            || plane
                .attached()
                .iter()
                .any(|(_, attached, _)| *attached == index)
        {
            return;
        }
        match plane.attach(name, self.about.require_native) {
            Ok(mode) => info!(interface = name, mode, "attached again"),
            Err(error) => error!(interface = name, %error, "cannot be attached again"),
        }
    }

    /// Puts back what we added and somebody took away: an operator, a link that went down and lost
    /// its IPv6 addresses, an interface that went and came back.
    fn restore_vips(&mut self) {
        let there = match self.rooms.host.addresses() {
            Ok(there) => there,
            Err(error) => {
                error!(error = crate::chain(&error), "addresses cannot be read");
                return;
            }
        };
        let has = |address: &IpAddr| there.iter().any(|own| own.address == *address);
        let missing = self.state.vips.iter();
        let missing = missing.filter(|(address, vip)| vip.ours && !has(address));
        let plan = Plan {
            actions: missing
                .map(|(address, vip)| Action::AddVip {
                    address: *address,
                    interface: vip.interface.clone(),
                })
                .collect(),
        };
        if !plan.is_empty() {
            warn!("virtual addresses were removed and are put back");
            self.rooms.carry_out_what_works(&plan);
        }
    }
}
