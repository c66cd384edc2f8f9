//! `dirigo health`: every check of every real server, and why those that fail do.

use std::process::ExitCode;

use api::{Client, DestinationHealth, HealthState, ServiceHealth};
use comfy_table::Table;

use crate::show::{Common, finish, plain_table, show};

/// Arguments of `dirigo health`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
}

/// Shows the health of real servers.
pub fn main(args: &Args) -> ExitCode {
    if args.common.json {
        return finish(show(&args.common, Client::health, |_| String::new()));
    }
    let ask = |client: &Client| Ok((client.health()?, client.maintenance()?));
    finish(show(&args.common, ask, |(services, maintenance)| {
        text(services) + &crate::drain::summary(maintenance)
    }))
}

/// One line for `dirigo status`; nothing where nothing is checked.
pub(crate) fn summary(services: &[ServiceHealth]) -> String {
    let all = || services.iter().flat_map(|service| &service.destinations);
    if all().next().is_none() {
        return String::new();
    }
    let up = all().filter(|one| one.health == HealthState::Up).count();
    let lost = services.iter().filter(|service| !service.quorum).count();
    let quorum = match lost {
        0 => String::new(),
        1 => "; 1 service without its quorum".to_owned(),
        lost => format!("; {lost} services without their quorum"),
    };
    let all = all().count();
    format!("health: {up} of {all} checked destinations are up{quorum} (dirigo health)\n")
}

/// For `dirigo services`: destinations of the configuration that have no new connections because
/// of their checks, each on a line.
pub(crate) fn withheld(services: &[ServiceHealth]) -> String {
    let mut lines = String::new();
    for service in services {
        let kept_out = service.destinations.iter();
        for one in kept_out.filter(|one| one.health != HealthState::Up) {
            let how = match one.weight {
                Some(_) => "weight 0",
                None => "out",
            };
            let why = match (&one.reason, one.health) {
                (Some(reason), _) => reason,
                (None, HealthState::Standby) => "the sorry server serves",
                (None, _) => "not checked yet",
            };
            lines += &format!("{}: {}: {how}: {why}\n", service.service, one.server);
        }
    }
    lines
}

fn text(services: &[ServiceHealth]) -> String {
    if services.is_empty() {
        return "no service has checks; define them as [[check]] in the configuration\n".to_owned();
    }
    let mut table = plain_table();
    table.set_header(["service", "weight", "check", "to", "health", "for"]);
    let mut reasons = String::new();
    for service in services {
        table.add_row([service.service.to_string()]);
        for destination in &service.destinations {
            add(&mut table, destination);
        }
        if let Some(sorry) = service.sorry_server {
            table.add_row([
                format!("  {sorry}"),
                String::new(),
                "sorry server".to_owned(),
            ]);
        }
        reasons += &why(service);
    }
    format!("{}\n{reasons}", table.trim_fmt())
}

fn add(table: &mut Table, destination: &DestinationHealth) {
    let weight = match destination.weight {
        Some(weight) => weight.to_string(),
        None => "out".to_owned(),
    };
    let mut first = [format!("  {}", destination.server), weight];
    if destination.checks.is_empty() {
        let [server, weight] = first;
        table.add_row([server, weight, "none".to_owned()]);
        return;
    }
    for check in &destination.checks {
        let [server, weight] = std::mem::take(&mut first);
        table.add_row([
            server,
            weight,
            format!("{} ({})", check.check, check.kind),
            check.to.to_string(),
            check.health.name().to_owned(),
            format!("{} s", check.for_s),
        ]);
    }
}

/// The reasons, each on a line of its own: they are sentences.
fn why(service: &ServiceHealth) -> String {
    let mut lines = String::new();
    if !service.quorum {
        lines += &format!("{}: the quorum is lost\n", service.service);
    }
    for destination in &service.destinations {
        if let Some(suspected) = &destination.suspected {
            let server = destination.server;
            lines += &format!("{}: {server}: suspected: {suspected}\n", service.service);
        }
        let failed = destination.checks.iter();
        let failed = failed.filter(|check| check.health == HealthState::Down);
        for check in failed {
            let reason = check.reason.as_deref().unwrap_or("no reason is known");
            let (server, name) = (destination.server, &check.check);
            lines += &format!("{}: {server}: {name}: {reason}\n", service.service);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use api::CheckState;

    use super::*;

    #[test]
    fn what_fails_is_said_below_the_table() {
        let check = |health, reason: Option<&str>| CheckState {
            check: "web".to_owned(),
            kind: "http".to_owned(),
            to: "192.0.2.100:80".parse().unwrap(),
            health,
            for_s: 12,
            reason: reason.map(str::to_owned),
        };
        let destination = |server: &str, weight, check: CheckState| DestinationHealth {
            server: server.parse().unwrap(),
            weight,
            health: check.health,
            reason: check.reason.clone(),
            suspected: None,
            checks: vec![check],
        };
        let services = [ServiceHealth {
            service: "tcp:192.0.2.100:80".parse().unwrap(),
            quorum: true,
            sorry_server: None,
            destinations: vec![
                destination("192.0.2.11", Some(3), check(HealthState::Up, None)),
                destination(
                    "192.0.2.12",
                    None,
                    check(HealthState::Down, Some("HTTP status 503, expected 200-299")),
                ),
            ],
        }];
        let shown = text(&services);
        let rows: Vec<Vec<&str>> = shown
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            rows[2],
            [
                "192.0.2.11",
                "3",
                "web",
                "(http)",
                "192.0.2.100:80",
                "up",
                "12",
                "s"
            ]
        );
        assert_eq!(
            rows[3],
            [
                "192.0.2.12",
                "out",
                "web",
                "(http)",
                "192.0.2.100:80",
                "down",
                "12",
                "s"
            ]
        );
        assert_eq!(
            shown.lines().last().unwrap(),
            "tcp:192.0.2.100:80: 192.0.2.12: web: HTTP status 503, expected 200-299"
        );
        assert_eq!(
            withheld(&services),
            "tcp:192.0.2.100:80: 192.0.2.12: out: HTTP status 503, expected 200-299\n"
        );
        assert_eq!(
            summary(&services),
            "health: 1 of 2 checked destinations are up (dirigo health)\n"
        );
        assert_eq!(summary(&[]), "");
    }

    #[test]
    fn without_checks_it_says_where_to_define_them() {
        assert!(text(&[]).contains("[[check]]"));
    }
}
