//! `dirigo ipvsadm …`, and the binary when it is called as `ipvsadm`.

/// The words as typed; ipvsadm's grammar is not clap's.
#[derive(clap::Args)]
pub struct Args {
    /// ipvsadm's own options
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<std::ffi::OsString>,
}

/// Runs it.
pub fn main(_args: Args) -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
