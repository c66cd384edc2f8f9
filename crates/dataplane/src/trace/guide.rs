//! The connection of a traced frame, read from the live tables beside the packet path, by another thread than the
//! daemon's.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;

use director::address::{V4, V6, flow_hash};
use director::connection::{Entry, bucket_indices};
use director::limits::BUCKET_SLOTS;
use director::tables::Settings;

use crate::connections::Table;
use crate::map::Words;

/// Reads the tables for somebody who traces.
#[derive(Clone)]
pub struct Guide {
    pub(crate) settings: Words,
    pub(crate) table: Table,
}

/// What is known of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its destination.
    pub destination: u32,
    /// Its state, as IPVS writes it.
    pub state: &'static str,
}

impl Guide {
    /// The connection of a flow, as it is now; a moment ago it may have been another.
    #[must_use]
    pub fn connection(
        &self,
        protocol: u8,
        client: SocketAddr,
        virtual_address: SocketAddr,
    ) -> Option<Known> {
        let settings: Settings = self.settings.read(0)?;
        let ports = u32::from(client.port()) << 16 | u32::from(virtual_address.port());
        let keys = &settings.hash_keys;
        let hash = match (client.ip(), virtual_address.ip()) {
            (IpAddr::V4(client), IpAddr::V4(vip)) => flow_hash(
                V4(client.to_bits()),
                V4(vip.to_bits()),
                ports,
                protocol,
                keys,
            ),
            (IpAddr::V6(client), IpAddr::V6(vip)) => {
                flow_hash(words(client), words(vip), ports, protocol, keys)
            }
            _ => return None,
        };
        let (primary, alternate) = bucket_indices(hash, settings.bucket_mask);
        [primary, alternate].into_iter().find_map(|bucket| {
            let slots = 0..BUCKET_SLOTS;
            let word = |slot, part| {
                let words = &self.table.buckets;
                words
                    .word_at(bucket as usize, 2 * slot + part)
                    .load(Ordering::Acquire)
            };
            let slot = slots.into_iter().find(|slot| word(*slot, 0) == hash)?;
            let entry = Entry(word(slot, 1));
            (entry.destination() != 0).then(|| Known {
                destination: entry.destination(),
                state: entry.state().name(),
            })
        })
    }
}

fn words(address: std::net::Ipv6Addr) -> V6 {
    let bits = address.to_bits();
    V6([96, 64, 32, 0].map(|shift| (bits >> shift) as u32))
}
