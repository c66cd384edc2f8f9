//! Ladders of captures that are made up.

use etherparse::PacketBuilder;

use super::*;
use crate::captures::Sighting;

const CLIENT: [u8; 6] = [2, 0, 0, 0, 1, 0x6f];
const DIRECTOR: [u8; 6] = [2, 0, 0, 0, 1, 0x6c];
const SERVER: [u8; 6] = [2, 0, 0, 0, 1, 0x6b];
const C: [u8; 4] = [192, 168, 188, 111];
const V: [u8; 4] = [192, 168, 188, 120];

fn request(from: [u8; 6], to: [u8; 6], ttl: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ethernet2(from, to).ipv4(C, V, ttl);
    builder
        .tcp(40_000, 80, 1, 1_024)
        .syn()
        .write(&mut bytes, &[])
        .unwrap();
    bytes
}

fn reply(to: [u8; 6]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ethernet2(SERVER, to).ipv4(V, C, 64);
    builder
        .tcp(80, 40_000, 9, 1_024)
        .syn()
        .ack(2)
        .write(&mut bytes, &[])
        .unwrap();
    bytes
}

fn capture(name: &str, frames: &[(u64, Vec<u8>)]) -> Capture {
    let frames = frames.iter().map(|(time_us, bytes)| Sighting {
        time_ns: 1_000_000_000 + time_us * 1_000,
        bytes: bytes.clone(),
        length: bytes.len() as u32,
    });
    Capture {
        name: name.to_owned(),
        frames: frames.collect(),
    }
}

#[test]
fn a_request_and_its_reply_are_three_hops_over_the_captures_of_two_hosts() {
    let sent = request(CLIENT, DIRECTOR, 64);
    let captures = [
        capture("client", &[(0, sent), (140, reply(CLIENT))]),
        capture(
            "rs1",
            &[(21, request(DIRECTOR, SERVER, 63)), (120, reply(CLIENT))],
        ),
    ];
    let ladder = Ladder::of(&captures, None).unwrap();
    let lines = [
        "tcp 192.168.188.111:40000 > 192.168.188.120:80",
        "",
        "client                  director                real server",
        "02:00:00:00:01:6f       02:00:00:00:01:6c       02:00:00:00:01:6b",
        "   |--- TCP SYN ---------->|                       |    0.000000  TTL 64   client",
        "   |                       |--- TCP SYN ---------->|    0.000021  TTL 63   rs1",
        "   |<------------------------------- TCP SYN ACK --|    0.000120  TTL 64   client, rs1",
        "",
    ];
    assert_eq!(ladder.to_string(), lines.join("\n"));
    assert!(ladder.notes.is_empty());
}

#[test]
fn a_client_that_goes_past_the_director_and_a_reply_through_it_are_noted() {
    let past = [capture("client", &[(0, request(CLIENT, SERVER, 64))])];
    let notes = Ladder::of(&past, None).unwrap().notes;
    assert!(
        notes[0].contains("no request passes a director"),
        "{notes:?}"
    );
    let through = [capture(
        "director",
        &[
            (0, request(CLIENT, DIRECTOR, 64)),
            (1, request(DIRECTOR, SERVER, 63)),
            (2, reply(DIRECTOR)),
        ],
    )];
    let notes = Ladder::of(&through, None).unwrap().notes;
    assert!(
        notes[0].contains("1 replies pass the director"),
        "{notes:?}"
    );
}

#[test]
fn a_frame_that_is_not_seen_to_leave_is_noted() {
    let mut second = request(CLIENT, DIRECTOR, 64);
    second[18..20].copy_from_slice(&[0, 7]);
    let one = [capture(
        "switch",
        &[
            (0, request(CLIENT, DIRECTOR, 64)),
            (1, request(DIRECTOR, SERVER, 63)),
            (2, second),
        ],
    )];
    let notes = Ladder::of(&one, None).unwrap().notes;
    assert!(
        notes[0].contains("1 requests reach the director"),
        "{notes:?}"
    );
}

#[test]
fn the_same_segment_sent_twice_is_two_hops() {
    let sent = request(CLIENT, DIRECTOR, 64);
    let captures = [
        capture("client", &[(0, sent.clone()), (1_000, sent.clone())]),
        capture("director", &[(1, sent.clone()), (1_001, sent)]),
    ];
    let ladder = Ladder::of(&captures, None).unwrap();
    let seen: Vec<usize> = ladder.hops.iter().map(|hop| hop.seen.len()).collect();
    assert_eq!(seen, [2, 2]);
}

#[test]
fn a_connection_that_is_not_there_is_said_with_one_that_is() {
    let captures = [capture("client", &[(0, request(CLIENT, DIRECTOR, 64))])];
    let asked = (
        "192.0.2.9:1".parse().unwrap(),
        "192.0.2.8:80".parse().unwrap(),
    );
    let error = Ladder::of(&captures, Some(asked)).unwrap_err().to_string();
    assert!(
        error.contains("for instance 192.168.188.111:40000 > 192.168.188.120:80"),
        "{error}"
    );
    let error = Ladder::of(&[capture("x", &[(0, vec![0; 60])])], None).unwrap_err();
    assert!(error.to_string().contains("1 frames"), "{error}");
}
