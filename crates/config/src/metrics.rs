//! `[metrics]`: how much a scrape shows.

use crate::notes::Notes;
use crate::schema::{self, Table};
use crate::section::Section;
use crate::{OutOfRange, limits};

/// What a scrape of `/metrics` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Whether each destination has series of its own; without, services are the finest.
    pub per_destination: bool,
    /// Series of one scrape; those beyond are left out, counted and said.
    pub max_series: u32,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            per_destination: true,
            max_series: limits::MAX_SERIES_DEFAULT,
        }
    }
}

/// Reads the table, if there is one.
pub(crate) fn read(root: &Section<'_>, notes: &mut Notes<'_>) -> Metrics {
    let default = Metrics::default();
    let Some(section) = root.one(&schema::METRICS, Table::Metrics, notes) else {
        return default;
    };
    Metrics {
        per_destination: section
            .flag(&schema::PER_DESTINATION, notes)
            .unwrap_or(default.per_destination),
        max_series: section
            .number(&schema::MAX_SERIES, max_series, notes)
            .map_or(default.max_series, |found| found.value),
    }
}

fn max_series(value: i64) -> Result<u32, OutOfRange> {
    let (min, max) = (*limits::MAX_SERIES.start(), *limits::MAX_SERIES.end());
    u32::try_from(value)
        .ok()
        .filter(|_| (min..=max).contains(&value))
        .ok_or(OutOfRange { value, min, max })
}
