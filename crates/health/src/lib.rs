//! Health checks of real servers.
#![allow(missing_docs)]
pub mod attempt;
pub mod check;
pub mod limits;
pub mod path;
pub mod reason;
