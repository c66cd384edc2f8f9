//! `dirigo man` and `dirigo completions`, for packagers: both come from the same definitions as
//! `--help`, so they cannot disagree with it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::CommandFactory;

/// The section of administrators' commands.
const SECTION: &str = "8";

/// Arguments of `dirigo man`.
#[derive(clap::Args)]
pub struct ManArgs {
    /// Existing folder for the pages: `dirigo.8`, `dirigo-run.8`, …
    directory: PathBuf,
}

/// Arguments of `dirigo completions`.
#[derive(clap::Args)]
pub struct CompletionsArgs {
    /// Which shell's
    shell: clap_complete::Shell,
}

/// Writes one page for each command that is not hidden.
pub fn man(args: &ManArgs) -> ExitCode {
    let mut command = crate::Cli::command().disable_help_subcommand(true);
    command.build();
    match write_pages(command, &args.directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            talk!(
                "cannot write the manual pages into {}: {error}",
                args.directory.display()
            );
            ExitCode::from(crate::exit::FAILED)
        }
    }
}

fn write_pages(command: clap::Command, directory: &Path) -> std::io::Result<()> {
    let shown = command.get_subcommands().filter(|one| !one.is_hide_set());
    for subcommand in shown.cloned() {
        write_pages(subcommand, directory)?;
    }
    let page = clap_mangen::Man::new(command).section(SECTION);
    page.generate_to(directory).map(drop)
}

/// Writes the completions to stdout.
pub fn completions(args: &CompletionsArgs) -> ExitCode {
    let mut command = crate::Cli::command();
    let name = command.get_name().to_owned();
    clap_complete::generate(args.shell, &mut command, name, &mut std::io::stdout());
    ExitCode::SUCCESS
}
