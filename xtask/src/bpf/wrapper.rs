//! xtask as cargo's rustc wrapper while the object is built.
//!
//! Cargo derives each crate's `-C metadata` from, among others, the absolute path of a package
//! outside the workspace (`../director`, and `core` in the sysroot). rustc hashes it into symbol
//! names, and those that are not inlined stand in the object. The wrapper gives every crate for
//! the BPF target its package's name and version instead. Host crates (proc macros) keep theirs:
//! nothing of them reaches the object.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

/// The environment variable that makes xtask a wrapper.
pub const ASKED: &str = "DIRIGO_XTASK_RUSTC_WRAPPER";

/// Whether cargo called us as its rustc wrapper.
pub fn is_asked_for() -> bool {
    std::env::var_os(ASKED).is_some()
}

/// Calls the rustc named by the first argument with the metadata replaced.
pub fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let Some(rustc) = words.next() else {
        eprintln!("xtask: {ASKED} is set, but cargo named no rustc to call; unset it");
        return ExitCode::FAILURE;
    };
    let package = |key| std::env::var(key).unwrap_or_default();
    let metadata = format!(
        "metadata={}-{}",
        package("CARGO_PKG_NAME"),
        package("CARGO_PKG_VERSION")
    );
    let status = Command::new(rustc)
        .args(replace_metadata(words.collect(), &metadata))
        .env_remove(ASKED)
        .status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => ExitCode::from(
            status
                .code()
                .and_then(|code| code.try_into().ok())
                .unwrap_or(1),
        ),
        Err(error) => {
            eprintln!("xtask: starting rustc: {error}");
            ExitCode::FAILURE
        }
    }
}

fn replace_metadata(mut words: Vec<OsString>, metadata: &str) -> Vec<OsString> {
    if !words.iter().any(|word| word == "bpfel-unknown-none") {
        return words;
    }
    for word in &mut words {
        if word.to_string_lossy().starts_with("metadata=") {
            *word = metadata.into();
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_crate_for_the_bpf_target_gets_metadata_without_a_path() {
        let given = words("--target bpfel-unknown-none -C metadata=0123abcd -C extra-filename=-9");
        let then = words("--target bpfel-unknown-none -C metadata=core-0.0.0 -C extra-filename=-9");
        assert_eq!(replace_metadata(given, "metadata=core-0.0.0"), then);
    }

    #[test]
    fn a_crate_for_the_host_keeps_its_metadata() {
        let given = words("--crate-type proc-macro -C metadata=0123abcd");
        assert_eq!(replace_metadata(given.clone(), "metadata=syn-2.0.0"), given);
    }
}
