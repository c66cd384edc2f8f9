//! `-b`: three bits with names that depend on the scheduler.
//!
//! ```text
//! flag-1   sh-fallback   mh-fallback
//! flag-2   sh-port       mh-port
//! flag-3   (nothing)     (nothing)
//! ```

use super::failure::Misuse;

/// The three bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

const NUMBERED: [&str; 3] = ["flag-1", "flag-2", "flag-3"];
const FOR_SH: [&str; 3] = ["sh-fallback", "sh-port", ""];
const FOR_MH: [&str; 3] = ["mh-fallback", "mh-port", ""];

impl Flags {
    /// Reads a comma list; parts without a letter are passed over.
    ///
    /// # Errors
    ///
    /// For a name that nobody has, and for one of another scheduler than `scheduler`.
    pub fn parse(text: &str, scheduler: &str) -> Result<Self, Misuse> {
        let mut flags = 0;
        for name in text.split(',').filter(|name| !name.is_empty()) {
            let bit_in = |names: [&str; 3]| names.iter().position(|one| *one == name);
            let (bit, owner) = bit_in(NUMBERED)
                .map(|bit| (bit, scheduler))
                .or_else(|| bit_in(FOR_SH).map(|bit| (bit, "sh")))
                .or_else(|| bit_in(FOR_MH).map(|bit| (bit, "mh")))
                .ok_or_else(|| Misuse::UnknownFlag(name.to_owned()))?;
            if owner != scheduler {
                return Err(Misuse::ForeignFlag(name.to_owned()));
            }
            flags |= 1 << bit;
        }
        Ok(Self(flags))
    }

    /// The names of those that are set, as `scheduler` calls them. `sh` and `mh` have no name for the
    /// third one, so of that alone nothing is left.
    #[must_use]
    pub fn names(self, scheduler: &str) -> String {
        let names = match scheduler {
            "sh" => FOR_SH,
            "mh" => FOR_MH,
            _ => NUMBERED,
        };
        let set = names.iter().enumerate();
        let set = set.filter(|(bit, name)| self.0 & 1 << bit != 0 && !name.is_empty());
        set.map(|(_, name)| *name).collect::<Vec<_>>().join(",")
    }
}
