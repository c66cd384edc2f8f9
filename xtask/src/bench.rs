//! `cargo xtask bench`: what one frame costs.

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub struct Args {}

/// Times the XDP program.
pub fn main(_args: Args) -> anyhow::Result<()> {
    anyhow::bail!("bench is not built yet")
}
