//! One decision as a line, in the columns of the lab's hop table: `dirigo lab run` prints the same.

use api::{TraceFrame, TraceHop, Verdict};

/// What stands above the lines.
pub const HEADER: &str = "time             hop       source MAC        > destination MAC    \
                          source IP > destination IP, TTL, packet: decision";

/// A frame as one line, or as two when it left again: as it came, and as it left with what was decided.
#[must_use]
pub fn line(frame: &TraceFrame) -> String {
    let time = time(frame.time_ns);
    let mut text = format!("{time}  in  {:<8}", frame.interface);
    push_hop(&mut text, &frame.before);
    text += &format!(", {}", frame.what);
    let decision = decision(frame);
    match &frame.after {
        Some(after) => {
            let egress = frame.egress.as_deref().unwrap_or(&frame.interface);
            text += &format!("\n{time}  out {egress:<8}");
            push_hop(&mut text, after);
            text + &format!(": {decision}")
        }
        None => text + &format!(": {decision}"),
    }
}

fn push_hop(text: &mut String, hop: &TraceHop) {
    *text += &format!("{} > {}", hop.src_mac, hop.dst_mac);
    if let (Some(src), Some(dst)) = (hop.src, hop.dst) {
        *text += &format!("  {} > {}", address(src), address(dst));
    }
    if let Some(ttl) = hop.ttl {
        *text += &format!(", TTL {ttl}");
    }
}

fn address(address: std::net::SocketAddr) -> String {
    match address.port() {
        0 => address.ip().to_string(),
        _ => address.to_string(),
    }
}

/// What was decided, and why: `to 192.0.2.11:80 by scheduler (transmitted; connection_new)`.
pub(crate) fn decision(frame: &TraceFrame) -> String {
    let what = match frame.verdict {
        Verdict::Pass => "left to this host",
        Verdict::Drop => "dropped",
        Verdict::Reply => "answered with an ICMP error",
        Verdict::Transmit | Verdict::Redirect => "sent",
    };
    let mut text = what.to_owned();
    if let Some(server) = frame.destination {
        text += &format!(" to {}", address(server));
    }
    if let Some(by) = frame.chosen_by {
        text += &format!(" by {}", by.name());
    }
    if let Some(service) = &frame.service {
        text += &format!(" of {service}");
    }
    text += &format!(" ({}", frame.counter);
    for event in &frame.events {
        text += &format!(", {event}");
    }
    if let Some(state) = &frame.state {
        text += &format!("; {state}");
    }
    text + ")"
}

/// Time of day in UTC, microseconds.
fn time(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let micros = ns % 1_000_000_000 / 1_000;
    format!("{hour:02}:{minute:02}:{second:02}.{micros:06}")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use api::ChosenBy;

    /// A SYN that was sent on.
    pub(crate) fn sent() -> TraceFrame {
        let hop = |src_mac: &str, dst_mac: &str, ttl| TraceHop {
            src_mac: src_mac.to_owned(),
            dst_mac: dst_mac.to_owned(),
            src: Some("192.168.188.111:40000".parse().unwrap()),
            dst: Some("192.168.188.120:80".parse().unwrap()),
            ttl: Some(ttl),
            len: 74,
            hex: String::new(),
        };
        TraceFrame {
            time_ns: 1_700_000_000_123_456_789,
            cpu: 0,
            sequence: 1,
            verdict: Verdict::Transmit,
            counter: "transmitted".to_owned(),
            events: vec!["connection_new".to_owned()],
            interface: "eth0".to_owned(),
            egress: Some("eth0".to_owned()),
            service: Some("tcp:192.168.188.120:80".parse().unwrap()),
            destination: Some("192.168.188.107:80".parse().unwrap()),
            chosen_by: Some(ChosenBy::Scheduler),
            state: Some("SYN_RECV".to_owned()),
            what: "TCP SYN".to_owned(),
            before: hop("02:00:00:00:01:6f", "02:00:00:00:01:6c", 64),
            after: Some(hop("02:00:00:00:01:6c", "02:00:00:00:01:6b", 63)),
        }
    }

    #[test]
    fn a_frame_that_is_sent_on_is_two_hops() {
        assert_eq!(
            line(&sent()),
            "22:13:20.123456  in  eth0    02:00:00:00:01:6f > 02:00:00:00:01:6c  192.168.188.111:40000 > \
             192.168.188.120:80, TTL 64, TCP SYN\n\
             22:13:20.123456  out eth0    02:00:00:00:01:6c > 02:00:00:00:01:6b  192.168.188.111:40000 > \
             192.168.188.120:80, TTL 63: sent to 192.168.188.107:80 by scheduler of tcp:192.168.188.120:80 \
             (transmitted, connection_new; SYN_RECV)"
        );
    }

    #[test]
    fn one_that_is_not_is_one_hop_and_the_reason() {
        let frame = TraceFrame {
            verdict: Verdict::Drop,
            counter: "drop_destination_gone".to_owned(),
            events: Vec::new(),
            egress: None,
            service: None,
            destination: None,
            chosen_by: None,
            state: None,
            after: None,
            ..sent()
        };
        let text = line(&frame);
        assert!(!text.contains('\n'), "{text}");
        assert!(
            text.ends_with(": dropped (drop_destination_gone)"),
            "{text}"
        );
    }
}
