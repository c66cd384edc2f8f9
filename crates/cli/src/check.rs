//! `dirigo check`: validate a configuration; needs no root and no daemon.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use config::{Config, LoadError};
use serde::Serialize;

use crate::exit;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// The configuration to read
    #[arg(short, long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn main(args: Args) -> ExitCode {
    let loaded = Config::load(&args.config);
    match &loaded {
        _ if args.json => data!("{}", json(&args.config, &loaded)),
        Ok(config) => data!("{}: {}", args.config.display(), summary(config)),
        Err(LoadError::Mistakes(mistakes)) => {
            talk!("{mistakes}");
            talk!("{}", counted(mistakes.list.len(), "mistake"));
        }
        Err(error) => talk!("dirigo check: {error}"),
    }
    match loaded {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(exit::BAD_CONFIG),
    }
}

/// What the configuration says, in one line.
fn summary(config: &Config) -> String {
    let destinations = config.services.iter().map(|s| s.destinations.len()).sum();
    format!(
        "ok: {} with {} on {}",
        counted(config.services.len(), "service"),
        counted(destinations, "destination"),
        interfaces(config).join(", "),
    )
}

fn counted(number: usize, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{ending}")
}

fn interfaces(config: &Config) -> Vec<&str> {
    config.interfaces.iter().map(|name| name.as_str()).collect()
}

/// `--json`. Keys that have no meaning in a case are absent.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    interfaces: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Vec<api::Change>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mistakes: Option<Vec<Mistake>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct Mistake {
    file: String,
    line: usize,
    column: usize,
    message: String,
}

fn json(path: &Path, loaded: &Result<Config, LoadError>) -> String {
    let mut report = Report {
        ok: loaded.is_ok(),
        file: path.display().to_string(),
        interfaces: None,
        changes: None,
        mistakes: None,
        error: None,
    };
    match loaded {
        Ok(config) => {
            report.interfaces = Some(interfaces(config));
            report.changes = Some(config.changes().collect());
        }
        Err(LoadError::Mistakes(mistakes)) => {
            let as_json = |mistake: &config::Mistake| Mistake {
                file: mistake.file.to_string(),
                line: mistake.line,
                column: mistake.column,
                message: mistake.reason.to_string(),
            };
            report.mistakes = Some(mistakes.list.iter().map(as_json).collect());
        }
        Err(error) => report.error = Some(error.to_string()),
    }
    serde_json::to_string_pretty(&report).unwrap_or_else(|error| format!("{error:?}"))
}
