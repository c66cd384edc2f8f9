//! `dirigo import`: another director's configuration as ours; needs no root and no daemon.
//!
//! TOML to stdout or a file, the report to stderr, and what comes out has passed what `dirigo check` asks.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use import::{Format, Imported};

use crate::exit;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// Whose configuration it is
    #[arg(value_enum)]
    format: From,
    /// The file; - for standard input
    file: PathBuf,
    /// Write the TOML into this file, which must not exist yet, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum From {
    /// keepalived.conf
    Keepalived,
    /// ldirectord.cf
    Ldirectord,
    /// What `ipvsadm-save -n` prints
    Ipvsadm,
    /// Shell scripts such as lvs_dr.sh
    Scripts,
}

/// Runs it.
pub fn main(args: &Args) -> ExitCode {
    let text = match read(&args.file) {
        Ok(text) => text,
        Err(problem) => return failed(&problem, exit::FAILED),
    };
    let format = match args.format {
        From::Keepalived => Format::Keepalived,
        From::Ldirectord => Format::Ldirectord,
        From::Ipvsadm => Format::Ipvsadm,
        From::Scripts => Format::Scripts,
    };
    let name = args.file.display().to_string();
    let imported = match import::import(format, &text, &name) {
        Ok(imported) => imported,
        Err(failure) => {
            talk!("{failure}");
            return ExitCode::from(exit::BAD_CONFIG);
        }
    };
    if !imported.report.lines.is_empty() {
        talk!("{}", imported.report.to_string().trim_end());
    }
    // What is refused here is told like any other configuration; it would be a fault of the import's.
    if let Err(mistakes) = config::Config::parse(&imported.toml, "import") {
        talk!("{mistakes}");
        return failed("the result would not pass `dirigo check`", exit::BAD_CONFIG);
    }
    match write(args.output.as_deref(), &imported) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => failed(&problem, exit::FAILED),
    }
}

fn read(path: &Path) -> Result<String, String> {
    let limit = import::TEXT_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    let done = if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    done.map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    // Comments in such old files are often Latin-1; what matters is ASCII.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A file that is there is somebody's configuration, and is not written over.
fn write(path: Option<&Path>, imported: &Imported) -> Result<(), String> {
    let Some(path) = path else {
        data!("{}", imported.toml.trim_end());
        return Ok(());
    };
    let problem = |error| {
        format!(
            "{} cannot be written: {error}. Name another file with -o",
            path.display()
        )
    };
    let mut file = std::fs::File::create_new(path).map_err(problem)?;
    file.write_all(imported.toml.as_bytes()).map_err(problem)?;
    talk!(
        "{}: written; look through it, then `dirigo check -c {}`",
        path.display(),
        path.display()
    );
    Ok(())
}

fn failed(problem: &str, code: u8) -> ExitCode {
    talk!("dirigo import: {problem}");
    ExitCode::from(code)
}
