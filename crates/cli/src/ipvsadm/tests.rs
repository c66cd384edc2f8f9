//! The whole of ipvsadm over a table in memory, against recordings of the original.

use std::io::{BufReader, Cursor};
use std::net::{IpAddr, Ipv4Addr};

use api::Protocol;

use super::names::{Names, Services};
use super::{Ipvsadm, kernel::Kernel};

mod answers;
mod identity;
mod laws;
mod recordings;
mod table;
mod wrong_lines;

use table::Table;

/// What one invocation left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    code: u8,
    out: String,
    err: String,
}

fn run(kernel: &mut dyn Kernel, words: &[&str], input: &str) -> Outcome {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    run_bytes(kernel, &words, input.as_bytes())
}

fn run_bytes(kernel: &mut dyn Kernel, words: &[String], input: &[u8]) -> Outcome {
    with_ipvsadm(kernel, input, |ipvsadm| ipvsadm.run(words))
}

fn with_ipvsadm(
    kernel: &mut dyn Kernel,
    input: &[u8],
    call: impl FnOnce(&mut Ipvsadm<'_>) -> u8,
) -> Outcome {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = call(&mut Ipvsadm {
        program: "ipvsadm",
        kernel,
        names: &RecordedNames::default(),
        input: BufReader::new(&mut Cursor::new(input)),
        has_input: || false,
        output: &mut out,
        complaints: &mut err,
    });
    Outcome {
        code,
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
    }
}

/// The table that the recordings of refusals start from.
fn one_service() -> Table {
    let mut table = Table::default();
    for line in [
        "-A -t 192.0.2.100:80 -s wrr",
        "-a -t 192.0.2.100:80 -r 192.0.2.11:80 -g -w 3",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(run(&mut table, &words, "").code, 0, "{line}");
    }
    table
}

fn golden(name: &str) -> Option<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/");
    std::fs::read_to_string(format!("{folder}{name}")).ok()
}

/// The names that the recording machine's files had.
struct RecordedNames(Services);

impl Default for RecordedNames {
    fn default() -> Self {
        Self(Services::parse(
            "http 80/tcp www\nhttps 443/tcp\ndomain 53/tcp\ndomain 53/udp\niprop 2121/tcp\n\
             sip 5060/tcp\nsip 5060/udp\nsip-tls 5061/tcp\nsip-tls 5061/udp\nmdns 5353/udp\n",
        ))
    }
}

const HOSTS: [(&str, &str); 6] = [
    ("192.0.2.1", "client.example.test"),
    ("192.0.2.100", "www.example.test"),
    ("192.0.2.11", "rs1.example.test"),
    ("192.0.2.12", "rs2.example.test"),
    ("2001:db8::100", "www6.example.test"),
    ("2001:db8::11", "rs1v6.example.test"),
];

impl Names for RecordedNames {
    fn address(&self, host: &str) -> Option<Ipv4Addr> {
        HOSTS
            .iter()
            .find(|(_, name)| *name == host)
            .and_then(|(address, _)| address.parse().ok())
    }

    fn port(&self, service: &str, protocol: Protocol) -> Option<u16> {
        self.0.port(service, protocol)
    }

    fn host(&self, address: IpAddr) -> Option<String> {
        HOSTS
            .iter()
            .find(|(text, _)| text.parse() == Ok(address))
            .map(|(_, name)| (*name).to_owned())
    }

    fn service(&self, port: u16, protocol: Protocol) -> Option<String> {
        self.0.name(port, protocol)
    }
}
