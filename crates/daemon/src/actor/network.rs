//! What the network tells, and what follows from it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use api::{EventKind, EventLevel, Occurrence, RefusalCode};
use control::{Action, Event, Link, LinkReport, Plan};
use tracing::{error, warn};

use super::{Actor, wanted};
use crate::events;
use crate::host::{Host, Interface};
use crate::plane::Plane;
use crate::resolver::Notice;

impl<P: Plane, H: Host> Actor<P, H> {
    pub(super) fn notice(&mut self, notice: Notice) {
        let event = match notice {
            Notice::Links(links) => {
                for (address, link) in &links {
                    self.tell_link(*address, link);
                }
                self.changes.count(&links);
                self.health.heard(&links);
                Event::Links(links)
            }
            Notice::Interface { index, name, mac } => {
                self.tell_changed(index, &name, mac);
                self.attach_if_new(index, &name);
                Event::Interface { index, name, mac }
            }
            Notice::InterfaceGone { index } => {
                self.tell_gone(index);
                self.detach(index);
                Event::InterfaceGone { index }
            }
            Notice::AddressGone { address } => {
                if self.state.vips.contains_key(&address) {
                    self.restore_vips();
                }
                return;
            }
        };
        let is_interface = matches!(event, Event::Interface { .. });
        if let Err(refusal) = self.apply(event) {
            error!(%refusal, "the network changed and could not be followed");
            // A refusal of the table would be the same again.
            self.is_behind |= refusal.code == RefusalCode::Internal;
        }
        if is_interface {
            self.restore_vips();
        }
        self.answer_waiting();
        self.go_on_applying();
    }

    /// Events may be lost (the kernel's queue for us overran, a resolver began anew) and may come
    /// when nothing can be done about them. So what is there is compared with what should be.
    pub(super) fn look_around(&mut self) {
        if std::mem::take(&mut self.is_behind)
            && let Some(resolver) = &mut self.resolver
        {
            let wanted = wanted(&self.state, &self.health);
            self.wanted = wanted.clone();
            resolver.want(wanted, true);
        }
        match self.rooms.host.interfaces() {
            Ok(there) => self.compare(there),
            Err(error) => error!(error = crate::chain(&error), "interfaces cannot be read"),
        }
        self.restore_vips();
    }

    fn compare(&mut self, there: Vec<Interface>) {
        let attached = self.rooms.plane.attached();
        let attached: BTreeSet<u32> = attached.iter().map(|(_, index, _)| *index).collect();
        let known = self.state.egress.values().map(|egress| egress.index);
        let gone: BTreeSet<u32> = known
            .chain(attached.iter().copied())
            .filter(|index| !there.iter().any(|one| one.index == *index))
            .collect();
        for index in gone {
            self.notice(Notice::InterfaceGone { index });
        }
        for one in there {
            let egress = self.state.egress.values();
            let is_known = egress
                .map(|egress| (egress.index, &egress.name, egress.mac))
                .any(|known| known == (one.index, &one.name, one.mac));
            let is_served = is_known && attached.contains(&one.index);
            if self.state.interfaces.contains(&one.name) && !is_served {
                let Interface { index, name, mac } = one;
                self.notice(Notice::Interface { index, name, mac });
            }
        }
    }

    pub(super) fn detach(&mut self, index: u32) {
        if let Err(error) = self.rooms.plane.detach(index) {
            warn!(
                interface = index,
                error = crate::chain(&error),
                "cannot be detached"
            );
        }
    }

    fn tell_link(&self, address: IpAddr, link: &LinkReport) {
        match link {
            LinkReport::Unresolved { reason } => {
                let what = Occurrence::of(EventKind::ServerUnresolved).server(address);
                events::emit(what.because(reason));
            }
            LinkReport::Local => {
                events::emit(Occurrence::of(EventKind::ServerLocal).server(address));
            }
            LinkReport::Via { mac, interface } => {
                let mut what = Occurrence::of(EventKind::ServerResolved).server(address);
                let mut egress = self.state.egress.values();
                let egress = egress.find(|egress| egress.index == *interface);
                what.interface = egress.map(|egress| egress.name.clone());
                if let Some(Link::Via { mac, .. }) = self.state.links.get(&address) {
                    what = what.old(netlink::mac_text(mac));
                }
                events::emit(what.new(netlink::mac_text(mac)));
            }
        }
    }

    fn tell_changed(&self, index: u32, name: &str, mac: [u8; 6]) {
        let mut egress = self.state.egress.values();
        let known = egress.find(|one| one.index == index && one.mac != mac);
        if let Some(known) = known {
            let what = Occurrence::of(EventKind::InterfaceChanged).interface(name);
            let what = what.old(netlink::mac_text(&known.mac));
            events::emit(what.new(netlink::mac_text(&mac)));
        }
    }

    fn tell_gone(&self, index: u32) {
        let mut egress = self.state.egress.values();
        if let Some(known) = egress.find(|one| one.index == index) {
            let what = Occurrence::of(EventKind::InterfaceGone);
            events::emit(what.interface(&known.name));
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
        let failure = match plane.attach(name, self.about.require_native) {
            Ok(mode) => {
                tell_attached(name, mode);
                None
            }
            Err(error) => Some(crate::chain(&error)),
        };
        if let Some(error) = &failure
            && self.attach_failure != failure
        {
            let what = Occurrence::of(EventKind::InterfaceFailed);
            events::emit(what.interface(name).because(error));
        }
        self.attach_failure = failure;
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
        let links = self.rooms.host.interfaces().unwrap_or_default();
        let there: BTreeSet<IpAddr> = there.into_iter().map(|own| own.address).collect();
        let can_have = |name: &str| links.iter().any(|link| link.name == *name);
        let missing = self.state.vips.iter().filter(|(address, vip)| {
            // One without its interface is put back with it.
            vip.ours && !there.contains(address) && can_have(&vip.interface)
        });
        let plan = Plan {
            actions: missing
                .map(|(address, vip)| Action::AddVip {
                    address: *address,
                    interface: vip.interface.clone(),
                })
                .collect(),
        };
        for action in &plan.actions {
            if let Action::AddVip { address, interface } = action {
                let what = Occurrence::of(EventKind::VipRestored).vip(*address);
                events::emit(what.interface(interface));
            }
        }
        if !plan.is_empty() {
            self.rooms.carry_out_what_works(&plan);
        }
    }
}

/// The program is attached; generic mode is several times slower than the driver could be.
pub(crate) fn tell_attached(interface: &str, mode: &str) {
    let what = Occurrence::of(EventKind::InterfaceAttached);
    let what = what.interface(interface).new(mode);
    events::emit(match mode {
        "native" => what,
        _ => what
            .level(EventLevel::Warning)
            .because("several times slower than the driver could be"),
    });
}
