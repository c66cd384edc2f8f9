//! `dirigo status|services`: what the daemon knows, as tables or as the API's JSON.
//!
//! Addresses and ports are numbers. Data goes to stdout, so `--json | jq` works; what went wrong
//! goes to stderr with the exit codes of [`crate::exit`].

use std::io::Write;
use std::process::ExitCode;

use api::{Client, ClientError, LinkState, RefusalCode, Service, Status};
use comfy_table::{CellAlignment, Table, presets};

use crate::exit;

/// What commands that show have in common.
#[derive(clap::Args)]
pub(crate) struct Common {
    /// Which daemon, when there are several [default: DIRIGO_INSTANCE, else "default"]
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// The API's objects
    #[arg(long)]
    pub(crate) json: bool,
}

impl Common {
    pub(crate) fn client(&self) -> Client {
        crate::remote::client(self.instance.as_deref())
    }
}

/// Arguments of `dirigo status`.
#[derive(clap::Args)]
pub struct StatusArgs {
    #[command(flatten)]
    common: Common,
}

/// Arguments of `dirigo services`.
#[derive(clap::Args)]
pub struct ServicesArgs {
    #[command(flatten)]
    common: Common,
}

/// Why nothing, or not all, was shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShowError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
    #[error(
        "more than {0} connections to sort: say how many you want with --limit, or which \
         (dirigo connections --help)"
    )]
    TooManyToSort(usize),
}

/// Shows the daemon and its data plane.
pub fn status(args: &StatusArgs) -> ExitCode {
    if args.common.json {
        return finish(show(&args.common, Client::status, status_text));
    }
    let ask = |client: &Client| Ok((client.status()?, client.health()?, client.maintenance()?));
    finish(show(&args.common, ask, |(status, health, maintenance)| {
        status_text(status) + &crate::health::summary(health) + &crate::drain::summary(maintenance)
    }))
}

/// Shows virtual services and their destinations, in order; as JSON, in the daemon's own, which
/// is the scheduler's.
pub fn services(args: &ServicesArgs) -> ExitCode {
    let text = |services: &Vec<Service>| {
        let mut services = services.clone();
        sort(&mut services);
        services_text(&services)
    };
    if args.common.json {
        return finish(show(&args.common, Client::services, text));
    }
    let ask = |client: &Client| Ok((client.services()?, client.health()?));
    finish(show(&args.common, ask, |(services, health)| {
        text(services) + &crate::health::withheld(health)
    }))
}

pub(crate) fn show<T: serde::Serialize>(
    common: &Common,
    ask: impl Fn(&Client) -> Result<T, ClientError>,
    text: impl Fn(&T) -> String,
) -> Result<(), ShowError> {
    let answer = ask(&common.client())?;
    let mut output = std::io::stdout().lock();
    if common.json {
        serde_json::to_writer_pretty(&mut output, &answer).map_err(std::io::Error::from)?;
        writeln!(output)?;
    } else {
        output.write_all(text(&answer).as_bytes())?;
    }
    Ok(())
}

pub(crate) fn finish(done: Result<(), ShowError>) -> ExitCode {
    let Err(error) = done else {
        return ExitCode::SUCCESS;
    };
    // A reader that has seen enough (`| head`) is no failure to talk about.
    if !matches!(&error, ShowError::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe)
    {
        talk!("dirigo: {error}");
    }
    ExitCode::from(code(&error))
}

fn code(error: &ShowError) -> u8 {
    match error {
        ShowError::Client(ClientError::Unreachable { .. } | ClientError::NoRemote { .. }) => {
            exit::UNREACHABLE
        }
        ShowError::Client(ClientError::NotPermitted { .. }) => exit::NOT_PERMITTED,
        ShowError::Client(ClientError::Refused(refusal))
            if refusal.code == RefusalCode::NotPermitted =>
        {
            exit::NOT_PERMITTED
        }
        _ => exit::FAILED,
    }
}

