//! Firewall marks: rules give a packet a mark, as iptables does before IPVS. At XDP there is no such mark yet.
//!
//! ```text
//! virtual address in prefix, port in range, protocol ─► mark        the first rule that fits
//! ```
//!
//! Asked for packets that belong to no connection only: a connection does not depend on its mark
//! (`ip_vs_in` in `net/netfilter/ipvs/ip_vs_core.c`).

use crate::arrival::Arrival;
use crate::limits::MARK_RULES;
use crate::tables::{MarkRule, Settings, Tables, Work};

/// The mark of a packet, 0 when no rule fits.
#[inline(always)]
pub fn of(arrival: &Arrival, settings: &Settings, tables: &impl Tables) -> u32 {
    let (first, count) = (settings.marks >> 16, settings.marks & 0xffff);
    if count == 0 {
        return 0;
    }
    let mut search = Search {
        address: arrival.virtual_address,
        port: arrival.virtual_port(),
        protocol: arrival.protocol,
        first,
        mark: 0,
    };
    tables.repeat(count.min(MARK_RULES), &mut search);
    search.mark
}

/// The search for the first rule that fits.
struct Search {
    address: [u64; 2],
    port: u32,
    protocol: u32,
    first: u32,
    mark: u32,
}

impl Work for Search {
    #[inline(always)]
    fn turn<T: Tables>(&mut self, tables: &T, index: u32) -> bool {
        let Some(rule) = tables.mark_rule(self.first.wrapping_add(index)) else {
            return false;
        };
        if self.fits(&rule) {
            self.mark = rule.mark;
        }
        self.mark == 0
    }
}

impl Search {
    #[inline(always)]
    fn fits(&self, rule: &MarkRule) -> bool {
        let [high, low] = self.address;
        let is_in_prefix =
            high & rule.mask[0] == rule.address[0] && low & rule.mask[1] == rule.address[1];
        let [lowest, highest] = rule.ports.map(u32::from);
        let is_in_ports = lowest <= self.port && self.port <= highest;
        let is_protocol = rule.protocol == 0 || rule.protocol == self.protocol;
        is_in_prefix && is_in_ports && is_protocol
    }
}
