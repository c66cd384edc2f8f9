//! `dirigo run` and `dirigo down`.

use std::path::PathBuf;
use std::process::ExitCode;

use config::{Config, LoadError};
use daemon::Down;
use tracing_subscriber::EnvFilter;

use crate::exit;

/// What clap, too, answers to bad usage.
pub(crate) const USAGE: u8 = 2;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
    /// Name of the instance: several can run on one host
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
}

/// Runs the daemon in the foreground.
pub fn main(args: Args) -> ExitCode {
    let loaded = config::read_files(&args.config).and_then(|texts| {
        let config = Config::of_files(&texts)?;
        Ok((texts, config))
    });
    let (texts, config) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return bad_config(&error),
    };
    log_to_stderr();
    // Read again on SIGHUP, wherever the process stands then.
    let file = std::path::absolute(&args.config).unwrap_or(args.config);
    let options = daemon::Options {
        instance: crate::instance(args.instance.as_deref()),
        file,
        texts,
        config,
    };
    match daemon::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed("run", &error),
    }
}

/// Arguments of `dirigo down`.
#[derive(clap::Args)]
pub struct DownArgs {
    /// Also stop forwarding: detach the program, forget connections, remove virtual addresses;
    /// works on what a dead daemon left, too
    #[arg(long)]
    release: bool,
    /// Name of the instance
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
}

/// Runs `dirigo down`.
pub fn down(args: DownArgs) -> ExitCode {
    if let Some(client) = crate::remote::chosen() {
        return down_there(&client, args.release);
    }
    let instance = crate::instance(args.instance.as_deref());
    match daemon::down(&instance, args.release) {
        Ok(Down::Stopped) if args.release => {
            talk!("dirigo down: {instance} has stopped, and so has its forwarding");
        }
        Ok(Down::Stopped) => talk!(
            "dirigo down: {instance} has stopped; it goes on forwarding (--release ends that)"
        ),
        Ok(Down::Released) => {
            talk!("dirigo down: no daemon ran; what it had left of {instance} is removed");
        }
        Ok(Down::ReleasedWithoutAddresses { reason }) => {
            talk!(
                "dirigo down: no daemon ran; what it had left of {instance} is removed, except \
                 the virtual addresses it had added: {reason}. Look with `ip address`, and remove \
                 them with `ip address delete`"
            );
            return ExitCode::from(exit::FAILED);
        }
        Ok(Down::Nothing) => talk!("dirigo down: there is nothing of {instance} to remove"),
        Err(error) => return failed("down", &error),
    }
    ExitCode::SUCCESS
}

/// Stops the daemon of another host, which says when it has done so.
fn down_there(client: &api::Client, release: bool) -> ExitCode {
    let done = client.stop(api::Stop { release });
    if done.is_ok() {
        talk!(
            "dirigo down: the daemon at {} ends",
            client.path().display()
        );
    }
    crate::show::finish(done.map_err(Into::into))
}

/// All mistakes, as `dirigo check` prints them.
fn bad_config(error: &LoadError) -> ExitCode {
    match error {
        LoadError::Mistakes(mistakes) => talk!("{mistakes}"),
        error => talk!("dirigo run: {error}"),
    }
    ExitCode::from(exit::BAD_CONFIG)
}

fn failed(command: &str, error: &daemon::Error) -> ExitCode {
    talk!("dirigo {command}: {error}");
    ExitCode::from(match error {
        daemon::Error::NotPermitted { .. } => exit::NOT_PERMITTED,
        daemon::Error::Unreachable(_) => exit::UNREACHABLE,
        daemon::Error::Config(_) => exit::BAD_CONFIG,
        daemon::Error::InstanceName { .. } => USAGE,
        daemon::Error::AlreadyRunning { .. } | daemon::Error::Other(_) => exit::FAILED,
    })
}

/// One line for each state change. `DIRIGO_LOG` chooses, as `RUST_LOG` does elsewhere.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("DIRIGO_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::env::var_os("NO_COLOR").is_none()
        && std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(colours)
        .init();
}
