//! Calling other programs, and knowing which are there.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// The work tree this xtask was started in.
pub fn root() -> PathBuf {
    // `cargo run` sets it anew, so a moved tree still works; the compiled-in one serves the rest.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest
        .parent()
        .map_or(manifest.clone(), Path::to_path_buf)
}

/// Where cargo puts what it builds.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Whether the machine is a CI's: then nothing may be skipped.
pub fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// Whether this process is root.
pub fn is_root() -> bool {
    // The owner of our own /proc entry is our effective user; no unsafe call needed.
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

/// Where `program` is, looking along PATH and in the sbin folders a user's PATH lacks.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// The cargo that runs us.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// `program`, as root: through sudo when this process is not root.
pub fn as_root(program: impl AsRef<std::ffi::OsStr>) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg("-E").arg("env");
    // sudo replaces PATH by its own; nginx and cargo's tools are found along ours.
    let mut path = std::ffi::OsString::from("PATH=");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    command.arg(path).arg(program);
    command
}

/// Runs a command with our own output; an error unless it succeeds.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("starting {}", describe(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", describe(command));
    }
    Ok(())
}

/// Runs a command and returns its standard output; its standard error is in the error.
pub fn output(command: &mut Command) -> Result<String> {
    let done = command
        .output()
        .with_context(|| format!("starting {}", describe(command)))?;
    if !done.status.success() {
        bail!(
            "{} ended with {}: {}",
            describe(command),
            done.status,
            String::from_utf8_lossy(&done.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

fn describe(command: &Command) -> String {
    const WORDS: usize = 6;
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default();
    let words: Vec<_> = std::iter::once(program)
        .chain(command.get_args().take(WORDS))
        .map(|word| word.to_string_lossy())
        .collect();
    let more = if command.get_args().len() > WORDS {
        " …"
    } else {
        ""
    };
    format!("`{}{more}`", words.join(" "))
}
