//! The golden table, run.

use std::collections::{BTreeMap, BTreeSet};

use director::{Counter, DropReason, PassReason, Verdict, verdict};

use crate::case::{Case, Exchange, Step};
use crate::cases;
use crate::native::{HASH_KEYS, Native};
use crate::pair::{Pair, Trouble, coarse_ns, hex, is_limited};
use crate::support::is_root;
use crate::world::{Change, Received, Tables};

#[test]
fn every_golden_case_holds_natively() {
    assert_none_failed(cases::all().iter().map(|case| {
        let mut native = Native::new(case.connections_max as usize, HASH_KEYS);
        (case.name, run(&mut native, case))
    }));
}

#[test]
fn every_golden_case_holds_in_the_kernel_byte_for_byte_as_natively() {
    if !is_root() {
        return;
    }
    let mut pairs = BTreeMap::new();
    let all = cases::all();
    assert_none_failed(all.iter().filter(|case| case.in_kernel).map(|case| {
        let room = case.connections_max;
        let pair = pairs
            .entry(room)
            .or_insert_with(|| Pair::new(&format!("golden-{room}"), room));
        (case.name, run_until_the_clock_stands_still(pair, case))
    }));
}

#[test]
fn every_reason_and_every_counter_is_reached_by_a_golden_case() {
    /// The first needs two CPUs at one slot in the same nanoseconds; `director/tests/races.rs` makes them
    /// meet. The others need services with rules, which `director/tests/persistence.rs` has.
    const UNREACHABLE: [&str; 4] = [
        DropReason::RaceLost.name(),
        DropReason::ServiceShare.name(),
        Counter::TemplateHit.name(),
        Counter::TemplateNew.name(),
    ];

    let mut reached = BTreeSet::new();
    for case in cases::all() {
        let mut native = Native::new(case.connections_max as usize, HASH_KEYS);
        // Whether it holds is another test's question.
        let _ = run(&mut native, &case);
        reached.extend(native.counters().into_keys());
    }
    let all: BTreeSet<_> = verdict::counter_names().map(|(_, name)| name).collect();
    let missed: Vec<_> = all.difference(&reached).copied().collect();
    assert_eq!(missed, UNREACHABLE);
}

#[test]
fn no_two_golden_cases_have_one_name() {
    let mut names = BTreeSet::new();
    for case in cases::all() {
        assert!(names.insert(case.name), "{}", case.name);
    }
}

/// Something that frames can be given to.
trait Director {
    fn begin(&mut self, case: &Case);
    fn apply(&mut self, change: &Change);
    fn receive(&mut self, frame: &[u8]) -> Result<(Verdict, Received), Trouble>;
    fn counters(&mut self) -> Result<BTreeMap<&'static str, u64>, Trouble>;
    fn snapshot(&mut self) -> Result<Tables, Trouble>;
}

impl Director for Native {
    fn begin(&mut self, case: &Case) {
        self.clear();
        case.world.iter().for_each(|change| self.apply(change));
        if !case.is_ready {
            self.tables.settings = None;
        }
    }

    fn apply(&mut self, change: &Change) {
        Native::apply(self, change);
    }

    fn receive(&mut self, frame: &[u8]) -> Result<(Verdict, Received), Trouble> {
        Ok(Native::receive(self, frame))
    }

    fn counters(&mut self) -> Result<BTreeMap<&'static str, u64>, Trouble> {
        Ok(Native::counters(self))
    }

    fn snapshot(&mut self) -> Result<Tables, Trouble> {
        Ok(Native::snapshot(self))
    }
}

impl Director for Pair {
    fn begin(&mut self, case: &Case) {
        self.clear();
        case.world.iter().for_each(|change| self.apply(change));
    }

    fn apply(&mut self, change: &Change) {
        Pair::apply(self, change);
    }

    /// What is said of the frame before it comes is what becomes of it.
    fn receive(&mut self, frame: &[u8]) -> Result<(Verdict, Received), Trouble> {
        let said = self.kernel.plane.explain_frame(frame, None);
        let said = said.map_err(|error| Trouble::Differ(error.to_string()))?;
        let (verdict, received) = Pair::receive(self, frame)?;
        // It is taken to come in by the interface that it is addressed to, and the share of ICMP errors is
        // not looked at.
        let macs = self.kernel.plane.ingress_macs();
        let is_elsewhere = verdict == Verdict::Pass(PassReason::NotForThisHost)
            && frame.first_chunk().is_some_and(|to| macs.contains(to));
        let is_asked = !is_elsewhere && !is_limited(verdict);
        if is_asked && said.verdict != verdict {
            return Err(Trouble::Differ(format!(
                "said was {said:?}, and became {verdict:?}"
            )));
        }
        let mac = received.frame.first_chunk().copied();
        if is_asked && said.mac.is_some() && said.mac != mac {
            return Err(Trouble::Differ(format!(
                "said was {said:?}, and went to {mac:?}"
            )));
        }
        Ok((verdict, received))
    }

