//! Which daemon is asked: one of this host by its socket, or one anywhere by TCP.

use std::path::PathBuf;
use std::sync::OnceLock;

use api::{Client, Remote, RemoteError};

/// What every command takes.
#[derive(clap::Args)]
#[command(next_help_heading = "Another host's daemon")]
pub struct Args {
    /// Ask the daemon at https://HOST:PORT [default: DIRIGO_API, else the socket of this host]
    #[arg(long, value_name = "URL", global = true)]
    api: Option<String>,
    /// The file with its token [default: DIRIGO_TOKEN_FILE]
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
    /// Authorities to trust, in PEM format [default: DIRIGO_CA, else those of this host]
    #[arg(long, value_name = "FILE", global = true)]
    ca: Option<PathBuf>,
}

static CHOSEN: OnceLock<Remote> = OnceLock::new();

/// Has every client from now on ask what was chosen, by the command line or the environment.
pub fn choose(args: Option<&Args>) -> Result<(), RemoteError> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let given = args.and_then(|args| args.api.clone());
    let Some(url) = given.or_else(|| variable("DIRIGO_API")) else {
        return Ok(());
    };
    let file = |given: Option<&PathBuf>, name| {
        let file = given.cloned();
        file.or_else(|| variable(name).map(PathBuf::from))
    };
    let token = file(
        args.and_then(|args| args.token_file.as_ref()),
        "DIRIGO_TOKEN_FILE",
    );
    let trust = file(args.and_then(|args| args.ca.as_ref()), "DIRIGO_CA");
    let remote = Remote::new(&url, token.as_deref(), trust.as_deref())?;
    let _only_once = CHOSEN.set(remote);
    Ok(())
}

/// The daemon elsewhere, if one was chosen.
pub fn chosen() -> Option<Client> {
    CHOSEN.get().cloned().map(Client::remote)
}

/// The daemon that is meant: the chosen one, or this host's of an instance.
pub fn client(instance: Option<&str>) -> Client {
    chosen().unwrap_or_else(|| Client::new(&crate::instance(instance)))
}
