//! Addresses and numbers as C's library reads them: `inet_aton`, `strtol`, `host:port`.
//!
//! Old scripts rely on these rules (`10.1` is 10.0.0.1, `0x50` is no port), so they are kept, also
//! where a stricter reader would do.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use api::Protocol;

use super::names::Names;

/// Reads a decimal number of `range`: blanks and a sign may come before it, nothing after it.
#[must_use]
pub fn number(text: &str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
    let text = text.trim_start_matches(is_space);
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = text.parse().ok()?;
    range.contains(&number).then_some(number)
}

/// Reads the number that `text` starts with, as C's `atoi`: 0 when there is none.
#[must_use]
pub fn leading_number(text: &str) -> i64 {
    let text = text.trim_start_matches(is_space);
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sign = text.len() - digits.len();
    let length = digits.bytes().take_while(u8::is_ascii_digit).count();
    text.get(..sign + length)
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// Reads an IPv4 address of one to four parts, each decimal, octal (`0…`) or hexadecimal (`0x…`);
/// the last part fills the bytes that are left. What follows a blank is ignored.
#[must_use]
pub fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let text = text.split(is_space).next()?;
    let parts: Vec<u32> = text.split('.').map(part).collect::<Option<_>>()?;
    let (last, first) = parts.split_last()?;
    if first.len() > 3 {
        return None;
    }
    let mut address = u64::from(*last);
    if address >= 1 << (8 * (4 - first.len())) {
        return None;
    }
    for (place, byte) in first.iter().enumerate() {
        if *byte > 0xff {
            return None;
        }
        address |= u64::from(*byte) << (24 - 8 * place);
    }
    u32::try_from(address).ok().map(Ipv4Addr::from)
}

fn part(text: &str) -> Option<u32> {
    let hexadecimal = text
        .strip_prefix("0x")
        .or_else(|| text.strip_prefix("0X"))
        .map(|digits| (digits, 16));
    let octal = || {
        text.strip_prefix('0')
            .filter(|digits| !digits.is_empty())
            .map(|digits| (digits, 8))
    };
    let (digits, radix) = hexadecimal.or_else(octal).unwrap_or((text, 10));
    // `from_str_radix` takes a sign, C's parts have none.
    let plain = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
    plain.then(|| u32::from_str_radix(digits, radix).ok())?
}

/// Reads `host[:port]`. The port is `None` when the text has none.
///
/// A host name is looked up for IPv4 only, and a port may be a name of `protocol`. Brackets are
/// for IPv6; the original accepts another host in them and then forgets the port, so do we.
#[must_use]
pub fn endpoint(
    text: &str,
    protocol: Option<Protocol>,
    names: &dyn Names,
) -> Option<(IpAddr, Option<u16>)> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if let Some(inside) = text.strip_prefix('[') {
        let (host, port) = inside.split_once(']')?;
        let port = port.strip_prefix(':')?;
        return match host.parse::<Ipv6Addr>() {
            Ok(address) => Some((address.into(), Some(self::port(port, protocol, names)?))),
            Err(_) => Some((split_ipv4(host, protocol, names)?.0, None)),
        };
    }
    match text.parse::<Ipv6Addr>() {
        Ok(address) => Some((address.into(), None)),
        Err(_) => split_ipv4(text, protocol, names),
    }
}

fn split_ipv4(
    text: &str,
    protocol: Option<Protocol>,
    names: &dyn Names,
) -> Option<(IpAddr, Option<u16>)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let address = inet_aton(host).or_else(|| look_up(host, names))?;
    let port = match port {
        Some(port) => Some(self::port(port, protocol, names)?),
        None => None,
    };
    Some((address.into(), port))
}

/// Asks for a name; what can only be a mistyped address is not worth a query.
fn look_up(host: &str, names: &dyn Names) -> Option<Ipv4Addr> {
    let is_address = |byte: u8| byte.is_ascii_digit() || byte == b'.';
    if host.bytes().all(is_address) {
        return None;
    }
    names.address(host)
}

fn port(text: &str, protocol: Option<Protocol>, names: &dyn Names) -> Option<u16> {
    match number(text, 0..=i64::from(u16::MAX)) {
        Some(port) => u16::try_from(port).ok(),
        None => names.port(text, protocol?),
    }
}

fn is_space(character: char) -> bool {
    character.is_ascii_whitespace() || character == '\x0b'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn inet_aton_takes_one_to_four_parts_in_three_bases() {
        let address = Some(Ipv4Addr::new(192, 0, 2, 100));
        for text in [
            "192.0.2.100",
            "192.612",
            "192.0.612",
            "3221226084",
            "0xc0000264",
            "0XC0.0.0x2.0144",
            "0300.0.02.0144",
            "192.0.2.100 anything",
        ] {
            assert_eq!(inet_aton(text), address, "{text}");
        }
        assert_eq!(inet_aton("0"), Some(Ipv4Addr::UNSPECIFIED));
        assert_eq!(inet_aton("10.1"), Some(Ipv4Addr::new(10, 0, 0, 1)));
    }

    #[test]
    fn inet_aton_refuses_what_does_not_fit() {
        for text in [
            "",
            " ",
            "x",
            "0x",
            "08",
            "256.1.1.1",
            "1.2.3.256",
            "1.2.65536",
            "1.16777216",
            "4294967296",
            "1.2.3.4.5",
            "1.2.3.",
            ".1.2.3",
            "1..2",
            "+1.2.3.4",
            "1.-2",
            "1.2.3.4x",
        ] {
            assert_eq!(inet_aton(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_number_may_have_blanks_and_a_sign_before_it_and_nothing_after_it() {
        assert_eq!(number(" \t+7", 0..=9), Some(7));
        assert_eq!(number("-7", -9..=9), Some(-7));
        for text in [
            "",
            " ",
            "+",
            "7 ",
            "7x",
            "0x7",
            "--7",
            "10",
            "99999999999999999999",
        ] {
            assert_eq!(number(text, -9..=9), None, "{text:?}");
        }
    }

    #[test]
    fn a_leading_number_stops_where_the_digits_do() {
        let read: Vec<i64> = ["64", "64x", " 64", "x", "", "-3", "255.255.255.0"]
            .into_iter()
            .map(leading_number)
            .collect();
        assert_eq!(read, [64, 64, 64, 0, 0, -3, 255]);
    }

    proptest! {
        #[test]
        fn inet_aton_reads_back_every_printed_address(address: Ipv4Addr) {
            prop_assert_eq!(inet_aton(&address.to_string()), Some(address));
            prop_assert_eq!(inet_aton(&u32::from(address).to_string()), Some(address));
        }
    }
}
