//! `dirigo plan`: what an apply would change, and whom it would move. `dirigo drift`: what was changed at runtime.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use api::{
    Client, ClientError, ClientMoves, ConfigText, ConfigTexts, DestinationDifference,
    DestinationSettings, Drift, Moves, Plan, RefusalCode, ServiceDifference, SettingDifference,
};

use crate::apply;
use crate::exit;
use crate::show::Common;

/// Something would change, or was changed.
const OTHERWISE: u8 = 2;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// Another configuration than the daemon's own, read here [default: the one that the daemon was started with]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Arguments of `dirigo drift`.
#[derive(clap::Args)]
pub struct DriftArgs {
    #[command(flatten)]
    common: Common,
}

/// Runs it: 0 if nothing would change, 2 if something would.
pub fn main(args: Args) -> ExitCode {
    let texts = match args.config.as_deref().map(read).transpose() {
        Ok(texts) => texts,
        Err(error) => {
            talk!("dirigo plan: {error}");
            return ExitCode::from(exit::BAD_CONFIG);
        }
    };
    let client = args.common.client();
    let planned = match texts {
        Some(texts) => client.plan_of(&texts),
        None => client.plan(),
    };
    let plan = match planned {
        Ok(plan) => plan,
        Err(error) => return fail("plan", &error),
    };
    match args.common.json {
        true => apply::print_json(&plan),
        false => data!("{}", text(&plan).trim_end()),
    }
    for note in &plan.notes {
        talk!("dirigo plan: {note}");
    }
    ExitCode::from(if plan.is_empty() { 0 } else { OTHERWISE })
}

/// Shows what was changed at runtime: 0 if nothing was, 2 if something was.
pub fn drift(args: &DriftArgs) -> ExitCode {
    let client: Client = args.common.client();
    let drift = match client.drift() {
        Ok(drift) => drift,
        Err(error) => return fail("drift", &error),
    };
    match args.common.json {
        true => apply::print_json(&drift),
        false => data!("{}", drift_text(&drift).trim_end()),
    }
    ExitCode::from(if drift.is_empty() { 0 } else { OTHERWISE })
}

fn fail(command: &str, error: &ClientError) -> ExitCode {
    match error {
        ClientError::Refused(refusal) if refusal.code == RefusalCode::BadConfig => {
            talk!("{refusal}");
        }
        error => talk!("dirigo {command}: {error}"),
    }
    ExitCode::from(apply::code(error))
}

/// A file and its pieces, as texts: the daemon need not be able to read them.
fn read(file: &Path) -> Result<ConfigTexts, String> {
    let files = config::read_files(file).map_err(|error| error.to_string())?;
    let files = files.into_iter().map(|file| {
        let text = String::from_utf8(file.bytes);
        let text = text.map_err(|error| format!("{}: {error}", file.name))?;
        let name = file.name;
        Ok(ConfigText { name, text })
    });
    let files = files.collect::<Result<_, String>>()?;
    Ok(ConfigTexts { files })
}

fn text(plan: &Plan) -> String {
    let (generation, file) = (plan.generation, plan.file.display());
    if plan.is_empty() {
        return format!("nothing would change: generation {generation} is as {file}");
    }
    let mut text = String::new();
    for service in &plan.services {
        let drifted = if service.drifted {
            "  (changed at runtime)"
        } else {
            ""
        };
        text += &difference(&service.difference, drifted);
        text += &moves(&service.moves);
    }
    text += &settings(&plan.settings);
    let count = counted(plan.services.len(), plan.settings.len());
    text + &format!("`dirigo apply` would change {count}, from {file}\n")
}

fn drift_text(drift: &Drift) -> String {
    let generation = drift.generation;
    if drift.is_empty() {
        return format!("nothing was changed at runtime: all is as generation {generation}");
    }
    let services = drift.services.iter();
    let mut text: String = services.map(|one| difference(one, "")).collect();
    text += &settings(&drift.settings);
    let count = counted(drift.services.len(), drift.settings.len());
    text + &format!(
        "changed at runtime since generation {generation}: {count}; `dirigo save` writes it into the file, \
         `dirigo apply` undoes it\n"
    )
}

fn settings(all: &[SettingDifference]) -> String {
    let lines = all.iter().map(|setting| {
        let (name, was, becomes) = (&setting.name, &setting.was, &setting.becomes);
        format!("~ {name}: {was} -> {becomes}\n")
    });
    lines.collect()
}

/// `1 service and 2 settings`
fn counted(services: usize, settings: usize) -> String {
    let count = |number: usize, noun: &str| {
        let ending = if number == 1 { "" } else { "s" };
        (number > 0).then(|| format!("{number} {noun}{ending}"))
    };
    let parts = [count(services, "service"), count(settings, "setting")];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    parts.join(" and ")
}

fn difference(one: &ServiceDifference, remark: &str) -> String {
    let service = one.service;
    let mut text = match (&one.was, &one.becomes) {
        (None, Some(becomes)) => format!("+ {service} {becomes}{remark}\n"),
        (Some(_), None) => format!("- {service}{remark}\n"),
        (Some(was), Some(becomes)) if was != becomes => {
            format!("~ {service} {was} -> {becomes}{remark}\n")
        }
        _ => format!("~ {service}{remark}\n"),
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
                drifted: true,
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
            "  (changed at runtime)\n",
            "    - 192.0.2.11:80 weight 1\n",
            "    ~ 192.0.2.12:80 weight 1 -> weight 3\n",
            "    + 192.0.2.13:80 weight 1\n",
            "12 of 40 live connections (30 %) lose their destination",
            "50.25 % of new clients go to another real server (of 4096 tried)\n",
            "~ timeouts.tcp: 900 -> 77\n",
            "would change 1 service and 1 setting, from /etc/dirigo/dirigo.toml\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
    }
}
