//! What an apply would do. The actor says what is known; the rest is computed by whoever asks.

use std::collections::BTreeMap;

use api::{Moves, PlannedService, Refusal, ServiceDifference, SettingDifference};
use config::Config;
use control::{Desired, Event, LinkReport, Observed, State};
use health::probe::Standing;

use super::Actor;
use crate::forecast::{self, Gauges};
use crate::host::Host;
use crate::plane::Plane;

/// All that is needed to say what an apply would do.
pub(crate) struct Basis {
    state: State,
    event: Event,
    observed: Observed,
    gauges: Gauges,
    differences: Vec<ServiceDifference>,
    settings: Vec<SettingDifference>,
    notes: Vec<String>,
}

impl<P: Plane, H: Host> Actor<P, H> {
    /// Reads what is needed. New real servers are taken for reachable and well: that is what an apply waits for.
    pub(super) fn basis(&self, config: &Config) -> Result<Basis, Refusal> {
        let mut desired = Desired::from(config);
        let next = self
            .health
            .next(config, &desired, |_, _| Some(Standing::Up));
        next.filter(&mut desired);
        let differences = control::differences(&self.state, &desired);
        let named = differences.iter();
        let named = named.filter_map(|one| self.state.services.get(&one.service));
        let ids = named.flat_map(|service| &service.list);
        let gauges = ids.map(|id| (*id, self.rooms.plane.gauges(*id))).collect();
        let event = Event::Apply {
            desired,
            generation: self.state.generation + 1,
        };
        let mut observed = self.answers(self.state.questions(&event), self.addresses()?);
        observed.links = self.health.reports(&event, &self.state);
        self.assume_links(&event, &mut observed.links);
        Ok(Basis {
            event,
            observed,
            gauges,
            differences,
            settings: settings(&self.reload.config, config, &self.state),
            notes: self.notes(config),
            state: self.state.clone(),
        })
    }

    /// A real server that is new to the table is thought to be behind the first interface.
    fn assume_links(&self, event: &Event, links: &mut BTreeMap<std::net::IpAddr, LinkReport>) {
        let (Event::Apply { desired, .. }, Some(egress)) =
            (event, self.state.egress.values().next())
        else {
            return;
        };
        let named = desired
            .services
            .iter()
            .flat_map(|service| &service.destinations);
        let new = named.map(|(address, _)| address.ip());
        for server in new.filter(|server| !self.state.links.contains_key(server)) {
            links.entry(server).or_insert(LinkReport::Via {
                mac: [2, 0, 0, 0, 0, 1],
                interface: egress.index,
            });
        }
    }
}

impl Basis {
    /// What an apply would do: a step that is thought and not made.
    pub(crate) fn plan(self, file: std::path::PathBuf) -> Result<api::Plan, Refusal> {
        let mut after = self.state.clone();
        control::step(&mut after, self.event, &self.observed)?;
        let services = self.differences.into_iter().map(|difference| {
            let moves: Moves = forecast::moves(&self.state, &after, &self.gauges, &difference);
            PlannedService { difference, moves }
        });
        Ok(api::Plan {
            file,
            generation: self.state.generation,
            services: services.collect(),
            settings: self.settings,
            notes: self.notes,
        })
    }
}

/// What is otherwise beside services and destinations.
fn settings(old: &Config, new: &Config, state: &State) -> Vec<SettingDifference> {
    let mut all = Vec::new();
    let mut add = |name: &str, was: String, becomes: String| {
        if was != becomes {
            let name = name.to_owned();
            all.push(SettingDifference { name, was, becomes });
        }
    };
    let names = |config: &Config| -> String {
        let names: Vec<String> = config.interfaces.iter().map(ToString::to_string).collect();
        names.join(", ")
    };
    add("director.interfaces", names(old), names(new));
    let text = |value: bool| value.to_string();
    add(
        "director.require_native",
        text(old.require_native),
        text(new.require_native),
    );
    let on_stop = |config: &Config| match config.on_stop {
        config::OnStop::Release => "release".to_owned(),
        config::OnStop::Keep => "keep".to_owned(),
    };
    add("director.on_stop", on_stop(old), on_stop(new));
    let (was, becomes) = (state.timeouts, api::Timeouts::from(new.timeouts));
    add("timeouts.tcp", was.tcp.to_string(), becomes.tcp.to_string());
    add(
        "timeouts.tcp_fin",
        was.tcpfin.to_string(),
        becomes.tcpfin.to_string(),
    );
    add("timeouts.udp", was.udp.to_string(), becomes.udp.to_string());
    settings_of(&state.settings, &new.settings, &mut add);
    add("vips.manage", text(old.manage_vips), text(new.manage_vips));
    if old.marks != new.marks {
        let count = |config: &Config| format!("{} rules", config.marks.len());
        add("mark", count(old), format!("{}, others", count(new)));
    }
    checks(old, new, &mut add);
    all
}

fn settings_of(
    was: &api::Settings,
    becomes: &api::Settings,
    add: &mut impl FnMut(&str, String, String),
) {
    let fields = |settings: &api::Settings| {
        [
            (
                "expire_nodest_conn",
                settings.expire_nodest_conn.to_string(),
            ),
            (
                "expire_quiescent_template",
                settings.expire_quiescent_template.to_string(),
            ),
            ("sloppy_tcp", settings.sloppy_tcp.to_string()),
            ("sloppy_sctp", settings.sloppy_sctp.to_string()),
            ("conn_reuse_mode", settings.conn_reuse_mode.to_string()),
            ("lblc_expiration", settings.lblc_expiration.to_string()),
            ("lblcr_expiration", settings.lblcr_expiration.to_string()),
        ]
    };
    for ((name, was), (_, becomes)) in fields(was).into_iter().zip(fields(becomes)) {
        add(&format!("settings.{name}"), was, becomes);
    }
}

/// Checks by name, and what services say of them.
fn checks(old: &Config, new: &Config, add: &mut impl FnMut(&str, String, String)) {
    const NONE: &str = "none";
    let names = old.checks.keys().chain(new.checks.keys());
    for name in names.collect::<std::collections::BTreeSet<_>>() {
        let (was, becomes) = (old.checks.get(name), new.checks.get(name));
        if was != becomes {
            let kind = |check: Option<&health::check::Check>| {
                check.map_or(NONE, |check| check.kind.name()).to_owned()
            };
            let (was, mut becomes) = (kind(was), kind(becomes));
            if was == becomes {
                becomes = format!("{becomes}, otherwise");
            }
            add(&format!("check {name}"), was, becomes);
        }
    }
    let before: BTreeMap<_, _> = old
        .services
        .iter()
        .map(|one| (one.key, &one.health))
        .collect();
    for service in &new.services {
        let was = before.get(&service.key).copied();
        if was.is_some_and(|was| *was != service.health) {
            let words = |health: &Option<config::Health>| match health {
                None => NONE.to_owned(),
                Some(health) => {
                    let names: Vec<&str> = health.checks.iter().map(|name| &**name).collect();
                    format!("{} quorum {}", names.join(", "), health.rules.quorum)
                }
            };
            let (was, mut becomes) = (was.map_or_else(String::new, words), words(&service.health));
            if was == becomes {
                becomes = format!("{becomes}, otherwise");
            }
            add(&format!("checks of {}", service.key), was, becomes);
        }
    }
}
