//! `dirigo save`: what was changed at runtime becomes the configuration.
//!
//! ```text
//! drift ─► the files say what was applied? ─► edit: comments and all ─► read back: is it that, and nothing else?
//!                                              plan (the daemon): would nothing change? ─► written, applied
//! ```
//!
//! Only what differs is written; all else of the files stays as it is. Files are written by who asks, with their own
//! rights: the daemon may be confined to reading them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use api::{Apply, Client, ClientError, ConfigText, ConfigTexts, Drift, Plan, ServiceDifference};
use config::Config;

use crate::exit;
use edit::{Files, Target};

mod diff;
mod edit;
mod layout;
mod write;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// Show what would be written, and write nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Which daemon, when there are several [default: DIRIGO_INSTANCE, else "default"]
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
}

/// Runs it.
pub fn main(args: Args) -> ExitCode {
    if crate::remote::chosen().is_some() {
        talk!(
            "dirigo save: the files are on the director's host: run it there. `dirigo drift` shows from here what \
             was changed at runtime"
        );
        return ExitCode::from(exit::USAGE);
    }
    let client = crate::remote::client(args.instance.as_deref());
    match save(&client, args.dry_run) {
        Ok(words) => data!("{words}"),
        Err(error) => {
            talk!("dirigo save: {error:#}");
            let code = match (
                error.downcast_ref(),
                error.downcast_ref::<config::Mistakes>(),
            ) {
                (Some(error), _) => crate::apply::code(error),
                (None, Some(_)) => exit::BAD_CONFIG,
                (None, None) => exit::FAILED,
            };
            return ExitCode::from(code);
        }
    }
    ExitCode::SUCCESS
}

fn save(client: &Client, is_dry: bool) -> anyhow::Result<String> {
    let file = client.status()?.configuration.file;
    let files = config::read_files(&file)?;
    let before = Config::of_files(&files)?;
    let (drift, plan) = (client.drift()?, client.plan()?);
    ensure_as_applied(&drift, &plan)?;
    if drift.is_empty() {
        return Ok(format!(
            "nothing to save: the table is as {}",
            file.display()
        ));
    }
    let texts = edited(&files, &before, &drift)?;
    let is_planned = client.plan_of(&ConfigTexts {
        files: files
            .iter()
            .zip(&texts)
            .map(|(file, text)| ConfigText {
                name: file.name.clone(),
                text: text.clone(),
            })
            .collect(),
    })?;
    ensure_nothing_left(&is_planned)?;
    let changed: Vec<usize> = (0..files.len())
        .filter(|at| files[*at].bytes != texts[*at].as_bytes())
        .collect();
    if is_dry {
        let shown = changed.iter().map(|at| {
            let old = String::from_utf8_lossy(&files[*at].bytes);
            diff::unified(&files[*at].name, &old, &texts[*at])
        });
        return Ok(shown.collect::<String>().trim_end().to_owned());
    }
    let written: Vec<_> = changed
        .iter()
        .map(|at| write::New {
            path: PathBuf::from(&files[*at].name),
            old: &files[*at].bytes,
            text: &texts[*at],
        })
        .collect();
    let backups = write::all(&written)?;
    let applied = client.apply(&Apply::default());
    if let Err(ClientError::Refused(refusal)) = &applied {
        backups.restore()?;
        bail!(
            "the daemon refused what it had planned before, so the files are as they were: {refusal}"
        );
    }
    let generation = applied
        .context("the files are written, but whether they were applied is not known")?
        .generation;
    let names: Vec<String> = changed.iter().map(|at| files[*at].name.clone()).collect();
    let count = drift.services.len() + drift.settings.len();
    let ending = if count == 1 { "" } else { "s" };
    Ok(format!(
        "generation {generation}: {count} change{ending} of runtime saved to {}; what was there before is beside it, \
         with the ending {}",
        names.join(", "),
        write::BEFORE
    ))
}

/// What is edited must be what was applied: else somebody's edits would be applied by the way.
fn ensure_as_applied(drift: &Drift, plan: &Plan) -> anyhow::Result<()> {
    let of_table: Vec<ServiceDifference> = plan
        .services
        .iter()
        .map(|one| one.difference.clone().reversed())
        .collect();
    let mut others: BTreeSet<String> = BTreeSet::new();
    let all = of_table.iter().chain(&drift.services);
    others.extend(
        all.filter(|one| !of_table.contains(one) || !drift.services.contains(one))
            .map(|one| one.service.to_string()),
    );
    let mut drifted = drift.settings.iter();
    let is_drift = |one: &api::SettingDifference| {
        drifted.any(|drift| {
            (&drift.name, &drift.was, &drift.becomes) == (&one.name, &one.becomes, &one.was)
        })
    };
    let mut is_drift = is_drift;
    let settings = plan.settings.iter().filter(|one| !is_drift(one));
    others.extend(settings.map(|one| one.name.clone()));
    let others: Vec<String> = others.into_iter().collect();
    ensure!(
        others.is_empty(),
        "{} says something else than generation {}, which is in force ({}), so nothing is saved: `dirigo plan` shows \
         what; `dirigo apply` follows the file, and undoes what was changed at runtime",
        plan.file.display(),
        drift.generation,
        others.join(", ")
    );
    Ok(())
}

