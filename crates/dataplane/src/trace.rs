//! What the watched programs keep of frames: their conditions, and their records as they are read.
//!
//! ```text
//! conditions ─► TRACE_CONTROL ─► director-xdp/src/trace.rs ─► TRACE_RECORDS, a ring ─► Watch::next
//! ```
//!
//! The watched programs are the director's own, built once more with a look at each frame's beginning and end. They
//! are put in the director's place for as long as somebody traces ([`crate::Dataplane::begin_to_watch`]), so that
//! without a trace nothing runs that would not run anyway. Why so:
//! `docs/decisions/0010-a-trace-is-a-second-set-of-programs.md`.
//!
//! What you may rely on: nothing here holds a frame up. What finds no room is counted.

use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use aya::maps::{Array, MapData, PerCpuArray, RingBuf};
use director::trace::{Control, FRAME_BYTES, Record, TRACES, Tally, Wanted};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::error::Error;
use crate::object::Object;

pub use guide::{Guide, Known};

mod guide;

/// Room for what was kept and is not read yet, a power of two: 2,500 whole frames as they came and as they left.
pub(crate) const RECORDS_BYTES: u32 = 8 << 20;

/// Which frames to keep, and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The client's network: address and length of its prefix.
    pub client: Option<(IpAddr, u8)>,
    /// The client's port, 0 for any.
    pub client_port: u16,
    /// The virtual address.
    pub virtual_address: Option<IpAddr>,
    /// The virtual port, 0 for any.
    pub virtual_port: u16,
    /// IP protocol number, 0 for any.
    pub protocol: u8,
    /// Verdicts, a bit for each counter's number.
    pub verdicts: u64,
    /// Every so manieth of these.
    pub one_in: u32,
    /// Records that each CPU may make in a second.
    pub rate: u32,
    /// Bytes of each frame to keep: at least so many, if it has them, and if they are not more than can be kept.
    pub snap: u32,
}

impl Filter {
    fn wanted(&self) -> Wanted {
        let [client, client_mask] = self.client.map_or([[0; 2]; 2], |(address, prefix)| {
            let longest = if address.is_ipv4() { 32 } else { 128 };
            let free = longest - u32::from(prefix).min(longest);
            let mask = u128::MAX.checked_shl(free).unwrap_or(0);
            [halves(mapped(address)), halves(mask)]
        });
        let [virtual_address, virtual_mask] = self.virtual_address.map_or([[0; 2]; 2], |address| {
            [halves(mapped(address)), [u64::MAX; 2]]
        });
        Wanted {
            verdicts: self.verdicts,
            client,
            client_mask,
            virtual_address,
            virtual_mask,
            client_port: self.client_port.into(),
            virtual_port: self.virtual_port.into(),
            protocol: self.protocol.into(),
            one_in: self.one_in,
            rate: self.rate,
            reserved: 0,
        }
    }
}

fn mapped(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn halves(bits: u128) -> [u64; 2] {
    [(bits >> 64) as u64, bits as u64]
}

/// A frame that was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// What became of it.
    pub record: Record,
    /// Its first bytes as it came.
    pub before: Vec<u8>,
    /// Its first bytes as it left, or was left to the host.
    pub after: Vec<u8>,
}

/// The watched programs' ears. They keep nothing until [`Watch::set`] says what.
pub struct Watch {
    records: RingBuf<MapData>,
    control: Array<MapData, [u8; size_of::<Control>()]>,
    tally: PerCpuArray<MapData, [u64; TALLY_WORDS]>,
    wanted: [Option<Filter>; TRACES],
}

const TALLY_WORDS: usize = size_of::<Tally>() / 8;

impl Watch {
    /// How many traces may run at once.
    pub const TRACES: usize = TRACES;

    pub(crate) fn new(object: &mut Object) -> Result<Self, Error> {
        let error = |name: &'static str| move |source| Error::map(name, source);
        let control = Array::try_from(object.take_map("TRACE_CONTROL")?);
        let tally = PerCpuArray::try_from(object.take_map("TRACE_TALLY")?);
        let records = RingBuf::try_from(object.take_map("TRACE_RECORDS")?);
        Ok(Self {
            control: control.map_err(error("TRACE_CONTROL"))?,
            tally: tally.map_err(error("TRACE_TALLY"))?,
            records: records.map_err(error("TRACE_RECORDS"))?,
            wanted: Default::default(),
        })
    }

    /// Says what trace number `trace` wants; `None` ends it. Its tally begins at 0.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, which it has no reason to.
    pub fn set(&mut self, trace: usize, filter: Option<Filter>) -> Result<(), Error> {
        if filter.is_some() {
            let cpus =
                aya::util::nr_cpus().map_err(|(_, source)| Error::io("counting CPUs", source))?;
            let zero = aya::maps::PerCpuValues::try_from(vec![[0; TALLY_WORDS]; cpus]);
            let zero = zero.map_err(|source| Error::io("zeroing a tally", source))?;
            let zeroed = self.tally.set(trace as u32, zero, 0);
            zeroed.map_err(|source| Error::map("TRACE_TALLY", source))?;
        }
        if let Some(place) = self.wanted.get_mut(trace) {
            *place = filter;
        }
        let all = self.wanted.iter().flatten();
        let mut control = Control {
            snap: all
                .map(|filter| filter.snap)
                .max()
                .unwrap_or(0)
                .min(FRAME_BYTES),
            reserved: 0,
            wanted: [Wanted::new_zeroed(); TRACES],
        };
        for (wanted, filter) in control.wanted.iter_mut().zip(&self.wanted) {
            if let Some(filter) = filter {
                *wanted = filter.wanted();
            }
        }
        let mut bytes = [0; size_of::<Control>()];
        bytes.copy_from_slice(control.as_bytes());
        let written = self.control.set(0, bytes, 0);
        written.map_err(|source| Error::map("TRACE_CONTROL", source))
    }

    /// The next frame that was kept, in the order of decisions on each CPU; `None` when there is none yet.
    pub fn take(&mut self) -> Option<Taken> {
        loop {
            let item = self.records.next()?;
            // One that is not whole cannot be: the kernel shows records only when they are written.
            if let Some(taken) = read(&item) {
                return Some(taken);
            }
        }
    }

    /// What to wait on for frames, by `poll(2)`, while somebody else has the rest.
    ///
    /// # Errors
    ///
    /// When the kernel refuses another descriptor.
    pub fn waiting_room(&self) -> Result<OwnedFd, Error> {
        let fd = self.records.as_fd().try_clone_to_owned();
        fd.map_err(|source| Error::io("duplicating a ring", source))
    }

    /// What became of all frames since trace number `trace` began, over all CPUs.
    #[must_use]
    pub fn tally(&self, trace: usize) -> Tally {
        let Ok(values) = self.tally.get(&(trace as u32), 0) else {
            return Tally::default();
        };
        let mut sum = [0u64; TALLY_WORDS];
        for of_cpu in values.iter() {
            for (total, one) in sum.iter_mut().zip(of_cpu) {
                *total = total.wrapping_add(*one);
            }
        }
        Tally::read_from_bytes(sum.as_bytes()).unwrap_or_default()
    }
}

fn read(bytes: &[u8]) -> Option<Taken> {
    let (record, frames) = Record::read_from_prefix(bytes).ok()?;
    let (before, rest) = frames.split_at_checked(record.before_kept as usize)?;
    let after = rest.get(..record.after_kept as usize)?;
    Some(Taken {
        record,
        before: before.to_vec(),
        after: after.to_vec(),
    })
}
