//! `dirigo man` and `dirigo completions`, for packagers: both come from the same definitions as
//! `--help`, so they cannot disagree with it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;

/// Arguments of `dirigo man`.
#[derive(clap::Args)]
pub struct ManArgs {
    /// Existing folder for the pages: `dirigo.1`, `dirigo-run.1`, …
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
    match clap_mangen::generate_to(crate::Cli::command(), &args.directory) {
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

/// Writes the completions to stdout.
pub fn completions(args: &CompletionsArgs) -> ExitCode {
    let mut command = crate::Cli::command();
    let name = command.get_name().to_owned();
    clap_complete::generate(args.shell, &mut command, name, &mut std::io::stdout());
    ExitCode::SUCCESS
}
