//! `dirigo plan`: what an apply would change, and whom it would move.

use std::path::PathBuf;
use std::process::ExitCode;

use api::{
    Apply, ClientError, ClientMoves, DestinationDifference, DestinationSettings, Moves, Plan,
    RefusalCode, ServiceDifference,
};

use crate::apply;
use crate::exit;
use crate::show::Common;

/// Something would change.
const WOULD_CHANGE: u8 = 2;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// The configuration [default: the one that the daemon was started with]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Runs it: 0 if nothing would change, 2 if something would.
pub fn main(args: Args) -> ExitCode {
    let file = match args.config.map(std::path::absolute).transpose() {
        Ok(file) => file,
        Err(error) => {
            talk!("dirigo plan: {error}");
            return ExitCode::from(exit::USAGE);
        }
    };
    match args.common.client().plan(&Apply { file }) {
        Ok(plan) => {
            match args.common.json {
                true => apply::print_json(&plan),
                false => data!("{}", text(&plan).trim_end()),
            }
            for note in &plan.notes {
                talk!("dirigo plan: {note}");
            }
            ExitCode::from(if plan.is_empty() { 0 } else { WOULD_CHANGE })
        }
        Err(error) => {
            match &error {
                ClientError::Refused(refusal) if refusal.code == RefusalCode::BadConfig => {
                    talk!("{refusal}");
                }
                error => talk!("dirigo plan: {error}"),
            }
            ExitCode::from(apply::code(&error))
        }
    }
}

fn text(plan: &Plan) -> String {
    let (generation, file) = (plan.generation, plan.file.display());
    if plan.is_empty() {
        return format!("nothing would change: generation {generation} is as {file}");
    }
    let mut text = String::new();
    for service in &plan.services {
        text += &difference(&service.difference);
        text += &moves(&service.moves);
    }
    for setting in &plan.settings {
        let (name, was, becomes) = (&setting.name, &setting.was, &setting.becomes);
        text += &format!("{name}: {was} -> {becomes}\n");
    }
    let count = |number: usize, noun: &str| {
        let ending = if number == 1 { "" } else { "s" };
        format!("{number} {noun}{ending}")
    };
    let services = count(plan.services.len(), "service");
    let settings = count(plan.settings.len(), "setting");
    text + &format!("`dirigo apply` would change {services} and {settings}, from {file}\n")
}

fn difference(one: &ServiceDifference) -> String {
    let service = one.service;
    let mut text = match (&one.was, &one.becomes) {
        (None, Some(becomes)) => format!("+ {service} {becomes}\n"),
        (Some(_), None) => format!("- {service}\n"),
        (Some(was), Some(becomes)) if was != becomes => {
            format!("~ {service} {was} -> {becomes}\n")
        }
        _ => format!("~ {service}\n"),
    };
    for destination in &one.destinations {
        text += &destination_text(destination);
    }
    text
}

fn destination_text(one: &DestinationDifference) -> String {
    let destination = one.destination;
    match (&one.was, &one.becomes) {
        (None, Some(becomes)) => format!("    + {destination} {}\n", terms(becomes)),
        (Some(was), None) => format!("    - {destination} {}\n", terms(was)),
        (Some(was), Some(becomes)) => {
            format!("    ~ {destination} {} -> {}\n", terms(was), terms(becomes))
        }
        (None, None) => String::new(),
    }
}

fn terms(settings: &DestinationSettings) -> String {
    let mut text = format!("weight {}", settings.weight);
    if settings.upper_threshold > 0 {
        let (upper, lower) = (settings.upper_threshold, settings.lower_threshold);
        text += &format!(" thresholds {upper} {lower}");
    }
    text
}

fn moves(moves: &Moves) -> String {
    let (all, lost) = (moves.connections, moves.lost);
    let mut text = match lost {
        0 if all == 0 => "    no live connections".to_owned(),
        0 => format!("    all of {all} live connections stay where they are"),
        lost => format!(
            "    {lost} of {all} live connections ({}) lose their destination, the others stay",
            percent(lost * 10_000 / all.max(1))
        ),
    };
    if let Some(clients) = &moves.clients {
        text += &format!("; {}", clients_text(clients));
    }
    text + "\n"
}

fn clients_text(clients: &ClientMoves) -> String {
    let exactly = match clients.sample {
        0 => "exactly".to_owned(),
        sample => format!("of {sample} tried"),
    };
    let moved = percent(clients.moved.into());
    let mut text = format!("{moved} of new clients go to another real server ({exactly})");
    if clients.refused > 0 {
        text += &format!(", {} to nobody", percent(clients.refused.into()));
    }
    text
}

/// Of hundredths of a percent.
fn percent(part: u64) -> String {
    match part % 100 {
        0 => format!("{} %", part / 100),
        rest => format!("{}.{rest:02} %", part / 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{PlannedService, ServiceSettings, SettingDifference};

    #[test]
    fn a_plan_says_what_changes_and_whom_it_moves() {
        let destination =
            |last: u8, was: Option<u32>, becomes: Option<u32>| DestinationDifference {
                destination: std::net::SocketAddr::from(([192, 0, 2, last], 80)),
                was: was.map(DestinationSettings::of),
                becomes: becomes.map(DestinationSettings::of),
            };
        let plan = Plan {
            file: "/etc/dirigo/dirigo.toml".into(),
            generation: 7,
            services: vec![PlannedService {
                difference: ServiceDifference {
                    service: "tcp:192.0.2.100:80".parse().unwrap(),
                    was: Some(ServiceSettings::of("rr")),
                    becomes: Some(ServiceSettings::of("wrr")),
                    destinations: vec![
                        destination(11, Some(1), None),
                        destination(12, Some(1), Some(3)),
                        destination(13, None, Some(1)),
                    ],
                },
                moves: Moves {
                    connections: 40,
                    lost: 12,
                    clients: Some(ClientMoves {
                        moved: 5_025,
                        refused: 0,
                        sample: 4_096,
                    }),
                },
            }],
            settings: vec![SettingDifference {
                name: "timeouts.tcp".to_owned(),
                was: "900".to_owned(),
                becomes: "77".to_owned(),
            }],
            notes: Vec::new(),
        };
        let text = text(&plan);
        for line in [
            "~ tcp:192.0.2.100:80 ",
            "    - 192.0.2.11:80 weight 1\n",
            "    ~ 192.0.2.12:80 weight 1 -> weight 3\n",
            "    + 192.0.2.13:80 weight 1\n",
            "12 of 40 live connections (30 %) lose their destination",
            "50.25 % of new clients go to another real server (of 4096 tried)\n",
            "timeouts.tcp: 900 -> 77\n",
            "would change 1 service and 1 setting, from /etc/dirigo/dirigo.toml\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
    }
}
