//! `-b`: what a scheduler is asked to do differently.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Flags of a service's scheduler, each on or off. What they mean is the scheduler's matter: for `sh`
/// and `mh` the first is *fallback*, the second *port*; the others know none.
///
/// In JSON a list: `["flag-1", "flag-2"]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SchedulerFlags(u8);

impl SchedulerFlags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// `flag-1`; `sh-fallback`, `mh-fallback`: another destination instead of one that is not
    /// available.
    pub const FLAG_1: Self = Self(1);
    /// `flag-2`; `sh-port`, `mh-port`: the client's port counts as well.
    pub const FLAG_2: Self = Self(2);
    /// `flag-3`.
    pub const FLAG_3: Self = Self(4);

    /// The neutral names, in order.
    const NAMES: [(Self, &str); 3] = [
        (Self::FLAG_1, "flag-1"),
        (Self::FLAG_2, "flag-2"),
        (Self::FLAG_3, "flag-3"),
    ];

    /// These and those.
    #[must_use]
    pub fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether all of `others` are on.
    #[must_use]
    pub fn has(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Whether none is on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// Whether the scheduler shall take another destination when its choice is not available.
    #[must_use]
    pub fn is_fallback(self) -> bool {
        self.has(Self::FLAG_1)
    }

    /// Whether the scheduler shall hash the client's port as well.
    #[must_use]
    pub fn is_port(self) -> bool {
        self.has(Self::FLAG_2)
    }

    /// The flag of a name for a scheduler; `None` when it has none of this name.
    #[must_use]
    pub fn named(name: &str, scheduler: &str) -> Option<Self> {
        if let Some((flag, _)) = Self::NAMES.into_iter().find(|(_, known)| *known == name) {
            return Some(flag);
        }
        let (home, meaning) = name.split_once('-')?;
        match (home == scheduler && has_names(scheduler), meaning) {
            (true, "fallback") => Some(Self::FLAG_1),
            (true, "port") => Some(Self::FLAG_2),
            _ => None,
        }
    }

    /// Their names for a scheduler, as `ipvsadm` shows and saves them: `sh-fallback`, `sh-port`. For
    /// `sh` and `mh` there is no third one, though it may be on.
    #[must_use]
    pub fn names(self, scheduler: &str) -> Vec<String> {
        let name = |(flag, name): (Self, &str)| match (has_names(scheduler), flag) {
            (false, _) => Some(name.to_owned()),
            (true, Self::FLAG_1) => Some(format!("{scheduler}-fallback")),
            (true, Self::FLAG_2) => Some(format!("{scheduler}-port")),
            (true, _) => None,
        };
        let set = Self::NAMES.into_iter().filter(|(flag, _)| self.has(*flag));
        set.filter_map(name).collect()
    }
}

/// Whether a scheduler has names of its own for its flags.
fn has_names(scheduler: &str) -> bool {
    matches!(scheduler, "sh" | "mh")
}

/// The neutral names: `flag-1,flag-2`.
impl fmt::Display for SchedulerFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names("").join(","))
    }
}

impl Serialize for SchedulerFlags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names(""))
    }
}

impl<'de> Deserialize<'de> for SchedulerFlags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        let read = |flags: Self, name: String| match Self::named(&name, "") {
            Some(flag) => Ok(flags.with(flag)),
            None => Err(D::Error::custom(format!(
                "{name:?} is no scheduler flag: there are flag-1, flag-2 and flag-3"
            ))),
        };
        names.into_iter().try_fold(Self::NONE, read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_have_the_names_of_their_scheduler() {
        let all = SchedulerFlags(7);
        assert_eq!(all.names("sh"), ["sh-fallback", "sh-port"]);
        assert_eq!(all.names("mh"), ["mh-fallback", "mh-port"]);
        assert_eq!(all.names("rr"), ["flag-1", "flag-2", "flag-3"]);
        assert!(SchedulerFlags::NONE.names("sh").is_empty());
    }

    #[test]
    fn a_flag_of_another_scheduler_has_no_meaning() {
        let fallback = Some(SchedulerFlags::FLAG_1);
        assert_eq!(SchedulerFlags::named("sh-fallback", "sh"), fallback);
        assert_eq!(SchedulerFlags::named("mh-fallback", "mh"), fallback);
        assert_eq!(SchedulerFlags::named("flag-1", "sh"), fallback);
        for (name, scheduler) in [
            ("sh-fallback", "mh"),
            ("sh-port", "rr"),
            ("rr-port", "rr"),
            ("flag-4", "sh"),
            ("", "sh"),
        ] {
            assert_eq!(SchedulerFlags::named(name, scheduler), None, "{name}");
        }
    }

    #[test]
    fn flags_survive_json_and_an_unknown_one_is_refused() {
        for bits in 0..8 {
            let flags = SchedulerFlags(bits);
            let json = serde_json::to_string(&flags).unwrap();
            assert_eq!(
                serde_json::from_str::<SchedulerFlags>(&json).unwrap(),
                flags
            );
        }
        let error = serde_json::from_str::<SchedulerFlags>(r#"["flag-9"]"#).unwrap_err();
        assert!(error.to_string().contains("flag-1"), "{error}");
    }
}