fn status_text(status: &Status) -> String {
    let mut table = plain_table();
    let adopted = if status.adopted {
        ", took over a running data plane"
    } else {
        ""
    };
    table.add_row([
        "daemon",
        &format!(
            "{} instance {} pid {}, up {}{adopted}",
            status.version,
            status.instance,
            status.pid,
            duration(status.uptime_s)
        ),
    ]);
    for (name, text) in crate::apply::status(&status.configuration) {
        table.add_row([name, &text]);
    }
    for interface in &status.interfaces {
        let hint = match interface.mode.as_str() {
            "native" => "",
            _ => " (slower than native: the driver has no XDP)",
        };
        table.add_row([
            "interface",
            &format!(
                "{} {} XDP {}{hint}",
                interface.name, interface.mac, interface.mode
            ),
        ]);
    }
    for vip in &status.vips {
        table.add_row(["vip", vip]);
    }
    table.add_row([
        "connections",
        &format!("{} of {}", status.connections, status.connections_max),
    ]);
    table.add_row(["maps", &bytes(status.map_bytes)]);
    let api::Timeouts { tcp, tcpfin, udp } = status.timeouts;
    table.add_row([
        "timeouts",
        &format!("tcp {tcp} s, tcpfin {tcpfin} s, udp {udp} s"),
    ]);
    let settings = settings(&status.settings);
    if !settings.is_empty() {
        table.add_row(["settings", &settings.join(", ")]);
    }
    let mut text = lines(&mut table);
    let moved: Vec<_> = status.counters.iter().filter(|(_, n)| **n > 0).collect();
    if !moved.is_empty() {
        let mut counters = plain_table();
        for (name, count) in moved {
            counters.add_row([name.clone(), count.to_string()]);
        }
        align_right(&mut counters, &[1]);
        text += "\nframes by verdict, those that occurred\n";
        text += &lines(&mut counters);
    }
    text
}

/// The settings that are not IPVS's defaults.
fn settings(settings: &api::Settings) -> Vec<String> {
    let flags = [
        ("expire_nodest_conn", settings.expire_nodest_conn),
        (
            "expire_quiescent_template",
            settings.expire_quiescent_template,
        ),
        ("sloppy_tcp", settings.sloppy_tcp),
        ("sloppy_sctp", settings.sloppy_sctp),
    ];
    let numbers = |settings: &api::Settings| {
        [
            ("conn_reuse_mode", settings.conn_reuse_mode),
            ("lblc_expiration", settings.lblc_expiration),
            ("lblcr_expiration", settings.lblcr_expiration),
        ]
    };
    let set = flags.into_iter().filter(|(_, is_set)| *is_set);
    let defaults = numbers(&api::Settings::default());
    let others = numbers(settings).into_iter().zip(defaults);
    let others = others.filter(|(one, default)| one != default);
    set.map(|(name, _)| name.to_owned())
        .chain(others.map(|((name, number), _)| format!("{name} {number}")))
        .collect()
}

fn sort(services: &mut [Service]) {
    services.sort_by_key(|service| service.service);
    for service in services {
        service
            .destinations
            .sort_by_key(|destination| destination.destination);
    }
}

fn services_text(services: &[Service]) -> String {
    if services.is_empty() {
        return "no virtual services; add one to the configuration or with: \
                dirigo ipvsadm -A -t ADDRESS:PORT -s wrr\n"
            .to_owned();
    }
    let mut table = plain_table();
    table.set_header([
        "service",
        "scheduler, method",
        "weight",
        "active",
        "inactive",
        "connections",
        "packets",
        "bytes",
        "origin",
        "link",
    ]);
    for service in services {
        let stats = service.stats;
        table.add_row([
            service.service.to_string(),
            service.settings.to_string(),
            String::new(),
            String::new(),
            String::new(),
            stats.connections.to_string(),
            stats.packets.to_string(),
            stats.bytes.to_string(),
            origin(service.origin).to_owned(),
            String::new(),
        ]);
        for destination in &service.destinations {
            let stats = destination.stats;
            table.add_row([
                format!("  -> {}", destination.destination),
                forwarding(destination.settings.forwarding).to_owned(),
                destination.settings.weight.to_string(),
                destination.active.to_string(),
                destination.inactive.to_string(),
                stats.connections.to_string(),
                stats.packets.to_string(),
                stats.bytes.to_string(),
                origin(destination.origin).to_owned(),
                link(&destination.link) + &maintenance(destination),
            ]);
        }
    }
    align_right(&mut table, &[2, 3, 4, 5, 6, 7]);
    lines(&mut table)
}

pub(crate) fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

fn align_right(table: &mut Table, columns: &[usize]) {
    for column in columns {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// A table's lines: two blanks between columns, none around.
fn lines(table: &mut Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
        .lines()
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect()
}

fn origin(origin: api::Origin) -> &'static str {
    match origin {
        api::Origin::Config => "config",
        api::Origin::Runtime => "runtime",
    }
}

fn forwarding(method: api::ForwardingMethod) -> &'static str {
    match method {
        api::ForwardingMethod::DirectRouting => "direct routing",
        api::ForwardingMethod::Tunnelling => "tunnelling",
        api::ForwardingMethod::Masquerading => "masquerading",
    }
}

fn link(link: &LinkState) -> String {
    match link {
        LinkState::Resolved { mac, interface } => format!("{mac} on {interface}"),
        LinkState::Unresolved { reason } => format!("not eligible: {reason}"),
        LinkState::Local => "this host".to_owned(),
    }
}

