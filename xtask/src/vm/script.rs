//! Rounds of random steps, as text, from a seed and nothing else.
//!
//! A round is one service, a handful of real servers that come, change and go, and clients that begin, go on and
//! end. Each has a port of its own: what an earlier round left (connections, destinations that wait for theirs) is
//! none of its business. What is by design unlike IPVS is not generated: real servers that cannot be reached, and
//! other forwarding methods.
//!
//! When a client that has ended begins again from the same port, IPVS counts the old connection until a timer runs, up
//! to a jiffy later, and what came in between has no one right answer: there both sides pause.

use std::fmt::Write as _;

/// Schedulers whose choice is IPVS's own; `twos` draws numbers.
const SCHEDULERS: [&str; 13] = [
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh",
];
/// Port of the first round's service; the runner has one below.
const FIRST_PORT: usize = 1000;
/// Real servers that the runner makes.
const SERVERS: usize = 8;

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const FIN_ACK: u8 = 0x11;
const RST: u8 = 0x04;

/// Most rounds of one script: ports that there are.
pub const ROUNDS_MAX: usize = 60_000;

/// The lines of all rounds.
pub fn rounds(seed: u64, count: usize) -> Vec<String> {
    let one = |round| Round::new(seed, round).lines();
    (0..count).map(one).collect()
}

/// A sequence of random choices: xorshift64*, whose state is never 0.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit as u64) as usize
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}

struct Round {
    number: usize,
    dice: Dice,
    is_v6: bool,
    is_tcp: bool,
    present: [bool; SERVERS],
    /// Clients that were heard of: address and port, and whether they may have ended.
    clients: Vec<(String, usize, bool)>,
    text: String,
}

