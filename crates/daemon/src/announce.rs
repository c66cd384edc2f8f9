//! Announcements that are due: five at once, five more later, for each virtual address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use crate::limits;

/// When which address is to be announced again.
#[derive(Debug, Default)]
pub(crate) struct Announcements {
    due: BTreeMap<IpAddr, Pending>,
}

#[derive(Debug)]
struct Pending {
    interface: String,
    next: Instant,
    sent: u32,
}

impl Announcements {
    /// Begins again for an address.
    pub(crate) fn begin(&mut self, address: IpAddr, interface: &str, now: Instant) {
        let pending = Pending {
            interface: interface.to_owned(),
            next: now,
            sent: 0,
        };
        self.due.insert(address, pending);
    }

    /// An address that is taken away is not announced any more.
    pub(crate) fn cancel(&mut self, address: IpAddr) {
        self.due.remove(&address);
    }

    /// What to announce now.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<(IpAddr, String)> {
        let mut due = Vec::new();
        self.due.retain(|address, pending| {
            if pending.next > now {
                return true;
            }
            due.push((*address, pending.interface.clone()));
            pending.sent += 1;
            pending.next = now
                + if pending.sent == limits::ANNOUNCEMENTS {
                    limits::ANNOUNCEMENT_DELAY
                } else {
                    limits::ANNOUNCEMENT_INTERVAL
                };
            pending.sent < 2 * limits::ANNOUNCEMENTS
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_address_is_announced_five_times_at_once_and_five_times_after_five_seconds() {
        let start = Instant::now();
        let mut announcements = Announcements::default();
        let address: IpAddr = "192.0.2.100".parse().unwrap();
        announcements.begin(address, "eth0", start);

        let times: Vec<u64> = (0..200)
            .map(|tick| tick * 100)
            .filter(|ms| {
                !announcements
                    .due(start + Duration::from_millis(*ms))
                    .is_empty()
            })
            .collect();

        assert_eq!(times, [0, 100, 200, 300, 400, 5400, 5500, 5600, 5700, 5800]);
    }

    #[test]
    fn an_address_that_was_removed_is_not_announced() {
        let start = Instant::now();
        let mut announcements = Announcements::default();
        let address: IpAddr = "192.0.2.100".parse().unwrap();
        announcements.begin(address, "eth0", start);
        announcements.cancel(address);
        assert!(announcements.due(start).is_empty());
    }
}
