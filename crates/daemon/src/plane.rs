//! The seam to the data plane: the actor writes through it, tests put a model behind it.

use std::collections::HashMap;
use std::ops::ControlFlow;

use api::Refusal;
use control::{Action, Reach};
use dataplane::{Behaviour, Dataplane, DestinationLink, Rules, Segment};
use director::limits::BUCKET_SLOTS;

use crate::bpffs::PinRoot;

/// What the actor needs of a data plane.
pub(crate) trait Plane {
    /// Carries out one action. Those that are not the data plane's are ignored.
    fn carry_out(&mut self, action: &Action) -> anyhow::Result<()>;
    /// Picks that a service number has ever made.
    fn picks(&self, service: u32) -> u64;
    /// Active and inactive connections of a destination.
    fn gauges(&self, id: u32) -> (u32, u32);
    /// Persistence templates of each destination that has some.
    fn templates(&self) -> HashMap<u32, u32>;
    /// Counters of a destination.
    fn stats(&self, id: u32) -> api::Stats;
    /// Whether a destination has reached its upper threshold, and is passed by.
    fn is_overloaded(&self, id: u32) -> bool;
    /// Verdict counters by name.
    fn counters(&self) -> Vec<(&'static str, u64)>;
    /// Forgets connections that have run out, in a part of the table: one of `parts`.
    fn sweep(&self, parts: usize);
    /// A view of the connections for another thread.
    fn listing(&self) -> Listing;
    /// Services that it holds.
    fn published(&self) -> Vec<api::ServiceKey>;
    /// Attached interfaces: name, index, `native` or `generic`.
    fn attached(&self) -> Vec<(String, u32, &'static str)>;
    /// Attaches to an interface.
    fn attach(&mut self, interface: &str, require_native: bool) -> anyhow::Result<&'static str>;
    /// Detaches from an interface by its number: it may be gone.
    fn detach(&mut self, index: u32) -> anyhow::Result<()>;
    /// Memory of the maps, and connections that fit.
    fn size(&self) -> (u64, u64);
    /// Takes everything away: program, pins, connections.
    fn release(&mut self) -> anyhow::Result<()>;
}

/// Shows connections to a visitor, in no order, until it breaks.
pub(crate) type Listing = Box<dyn Fn(Visit<'_>) + Send>;

/// What a listing shows connections to.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(dataplane::Connection) -> ControlFlow<()>;

/// The data plane in the kernel.
pub(crate) struct Kernel {
    pub(crate) dataplane: Dataplane,
    pub(crate) instance: String,
    pub(crate) pin_root: PinRoot,
}

impl Plane for Kernel {
    fn carry_out(&mut self, action: &Action) -> anyhow::Result<()> {
        let plane = &mut self.dataplane;
        match action {
            Action::WriteTimeouts(timeouts) => {
                plane.write_timeouts(timeouts.tcp, timeouts.tcpfin, timeouts.udp);
            }
            Action::WriteSettings(settings) => plane.write_behaviour(&Behaviour {
                expire_nodest_conn: settings.expire_nodest_conn,
                expire_quiescent_template: settings.expire_quiescent_template,
                sloppy_tcp: settings.sloppy_tcp,
                conn_reuse_mode: settings.conn_reuse_mode,
            }),
            Action::WriteInterface { slot, index, mac } => {
                plane.write_interface(*slot, *index, *mac);
            }
            // No interface has the number 0.
            Action::ClearInterface { slot } => plane.write_interface(*slot, 0, [0; 6]),
            Action::WriteDestination {
                id, reach, weight, ..
            } => match weight {
                0 => plane.write_drained_destination(*id, link(*reach)),
                _ => plane.write_destination(*id, link(*reach)),
            },
            Action::WithdrawService { key } => plane.withdraw_service(&service(key)?)?,
            Action::PublishService {
                key,
                service: number,
                schedule,
                persistence,
                one_packet,
                share,
            } => {
                let Some(rotation) = schedule.rotation() else {
                    anyhow::bail!("the data plane has no such scheduler");
                };
                let segments = rotation.segments.iter().map(|segment| Segment {
                    end: segment.end,
                    destinations: segment.destinations.clone(),
                });
                let segments: Vec<_> = segments.collect();
                let max = plane.connections_max();
                let mut rules = rules(key, persistence.as_ref(), *one_packet);
                rules.share = u32::try_from(max * u64::from(*share) / 100).unwrap_or(u32::MAX);
                let key = service(key)?;
                plane.publish_service_with(&key, *number, &rules, &segments, rotation.first)?;
            }
            Action::WriteVips { addresses, .. } => plane.write_vips(addresses),
            Action::WriteMarks { rules } => {
                anyhow::ensure!(rules.is_empty(), "the data plane has no firewall marks");
            }
            Action::ResetDestination { id } => plane.reset_destination(*id)?,
            Action::AddVip { .. } | Action::AnnounceVip { .. } | Action::RemoveVip { .. } => {}
        }
        Ok(())
    }

    fn picks(&self, service: u32) -> u64 {
        self.dataplane.picks(service)
    }

    fn gauges(&self, id: u32) -> (u32, u32) {
        self.dataplane.gauges(id)
    }

    fn templates(&self) -> HashMap<u32, u32> {
        self.dataplane.templates()
    }

    fn stats(&self, id: u32) -> api::Stats {
        let stats = self.dataplane.destination_stats(id);
        api::Stats {
            connections: stats.connections,
            packets: stats.packets,
            bytes: stats.bytes,
            ..api::Stats::default()
        }
    }

    fn is_overloaded(&self, _id: u32) -> bool {
        false
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.dataplane.counters()
    }

    fn sweep(&self, parts: usize) {
        let buckets = self.dataplane.connections_max() as usize / BUCKET_SLOTS;
        self.dataplane.sweep(buckets.div_ceil(parts));
    }

    fn listing(&self) -> Listing {
        let handle = self.dataplane.connections_handle();
        Box::new(move |visit| handle.list_until(visit))
    }

    fn published(&self) -> Vec<api::ServiceKey> {
        let services = self.dataplane.services().into_iter();
        services.filter_map(|(key, _)| service_key(&key)).collect()
    }

    fn attached(&self) -> Vec<(String, u32, &'static str)> {
        let attached = self.dataplane.attached().into_iter();
        attached
            .map(|one| (one.name, one.interface, one.mode.name()))
            .collect()
    }

    fn attach(&mut self, interface: &str, require_native: bool) -> anyhow::Result<&'static str> {
        Ok(self.dataplane.attach(interface, require_native)?.name())
    }

    fn detach(&mut self, index: u32) -> anyhow::Result<()> {
        Ok(self.dataplane.detach_index(index)?)
    }

    fn size(&self) -> (u64, u64) {
        (
            self.dataplane.memory_bytes(),
            self.dataplane.connections_max(),
        )
    }

    fn release(&mut self) -> anyhow::Result<()> {
        Dataplane::release(self.pin_root.path(), &self.instance)?;
        Ok(())
    }
}

/// What `control` can and the data plane cannot yet.
pub(crate) fn not_yet(change: &api::Change) -> Option<Refusal> {
    use api::Change::{AddDestination, AddService, EditDestination, EditService};
    let what = match change {
        AddService { service, settings } | EditService { service, settings } => {
            let scheduler = config::Scheduler::named(&settings.scheduler);
            match (service.protocol(), scheduler) {
                (None, _) => "services by firewall mark (-f) are".to_owned(),
                (Some(api::Protocol::Sctp), _) => "SCTP services (--sctp-service) are".to_owned(),
                (_, Some(scheduler)) if !scheduler.is_available() => {
                    format!("scheduler {scheduler} is")
                }
                _ if !settings.flags.is_empty() => "scheduler flags (-b) are".to_owned(),
                _ => return None,
            }
        }
        AddDestination { settings, .. } | EditDestination { settings, .. }
            if settings.upper_threshold != 0 =>
        {
            "connection thresholds (-x, -y) are".to_owned()
        }
        _ => return None,
    };
    Some(Refusal {
        code: api::RefusalCode::NotSupported,
        message: format!("{what} not supported yet: leave them out, or use rr or wrr"),
    })
}

/// The table's room is the data plane's: `control` may give no number that does not fit.
const _: () = assert!(control::limits::SERVICES == director::limits::SERVICES);
const _: () = assert!(control::limits::DESTINATION_IDS == director::limits::DESTINATIONS);
const _: () = assert!(control::limits::EGRESS_SLOTS as u32 == director::limits::INTERFACES);

fn link(reach: Reach) -> DestinationLink {
    match reach {
        Reach::Unresolved => DestinationLink::Unresolved,
        Reach::Gone => DestinationLink::Gone,
        Reach::Local => DestinationLink::Local,
        Reach::Via { mac, slot } => DestinationLink::Via { mac, slot },
    }
}

fn rules(key: &api::ServiceKey, persistence: Option<&api::Persistence>, one_packet: bool) -> Rules {
    let all_bits = match key.is_ipv6() {
        true => 128,
        false => u32::MAX,
    };
    let mask = persistence.and_then(|persistence| persistence.netmask);
    Rules {
        persistence_s: persistence.map_or(0, |persistence| persistence.timeout_s),
        client_mask: mask.map_or(all_bits, |mask| match mask {
            api::Netmask::V4(mask) => mask.to_bits(),
            api::Netmask::V6(prefix) => prefix.into(),
        }),
        one_packet,
        ..Rules::default()
    }
}

fn service(key: &api::ServiceKey) -> anyhow::Result<dataplane::ServiceKey> {
    match key {
        api::ServiceKey::Address { protocol, address } => Ok(dataplane::ServiceKey {
            address: address.ip(),
            port: address.port(),
            protocol: protocol.number(),
        }),
        // `control` refuses them before it comes to this.
        api::ServiceKey::Mark { .. } => anyhow::bail!("the data plane has no services by mark"),
    }
}

fn service_key(key: &dataplane::ServiceKey) -> Option<api::ServiceKey> {
    Some(api::ServiceKey::Address {
        protocol: api::Protocol::of_number(key.protocol)?,
        address: std::net::SocketAddr::new(key.address, key.port),
    })
}