/// The files with what was changed at runtime, all of it and nothing else.
fn edited(files: &[config::File], before: &Config, drift: &Drift) -> anyhow::Result<Vec<String>> {
    let now: BTreeMap<_, _> = before
        .services
        .iter()
        .map(|one| (one.key, &**one))
        .collect();
    let mut edited = Files::read(files, before).map_err(anyhow::Error::msg)?;
    let mut impossible = Vec::new();
    let mut targets = Vec::new();
    for difference in &drift.services {
        let service = now.get(&difference.service).copied();
        let followed = target(difference, service).and_then(|target| {
            edited.follow(&target, service)?;
            targets.push(target);
            Ok(())
        });
        if let Err(reason) = followed {
            impossible.push(format!("{}: {reason}", difference.service));
        }
    }
    for setting in &drift.settings {
        let name = setting.name.strip_prefix("timeouts.");
        let value = name.zip(setting.becomes.parse().ok());
        let done = value.ok_or("it is no key of the file".to_owned());
        let done = done.and_then(|(name, value)| edited.set_timeout(name, value));
        if let Err(reason) = done {
            impossible.push(format!("{}: {reason}", setting.name));
        }
    }
    let texts = edited.texts();
    if impossible.is_empty() {
        let after: Vec<config::File> = files
            .iter()
            .zip(&texts)
            .map(|(file, text)| config::File {
                name: file.name.clone(),
                bytes: text.clone().into_bytes(),
            })
            .collect();
        match Config::of_files(&after) {
            Ok(after) => impossible.extend(unlike(before, &after, &targets)),
            Err(mistakes) => impossible.extend(
                mistakes
                    .to_string()
                    .lines()
                    .map(|line| format!("as it would be written, {line}")),
            ),
        }
    }
    ensure!(
        impossible.is_empty(),
        "this cannot be written into the files, and nothing is:\n  {}\n`dirigo drift` shows all that was changed; \
         write it by hand, or change it at runtime to what the file can say",
        impossible.join("\n  ")
    );
    Ok(texts)
}

/// What a service is to be in the file: what the file says, and on top what was changed at runtime.
fn target(difference: &ServiceDifference, now: Option<&config::Service>) -> Result<Target, String> {
    let listed = now.into_iter().flat_map(|service| &service.destinations);
    let mut target = Target {
        key: difference.service,
        settings: difference.becomes.clone(),
        destinations: listed.map(|one| (one.address, one.settings())).collect(),
    };
    for one in &difference.destinations {
        let said = target.destinations.get(&one.destination);
        if difference.becomes.is_some() && said != one.was.as_ref() {
            return Err(format!(
                "{} has its weight or its place from its checks at the moment, and what of it would be in the file \
                 cannot be told: try again when it is as the file says (`dirigo health`)",
                one.destination
            ));
        }
        match &one.becomes {
            Some(settings) => target
                .destinations
                .insert(one.destination, settings.clone()),
            None => target.destinations.remove(&one.destination),
        };
    }
    Ok(target)
}

/// What of the edited files is not as it should be.
fn unlike(before: &Config, after: &Config, targets: &[Target]) -> Vec<String> {
    let mut wrong = Vec::new();
    let is_target = |key: &api::ServiceKey| targets.iter().any(|target| target.key == *key);
    let others = |config: &Config| -> Vec<std::sync::Arc<config::Service>> {
        let services = config.services.iter();
        services
            .filter(|one| !is_target(&one.key))
            .cloned()
            .collect()
    };
    let rest = |config: &Config| Config {
        services: Vec::new(),
        timeouts: config::Timeouts::default(),
        ..config.clone()
    };
    if others(before) != others(after) || rest(before) != rest(after) {
        wrong.push("something else would change with it".to_owned());
    }
    for target in targets {
        let found = after.services.iter().find(|one| one.key == target.key);
        let is_right = match (&target.settings, found) {
            (None, None) => true,
            (Some(settings), Some(found)) => {
                let listed = found.destinations.iter();
                let listed: BTreeMap<_, _> =
                    listed.map(|one| (one.address, one.settings())).collect();
                found.settings() == *settings && listed == target.destinations
            }
            _ => false,
        };
        if !is_right {
            wrong.push(format!("{}: the file has no words for it", target.key));
        }
    }
    wrong
}

/// The daemon has read what would be written, and would change nothing. That the order of destinations is another
/// changes nothing now.
fn ensure_nothing_left(plan: &Plan) -> anyhow::Result<()> {
    let services = plan.services.iter();
    let services = services.map(|one| one.difference.service.to_string());
    let settings = plan.settings.iter().map(|one| one.name.clone());
    let settings = settings.filter(|name| name != "order");
    let left: Vec<String> = services.chain(settings).collect();
    ensure!(
        left.is_empty(),
        "what was changed at runtime and what checks say at the moment cannot be told apart ({}), and nothing is \
         written: try again when `dirigo health` shows all as it should be",
        left.join(", ")
    );
    Ok(())
}

#[cfg(test)]
mod tests;
