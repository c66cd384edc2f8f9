//! The order of a listing, with the original's peculiarity.
//!
//! ipvsadm subtracts addresses and marks as 32-bit numbers and looks at the sign, so addresses more than
//! half the number space apart come in the other order: 192.168.1.1 stands *before* 10.0.0.1. That
//! is no total order (of three addresses each can precede the next), so the result is also its
//! sorting algorithm's: glibc's merge sort, starting from the kernel's order. People diff listings
//! and saved rules, so both are kept; `slice::sort_by` may panic on such a comparison.

use std::cmp::Ordering;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

use api::{Destination, Service};

/// Puts services, and the destinations of each, into the listing's order.
pub fn sort(services: &mut Vec<Service>) {
    let kernel_order = std::mem::take(services);
    *services = merge_sort(kernel_order, &|one, other| {
        let (one, other) = (one.service, other.service);
        let mark = |key: api::ServiceKey| key.mark().map_or(0, NonZeroU32::get);
        let by_mark = by_difference(mark(one), mark(other));
        let rest = (one.family(), one.protocol()).cmp(&(other.family(), other.protocol()));
        by_mark
            .then(rest)
            .then_with(|| match (one.address(), other.address()) {
                (Some(one), Some(other)) => by_address(one, other),
                _ => Ordering::Equal,
            })
    });
    for service in services {
        let kernel_order = std::mem::take(&mut service.destinations);
        service.destinations = merge_sort(kernel_order, &|one: &Destination, other| {
            by_address(one.destination, other.destination)
        });
    }
}

fn by_address(one: SocketAddr, other: SocketAddr) -> Ordering {
    let address = match (one.ip(), other.ip()) {
        (IpAddr::V4(one), IpAddr::V4(other)) => by_difference(one.into(), other.into()),
        (IpAddr::V6(one), IpAddr::V6(other)) => [96, 64, 32, 0]
            .map(|shift| by_difference(word(one.into(), shift), word(other.into(), shift)))
            .into_iter()
            .fold(Ordering::Equal, Ordering::then),
        (one, other) => one.is_ipv6().cmp(&other.is_ipv6()),
    };
    address.then(one.port().cmp(&other.port()))
}

/// The 32 bits of `address` from bit `shift` on.
fn word(address: u128, shift: u32) -> u32 {
    (address >> shift) as u32
}

fn by_difference(one: u32, other: u32) -> Ordering {
    one.wrapping_sub(other).cast_signed().cmp(&0)
}

/// Top down, the first half the smaller one, equals in their order: what glibc does.
fn merge_sort<T>(mut items: Vec<T>, compare: &impl Fn(&T, &T) -> Ordering) -> Vec<T> {
    if items.len() < 2 {
        return items;
    }
    let second = items.split_off(items.len() / 2);
    let mut first = merge_sort(items, compare).into_iter().peekable();
    let mut second = merge_sort(second, compare).into_iter().peekable();
    let mut merged = Vec::with_capacity(first.len() + second.len());
    while let (Some(one), Some(other)) = (first.peek(), second.peek()) {
        let from = match compare(one, other) {
            Ordering::Greater => &mut second,
            _ => &mut first,
        };
        merged.extend(from.next());
    }
    merged.extend(first);
    merged.extend(second);
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(serde::Deserialize)]
    struct Recording {
        kernel: Vec<IpAddr>,
        listed: Vec<IpAddr>,
    }

    fn sorted(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
        merge_sort(addresses, &|one, other| {
            by_address(SocketAddr::new(*one, 80), SocketAddr::new(*other, 80))
        })
    }

    #[test]
    fn every_recorded_listing_has_its_order_from_the_kernels() {
        let text = include_str!("../../tests/golden/sort.json");
        let recordings: Vec<Recording> = serde_json::from_str(text).unwrap();
        assert!(recordings.len() > 20);
        for Recording { kernel, listed } in recordings {
            assert_eq!(sorted(kernel.clone()), listed, "{kernel:?}");
        }
    }

    #[test]
    fn addresses_far_apart_come_the_other_way_round() {
        let far: Vec<IpAddr> = vec![[10, 0, 0, 1].into(), [192, 168, 1, 1].into()];
        let near: Vec<IpAddr> = vec![[10, 0, 0, 2].into(), [10, 0, 0, 10].into()];
        assert_eq!(sorted(far.clone()), [far[1], far[0]]);
        assert_eq!(sorted(near.clone()), near);
    }

    proptest! {
        #[test]
        fn a_comparison_that_is_an_order_is_followed_stably(
            items in proptest::collection::vec((0u8..9, any::<u8>()), 0..40),
        ) {
            let mut expected = items.clone();
            expected.sort_by_key(|item| item.0);
            prop_assert_eq!(merge_sort(items, &|one, other| one.0.cmp(&other.0)), expected);
        }
    }
}
