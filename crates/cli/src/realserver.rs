//! `dirigo realserver up|down|check`.

/// Arguments.
#[derive(clap::Args)]
pub struct Args {}

/// Runs it.
pub fn main(_args: Args) -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
