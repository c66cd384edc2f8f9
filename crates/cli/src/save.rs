//! `dirigo save`: what was changed at runtime becomes the configuration.
//!
//! ```text
//! drift (the daemon) ─► edit: the files, comments and all ─► plan (the daemon): would nothing change?
//!                                                         ─► files written, the old ones beside them
//! ```
//!
//! Only what differs is written; all else of the files stays as it is. What is written has been read by the
//! daemon before, and would change nothing: else nothing is written.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use api::{Apply, Client};

use crate::exit;

mod edit;

/// What the file before is called.
const BEFORE: &str = "before";

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// Write the main file there, and leave the daemon's own as it is
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Which daemon, when there are several [default: DIRIGO_INSTANCE, else "default"]
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
}

/// Runs it.
pub fn main(args: Args) -> ExitCode {
    let client = Client::new(&crate::instance(args.instance.as_deref()));
    match save(&client, args.output.as_deref()) {
        Ok(words) => data!("{words}"),
        Err(error) => {
            talk!("dirigo save: {error:#}");
            let code = error
                .downcast_ref()
                .map_or(exit::FAILED, crate::apply::code);
            return ExitCode::from(code);
        }
    }
    ExitCode::SUCCESS
}

fn save(client: &Client, output: Option<&Path>) -> anyhow::Result<String> {
    let file = client.status()?.configuration.file;
    let drift = client.drift()?;
    let files = config::read_files(&file)?;
    let mut documents = Vec::new();
    for one in &files {
        let text = std::str::from_utf8(&one.bytes).context(one.name.clone())?;
        let document: toml_edit::DocumentMut = text.parse().context(one.name.clone())?;
        documents.push(document);
    }
    for difference in &drift {
        edit::follow(&mut documents, difference)
            .with_context(|| format!("service {}", difference.service))?;
    }
    let texts: Vec<String> = documents.iter().map(ToString::to_string).collect();
    would_change_nothing(client, &files, &texts)?;
    let changed: Vec<usize> = (0..files.len())
        .filter(|at| files[*at].bytes != texts[*at].as_bytes())
        .collect();
    if let Some(output) = output {
        ensure!(
            changed.iter().all(|at| *at == 0),
            "pieces in {} would change as well: save without -o",
            config::PIECES
        );
        write(output, &texts[0])?;
        return Ok(format!("{}: the running table", output.display()));
    }
    if changed.is_empty() {
        return Ok(format!(
            "nothing to save: the table is as {}",
            file.display()
        ));
    }
    let mut words = Vec::new();
    for at in changed {
        let path = Path::new(&files[at].name);
        write(path, &texts[at])?;
        words.push(format!(
            "{}, before: {}",
            path.display(),
            beside(path, BEFORE).display()
        ));
    }
    let generation = client.apply(&Apply::default())?.generation;
    let services = drift.len();
    let ending = if services == 1 { "" } else { "s" };
    Ok(format!(
        "generation {generation}: {services} service{ending} saved to {}",
        words.join("; ")
    ))
}

/// The daemon reads what would be written, and would change nothing.
fn would_change_nothing(
    client: &Client,
    files: &[config::File],
    texts: &[String],
) -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("dirigo-save-{}", std::process::id()));
    let tried = || -> anyhow::Result<api::Plan> {
        std::fs::create_dir_all(folder.join(config::PIECES))?;
        let main = folder.join("dirigo.toml");
        for (at, (file, text)) in files.iter().zip(texts).enumerate() {
            let name = Path::new(&file.name).file_name().unwrap_or_default();
            let path = match at {
                0 => main.clone(),
                _ => folder.join(config::PIECES).join(name),
            };
            std::fs::write(path, text)?;
        }
        Ok(client.plan(&Apply { file: Some(main) })?)
    };
    let plan = tried();
    std::fs::remove_dir_all(&folder)?;
    let left: Vec<String> = plan?
        .services
        .iter()
        .map(|one| one.difference.service.to_string())
        .collect();
    if !left.is_empty() {
        bail!(
            "what was changed at runtime cannot be written into this file as it stands ({}), and nothing is \
             written: `dirigo plan` shows what differs, for an edit by hand",
            left.join(", ")
        );
    }
    Ok(())
}

/// Writes a file whole or not at all; the one before stays beside it.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let new = beside(path, "new");
        let mut file = std::fs::File::create(&new)?;
        file.write_all(text.as_bytes())?;
        if let Ok(before) = std::fs::metadata(path) {
            file.set_permissions(before.permissions())?;
            std::fs::copy(path, beside(path, BEFORE))?;
        }
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// `dirigo.toml.before`: not `.toml` at its end, so that it is no piece.
fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(what);
    name.into()
}
