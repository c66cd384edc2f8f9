//! A question by DNS over UDP.

use super::socket::Ends;
use crate::check::Dns;
use crate::path::Protocol;
use crate::reason::Reason;

/// Flags of a question that wants recursion (RFC 1035 §4.1.1).
const RECURSION_DESIRED: u16 = 0x0100;
const RESPONSE: u16 = 0x8000;
const INTERNET: u16 = 1;
/// RFC 1035 §4.1.1.
const CODES: [&str; 6] = [
    "no error",
    "format error",
    "server failure",
    "no such name",
    "not implemented",
    "refused",
];

pub(super) async fn ask(dns: &Dns, ends: &Ends<'_>) -> Result<(), Reason> {
    let id = identifier();
    let question = question(dns, id)
        .ok_or_else(|| Reason::Local(format!("{} is no name that DNS can carry", dns.name)))?;
    let socket = ends.datagrams(Protocol::Udp).await?;
    let sent = socket.send(&question).await;
    sent.map_err(|error| ends.failed(&error))?;
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await;
        let length = length.map_err(|error| ends.failed(&error))?;
        // Somebody else's answer is waited past.
        if let Some(found) = answer(buffer.get(..length).unwrap_or_default(), id) {
            return judge(found);
        }
    }
}

fn judge(code: u16) -> Result<(), Reason> {
    if code == 0 {
        return Ok(());
    }
    let name = CODES.get(usize::from(code)).unwrap_or(&"unknown");
    Err(Reason::Answer {
        protocol: "DNS",
        found: format!("response code {code} ({name})"),
        wanted: "0 (no error)".to_owned(),
    })
}

/// The response code, if these bytes answer the question with this id.
fn answer(bytes: &[u8], id: u16) -> Option<u16> {
    let word = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let (found, flags) = (word(0)?, word(2)?);
    (found == id && flags & RESPONSE != 0 && bytes.len() >= 12).then_some(flags & 0x000f)
}

/// ```text
/// | id | flags | questions: 1 | 0 | 0 | 0 | length, label, … 0 | type | class |
/// ```
/// Source: RFC 1035 §4.1. `None` if the name has labels of no or more than 63 bytes.
fn question(dns: &Dns, id: u16) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(64);
    for word in [id, RECURSION_DESIRED, 1, 0, 0, 0] {
        bytes.extend(word.to_be_bytes());
    }
    let name = dns.name.strip_suffix('.').unwrap_or(&dns.name);
    for label in name.split('.').filter(|_| !name.is_empty()) {
        let length = u8::try_from(label.len())
            .ok()
            .filter(|length| (1..=63).contains(length))?;
        bytes.push(length);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(dns.record.to_be_bytes());
    bytes.extend(INTERNET.to_be_bytes());
    (bytes.len() <= 12 + 255 + 4).then_some(bytes)
}

/// It only tells this attempt's answer from a late one.
fn identifier() -> u16 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_has_labels_type_and_class() {
        let dns = Dns {
            name: "www.example.".to_owned(),
            record: 28,
        };
        assert_eq!(
            question(&dns, 0x1234).unwrap(),
            b"\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0\x03www\x07example\0\0\x1c\0\x01"
        );
        let root = Dns::default();
        assert_eq!(question(&root, 1).unwrap()[12..], [0, 0, 6, 0, 1]);
    }

    #[test]
    fn a_name_with_an_empty_or_too_long_label_is_no_question() {
        for name in ["a..b", &"x".repeat(64), &["abcdefghi"; 30].join(".")] {
            let name = name.to_owned();
            assert_eq!(question(&Dns { name, record: 1 }, 1), None);
        }
    }

    #[test]
    fn only_a_response_with_the_same_id_answers() {
        let mut bytes = vec![0x12, 0x34, 0x81, 0x82, 0, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(answer(&bytes, 0x1234), Some(2));
        assert_eq!(answer(&bytes, 0x1235), None);
        bytes[2] = 0x01;
        assert_eq!(answer(&bytes, 0x1234), None);
        assert_eq!(answer(&bytes[..3], 0x1234), None);
    }
}
