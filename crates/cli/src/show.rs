//! `dirigo status|services|connections`.

/// Arguments of `dirigo status`.
#[derive(clap::Args)]
pub struct StatusArgs {}
/// Arguments of `dirigo services`.
#[derive(clap::Args)]
pub struct ServicesArgs {}
/// Arguments of `dirigo connections`.
#[derive(clap::Args)]
pub struct ConnectionsArgs {}

/// Runs `dirigo status`.
pub fn status(_args: StatusArgs) -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
/// Runs `dirigo services`.
pub fn services(_args: ServicesArgs) -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
/// Runs `dirigo connections`.
pub fn connections(_args: ConnectionsArgs) -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
