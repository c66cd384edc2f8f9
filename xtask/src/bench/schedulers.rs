//! What a new connection costs by each scheduler, with few destinations and with many.
//!
//! Each row has a service and destinations of its own, so that it begins with nobody loaded. A SYN and its
//! whole way are timed, as in "new flow"; what differs from row to row is the choice.

use anyhow::{Result, bail};
use dataplane::{
    Dataplane, Destination, DestinationLink, Dynamic, Hash, Rules, Schedule, Segment, ServiceKey,
    Standing,
};

use super::frames::{self, Kind};
use super::rig::Rig;
use super::{Args, Plane, spread, thread_time};

/// How many destinations.
const SIZES: [u32; 3] = [2, 16, 256];
const NAMES: [&str; 14] = [
    "rr", "wrr", "lc", "wlc", "sed", "nq", "fo", "ovf", "twos", "dh", "sh", "mh", "lblc", "lblcr",
];
/// Frames of the floor in a round.
const FLOOR_FRAMES: u32 = 100_000;
/// More than a destination gets in all rounds: then `ovf` is never full.
const WEIGHT: u32 = 1 << 20;
/// Slots of a table of `dh` and `sh`, and of `mh`.
const SLOTS: (u32, u32) = (256, 4_093);
/// First of the ports; lower ones are those of the other rows.
const FIRST_PORT: u16 = 1_000;
/// First of the service numbers and of the destination ids: likewise.
const FIRST_SERVICE: u32 = 16;
const FIRST_ID: u32 = 16;

/// What is timed: the floor, or a service.
struct Timed {
    name: String,
    rig: Rig,
    frames: u32,
    ns: Vec<f64>,
}

/// Times them, and prints.
pub fn report(args: &Args) -> Result<()> {
    let mut plane = Plane::open(args)?;
    let mut rows = rows(&mut plane.dataplane, args)?;
    for round in 0..=args.rounds {
        for index in 0..rows.len() {
            let at = (index + round) % rows.len();
            rows[at].run(round > 0)?;
        }
    }
    print(&rows, args);
    Ok(())
}

fn rows(dataplane: &mut Dataplane, args: &Args) -> Result<Vec<Timed>> {
    let floor = Rig::new(Kind::Floor.frame(), 1, 1, dataplane)?;
    let mut rows = vec![Timed {
        name: "floor: MAC swap, transmit".to_owned(),
        rig: floor,
        frames: FLOOR_FRAMES,
        ns: Vec::new(),
    }];
    let services = (NAMES.len() * SIZES.len()) as u32;
    // With all rounds half of the table.
    let frames = (args.connections / 2 / services / (args.rounds as u32 + 1)).max(1);
    let mut first_id = FIRST_ID;
    for (number, (name, size)) in NAMES
        .into_iter()
        .flat_map(|name| SIZES.map(|size| (name, size)))
        .enumerate()
    {
        let port = FIRST_PORT + number as u16;
        let ids: Vec<u32> = (first_id..first_id + size).collect();
        first_id += size;
        publish(dataplane, name, FIRST_SERVICE + number as u32, port, &ids)?;
        rows.push(Timed {
            name: format!("new connection, {name}, {size} destinations"),
            rig: Rig::new(frames::opening_at(port), 1 << 31, 0x1e37_79b1, dataplane)?,
            frames,
            ns: Vec::new(),
        });
    }
    Ok(rows)
}

/// A service with destinations of its own; every other one has half the weight.
fn publish(
    dataplane: &mut Dataplane,
    name: &str,
    service: u32,
    port: u16,
    ids: &[u32],
) -> Result<()> {
    for id in ids {
        let mac = [2, 0, 0, 1, (id >> 8) as u8, *id as u8];
        let standing = Standing {
            service,
            weight: WEIGHT >> (id & 1),
            ..Standing::default()
        };
        let link = DestinationLink::Via { mac, slot: 0 };
        dataplane.write_destination(*id, Destination { link, standing });
    }
    let key = ServiceKey::new(frames::VIP.into(), port, 6);
    dataplane.publish(&key, service, &Rules::default(), &schedule(name, ids)?)?;
    Ok(())
}

fn schedule(name: &str, ids: &[u32]) -> Result<Schedule> {
    let table = |hash, slots: u32| Schedule::Table {
        hash,
        slots: ids.iter().copied().cycle().take(slots as usize).collect(),
        with_port: false,
        fallback: false,
    };
    let scheduler = match name {
        "rr" => return Ok(rotation(&[ids.to_vec()])),
        "wrr" => {
            let heavy = ids.iter().filter(|id| *id & 1 == 0).copied().collect();
            return Ok(rotation(&[heavy, ids.to_vec()]));
        }
        "dh" => return Ok(table(Hash::Destination, SLOTS.0)),
        "sh" => return Ok(table(Hash::Source, SLOTS.0)),
        "mh" => return Ok(table(Hash::Maglev, SLOTS.1)),
        "lc" => Dynamic::Lc,
        "wlc" => Dynamic::Wlc,
        "sed" => Dynamic::Sed,
        "nq" => Dynamic::Nq,
        "fo" => Dynamic::Fo,
        "ovf" => Dynamic::Ovf,
        "twos" => Dynamic::Twos,
        "lblc" => Dynamic::Lblc,
        "lblcr" => Dynamic::Lblcr,
        other => bail!("{other:?} is no scheduler"),
    };
    Ok(Schedule::List {
        scheduler,
        destinations: ids.to_vec(),
    })
}

/// A cycle of these runs, once each.
fn rotation(runs: &[Vec<u32>]) -> Schedule {
    let segments = runs.iter().scan(0, |end, run| {
        *end += run.len() as u64;
        Some(Segment {
            end: *end,
            destinations: run.clone(),
        })
    });
    Schedule::Rotation {
        segments: segments.collect(),
        first: 0,
    }
}

impl Timed {
    fn run(&mut self, is_counted: bool) -> Result<()> {
        let before = thread_time();
        let action = self.rig.run(self.frames)?;
        let spent = thread_time() - before;
        if action != Kind::New.action() {
            bail!("{}: the program returned {action}", self.name);
        }
        if is_counted {
            let ns = spent.as_nanos() as f64 / f64::from(self.frames);
            self.ns.push(ns);
        }
        Ok(())
    }
}

fn print(rows: &[Timed], args: &Args) {
    println!();
    for row in rows {
        let (min, median, max) = spread(&row.ns);
        let pairs = row.ns.iter().zip(&rows[0].ns);
        let ratios: Vec<f64> = pairs.map(|(ns, floor)| ns / floor).collect();
        let (low, ratio, high) = spread(&ratios);
        let name = &row.name;
        if args.tsv {
            println!("{name}\t{min:.2}\t{median:.2}\t{max:.2}\t{low:.3}\t{ratio:.3}\t{high:.3}\t");
        } else {
            println!(
                "{name:<42} {min:>7.1} {median:>7.1} {max:>7.1}   {low:>7.2} {ratio:>7.2} {high:>7.2}"
            );
        }
    }
}
