//! `dirigo metrics`: what a scrape of `/metrics` would read, once.

use std::io::Write;
use std::ops::ControlFlow;
use std::process::ExitCode;

use api::MetricsFormat;

use crate::show::{ShowError, finish};

/// Arguments of `dirigo metrics`.
#[derive(clap::Args)]
pub struct Args {
    /// Which daemon, when there are several [default: DIRIGO_INSTANCE, else "default"]
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// OpenMetrics 1.0 instead of Prometheus text 0.0.4
    #[arg(long)]
    openmetrics: bool,
}

/// Writes the metrics to stdout as they come.
pub fn main(args: &Args) -> ExitCode {
    finish(write(args))
}

fn write(args: &Args) -> Result<(), ShowError> {
    let client = crate::remote::client(args.instance.as_deref());
    let format = match args.openmetrics {
        true => MetricsFormat::OpenMetrics,
        false => MetricsFormat::Prometheus,
    };
    let mut output = std::io::stdout().lock();
    let mut written = Ok(());
    client.metrics(format, &mut |piece| {
        written = output.write_all(piece);
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    Ok(written?)
}
