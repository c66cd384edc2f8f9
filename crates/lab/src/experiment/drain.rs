//! Step 6: a weight of 0, and a server that fails.
//!
//! Long-lived connections are opened first. They must stay where they are, whatever is done to the
//! weights; what is opened afterwards must go elsewhere. A server that fails and is removed takes
//! its own connections with it, and nobody else's.

use super::Settings;
use super::observe::{self, counts, served_by, tally};
use crate::http::Connection;
use crate::report::{Check, Drain, Established, Removal};
use crate::{Error, Host, Lab, Report, http};

/// Long-lived connections. Even, so that both servers get as many.
const CONNECTIONS: usize = 4;
/// Requests after each change.
const REQUESTS: u32 = 6;
/// Its weight becomes 0.
const DRAINED: Host = Host::Rs1;
/// It fails.
const FAILING: Host = Host::Rs2;

pub(super) fn run(
    lab: &mut Lab,
    _settings: &Settings,
    report: &mut Report,
) -> Result<Vec<Check>, Error> {
    let mut held = Held::open(lab)?;
    let mut checks = vec![Check::that(
        format!("{CONNECTIONS} long-lived connections, half of them on each server"),
        held.servers()
            .iter()
            .all(|(_, count)| *count as usize == CONNECTIONS / 2),
        counts(&held.servers()),
    )];
    let drain = drain(lab, &mut held)?;
    checks.extend(stay_and_move(
        "weight 0",
        &drain.established,
        &drain.new,
        FAILING,
    ));
    report.drain = Some(drain);
    held.0.retain(|one| one.server != FAILING);
    let removal = remove(lab, &mut held)?;
    checks.push(Check::that(
        format!("{} fails: some requests fail with it", FAILING.title()),
        removal.failed > 0 && removal.failed < removal.requests_while_failing,
        format!("{} of {}", removal.failed, removal.requests_while_failing),
    ));
    checks.extend(stay_and_move(
        "removed",
        &removal.established,
        &removal.new,
        DRAINED,
    ));
    let half = REQUESTS / 2;
    checks.push(Check::that(
        format!("added again: rs1 {half}, rs2 {half}"),
        removal.after_return.values().all(|count| *count == half),
        counts(&removal.after_return),
    ));
    report.removal = Some(removal);
    Ok(checks)
}

fn drain(lab: &Lab, held: &mut Held) -> Result<Drain, Error> {
    lab.set_weight(DRAINED, 0)?;
    let new = tally(&observe::request(lab, REQUESTS)?);
    let established = held.ask();
    let ipvsadm = lab.ipvsadm(&["-ln"])?;
    lab.set_weight(DRAINED, 1)?;
    Ok(Drain {
        server: DRAINED,
        established,
        new,
        ipvsadm,
    })
}

fn remove(lab: &mut Lab, held: &mut Held) -> Result<Removal, Error> {
    let pages = lab.pages();
    lab.crash_page(FAILING);
    let service = lab.family().service();
    let asked = (0..REQUESTS).map(|_| http::get(&lab.net, Host::Client, service));
    let failed = asked.filter(|answer| !matches!(answer, Ok(answer) if answer.server().is_some()));
    let failed = u32::try_from(failed.count()).unwrap_or(u32::MAX);
    lab.net.interrupt().check()?;
    lab.remove(FAILING)?;
    let new = tally(&observe::request(lab, REQUESTS)?);
    let established = held.ask();
    if let Some(kind) = pages {
        lab.start_page(FAILING, kind)?;
    }
    lab.add(FAILING)?;
    let after_return = tally(&observe::request(lab, REQUESTS)?);
    Ok(Removal {
        server: FAILING,
        requests_while_failing: REQUESTS,
        failed,
        established,
        new,
        after_return,
    })
}

/// Established connections stay on their server; new ones all go to the other.
fn stay_and_move(
    what: &str,
    established: &[Established],
    new: &std::collections::BTreeMap<Host, u32>,
    other: Host,
) -> [Check; 2] {
    let stayed = established
        .iter()
        .filter(|one| one.after == Some(one.before))
        .count();
    [
        Check::that(
            format!("{what}: {} established connections stay", established.len()),
            stayed == established.len() && stayed > 0,
            stayed.to_string(),
        ),
        Check::that(
            format!("{what}: new connections go to {other}"),
            new.get(&other) == Some(&REQUESTS),
            counts(new),
        ),
    ]
}

/// Connections held open, with the server each was on at first.
struct Held(Vec<HeldOne>);

struct HeldOne {
    connection: Connection,
    server: Host,
}

impl Held {
    fn open(lab: &Lab) -> Result<Self, Error> {
        let service = lab.family().service();
        let one = |_| {
            let mut connection = Connection::open(&lab.net, Host::Client, service)?;
            let server = served_by(&connection.get()?)?;
            Ok(HeldOne { connection, server })
        };
        (0..CONNECTIONS)
            .map(one)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn servers(&self) -> std::collections::BTreeMap<Host, u32> {
        let servers: Vec<Host> = self.0.iter().map(|one| one.server).collect();
        tally(&servers)
    }

    /// Asks each again. A connection that breaks has no server any more.
    fn ask(&mut self) -> Vec<Established> {
        let ask = |one: &mut HeldOne| Established {
            client_port: one.connection.from.port(),
            before: one.server,
            after: one.connection.get().ok().and_then(|answer| answer.server()),
        };
        self.0.iter_mut().map(ask).collect()
    }
}
