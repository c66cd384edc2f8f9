//! What gives packets a firewall mark.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::{Prefix, Protocol};

/// Packets to these addresses and ports have this mark. Of several rules the first that fits counts:
/// `GET /v1/marks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkRule {
    /// The mark.
    pub mark: NonZeroU32,
    /// Of which packets; nothing for all that have ports.
    #[serde(default)]
    pub protocol: Option<Protocol>,
    /// Virtual addresses.
    pub addresses: Prefix,
    /// First and last virtual port.
    pub ports: (u16, u16),
}
