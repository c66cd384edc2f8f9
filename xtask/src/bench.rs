//! `cargo xtask bench`: what one frame costs, against the least that forwarding can cost.
//!
//! Every row is timed in every round, one after another, so that drift of the machine's speed hits all of them;
//! ratios are taken round by round. The feeder's own cost is in the floor and in every row alike.
//!
//! ```text
//! BPF_PROG_TEST_RUN × repeat ─► feeder (puts the frame back, next flow) ─► program under test
//! ```

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use dataplane::{Dataplane, DestinationLink, Filter, Options, Segment, ServiceKey};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

mod frames;
mod rig;
mod schedulers;
mod sweep;

use frames::Kind;
use rig::Rig;

/// Options of `cargo xtask bench`.
#[derive(Clone, clap::Args)]
pub struct Args {
    /// Rounds; the first is not counted
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Frames of each row in a round
    #[arg(long, default_value_t = 1_000_000)]
    repeat: u32,
    /// Run on this CPU
    #[arg(long, default_value_t = 0)]
    cpu: usize,
    /// Connections the table has room for
    #[arg(long, default_value_t = 1 << 20)]
    connections: u32,
    /// Only rows whose name contains this; `sweep` for what the daemon does with a full table
    #[arg(long)]
    only: Option<String>,
    /// Only what a new connection costs by each scheduler
    #[arg(long)]
    schedulers: bool,
    /// Tab-separated values
    #[arg(long)]
    tsv: bool,
    /// Exit 1 when a mark is missed
    #[arg(long)]
    enforce: bool,
}

/// One thing to time.
struct Row {
    name: &'static str,
    kind: Kind,
    flows: u32,
    /// Ratio to the floor that it should not exceed.
    mark: Option<f64>,
    /// Whether somebody traces meanwhile.
    traced: Traced,
}

/// What a trace, if there is one, wants.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Traced {
    /// The plain programs: nobody traces.
    No,
    /// The watched programs: the frames of another client.
    Others,
    /// The watched programs: every frame, as many in a second as a trace is given by default.
    All,
}

impl Traced {
    fn filter(self) -> Option<Filter> {
        let client = match self {
            Self::No => return None,
            Self::Others => Some((IpAddr::from([198, 51, 100, 99]), 32)),
            Self::All => None,
        };
        Some(Filter {
            client,
            client_port: 0,
            virtual_address: None,
            virtual_port: 0,
            protocol: 0,
            verdicts: u64::MAX,
            one_in: 1,
            rate: 1_000,
            snap: 128,
        })
    }
}

/// What is timed. The marks are those that the connection table was asked for; decision 9 says which hold, and why the
/// others do not.
const ROWS: &[Row] = &[
    Row {
        name: "floor: MAC swap, transmit",
        kind: Kind::Floor,
        flows: 1,
        mark: None,
        traced: Traced::No,
    },
    Row {
        name: "not a VIP",
        kind: Kind::Foreign,
        flows: 1,
        mark: Some(1.2),
        traced: Traced::No,
    },
    Row {
        name: "established TCP, 1 flow",
        kind: Kind::Tcp,
        flows: 1,
        mark: Some(2.2),
        traced: Traced::No,
    },
    Row {
        name: "established TCP, 1 k flows",
        kind: Kind::Tcp,
        flows: 1 << 10,
        mark: None,
        traced: Traced::No,
    },
    Row {
        name: "established TCP, 16 k flows",
        kind: Kind::Tcp,
        flows: 1 << 14,
        mark: None,
        traced: Traced::No,
    },
    Row {
        name: "established TCP, 64 k flows",
        kind: Kind::Tcp,
        flows: 1 << 16,
        mark: Some(7.0),
        traced: Traced::No,
    },
    Row {
        name: "established TCP, 256 k flows",
        kind: Kind::Tcp,
        flows: 1 << 18,
        mark: Some(11.0),
        traced: Traced::No,
    },
    Row {
        name: "established UDP, 1 flow",
        kind: Kind::Udp,
        flows: 1,
        mark: Some(2.3),
        traced: Traced::No,
    },
    Row {
        name: "established IPv6 TCP, 1 flow",
        kind: Kind::Tcp6,
        flows: 1,
        mark: Some(2.5),
        traced: Traced::No,
    },
    Row {
        name: "1 flow, another is traced",
        kind: Kind::Tcp,
        flows: 1,
        mark: None,
        traced: Traced::Others,
    },
    Row {
        name: "1 flow, all is traced",
        kind: Kind::Tcp,
        flows: 1,
        mark: None,
        traced: Traced::All,
    },
    Row {
        name: "new flow (SYN, rr)",
        kind: Kind::New,
        flows: 1 << 31,
        mark: Some(18.0),
        traced: Traced::No,
    },
];

