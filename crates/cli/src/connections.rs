//! `dirigo connections`: whom the director remembers.
//!
//! ```text
//! conditions ─► daemon ─► lines ─┬─ as they arrive: text, or the daemon's JSON untouched
//!                                └─ --sort: rows of 64 bytes ─► in order ─► text or JSON
//! ```
//!
//! The table may be larger than memory should hold. So nothing is kept but what is to be sorted, and of
//! that with `--limit N` only N; conditions are decided by the daemon.

use std::cmp::Ordering;
use std::fmt;
use std::io::Write;
use std::ops::ControlFlow;
use std::process::ExitCode;

use api::{Client, Connection, ConnectionQuery, Endpoint, Prefix, Protocol, ServiceKey};

use crate::show::{Common, ShowError, finish};

mod row;

use row::{Key, Row, States};

/// Most connections that are sorted: 128 MB.
const SORTED_MAX: usize = 2_000_000;

/// Arguments of `dirigo connections`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    order: Order,
}

/// Conditions: all that are given must hold.
#[derive(clap::Args)]
#[command(next_help_heading = "Which")]
struct Which {
    /// tcp, udp or sctp
    #[arg(long, value_name = "PROTOCOL", value_parser = protocol)]
    protocol: Option<Protocol>,
    /// Clients of a network: 203.0.113.0/24
    #[arg(long, value_name = "NETWORK")]
    client: Option<Prefix>,
    /// Of a virtual service: tcp:192.0.2.100:80
    #[arg(long, value_name = "SERVICE")]
    service: Option<ServiceKey>,
    /// To a real server: 192.0.2.11 or 192.0.2.11:80
    #[arg(long, value_name = "ADDRESS")]
    destination: Option<Endpoint>,
    /// In a state: ESTABLISHED, SYN_RECV, FIN_WAIT, UDP, ...
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
}