impl Round {
    fn new(seed: u64, number: usize) -> Self {
        // Neighbouring rounds must not have neighbouring states.
        let mixed = (seed ^ (number as u64).rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut dice = Dice((mixed ^ mixed >> 31) | 1);
        dice.below(2);
        Self {
            number,
            is_v6: dice.one_in(3),
            is_tcp: !dice.one_in(3),
            dice,
            present: [false; SERVERS],
            clients: Vec::new(),
            text: String::new(),
        }
    }

    fn lines(mut self) -> String {
        let _ = writeln!(self.text, "round {}", self.number);
        self.service("-A");
        for _ in 0..2 + self.dice.below(4) {
            self.add();
        }
        for _ in 0..3 + self.dice.below(4) {
            for _ in 0..2 + self.dice.below(6) {
                self.send();
            }
            for _ in 0..1 + self.dice.below(3) {
                self.edit();
            }
        }
        for _ in 0..4 {
            self.send();
        }
        let service = self.service_words();
        let _ = writeln!(self.text, "do -D {service}");
        self.text
    }

    fn edit(&mut self) {
        match self.dice.below(12) {
            0..3 => self.add(),
            3..7 => self.change("-e"),
            7..9 => self.change("drain"),
            9..11 => self.change("-d"),
            _ => self.service("-E"),
        }
    }

    fn service(&mut self, command: &str) {
        let scheduler = SCHEDULERS[match command {
            // Each scheduler has its share of the rounds.
            "-A" => self.number % SCHEDULERS.len(),
            _ => self.dice.below(SCHEDULERS.len()),
        }];
        let mut line = format!("do {command} {} -s {scheduler}", self.service_words());
        if matches!(scheduler, "sh" | "mh") && self.dice.one_in(2) {
            let flags = ["fallback", "port"].map(|flag| format!("{scheduler}-{flag}"));
            let both = flags.join(",");
            let choices = [&flags[0], &flags[1], &both];
            line.push_str(&format!(" -b {}", choices[self.dice.below(3)]));
        }
        if self.dice.one_in(6) {
            line.push_str(" -p 600");
            if self.dice.one_in(2) {
                line.push_str(if self.is_v6 {
                    " -M 112"
                } else {
                    " -M 255.255.255.0"
                });
            }
        } else if !self.is_tcp && self.dice.one_in(6) {
            line.push_str(" -o");
        }
        self.text.push_str(&line);
        self.text.push('\n');
    }

    fn add(&mut self) {
        self.on_one(false, "-a");
    }

    fn change(&mut self, command: &str) {
        self.on_one(true, command);
    }

    /// A command about one of the real servers that are there, or that are not.
    fn on_one(&mut self, is_present: bool, command: &str) {
        let fits = |n: &usize| self.present[*n] == is_present;
        let fitting: Vec<usize> = (0..SERVERS).filter(fits).collect();
        if fitting.is_empty() {
            return;
        }
        let n = fitting[self.dice.below(fitting.len())];
        self.present[n] = command != "-d";
        let word = if command == "drain" { "-e" } else { command };
        let mut line = format!("do {word} {} -r {}", self.service_words(), self.server(n));
        match command {
            "-d" => {}
            "drain" => line.push_str(" -g -w 0"),
            _ => line.push_str(&self.terms()),
        }
        self.text.push_str(&line);
        self.text.push('\n');
    }

    fn terms(&mut self) -> String {
        let weights = [0, 1, 1, 1, 2, 3, 4, 5, 6, 10, 100];
        let weight = weights[self.dice.below(weights.len())];
        let mut terms = format!(" -g -w {weight}");
        if self.dice.one_in(4) {
            let upper = 1 + self.dice.below(5);
            let lower = self.dice.below(upper + 1);
            terms.push_str(&format!(" -x {upper} -y {lower}"));
        }
        terms
    }

    /// A frame of a client that is new, or of one that was heard of.
    fn send(&mut self) {
        let is_new = self.clients.is_empty() || self.dice.one_in(2);
        if is_new {
            let (address, port) = self.client();
            self.clients.push((address, port, false));
        }
        let n = match is_new {
            true => self.clients.len() - 1,
            false => self.dice.below(self.clients.len()),
        };
        let flags = match (is_new, self.dice.below(10)) {
            (true, 1..) => SYN,
            (false, 0) => SYN,
            (_, 0..6) => ACK,
            (_, 6..9) => FIN_ACK,
            _ => RST,
        };
        let (protocol, flags) = if self.is_tcp {
            ("tcp", flags)
        } else {
            ("udp", 0)
        };
        let begins_again = flags == SYN && self.clients[n].2;
        self.clients[n].2 |= matches!(flags, FIN_ACK | RST);
        let (address, port, _) = &self.clients[n];
        let vip = if self.is_v6 {
            "2001:db8::100"
        } else {
            "192.0.2.100"
        };
        let service_port = FIRST_PORT + self.number;
        let _ = writeln!(
            self.text,
            "send {protocol} {flags} {address} {port} {vip} {service_port}"
        );
        if begins_again {
            self.text.push_str("pause\n");
        }
    }

    /// Few networks and few addresses: templates and hashes meet the same ones again.
    fn client(&mut self) -> (String, usize) {
        let (network, host) = (self.dice.below(4), 1 + self.dice.below(40));
        let address = match self.is_v6 {
            true => format!("2001:db8:5::{network:x}:{host:x}"),
            false => format!("10.1.{network}.{host}"),
        };
        (address, 1024 + self.dice.below(60_000))
    }

    fn service_words(&self) -> String {
        let option = if self.is_tcp { "-t" } else { "-u" };
        let vip = if self.is_v6 {
            "[2001:db8::100]"
        } else {
            "192.0.2.100"
        };
        format!("{option} {vip}:{}", FIRST_PORT + self.number)
    }

    fn server(&self, n: usize) -> String {
        let (n, port) = (n + 1, FIRST_PORT + self.number);
        match self.is_v6 {
            true => format!("[2001:db8::1{n}]:{port}"),
            false => format!("192.0.2.1{n}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_rounds_and_another_makes_others() {
        assert_eq!(rounds(1, 20), rounds(1, 20));
        assert_ne!(rounds(1, 20), rounds(2, 20));
    }

    #[test]
    fn every_scheduler_edit_and_protocol_is_in_a_hundred_rounds() {
        let text = rounds(1, 100).concat();
        for scheduler in SCHEDULERS {
            assert!(text.contains(&format!("-s {scheduler}")), "{scheduler}");
        }
        for words in [
            "do -e",
            "do -d",
            "do -E",
            " -w 0",
            " -x ",
            " -p ",
            " -b ",
            "send udp",
            "send tcp 17 2001:",
            "pause",
        ] {
            assert!(text.contains(words), "{words}");
        }
    }
}