/// New flows in a round: with the rounds they fill half of the table.
fn new_flows(args: &Args) -> u32 {
    args.connections / 2 / (args.rounds as u32 + 2)
}

/// Times the XDP program.
pub fn main(args: &Args) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("loading an XDP program needs root: sudo -E cargo xtask bench");
    }
    let mut cpus = CpuSet::new();
    cpus.set(args.cpu).context("that CPU number is too large")?;
    sched_setaffinity(Pid::from_raw(0), &cpus).context("moving to the CPU")?;
    if args.schedulers {
        return schedulers::report(args);
    }
    let mut plane = Plane::open(args)?;
    let mut rows = Vec::new();
    let mut watch = None;
    // The plain programs stay loaded while the watched ones are in their place.
    let mut ordered: Vec<&'static Row> = ROWS.iter().collect();
    ordered.sort_by_key(|row| row.traced != Traced::No);
    for row in ordered {
        let is_wanted = args
            .only
            .as_ref()
            .is_none_or(|only| row.name.contains(only.as_str()));
        if matches!(row.kind, Kind::Floor) || is_wanted {
            if row.traced != Traced::No && watch.is_none() {
                let watched = plane.dataplane.watched_loader().load()?;
                watch = Some(plane.dataplane.begin_to_watch(watched)?);
            }
            rows.push(Timed::new(row, &mut plane.dataplane, args)?);
        }
    }
    for round in 0..=args.rounds {
        for index in 0..rows.len() {
            let at = (index + round) % rows.len();
            if let (Some(watch), Some(filter)) = (&mut watch, rows[at].row.traced.filter()) {
                watch.set(0, Some(filter))?;
            }
            rows[at].run(round > 0)?;
        }
    }
    drop(watch);
    plane.dataplane.end_to_watch()?;
    let mut missed = report(&mut plane.dataplane, &rows, args)?;
    drop(plane);
    if args.only.as_ref().is_none_or(|only| only == "sweep") {
        missed.extend(sweep::report(args)?);
    }
    if args.only.is_none() {
        schedulers::report(args)?;
    }
    if missed.is_empty() {
        return Ok(());
    }
    println!("marks missed: {}", missed.join(", "));
    if args.enforce {
        bail!("{} of the marks missed", missed.len());
    }
    Ok(())
}

/// A data plane of the bench's own, with one service for each frame kind.
struct Plane {
    dataplane: Dataplane,
    options: Options,
}

impl Plane {
    fn open(args: &Args) -> Result<Self> {
        let options = Options {
            instance: format!("bench-{}", std::process::id()),
            connections_max: args.connections,
            pin_root: dataplane::PIN_ROOT.into(),
        };
        let (dataplane, _) = Dataplane::open(&options)?;
        let mut plane = Self { dataplane, options };
        plane.fill()?;
        Ok(plane)
    }

    fn fill(&mut self) -> Result<()> {
        let vips: [IpAddr; 2] = [frames::VIP.into(), frames::VIP6.into()];
        // Test runs come in by the loopback interface, number 1.
        self.dataplane.write_interface(0, 1, frames::DIRECTOR);
        self.dataplane.write_vips(&vips);
        for id in 1..=2 {
            let mac = [2, 0, 0, 0, 1, id as u8];
            self.dataplane
                .write_destination(id, DestinationLink::Via { mac, slot: 0 });
        }
        let rotation = [Segment {
            end: 2,
            destinations: vec![2, 1],
        }];
        let services = [(vips[0], 6), (vips[0], 17), (vips[1], 6)];
        for (number, (address, protocol)) in services.into_iter().enumerate() {
            let key = ServiceKey::new(address, frames::PORT, protocol);
            self.dataplane
                .publish_service(&key, number as u32, &rotation, 0)?;
        }
        Ok(())
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        let _ = Dataplane::release(&self.options.pin_root, &self.options.instance);
    }
}

