//! The configuration of another director becomes ours, and what has no counterpart a line of a report.
//!
//! ```text
//! keepalived.conf ─► keepalived ─┐
//! ldirectord.cf ───► ldirectord ─┤
//! ipvsadm-save ────► ipvsadm ────┼─► Draft ─► tidy ─► render ─► TOML
//! lvs_dr.sh ───────► scripts ────┘     └────────┴───► Report   file:line: what, why, what instead
//! ```
//!
//! You may rely on it: the TOML passes `dirigo check`, and whatever of the input is not in it, or not in the
//! same way, is in the report with its line. Text that cannot be what it should be is an error with its line.
//!
//! It never reads a file that the text names, runs nothing, and looks no name up.

mod draft;
mod ipvsadm;
mod keepalived;
mod ldirectord;
mod render;
mod report;
mod scripts;
mod tidy;
mod words;

pub use report::{Report, Said};

/// Whose configuration it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `keepalived.conf`.
    Keepalived,
    /// `ldirectord.cf`.
    Ldirectord,
    /// What `ipvsadm-save` prints.
    Ipvsadm,
    /// Shell scripts such as `lvs_dr.sh`.
    Scripts,
}

/// What became of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Our configuration.
    pub toml: String,
    /// What is not in it, or not in the same way.
    pub report: Report,
    /// How many virtual services it has.
    pub services: usize,
}

/// The text cannot be read as what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
pub struct Failure {
    /// The file, as it was named.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// What was found, and what would be right.
    pub problem: String,
}

/// What is wrong with a line; [`import`] adds the file.
pub(crate) type Wrong = (usize, String);

/// Most bytes of a text: many times what anybody writes by hand.
pub const TEXT_BYTES: usize = 16 << 20;

/// Reads `text`, which messages call `file`.
///
/// # Errors
///
/// The first line that cannot be what it should be.
pub fn import(format: Format, text: &str, file: &str) -> Result<Imported, Failure> {
    let failed = |(line, problem)| Failure {
        file: file.to_owned(),
        line,
        problem,
    };
    if text.len() > TEXT_BYTES {
        let problem = format!("this is longer than {TEXT_BYTES} bytes and surely no configuration");
        return Err(failed((1, problem)));
    }
    let mut report = Report::new(file);
    let read = match format {
        Format::Keepalived => keepalived::read,
        Format::Ldirectord => ldirectord::read,
        Format::Ipvsadm => ipvsadm::read,
        Format::Scripts => scripts::read,
    };
    let mut draft = read(text, &mut report).map_err(failed)?;
    tidy::tidy(&mut draft, &mut report);
    report.sort();
    Ok(Imported {
        toml: render::toml(&draft, file),
        report,
        services: draft.services.len(),
    })
}
