//! What of a configuration is otherwise beside services and destinations, in the words of the file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use api::SettingDifference;
use config::{Config, OnStop};
use control::State;

const NONE: &str = "none";

/// Differences, as they are found.
#[derive(Default)]
struct Found(Vec<SettingDifference>);

impl Found {
    fn compare(&mut self, name: &str, was: impl Display, becomes: impl Display) {
        let (was, becomes) = (was.to_string(), becomes.to_string());
        if was != becomes {
            let name = name.to_owned();
            self.0.push(SettingDifference { name, was, becomes });
        }
    }

    /// What is too long to be said on a line: `words` says the main thing of it.
    fn compare_long<T: PartialEq + ?Sized>(
        &mut self,
        name: &str,
        (was, becomes): (&T, &T),
        words: impl Fn(&T) -> String,
    ) {
        if was == becomes {
            return;
        }
        let (was, mut becomes) = (words(was), words(becomes));
        if was == becomes {
            becomes += ", otherwise";
        }
        self.compare(name, was, becomes);
    }
}

/// What an apply of `new` would make otherwise. Whatever makes it a new generation is named.
pub(super) fn of(old: &Config, new: &Config, state: &State) -> Vec<SettingDifference> {
    let mut found = Found::default();
    director(&mut found, old, new);
    timeouts(
        &mut found,
        state.timeouts,
        api::Timeouts::from(new.timeouts),
    );
    behaviour(&mut found, &state.settings, &new.settings);
    found.compare("vips.manage", old.manage_vips, new.manage_vips);
    doors(&mut found, old, new);
    found.compare_long("mark", (&old.marks, &new.marks), |marks| {
        format!("{} rules", marks.len())
    });
    let servers = (&old.real_servers, &new.real_servers);
    found.compare_long("real_server", servers, |servers| {
        format!("{} names", servers.len())
    });
    checks(&mut found, old, new);
    let order = |config: &Config| -> Vec<_> {
        let services = config.services.iter();
        services
            .flat_map(|one| one.destinations.iter().map(|it| (one.key, it.address)))
            .collect()
    };
    let (was, becomes) = (order(old), order(new));
    let is_same_set = || {
        let set = |all: &[_]| all.iter().copied().collect::<BTreeSet<_>>();
        set(&was) == set(&becomes)
    };
    if was != becomes && is_same_set() {
        found.compare(
            "order",
            "as applied",
            "otherwise, which counts after a reboot",
        );
    }
    found.0
}

/// What was set at runtime: `was` is what was applied.
pub(super) fn drift(state: &State) -> Vec<SettingDifference> {
    let mut found = Found::default();
    if let Some(applied) = &state.applied {
        timeouts(&mut found, applied.timeouts, state.timeouts);
    }
    found.0
}

fn director(found: &mut Found, old: &Config, new: &Config) {
    let names = |config: &Config| {
        let names = config.interfaces.iter().map(ToString::to_string);
        names.collect::<Vec<_>>().join(", ")
    };
    found.compare("director.interfaces", names(old), names(new));
    found.compare(
        "director.require_native",
        old.require_native,
        new.require_native,
    );
    let on_stop = |config: &Config| match config.on_stop {
        OnStop::Release => "release",
        OnStop::Keep => "keep",
    };
    found.compare("director.on_stop", on_stop(old), on_stop(new));
    let max = |config: &Config| {
        let max = config.connections_max;
        max.map_or_else(
            || "as suits the machine".to_owned(),
            |max| u32::from(max).to_string(),
        )
    };
    found.compare("connections.max", max(old), max(new));
}

fn timeouts(found: &mut Found, was: api::Timeouts, becomes: api::Timeouts) {
    found.compare("timeouts.tcp", was.tcp, becomes.tcp);
    found.compare("timeouts.tcp_fin", was.tcpfin, becomes.tcpfin);
    found.compare("timeouts.udp", was.udp, becomes.udp);
}

fn behaviour(found: &mut Found, was: &api::Settings, becomes: &api::Settings) {
    let fields = |settings: &api::Settings| {
        let api::Settings {
            expire_nodest_conn,
            expire_quiescent_template,
            sloppy_tcp,
            sloppy_sctp,
            conn_reuse_mode,
            lblc_expiration,
            lblcr_expiration,
        } = settings;
        [
            ("expire_nodest_conn", expire_nodest_conn.to_string()),
            (
                "expire_quiescent_template",
                expire_quiescent_template.to_string(),
            ),
            ("sloppy_tcp", sloppy_tcp.to_string()),
            ("sloppy_sctp", sloppy_sctp.to_string()),
            ("conn_reuse_mode", conn_reuse_mode.to_string()),
            ("lblc_expiration", lblc_expiration.to_string()),
            ("lblcr_expiration", lblcr_expiration.to_string()),
        ]
    };
    for ((name, was), (_, becomes)) in fields(was).into_iter().zip(fields(becomes)) {
        found.compare(&format!("settings.{name}"), was, becomes);
    }
}

/// Who asks and who is told.
fn doors(found: &mut Found, old: &Config, new: &Config) {
    found.compare(
        "api.everyone_reads",
        old.api.everyone_reads,
        new.api.everyone_reads,
    );
    let listen = (&old.api.listen, &new.api.listen);
    found.compare_long("api.listen", listen, |listen| {
        let address = listen.as_ref().map(|listen| listen.address.to_string());
        address.unwrap_or_else(|| NONE.to_owned())
    });
    found.compare_long("notify", (&old.notify, &new.notify), |all| {
        format!("{} receivers", all.len())
    });
    let (was, becomes) = (old.metrics, new.metrics);
    found.compare(
        "metrics.per_destination",
        was.per_destination,
        becomes.per_destination,
    );
    found.compare("metrics.max_series", was.max_series, becomes.max_series);
}

