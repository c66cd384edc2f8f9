//! The golden table, by what becomes of the frames.

use crate::case::Case;

mod associations;
mod connections;
mod errors;
mod forwarded;
mod full;
mod host;
mod malformed;
mod pieces;
mod replies;

/// Every case.
pub fn all() -> Vec<Case> {
    [
        host::cases(),
        malformed::cases(),
        forwarded::cases(),
        connections::cases(),
        associations::cases(),
        pieces::cases(),
        errors::cases(),
        replies::cases(),
        full::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
