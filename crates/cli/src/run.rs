//! `dirigo run` and `dirigo down`.

/// Arguments.
#[derive(clap::Args)]
pub struct Args {}

/// Runs it.
pub fn main(_args: Args) -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}

/// Arguments of `dirigo down`.
#[derive(clap::Args)]
pub struct DownArgs {}

/// Runs `dirigo down`.
pub fn down(_args: DownArgs) -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