/// Checks by name, and what services say of them.
fn checks(found: &mut Found, old: &Config, new: &Config) {
    let names = old.checks.keys().chain(new.checks.keys());
    for name in names.collect::<BTreeSet<_>>() {
        let both = (&old.checks.get(name), &new.checks.get(name));
        found.compare_long(&format!("check {name}"), both, |check| {
            check.map_or(NONE, |check| check.kind.name()).to_owned()
        });
    }
    let services = old.services.iter();
    let before: BTreeMap<_, _> = services.map(|one| (one.key, &one.health)).collect();
    for service in &new.services {
        let Some(was) = before.get(&service.key) else {
            continue;
        };
        let name = format!("checks of {}", service.key);
        found.compare_long(&name, (*was, &service.health), |health| match health {
            None => NONE.to_owned(),
            Some(health) => {
                let names: Vec<&str> = health.checks.iter().map(|name| &**name).collect();
                format!("{}, quorum {}", names.join(", "), health.rules.quorum)
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "[director]\ninterface = \"eth0\"\n\
        [[real_server]]\nname = \"a\"\naddress = \"192.0.2.11\"\n\
        [[check]]\nname = \"port\"\ntype = \"tcp\"\n\
        [[service]]\naddress = \"192.0.2.100:80\"\nprotocol = \"tcp\"\nchecks = [\"port\"]\n\
        [[service.destination]]\naddress = \"192.0.2.12\"\n\
        [[service.destination]]\nreal_server = \"a\"\n";

    fn named(old: &str, new: &str) -> Vec<String> {
        let parse = |text: &str| Config::parse(text, "file").unwrap_or_else(|e| panic!("{e}"));
        let (old, new) = (parse(old), parse(new));
        let mut state = State::default();
        state.timeouts = api::Timeouts::from(old.timeouts);
        let found = of(&old, &new, &state);
        found.into_iter().map(|one| one.name).collect()
    }

    #[test]
    fn whatever_makes_a_configuration_another_is_named() {
        assert_eq!(named(FILE, FILE), [""; 0]);
        for (from, to, expected) in [
            ("\"eth0\"", "\"eth1\"", "director.interfaces"),
            (
                "\"eth0\"",
                "\"eth0\"\nrequire_native = true",
                "director.require_native",
            ),
            (
                "\"eth0\"",
                "\"eth0\"\non_stop = \"release\"",
                "director.on_stop",
            ),
            (
                "\"eth0\"",
                "\"eth0\"\n[connections]\nmax = 4096",
                "connections.max",
            ),
            ("\"eth0\"", "\"eth0\"\n[timeouts]\ntcp = 5", "timeouts.tcp"),
            (
                "\"eth0\"",
                "\"eth0\"\n[timeouts]\ntcp_fin = 5",
                "timeouts.tcp_fin",
            ),
            ("\"eth0\"", "\"eth0\"\n[timeouts]\nudp = 5", "timeouts.udp"),
            (
                "\"eth0\"",
                "\"eth0\"\n[settings]\nsloppy_tcp = true",
                "settings.sloppy_tcp",
            ),
            (
                "\"eth0\"",
                "\"eth0\"\n[settings]\nconn_reuse_mode = 0",
                "settings.conn_reuse_mode",
            ),
            (
                "\"eth0\"",
                "\"eth0\"\n[vips]\nmanage = false",
                "vips.manage",
            ),
            (
                "\"eth0\"",
                "\"eth0\"\n[api]\neveryone_reads = true",
                "api.everyone_reads",
            ),
            (
                "\"eth0\"",
                "\"eth0\"\n[api]\nlisten = \"127.0.0.1:1\"\ntls = false",
                "api.listen",
            ),
            (
                "\"eth0\"",
                "\"eth0\"\n[[notify]]\nurl = \"https://h.example/\"",
                "notify",
            ),
            (
                "\"eth0\"",
                "\"eth0\"\n[metrics]\nmax_series = 2000",
                "metrics.max_series",
            ),
            (
                "\"eth0\"",
                "\"eth0\"\n[metrics]\nper_destination = false",
                "metrics.per_destination",
            ),
            (
                "\"eth0\"",
                "\"eth0\"\n[[mark]]\nmark = 1\naddresses = [\"192.0.2.7\"]",
                "mark",
            ),
            ("\"a\"", "\"b\"", "real_server"),
            (
                "\"tcp\"\n[[service]]",
                "\"tcp\"\nrise = 7\n[[service]]",
                "check port",
            ),
            (
                "checks = [\"port\"]",
                "checks = [\"port\"]\nquorum = 2",
                "checks of tcp:192.0.2.100:80",
            ),
            (
                "address = \"192.0.2.12\"\n[[service.destination]]\nreal_server = \"a\"",
                "real_server = \"a\"\n[[service.destination]]\naddress = \"192.0.2.12\"",
                "order",
            ),
        ] {
            let new = FILE.replace(from, to);
            assert_ne!(new, FILE, "{from}");
            assert_eq!(named(FILE, &new), [expected], "{to}");
        }
    }
}
