//! `dirigo apply`: the daemon reads the configuration and steps to it.

use std::path::PathBuf;
use std::process::ExitCode;

use api::{Applied, Apply, ClientError, Configuration, RefusalCode};

use crate::exit;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// The configuration [default: the one that the daemon was started with]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Which daemon, when there are several [default: DIRIGO_INSTANCE, else "default"]
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn main(args: Args) -> ExitCode {
    let file = match args.config.map(std::path::absolute).transpose() {
        Ok(file) => file,
        Err(error) => {
            talk!("dirigo apply: {error}");
            return ExitCode::from(exit::USAGE);
        }
    };
    let client = crate::remote::client(args.instance.as_deref());
    conclude("apply", client.apply(&Apply { file }), args.json)
}

/// Says what came of it.
pub(crate) fn conclude(command: &str, done: Result<Applied, ClientError>, json: bool) -> ExitCode {
    match done {
        Ok(applied) if json => print_json(&applied),
        Ok(applied) => print(command, &applied),
        Err(ClientError::Refused(refusal)) if json => {
            print_json(&refusal);
            return ExitCode::from(code(&ClientError::Refused(refusal)));
        }
        Err(error) => {
            // Mistakes stand for themselves, each with its place.
            match &error {
                ClientError::Refused(refusal) if is_wrong(refusal.code) => talk!("{refusal}"),
                error => talk!("dirigo {command}: {error}"),
            }
            return ExitCode::from(code(&error));
        }
    }
    ExitCode::SUCCESS
}

fn print(command: &str, applied: &Applied) {
    let (generation, file) = (applied.generation, applied.file.display());
    if applied.changed {
        let services = applied.services;
        let ending = if services == 1 { "" } else { "s" };
        data!("generation {generation}: {services} service{ending} changed, from {file}");
    } else {
        data!("generation {generation}: nothing to change, all is as in {file}");
    }
    for note in &applied.notes {
        talk!("dirigo {command}: {note}");
    }
}

pub(crate) fn print_json(value: &impl serde::Serialize) {
    let text = serde_json::to_string_pretty(value);
    data!("{}", text.unwrap_or_else(|error| format!("{error:?}")));
}

/// What `dirigo status` says of the configuration, by rows.
pub(crate) fn status(configuration: &Configuration) -> Vec<(&'static str, String)> {
    let Configuration {
        file,
        generation,
        origin,
        age_s,
        drift,
        failure,
    } = configuration;
    let age = crate::show::duration(*age_s);
    let mut rows = vec![(
        "configuration",
        format!(
            "generation {generation} by {origin} {age} ago, {}",
            file.display()
        ),
    )];
    if *drift > 0 {
        let verb = if *drift == 1 {
            "difference"
        } else {
            "differences"
        };
        rows.push((
            "drift",
            format!("{drift} {verb}, made at runtime: `dirigo drift` shows them, `dirigo save` keeps them, `dirigo apply` undoes them"),
        ));
    }
    if let Some(failure) = failure {
        let first = failure.lines().next().unwrap_or_default();
        rows.push(("not applied", format!("{first}: `dirigo check` shows all")));
    }
    rows
}

fn is_wrong(code: RefusalCode) -> bool {
    code == RefusalCode::BadConfig
}

/// The exit code of a call that failed.
pub(crate) fn code(error: &ClientError) -> u8 {
    match error {
        ClientError::Unreachable { .. } => exit::UNREACHABLE,
        ClientError::NotPermitted { .. } => exit::NOT_PERMITTED,
        ClientError::Refused(refusal) => match refusal.code {
            RefusalCode::NotPermitted => exit::NOT_PERMITTED,
            code if is_wrong(code) => exit::BAD_CONFIG,
            _ => exit::FAILED,
        },
        _ => exit::FAILED,
    }
}
