//! What is heard: of the kernel, and on the segments.

use std::time::{Duration, Instant};

use control::LinkReport;
use netlink::{Neighbour, NeighbourState};
use tracing::debug;

use super::segment::{Said, confirm, read};
use super::{End, Notice, Resolver, way};
use crate::limits;

impl Resolver {
    pub(super) fn heard_from_kernel(&mut self, event: netlink::Event) -> Result<(), End> {
        match event {
            netlink::Event::Link { link, deleted } => {
                let is_ours = self.interfaces.contains_key(&link.index)
                    || self.wanted.interfaces.contains(&link.name);
                if is_ours && deleted {
                    self.interfaces.remove(&link.index);
                    self.tell(Notice::InterfaceGone { index: link.index })?;
                } else if is_ours {
                    if let Some(known) = self.interfaces.get_mut(&link.index) {
                        known.mac = link.mac;
                        known.name.clone_from(&link.name);
                    }
                    self.tell(Notice::Interface {
                        index: link.index,
                        name: link.name,
                        mac: link.mac,
                    })?;
                }
                self.look_up_soon();
            }
            netlink::Event::Address { address, deleted } => {
                if deleted {
                    let address = address.address;
                    self.tell(Notice::AddressGone { address })?;
                }
                self.look_up_soon();
            }
            netlink::Event::Neighbour { neighbour, deleted } => {
                self.heard_of_neighbour(&neighbour, deleted);
            }
            netlink::Event::Route | netlink::Event::Overrun => self.look_up_soon(),
        }
        Ok(())
    }

    fn heard_of_neighbour(&mut self, entry: &Neighbour, deleted: bool) {
        let Some(target) = self.targets.get_mut(&entry.address) else {
            return;
        };
        if way(&target.path) != Some(entry.index) {
            return;
        }
        if target.permanent || entry.state == NeighbourState::Permanent {
            self.look_up_soon();
        } else if let Some(mac) = entry.mac
            && entry.state.is_usable()
            && !deleted
        {
            target.probe.hint(mac, Instant::now());
        }
    }

    fn look_up_soon(&mut self) {
        self.refresh = self.refresh.min(Instant::now() + limits::ROUTE_QUIET);
    }

    pub(super) fn heard_from_segments(&mut self) {
        let mut heard = Vec::new();
        for (index, interface) in &mut self.interfaces {
            loop {
                match interface.socket.recv(Some(Duration::ZERO)) {
                    Ok(Some(frame)) if frame.outgoing => {}
                    Ok(Some(frame)) => heard.extend(read(&frame.bytes, *index, interface.mac)),
                    Ok(None) => break,
                    Err(error) => {
                        // An interface that is down says so once; its socket lives on.
                        debug!(%error, interface = interface.name, "reading a segment");
                        break;
                    }
                }
            }
        }
        heard.iter().for_each(|said| self.heard(said));
    }

    fn heard(&mut self, said: &Said) {
        let now = Instant::now();
        let Some(target) = self.targets.get_mut(&said.address) else {
            return;
        };
        if way(&target.path) != Some(said.interface) || target.permanent {
            return;
        }
        let news = if said.answers {
            target.probe.answer(said.mac, now)
        } else {
            None
        };
        // Believed or not: whoever says something else brings the next question forward.
        target.probe.hint(said.mac, now);
        if let Some(mac) = news {
            let interface = said.interface;
            confirm(interface, said.address, mac);
            self.report(said.address, LinkReport::Via { mac, interface });
        }
    }
}
