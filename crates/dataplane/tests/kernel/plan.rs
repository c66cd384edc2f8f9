//! Plans of the control plane as changes of the tables: what the daemon does to the kernel's, done to both
//! halves.

use ::control::{Action, Reach};
use dirigo_dataplane::{
    DestinationLink, Dynamic, Hash, MarkRule, Rules, Schedule, Segment, ServiceKey, Standing,
};

use crate::world::Change;

/// The change that an action is; `None` when it is about the host, not the tables.
pub fn change(action: &Action) -> Option<Change> {
    Some(match action {
        Action::WriteInterface { slot, index, mac } => Change::Interface(*slot, *index, *mac),
        Action::WriteVips { addresses, .. } => Change::Vips(addresses.clone()),
        Action::WriteMarks { rules } => Change::Marks(rules.iter().map(mark_rule).collect()),
        Action::WithdrawService { key } => Change::Withdraw(service(key)),
        Action::WriteDestination {
            id,
            reach,
            service,
            weight,
            upper_threshold,
            lower_threshold,
            is_reopened,
        } => {
            let standing = Standing {
                service: *service,
                weight: *weight,
                upper_threshold: *upper_threshold,
                lower_threshold: *lower_threshold,
                is_reopened: *is_reopened,
            };
            Change::Standing(*id, link(*reach), standing)
        }
        Action::PublishService {
            key,
            service: id,
            schedule,
            memory,
            ..
        } => publish(service(key), *id, *memory, schedule),
        Action::AddVip { .. } | Action::AnnounceVip { .. } | Action::RemoveVip { .. } => {
            return None;
        }
        other => panic!("no history comes to this: {other}"),
    })
}

fn publish(key: ServiceKey, id: u32, memory: u64, schedule: &::control::Schedule) -> Change {
    let rules = Rules {
        memory,
        ..Rules::default()
    };
    let schedule = match schedule {
        ::control::Schedule::Rotation(rotation) => {
            let segments = rotation.segments.iter().map(|segment| Segment {
                end: segment.end,
                destinations: segment.destinations.clone(),
            });
            return Change::PublishWith {
                key,
                id,
                rules,
                segments: segments.collect(),
                first: rotation.first,
            };
        }
        ::control::Schedule::Table {
            hash,
            slots,
            with_port,
            fallback,
        } => Schedule::Table {
            hash: match hash {
                ::control::Hash::Source => Hash::Source,
                ::control::Hash::Destination => Hash::Destination,
                ::control::Hash::Maglev => Hash::Maglev,
            },
            slots: slots.clone(),
            with_port: *with_port,
            fallback: *fallback,
        },
        ::control::Schedule::List {
            scheduler,
            destinations,
        } => Schedule::List {
            scheduler: dynamic(*scheduler),
            destinations: destinations.clone(),
        },
    };
    Change::Schedule {
        key,
        id,
        rules,
        schedule,
    }
}

fn dynamic(scheduler: ::control::Dynamic) -> Dynamic {
    match scheduler {
        ::control::Dynamic::Lc => Dynamic::Lc,
        ::control::Dynamic::Wlc => Dynamic::Wlc,
        ::control::Dynamic::Sed => Dynamic::Sed,
        ::control::Dynamic::Nq => Dynamic::Nq,
        ::control::Dynamic::Fo => Dynamic::Fo,
        ::control::Dynamic::Ovf => Dynamic::Ovf,
        ::control::Dynamic::Twos => Dynamic::Twos,
        ::control::Dynamic::Lblc => Dynamic::Lblc,
        ::control::Dynamic::Lblcr => Dynamic::Lblcr,
    }
}

fn link(reach: Reach) -> DestinationLink {
    match reach {
        Reach::Unresolved => DestinationLink::Unresolved,
        Reach::Gone => DestinationLink::Gone,
        Reach::Local => DestinationLink::Local,
        Reach::Via { mac, slot } => DestinationLink::Via { mac, slot },
    }
}

fn mark_rule(rule: &::control::MarkRule) -> MarkRule {
    MarkRule {
        mark: rule.mark.get(),
        protocol: rule.protocol.map(api::Protocol::number),
        prefix: (rule.address, rule.prefix),
        ports: rule.first_port..=rule.last_port,
    }
}

fn service(key: &api::ServiceKey) -> ServiceKey {
    match key {
        api::ServiceKey::Address { protocol, address } => {
            ServiceKey::new(address.ip(), address.port(), protocol.number())
        }
        api::ServiceKey::Mark { mark, family } => ServiceKey::Mark {
            mark: mark.get(),
            is_ipv6: *family == api::Family::V6,
        },
    }
}
