//! `dirigo generations` and `dirigo rollback`: the configurations that were followed, and the way back.

use std::process::ExitCode;

use api::{Client, Generation, Rollback};

use crate::apply;
use crate::show::{self, Common};

/// Arguments of `dirigo generations`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
}

/// Shows them.
pub fn main(args: &Args) -> ExitCode {
    show::finish(show::show(&args.common, Client::generations, |all| {
        text(all)
    }))
}

fn text(all: &[Generation]) -> String {
    let lines = all.iter().map(|one| {
        let (number, origin, file) = (one.number, one.origin, one.file.display());
        let of = one.of.map(|of| format!(" to {of}")).unwrap_or_default();
        let age = show::duration(one.age_s);
        format!("{number:>4}  {age} ago  {origin}{of}  {file}\n")
    });
    lines.collect()
}

/// Arguments of `dirigo rollback`.
#[derive(clap::Args)]
pub struct RollbackArgs {
    /// To which generation [default: the one before the present one]
    #[arg(value_name = "N")]
    to: Option<u64>,
    #[command(flatten)]
    common: Common,
}

/// Steps back.
pub fn rollback(args: &RollbackArgs) -> ExitCode {
    let done = args.common.client().rollback(&Rollback { to: args.to });
    apply::conclude("rollback", done, args.common.json)
}