/// A row with its rig and its times.
struct Timed {
    row: &'static Row,
    rig: Rig,
    repeat: u32,
    ns: Vec<f64>,
}

impl Timed {
    fn new(row: &'static Row, dataplane: &mut Dataplane, args: &Args) -> Result<Self> {
        let repeat = if matches!(row.kind, Kind::New) {
            new_flows(args)
        } else {
            args.repeat
        };
        if matches!(row.kind, Kind::Tcp | Kind::Udp | Kind::Tcp6) {
            // Each flow begins, in another order than it is read in later.
            let mut beginning = Rig::new(row.kind.opening(), row.flows, 1, dataplane)?;
            beginning.run(row.flows)?;
        }
        let rig = Rig::new(row.kind.frame(), row.flows, 0x1e37_79b1, dataplane)?;
        Ok(Self {
            row,
            rig,
            repeat,
            ns: Vec::new(),
        })
    }

    fn run(&mut self, is_counted: bool) -> Result<()> {
        let before = thread_time();
        let action = self.rig.run(self.repeat)?;
        let spent = thread_time() - before;
        if action != self.row.kind.action() {
            bail!(
                "{}: the program returned {action}, not {}",
                self.row.name,
                self.row.kind.action()
            );
        }
        if is_counted {
            self.ns
                .push(spent.as_nanos() as f64 / f64::from(self.repeat));
        }
        Ok(())
    }

    /// This row's times by `floor`'s, round by round.
    fn ratios(&self, floor: &Timed) -> Vec<f64> {
        self.ns
            .iter()
            .zip(&floor.ns)
            .map(|(ns, floor)| ns / floor)
            .collect()
    }
}

fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map(Duration::from)
        .unwrap_or_default()
}

/// Least, median and largest.
fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    };
    (sorted[0], median, sorted[sorted.len() - 1])
}

/// Prints the rows; the names of marks missed.
fn report(dataplane: &mut Dataplane, rows: &[Timed], args: &Args) -> Result<Vec<&'static str>> {
    let mut missed = Vec::new();
    if args.tsv {
        println!("name\tmin_ns\tmedian_ns\tmax_ns\tratio_min\tratio\tratio_max\tmark");
    } else {
        println!(
            "{} rounds of {} frames on CPU {}; ns a frame, and ratios to the floor round by round\n",
            args.rounds, args.repeat, args.cpu
        );
        println!(
            "{:<30} {:>23}   {:>23}  mark",
            "", "ns: min median max", "ratio: min median max"
        );
    }
    for row in rows {
        let (min, median, max) = spread(&row.ns);
        let (low, ratio, high) = spread(&row.ratios(&rows[0]));
        let mark = row
            .row
            .mark
            .map_or_else(String::new, |mark| format!("<= {mark:.1}"));
        if row.row.mark.is_some_and(|mark| ratio > mark) {
            missed.push(row.row.name);
        }
        let name = row.row.name;
        if args.tsv {
            println!(
                "{name}\t{min:.2}\t{median:.2}\t{max:.2}\t{low:.3}\t{ratio:.3}\t{high:.3}\t{mark}"
            );
        } else {
            println!(
                "{name:<30} {min:>7.1} {median:>7.1} {max:>7.1}   {low:>7.2} {ratio:>7.2} {high:>7.2}  {mark}"
            );
        }
    }
    println!();
    for (name, size) in dataplane.program_sizes()? {
        println!(
            "program {name:<17} {:>5} instructions, {:>6} bytes of machine code, {:>7} looked at by the verifier",
            size.instructions, size.jited_bytes, size.verified_instructions
        );
    }
    println!(
        "maps {:.1} MiB",
        dataplane.memory_bytes() as f64 / f64::from(1 << 20)
    );
    Ok(missed)
}