fn maintenance(destination: &api::Destination) -> String {
    destination.held_weight.map_or_else(String::new, |weight| {
        format!("; in maintenance, weight {weight} when enabled")
    })
}

pub(crate) fn duration(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{:02}:{:02}:{:02}", rest / 3_600, rest / 60 % 60, rest % 60);
    match days {
        0 => clock,
        days => format!("{days} d {clock}"),
    }
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{Destination, DestinationSettings, Origin, ServiceSettings, Stats};

    fn status() -> Status {
        Status {
            version: "0.1.0".to_owned(),
            instance: "default".to_owned(),
            pid: 4711,
            uptime_s: 90_061,
            adopted: true,
            interfaces: vec![api::Interface {
                name: "eth0".to_owned(),
                mac: "02:00:00:00:00:02".to_owned(),
                mode: "generic".to_owned(),
            }],
            vips: vec!["192.0.2.100/32".to_owned(), "2001:db8::100/128".to_owned()],
            connections: 17,
            connections_max: 1_048_576,
            map_bytes: 67_108_864,
            services: 1,
            destinations: 2,
            deleted: 0,
            stats: Stats::default(),
            rates: api::Rates::default(),
            timeouts: api::Timeouts::default(),
            settings: api::Settings::default(),
            configuration: api::Configuration {
                file: "/etc/dirigo/dirigo.toml".into(),
                generation: 3,
                origin: api::GenerationOrigin::Signal,
                age_s: 61,
                drift: 2,
                failure: Some("one mistake\nand another".to_owned()),
            },
            counters: [("forwarded", 72), ("not_a_service", 5), ("truncated", 0)]
                .map(|(name, count)| (name.to_owned(), count))
                .into(),
        }
    }

    fn destination(address: &str, weight: u32, link: LinkState) -> Destination {
        Destination {
            destination: address.parse().unwrap(),
            settings: DestinationSettings::of(weight),
            origin: Origin::Config,
            active: 1,
            inactive: 11,
            templates: 0,
            stats: Stats {
                connections: 12,
                packets: 51,
                bytes: 2_856,
                ..Stats::default()
            },
            overloaded: false,
            held_weight: None,
            rates: api::Rates::default(),
            link,
        }
    }

    fn services() -> Vec<Service> {
        let resolved = LinkState::Resolved {
            mac: "02:00:00:00:01:01".to_owned(),
            interface: "eth0".to_owned(),
        };
        let unresolved = LinkState::Unresolved {
            reason: "no answer to ARP on eth0".to_owned(),
        };
        vec![Service {
            service: "tcp:192.0.2.100:80".parse().unwrap(),
            settings: ServiceSettings::of("wrr"),
            stats: Stats {
                connections: 17,
                packets: 72,
                bytes: 4_050,
                ..Stats::default()
            },
            rates: api::Rates::default(),
            origin: Origin::Config,
            destinations: vec![
                destination("192.0.2.12:80", 1, unresolved),
                destination("192.0.2.11:80", 3, resolved),
            ],
        }]
    }

    #[test]
    fn status_says_what_runs_and_which_verdicts_occurred() {
        insta::assert_snapshot!(status_text(&status()));
    }

    #[test]
    fn status_shows_the_settings_that_are_not_the_defaults() {
        assert!(!status_text(&status()).contains("settings"));
        let mut status = status();
        status.settings.sloppy_tcp = true;
        status.settings.conn_reuse_mode = 2;
        let text = status_text(&status);
        assert!(text.contains("sloppy_tcp, conn_reuse_mode 2\n"), "{text}");
    }

    #[test]
    fn services_show_why_a_destination_is_not_eligible() {
        let mut services = services();
        sort(&mut services);
        insta::assert_snapshot!(services_text(&services));
    }

    #[test]
    fn no_services_say_how_to_add_one() {
        assert!(services_text(&[]).contains("dirigo ipvsadm -A"));
    }

    #[test]
    fn the_exit_code_tells_an_absent_daemon_from_a_forbidden_one() {
        let io = |kind: std::io::ErrorKind| std::io::Error::from(kind);
        let path = std::path::PathBuf::from("/run/dirigo/default.sock");
        let absent = ClientError::Unreachable {
            path: path.clone(),
            source: io(std::io::ErrorKind::NotFound),
        };
        let forbidden = ClientError::NotPermitted {
            path,
            source: io(std::io::ErrorKind::PermissionDenied),
        };
        let protocol = ClientError::Protocol("x".to_owned());
        let codes = [absent, forbidden, protocol].map(|error| code(&error.into()));
        assert_eq!(codes, [3, 4, 1]);
    }
}
