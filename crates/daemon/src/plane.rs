//! The seam to the data plane: the actor writes through it, tests put a model behind it.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;

use anyhow::Context;
use control::{Action, Reach};
use dataplane::{
    Behaviour, Dataplane, Destination, DestinationLink, Dynamic, Hash, MarkRule, Rules, Schedule,
    Segment, Standing,
};
use director::limits::BUCKET_SLOTS;

use crate::bpffs::PinRoot;
use crate::metrics::Readings;

/// What the actor needs of a data plane.
pub(crate) trait Plane {
    /// Carries out one action. Those that are not the data plane's are ignored.
    fn carry_out(&mut self, action: &Action) -> anyhow::Result<()>;
    /// Picks that a service number has ever made.
    fn picks(&self, service: u32) -> u64;

    /// Whether its last connection was refused, and its cycle renewed by that.
    fn is_renewed(&self, service: u32) -> bool;
    /// Active and inactive connections of a destination.
    fn gauges(&self, id: u32) -> (u32, u32);
    /// Persistence templates of each destination that has some.
    fn templates(&self) -> HashMap<u32, u32>;
    /// Counters of a destination.
    fn stats(&self, id: u32) -> api::Stats;
    /// Counters of destinations, in their order.
    fn stats_of(&self, ids: &[u32]) -> Vec<api::Stats>;
    /// Whether a destination has reached its upper threshold, and is passed by.
    fn is_overloaded(&self, id: u32) -> bool;
    /// Verdict counters by name.
    fn counters(&self) -> Vec<(&'static str, u64)>;
    /// Connections of destinations that nobody has answered.
    fn unanswered(&self, ids: &BTreeSet<u32>) -> HashMap<u32, dataplane::Unanswered>;
    /// Ends the connections of destinations; how many.
    fn let_go(&mut self, ids: &BTreeSet<u32>) -> u64;
    /// Has persistence templates lead to these destinations no more.
    fn turn_templates(&mut self, ids: &BTreeSet<u32>) -> u64;
    /// Forgets connections that have run out, in a part of the table: one of `parts`.
    fn sweep(&self, parts: usize);
    /// What would become of a packet; `dead` is a destination that is taken for dead.
    fn explain(
        &self,
        flow: &dataplane::Flow,
        dead: Option<u32>,
    ) -> anyhow::Result<dataplane::Explanation>;
    /// What would become of a frame, whatever it is.
    fn explain_frame(
        &self,
        bytes: &[u8],
        dead: Option<u32>,
    ) -> anyhow::Result<dataplane::Explanation>;
    /// MACs of the interfaces that frames arrive on.
    fn ingress_macs(&self) -> Vec<[u8; 6]>;
    /// What loads the programs that keep frames for traces, elsewhere.
    fn watched_loader(&self) -> anyhow::Result<dataplane::WatchedLoader>;
    /// Puts these programs in.
    fn begin_to_watch(&mut self, watched: dataplane::Watched) -> anyhow::Result<dataplane::Watch>;
    /// Puts the plain programs back.
    fn end_to_watch(&mut self) -> anyhow::Result<()>;
    /// What tells whose a traced frame was.
    fn guide(&self) -> anyhow::Result<dataplane::Guide>;
    /// Counters and gauges for another thread.
    fn readings(&self) -> Box<dyn Readings>;
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
                sloppy_sctp: settings.sloppy_sctp,
                conn_reuse_mode: settings.conn_reuse_mode,
                lblc_expiration_s: settings.lblc_expiration,
                lblcr_expiration_s: settings.lblcr_expiration,
            }),
            Action::WriteInterface { slot, index, mac } => {
                plane.write_interface(*slot, *index, *mac);
            }
            // No interface has the number 0.
            Action::ClearInterface { slot } => plane.write_interface(*slot, 0, [0; 6]),
            Action::WriteDestination {
                id,
                reach,
                service,
                weight,
                upper_threshold,
                lower_threshold,
                is_reopened,
            } => {
                let destination = Destination {
                    link: link(*reach),
                    standing: Standing {
                        service: *service,
                        weight: *weight,
                        upper_threshold: *upper_threshold,
                        lower_threshold: *lower_threshold,
                        is_reopened: *is_reopened,
                    },
                };
                plane.write_destination(*id, destination);
            }
            Action::WithdrawService { key } => plane.withdraw_service(&service(key))?,
            Action::PublishService {
                key,
                service: number,
                schedule: what,
                persistence,
                one_packet,
                share,
                memory,
            } => {
                let max = plane.connections_max();
                let mut rules = rules(key, persistence.as_ref(), *one_packet);
                rules.share = u32::try_from(max * u64::from(*share) / 100).unwrap_or(u32::MAX);
                rules.memory = *memory;
                plane.publish(&service(key), *number, &rules, &schedule(what))?;
            }
            Action::WriteVips {
                everything: true, ..
            } => plane.write_all_addresses(),
            Action::WriteVips { addresses, .. } => plane.write_vips(addresses),
            Action::WriteMarks { rules } => {
                let rules: Vec<_> = rules.iter().map(mark_rule).collect();
                plane.write_marks(&rules)?;
            }
            Action::ResetDestination { id } => plane.reset_destination(*id)?,
            Action::AddVip { .. } | Action::AnnounceVip { .. } | Action::RemoveVip { .. } => {}
        }
        Ok(())
    }

    fn picks(&self, service: u32) -> u64 {
        self.dataplane.picks(service)
    }

    fn is_renewed(&self, service: u32) -> bool {
        self.dataplane.is_renewed(service)
    }

    fn gauges(&self, id: u32) -> (u32, u32) {
        self.dataplane.gauges(id)
    }

    fn templates(&self) -> HashMap<u32, u32> {
        self.dataplane.templates()
    }

    fn stats(&self, id: u32) -> api::Stats {
        shown(self.dataplane.destination_stats(id))
    }

    fn stats_of(&self, ids: &[u32]) -> Vec<api::Stats> {
        let all = self.dataplane.stats_of(ids).into_iter();
        all.map(shown).collect()
    }

    fn is_overloaded(&self, id: u32) -> bool {
        self.dataplane.is_overloaded(id)
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.dataplane.counters()
    }

    fn unanswered(&self, ids: &BTreeSet<u32>) -> HashMap<u32, dataplane::Unanswered> {
        self.dataplane.unanswered(ids)
    }

    fn let_go(&mut self, ids: &BTreeSet<u32>) -> u64 {
        self.dataplane.let_go(ids)
    }

    fn turn_templates(&mut self, ids: &BTreeSet<u32>) -> u64 {
        self.dataplane.turn_templates(ids)
    }

    fn sweep(&self, parts: usize) {
        let buckets = self.dataplane.connections_max() as usize / BUCKET_SLOTS;
        self.dataplane.sweep(buckets.div_ceil(parts));
    }

    fn explain(
        &self,
        flow: &dataplane::Flow,
        dead: Option<u32>,
    ) -> anyhow::Result<dataplane::Explanation> {
        Ok(self.dataplane.explain(flow, dead)?)
    }

    fn explain_frame(
        &self,
        bytes: &[u8],
        dead: Option<u32>,
    ) -> anyhow::Result<dataplane::Explanation> {
        Ok(self.dataplane.explain_frame(bytes, dead)?)
    }

    fn ingress_macs(&self) -> Vec<[u8; 6]> {
        self.dataplane.ingress_macs()
    }

    fn watched_loader(&self) -> anyhow::Result<dataplane::WatchedLoader> {
        Ok(self.dataplane.watched_loader())
    }

    fn begin_to_watch(&mut self, watched: dataplane::Watched) -> anyhow::Result<dataplane::Watch> {
        let watch = self.dataplane.begin_to_watch(watched);
        watch.context("putting in the programs that are watched")
    }

    fn end_to_watch(&mut self) -> anyhow::Result<()> {
        let ended = self.dataplane.end_to_watch();
        ended.context("putting the plain programs back")
    }

    fn guide(&self) -> anyhow::Result<dataplane::Guide> {
        Ok(self.dataplane.guide())
    }

    fn readings(&self) -> Box<dyn Readings> {
        Box::new(self.dataplane.readings())
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

impl Readings for dataplane::Readings {
    fn stats(&self, id: u32) -> api::Stats {
        shown(self.destination_stats(id))
    }

    fn gauges(&self, id: u32) -> (u32, u32) {
        self.gauges(id)
    }

    fn is_overloaded(&self, id: u32) -> bool {
        self.is_overloaded(id)
    }

    fn population(&self, service: u32) -> u64 {
        self.population(service)
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.counters()
    }

    fn states(&self) -> Vec<dataplane::StateCount> {
        self.states()
    }
}

fn shown(stats: dataplane::Stats) -> api::Stats {
    api::Stats {
        connections: stats.connections,
        packets: stats.packets,
        bytes: stats.bytes,
        ..api::Stats::default()
    }
}

/// The table's room is the data plane's: `control` may give no number that does not fit.
const _: () = assert!(control::limits::SERVICES == director::limits::SERVICES);
const _: () = assert!(control::limits::DESTINATION_IDS == director::limits::DESTINATIONS);
/// Nobody's number is one that `control` never gives.
const _: () = assert!(dataplane::NOBODY == control::limits::DESTINATION_IDS - 1);
const _: () = assert!(control::limits::EGRESS_SLOTS as u32 == director::limits::INTERFACES);

fn link(reach: Reach) -> DestinationLink {
    match reach {
        Reach::Unresolved => DestinationLink::Unresolved,
        Reach::Gone => DestinationLink::Gone,
        Reach::Local => DestinationLink::Local,
        Reach::Via { mac, slot } => DestinationLink::Via { mac, slot },
    }
}

fn schedule(schedule: &control::Schedule) -> Schedule {
    match schedule {
        control::Schedule::Rotation(rotation) => {
            let segments = rotation.segments.iter().map(|segment| Segment {
                end: segment.end,
                destinations: segment.destinations.clone(),
            });
            Schedule::Rotation {
                segments: segments.collect(),
                first: rotation.first,
            }
        }
        control::Schedule::Table {
            hash,
            slots,
            with_port,
            fallback,
        } => Schedule::Table {
            hash: match hash {
                control::Hash::Source => Hash::Source,
                control::Hash::Destination => Hash::Destination,
                control::Hash::Maglev => Hash::Maglev,
            },
            slots: slots.clone(),
            with_port: *with_port,
            fallback: *fallback,
        },
        control::Schedule::List {
            scheduler,
            destinations,
        } => Schedule::List {
            scheduler: dynamic(*scheduler),
            destinations: destinations.clone(),
        },
    }
}

fn dynamic(scheduler: control::Dynamic) -> Dynamic {
    match scheduler {
        control::Dynamic::Lc => Dynamic::Lc,
        control::Dynamic::Wlc => Dynamic::Wlc,
        control::Dynamic::Sed => Dynamic::Sed,
        control::Dynamic::Nq => Dynamic::Nq,
        control::Dynamic::Fo => Dynamic::Fo,
        control::Dynamic::Ovf => Dynamic::Ovf,
        control::Dynamic::Twos => Dynamic::Twos,
        control::Dynamic::Lblc => Dynamic::Lblc,
        control::Dynamic::Lblcr => Dynamic::Lblcr,
    }
}

fn mark_rule(rule: &control::MarkRule) -> MarkRule {
    MarkRule {
        mark: rule.mark.get(),
        protocol: rule.protocol.map(api::Protocol::number),
        prefix: (rule.address, rule.prefix),
        ports: rule.first_port..=rule.last_port,
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

fn service(key: &api::ServiceKey) -> dataplane::ServiceKey {
    match key {
        api::ServiceKey::Address { protocol, address } => {
            dataplane::ServiceKey::new(address.ip(), address.port(), protocol.number())
        }
        api::ServiceKey::Mark { mark, family } => dataplane::ServiceKey::Mark {
            mark: mark.get(),
            is_ipv6: *family == api::Family::V6,
        },
    }
}

pub(crate) fn service_key(key: &dataplane::ServiceKey) -> Option<api::ServiceKey> {
    match *key {
        dataplane::ServiceKey::Address {
            address,
            port,
            protocol,
        } => Some(api::ServiceKey::Address {
            protocol: api::Protocol::of_number(protocol)?,
            address: std::net::SocketAddr::new(address, port),
        }),
        dataplane::ServiceKey::Mark { mark, is_ipv6 } => Some(api::ServiceKey::Mark {
            mark: std::num::NonZeroU32::new(mark)?,
            family: if is_ipv6 {
                api::Family::V6
            } else {
                api::Family::V4
            },
        }),
    }
}