    fn counters(&mut self) -> Result<BTreeMap<&'static str, u64>, Trouble> {
        let (native, kernel) = (self.native.counters(), self.kernel.counters());
        if native == kernel {
            return Ok(kernel);
        }
        let text = format!("counters, natively {native:?}, in the kernel {kernel:?}");
        Err(Trouble::Differ(text))
    }

    fn snapshot(&mut self) -> Result<Tables, Trouble> {
        self.compare()?;
        Ok(self.native.snapshot())
    }
}

fn run(director: &mut impl Director, case: &Case) -> Result<(), Trouble> {
    director.begin(case);
    for (number, step) in case.steps.iter().enumerate() {
        let text = |what: String| Trouble::Differ(format!("step {number}: {what}"));
        match step {
            Step::Frame(exchange) => exchange_one(director, exchange, number)?,
            Step::Change(change) => director.apply(change),
            Step::Remembers(want) => {
                let known = director.snapshot()?.connections.into_iter();
                let mut known: Vec<_> = known
                    .map(|known| (known.client.port(), known.destination, known.state))
                    .collect();
                known.sort_unstable();
                expect(&known, want).map_err(text)?;
            }
            Step::Gauges(destination, active, inactive) => {
                let gauges = director.snapshot()?.destinations[destination].0;
                expect(&gauges, &(*active, *inactive)).map_err(text)?;
            }
            Step::Sent(destination, connections, packets, bytes) => {
                let sent = director.snapshot()?.destinations[destination].1;
                let sent = (sent.connections, sent.packets, sent.bytes);
                expect(&sent, &(*connections, *packets, *bytes)).map_err(text)?;
            }
        }
    }
    director.snapshot().map(drop)
}

fn exchange_one(
    director: &mut impl Director,
    exchange: &Exchange,
    number: usize,
) -> Result<(), Trouble> {
    let before = director.counters()?;
    let (verdict, received) = director.receive(&exchange.frame)?;
    let text = |what: String| {
        let frame = hex(&exchange.frame);
        Trouble::Differ(format!(
            "step {number}: {what}\nthe frame that came:\n{frame}"
        ))
    };
    expect(&verdict, &exchange.verdict).map_err(text)?;
    if received.frame != exchange.out {
        let frames = (hex(&received.frame), hex(&exchange.out));
        return Err(text(format!("left\n{}\nexpected\n{}", frames.0, frames.1)));
    }
    let mut moved = director.counters()?;
    moved.retain(|name, count| {
        *count -= before.get(name).copied().unwrap_or(0);
        *count > 0
    });
    let mut want = BTreeMap::from([(counter_name(exchange.verdict.counter()), 1)]);
    want.extend(
        exchange
            .beside
            .iter()
            .map(|counter: &Counter| (counter.name(), 1)),
    );
    expect(&moved, &want).map_err(text)
}

fn expect<T: PartialEq + std::fmt::Debug>(found: &T, want: &T) -> Result<(), String> {
    if found == want {
        return Ok(());
    }
    Err(format!("found {found:?}, expected {want:?}"))
}

fn counter_name(number: u32) -> &'static str {
    let mut all = verdict::counter_names();
    all.find(|(other, _)| *other == number).unwrap().1
}

/// Some cases count milliseconds, and a process may be held up between two frames: a run that took
/// longer than no case should is done again.
fn run_until_the_clock_stands_still(pair: &mut Pair, case: &Case) -> Result<(), Trouble> {
    const LONG_NS: u64 = 200_000_000;
    const TRIES: usize = 50;

    let mut last = Ok(());
    for _ in 0..TRIES {
        let before = coarse_ns();
        last = run(pair, case);
        let is_disturbed = coarse_ns() - before > LONG_NS;
        match &last {
            Err(Trouble::ClockMoved) => pair.recover(),
            Err(_) if is_disturbed => pair.recover(),
            _ => break,
        }
    }
    last
}

/// Shows every case that failed, not only the first.
fn assert_none_failed(results: impl Iterator<Item = (&'static str, Result<(), Trouble>)>) {
    let failed: Vec<String> = results
        .filter_map(|(name, result)| match result {
            Ok(()) => None,
            Err(Trouble::Differ(text)) => Some(format!("{name:?}, {text}")),
            Err(Trouble::ClockMoved) => Some(format!("{name:?}: the machine is too busy")),
        })
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
