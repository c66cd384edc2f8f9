//! `dirigo lab run|up|down|exec`.

/// Arguments.
#[derive(clap::Args)]
pub struct Args {}

/// Runs it.
pub fn main(_args: Args) -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
