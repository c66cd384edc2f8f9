//! The two scripts that come with ipvsadm, as names of this binary.

use std::io::{BufReader, Cursor, Read};

use super::failure::Failure;
use super::{Ipvsadm, change};

/// Longest input of `ipvsadm-restore`, which is read to its end before the table is emptied: the largest
/// table is a tenth of it.
const INPUT_MAX_BYTES: u64 = 128 << 20;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapper {
    /// `ipvsadm-save [-n]`: `ipvsadm -S [-n]`.
    Save,
    /// `ipvsadm-restore`: without the lines that begin with `#`, `ipvsadm -C` and `ipvsadm -R`.
    Restore,
}

impl Wrapper {
    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "ipvsadm-save" => Some(Self::Save),
            "ipvsadm-restore" => Some(Self::Restore),
            _ => None,
        }
    }
}

impl Ipvsadm<'_> {
    /// Does what the script does; returns its exit code.
    pub fn wrap(&mut self, wrapper: Wrapper, words: &[String]) -> u8 {
        match wrapper {
            Wrapper::Save => self.wrap_save(words),
            Wrapper::Restore => match self.wrap_restore() {
                Ok(code) => code,
                Err(failure) => self.report(&failure),
            },
        }
    }

    fn wrap_save(&mut self, words: &[String]) -> u8 {
        if words
            .iter()
            .any(|word| word.starts_with('-') && word != "-n")
        {
            // There is nowhere left to say that saying it failed.
            let _ = write!(self.complaints, "{SAVE_HELP}");
            return 1;
        }
        let mut line = vec!["-S".to_owned()];
        line.extend(words.iter().find(|word| *word == "-n").cloned());
        self.run(&line)
    }

    fn wrap_restore(&mut self) -> Result<u8, Failure> {
        let mut text = Vec::new();
        let read = (&mut self.input)
            .take(INPUT_MAX_BYTES)
            .read_to_end(&mut text)
            .map_err(Failure::Input)?;
        if read as u64 >= INPUT_MAX_BYTES {
            return Err(Failure::Input(std::io::Error::other(format!(
                "there are more than {INPUT_MAX_BYTES} bytes"
            ))));
        }
        let mut rules = Cursor::new(without_comments(&text));
        if let Some(clear) = change::asked(&super::Line::Flush) {
            self.change(&clear)?;
        }
        Ipvsadm {
            program: self.program,
            kernel: &mut *self.kernel,
            names: self.names,
            input: BufReader::with_capacity(super::INPUT_BYTES, &mut rules),
            has_input: || true,
            output: &mut *self.output,
            complaints: &mut *self.complaints,
        }
        .restore()
    }
}

/// What a wrong option of `ipvsadm-save` is answered.
const SAVE_HELP: &str = "ipvsadm-save: Script to save the IPVS table to stdout.\n\
                         \x20  With the -n option, prints out the table in numeric format.\n";

fn without_comments(text: &[u8]) -> Vec<u8> {
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    lines
        .filter(|line| !line.starts_with(b"#"))
        .flatten()
        .copied()
        .collect()
}