/// How many, in which order.
#[derive(clap::Args)]
#[command(next_help_heading = "Order")]
struct Order {
    /// In order; without, as they stand in the table
    #[arg(long, value_name = "KEY")]
    sort: Option<Key>,
    /// The last first
    #[arg(long, requires = "sort")]
    reverse: bool,
    /// No more than this many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// Shows connections.
pub fn main(args: &Args) -> ExitCode {
    let mut output = std::io::BufWriter::with_capacity(64 << 10, std::io::stdout().lock());
    finish(list(&args.common.client(), args, &mut output))
}

fn protocol(text: &str) -> Result<Protocol, String> {
    let mut all = Protocol::ALL.into_iter();
    all.find(|one| one.name().eq_ignore_ascii_case(text))
        .ok_or_else(|| format!("{text:?} is no protocol: write tcp, udp or sctp"))
}

fn list(client: &Client, args: &Args, output: &mut dyn Write) -> Result<(), ShowError> {
    let which = &args.which;
    let query = ConnectionQuery {
        protocol: which.protocol,
        client: which.client,
        service: which.service,
        destination: which.destination,
        state: which.state.clone(),
        // What is sorted must all be seen.
        limit: args.order.limit.filter(|_| args.order.sort.is_none()),
    };
    match (args.order.sort, args.common.json) {
        (Some(key), json) => list_sorted(client, &query, (key, &args.order), json, output),
        (None, true) => pass_on(client, &query, output),
        (None, false) => list_text(client, &query, output),
    }
}

/// The daemon's lines are what `--json` prints.
fn pass_on(
    client: &Client,
    query: &ConnectionQuery,
    output: &mut dyn Write,
) -> Result<(), ShowError> {
    let mut written = Ok(());
    client.connection_lines(query, &mut |line| {
        written = output
            .write_all(line)
            .and_then(|()| output.write_all(b"\n"));
        go_on(&written)
    })?;
    written?;
    Ok(output.flush()?)
}

fn list_text(
    client: &Client,
    query: &ConnectionQuery,
    output: &mut dyn Write,
) -> Result<(), ShowError> {
    // Without a daemon there is nothing to head, so the heading waits for the first answer.
    let mut is_headed = false;
    let mut written = Ok(());
    let mut line = String::new();
    client.connections(query, &mut |connection| {
        text(&connection, &mut line);
        written = head(&mut is_headed, output).and_then(|()| output.write_all(line.as_bytes()));
        go_on(&written)
    })?;
    written?;
    head(&mut is_headed, output)?;
    Ok(output.flush()?)
}

fn list_sorted(
    client: &Client,
    query: &ConnectionQuery,
    (key, order): (Key, &Order),
    json: bool,
    output: &mut dyn Write,
) -> Result<(), ShowError> {
    let mut states = States::default();
    let room = order.limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    });
    let mut kept = Kept::new(key, order.reverse, room);
    let mut is_full = false;
    client.connections(query, &mut |connection| {
        is_full = kept.take(Row::new(&connection, &mut states)).is_err();
        match is_full {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    if is_full {
        return Err(ShowError::TooManyToSort(SORTED_MAX));
    }
    let mut is_headed = json;
    head(&mut is_headed, output)?;
    let mut line = String::new();
    for row in kept.in_order() {
        let connection = row.connection(&states);
        match json {
            true => {
                serde_json::to_writer(&mut *output, &connection).map_err(std::io::Error::from)?;
                output.write_all(b"\n")?;
            }
            false => {
                text(&connection, &mut line);
                output.write_all(line.as_bytes())?;
            }
        }
    }
    Ok(output.flush()?)
}

/// The first rows in an order, of those that were taken: twice as many as are wanted, then thinned.
struct Kept {
    key: Key,
    reverse: bool,
    wanted: usize,
    rows: Vec<Row>,
}

/// There are more than fit.
struct Full;

impl Kept {
    fn new(key: Key, reverse: bool, wanted: usize) -> Self {
        Self {
            key,
            reverse,
            wanted,
            rows: Vec::new(),
        }
    }

    fn take(&mut self, row: Row) -> Result<(), Full> {
        let enough = self.wanted.saturating_mul(2);
        if enough <= SORTED_MAX && self.rows.len() >= enough {
            self.thin();
        }
        match self.rows.len() < SORTED_MAX {
            true => self.rows.push(row),
            false => return Err(Full),
        }
        Ok(())
    }

    fn thin(&mut self) {
        if self.wanted < self.rows.len() {
            let order = order(self.key, self.reverse);
            self.rows.select_nth_unstable_by(self.wanted, order);
            self.rows.truncate(self.wanted);
        }
    }

    fn in_order(mut self) -> Vec<Row> {
        self.thin();
        self.rows.sort_unstable_by(order(self.key, self.reverse));
        self.rows
    }
}

fn order(key: Key, reverse: bool) -> impl Fn(&Row, &Row) -> Ordering {
    move |one, other| {
        let order = one.compare(other, key);
        if reverse { order.reverse() } else { order }
    }
}

fn go_on(written: &std::io::Result<()>) -> ControlFlow<()> {
    match written {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    }
}

fn head(is_done: &mut bool, output: &mut dyn Write) -> std::io::Result<()> {
    if std::mem::replace(is_done, true) {
        return Ok(());
    }
    writeln!(
        output,
        "{:<5}  {:<11}  {:>7}  {:<28}  {:<28}  destination",
        "proto", "state", "expires", "client", "virtual"
    )
}

/// A line, in the place of what `line` was. Into memory first: padding is written blank by blank.
///
/// Columns of fixed width, because the rows to come are not known yet; wide enough for IPv4, and
/// for most of IPv6.
fn text(connection: &Connection, line: &mut String) {
    let Connection {
        protocol,
        client,
        virtual_address,
        destination,
        state,
        expires_s,
    } = connection;
    let protocol = protocol.map_or("ip", Protocol::name);
    line.clear();
    // Writing into a String cannot fail.
    let _written = fmt::Write::write_fmt(
        line,
        format_args!(
            "{protocol:<5}  {state:<11}  {expires_s:>5} s  {client:<28}  {virtual_address:<28}  \
             {destination}\n"
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn connection(client: &str, expires_s: u64) -> Connection {
        Connection {
            protocol: Some(Protocol::Tcp),
            client: client.parse().unwrap(),
            virtual_address: "192.0.2.100:80".parse().unwrap(),
            destination: "192.0.2.11:80".parse().unwrap(),
            state: "ESTABLISHED".to_owned(),
            expires_s,
        }
    }

    #[test]
    fn a_line_has_columns_that_ipv4_fits_into() {
        let (mut heading, mut line) = (Vec::new(), String::new());
        head(&mut false, &mut heading).unwrap();
        text(&connection("203.0.113.7:50000", 899), &mut line);
        assert_eq!(
            String::from_utf8(heading).unwrap() + &line,
            "proto  state        expires  client                        virtual                       destination\n\
             tcp    ESTABLISHED    899 s  203.0.113.7:50000             192.0.2.100:80                192.0.2.11:80\n"
        );
    }

    proptest! {
        #[test]
        fn of_many_the_first_few_in_order_are_kept(
            times in proptest::collection::vec(0u64..1_000, 0..60),
            room in 0usize..70,
            reverse: bool,
        ) {
            let mut states = States::default();
            let mut kept = Kept::new(Key::Expires, reverse, room);
            for time in &times {
                let row = Row::new(&connection("203.0.113.7:1", *time), &mut states);
                prop_assert!(kept.take(row).is_ok());
            }
            let found: Vec<u64> = kept.in_order().iter().map(|row| row.connection(&states).expires_s).collect();
            let mut expected = times;
            expected.sort_unstable();
            if reverse {
                expected.reverse();
            }
            expected.truncate(room);
            prop_assert_eq!(found, expected);
        }
    }
}
