//! Rules of firewall marks in the kernel: the new ones beside the old, then one word switched.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use director::limits::MARK_RULES;
use director::memory::mapped;
use director::tables::{self, Settings};

use crate::error::Error;
use crate::map::Words;
use crate::object::Maps;
use crate::settings;

/// A rule that gives packets a firewall mark. The first that fits counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkRule {
    /// The mark, not 0.
    pub mark: u32,
    /// IP protocol number; `None` for any.
    pub protocol: Option<u8>,
    /// Virtual addresses: one of them, and the length of their prefix.
    pub prefix: (IpAddr, u8),
    /// Virtual ports.
    pub ports: RangeInclusive<u16>,
}

impl MarkRule {
    /// As the data path has it.
    #[must_use]
    pub fn element(&self) -> tables::MarkRule {
        let (address, length) = self.prefix;
        let (bits, above) = match address {
            IpAddr::V4(_) => (32, 96),
            IpAddr::V6(_) => (128, 0),
        };
        let length = u32::from(length).min(bits) + above;
        let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
        let mask = [((mask >> 64) as u64).to_be(), (mask as u64).to_be()];
        let [high, low] = mapped(address);
        tables::MarkRule {
            address: [high & mask[0], low & mask[1]],
            mask,
            ports: [*self.ports.start(), *self.ports.end()],
            protocol: self.protocol.map_or(0, u32::from),
            mark: self.mark,
            reserved: 0,
        }
    }
}

/// The rules' map.
pub(crate) struct Marks {
    pub(crate) words: Words,
}

impl Marks {
    pub(crate) fn new(maps: &Maps) -> Result<Self, Error> {
        let words = maps.words("MARKS")?;
        Ok(Self { words })
    }

    /// Writes rules into the half that is not in use, and switches to it.
    pub(crate) fn write(&self, settings: &Words, rules: &[MarkRule]) -> Result<(), Error> {
        let half = MARK_RULES / 2;
        if rules.len() > half as usize {
            return Err(Error::Full {
                what: "rules of firewall marks",
                limit: half.into(),
            });
        }
        let present = settings
            .read::<Settings>(0)
            .map_or(0, |present| present.marks);
        let first = if present >> 16 == 0 { half } else { 0 };
        for (index, rule) in rules.iter().enumerate() {
            self.words.write(first as usize + index, &rule.element());
        }
        settings::write_marks(settings, first, rules.len() as u32);
        Ok(())
    }
}
