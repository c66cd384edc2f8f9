//! Frames as they passed, at five points of the segment.
//!
//! ```text
//! client eth0    director eth0    rs1 eth0    rs2 eth0      what each host sees
//!                director's port of the switch              what truly went to and from it
//! ```
//!
//! The director needs two points: its XDP program answers before the host sees a frame, so its own
//! eth0 shows only what the program let through. The switch's port shows everything.
//!
//! What you may rely on: frames of one point are in the order the kernel saw them; all clocks are
//! one. A capture that lost frames says so ([`Capture::lost`]) and is no proof.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use netlink::{FrameSocket, Namespace, Netlink};
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapTsResolution, PcapWriter};

use crate::frame::Frame;
use crate::limits::{CAPTURE_IDLE, FRAMES_MAX, SETTLE_MAX};
use crate::topology::INTERFACE;
use crate::{Error, Host, Net};

/// Where frames are captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// On a host's eth0.
    Host(Host),
    /// On the switch's port of the director. `outgoing` there means towards the director.
    DirectorPort,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Host(Host::Client),
        Self::Host(Host::Director),
        Self::Host(Host::Rs1),
        Self::Host(Host::Rs2),
        Self::DirectorPort,
    ];

    /// The word for it in files and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host(host) => host.name(),
            Self::DirectorPort => "director-port",
        }
    }

    const fn position(self) -> usize {
        match self {
            Self::Host(host) => host as usize,
            Self::DirectorPort => 4,
        }
    }
}

/// A captured frame.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When the kernel saw it.
    pub time: SystemTime,
    /// Whether it left this interface; else it came in.
    pub outgoing: bool,
    /// From the destination MAC on.
    pub bytes: Vec<u8>,
    /// What it says.
    pub frame: Frame,
}

/// A moment, for "everything since".
#[derive(Clone, Debug, Default)]
pub struct Mark([usize; 5]);

/// A running capture at all points. Dropping it ends it.
#[derive(Debug)]
pub struct Capture {
    watchers: Vec<Watcher>,
    end: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Watcher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    frames: Mutex<Vec<Seen>>,
    /// How often nothing came for [`CAPTURE_IDLE`].
    silences: AtomicU64,
    lost: AtomicU64,
}

impl Capture {
    /// Starts at all points.
    pub(crate) fn start(net: &Net) -> Result<Self, Error> {
        let end = Arc::new(AtomicBool::new(false));
        let mut watchers = Vec::with_capacity(Point::ALL.len());
        for point in Point::ALL {
            let (namespace, interface) = match point {
                Point::Host(host) => (net.namespace(host), INTERFACE),
                Point::DirectorPort => (net.switch(), Host::Director.name()),
            };
            let socket = open(namespace, interface)
                .map_err(Error::netlink(format!("capturing at {}", point.name())))?;
            watchers.push(Watcher::start(socket, Arc::clone(&end)));
        }
        Ok(Self { watchers, end })
    }

    /// This moment, after what was sent so far has been seen.
    pub fn mark(&self) -> Mark {
        self.settle();
        Mark(Point::ALL.map(|point| self.shared(point).len()))
    }

    /// The frames at a point since a mark, after what was sent so far has been seen.
    #[must_use]
    pub fn since(&self, mark: &Mark, point: Point) -> Vec<Seen> {
        self.settle();
        let frames = self.shared(point).lock();
        let from = mark.0[point.position()];
        frames.get(from..).unwrap_or_default().to_vec()
    }

    /// Ends it; what was captured stays. For load tests, whose frames would fill the books.
    pub fn stop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        for watcher in &mut self.watchers {
            if let Some(thread) = watcher.thread.take() {
                let _joined = thread.join();
            }
        }
    }

    /// Frames that could not be kept.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let lost = |watcher: &Watcher| watcher.shared.lost.load(Ordering::Relaxed);
        self.watchers.iter().map(lost).sum()
    }

    /// Writes one pcap file per point into a directory, which is made if need be.
    pub fn write(&self, directory: &Path) -> Result<(), Error> {
        self.settle();
        std::fs::create_dir_all(directory)
            .map_err(|source| Error::io(format!("making {}", directory.display()), source))?;
        for point in Point::ALL {
            let path = directory.join(format!("{}.pcap", point.name()));
            write_pcap(&path, &self.shared(point).lock()).map_err(|detail| Error::Pcap {
                path: path.clone(),
                detail,
            })?;
        }
        Ok(())
    }

    /// Waits until every point was silent, so that all that was sent is in the books. On a segment
    /// that is never silent it waits a while and goes on.
    fn settle(&self) {
        if self.end.load(Ordering::Relaxed) {
            return;
        }
        let until = Instant::now() + SETTLE_MAX;
        let count = |watcher: &Watcher| watcher.shared.silences.load(Ordering::Acquire);
        let before: Vec<u64> = self.watchers.iter().map(count).collect();
        // The silence that is going on may have begun before the last frame: await the next one.
        let quiet = || {
            let counts = self.watchers.iter().map(count).zip(&before);
            counts.fold(true, |all, (now, before)| all && now >= before + 2)
        };
        while !quiet() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn shared(&self, point: Point) -> &Shared {
        &self.watchers[point.position()].shared
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Watcher {
    fn start(mut socket: FrameSocket, end: Arc<AtomicBool>) -> Self {
        let shared = Arc::new(Shared::default());
        let books = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                match socket.recv(Some(CAPTURE_IDLE)) {
                    Ok(Some(frame)) => books.keep(frame),
                    Ok(None) => {
                        let lost = socket.lost().unwrap_or(0);
                        books.lost.fetch_add(u64::from(lost), Ordering::Relaxed);
                        books.silences.fetch_add(1, Ordering::Release);
                    }
                    // The interface is gone or down: whoever needs its frames will miss them there.
                    Err(_) => {
                        std::thread::sleep(CAPTURE_IDLE);
                        books.silences.fetch_add(1, Ordering::Release);
                    }
                }
            }
        });
        Self {
            shared,
            thread: Some(thread),
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Seen>> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn len(&self) -> usize {
        self.lock().len()
    }

    fn keep(&self, captured: netlink::frame_socket::Frame) {
        let Some(frame) = Frame::read(&captured.bytes) else {
            return;
        };
        let mut frames = self.lock();
        if frames.len() >= FRAMES_MAX {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        frames.push(Seen {
            time: captured.time,
            outgoing: captured.outgoing,
            bytes: captured.bytes,
            frame,
        });
    }
}

fn open(namespace: &Namespace, interface: &str) -> Result<FrameSocket, netlink::Error> {
    let opened = namespace.run(|| FrameSocket::open(Netlink::open()?.link(interface)?.index));
    opened.and_then(|opened| opened)
}

fn write_pcap(path: &Path, frames: &[Seen]) -> Result<(), String> {
    let file = File::create(path).map_err(|error| error.to_string())?;
    let header = PcapHeader {
        snaplen: u32::MAX,
        ts_resolution: PcapTsResolution::NanoSecond,
        ..PcapHeader::default()
    };
    let writer = PcapWriter::with_header(BufWriter::new(file), header);
    let mut writer = writer.map_err(|error| error.to_string())?;
    for seen in frames {
        let time = seen.time.duration_since(SystemTime::UNIX_EPOCH);
        let length = u32::try_from(seen.bytes.len()).unwrap_or(u32::MAX);
        let packet = PcapPacket::new(time.unwrap_or_default(), length, seen.bytes.as_slice())
            .map_err(|error| error.to_string())?;
        writer
            .write_packet(&packet)
            .map_err(|error| error.to_string())?;
    }
    writer.flush().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink::arp::Arp;
    use pcap_file::pcap::PcapReader;

    #[test]
    fn a_pcap_file_holds_the_frames_with_their_times_to_the_nanosecond() {
        let address = std::net::Ipv4Addr::LOCALHOST;
        let bytes = Arp::request([2, 0, 0, 0, 0, 1], address, address).emit();
        let time = Duration::new(1_700_000_000, 123_456_789);
        let seen = Seen {
            time: SystemTime::UNIX_EPOCH + time,
            outgoing: true,
            frame: Frame::read(&bytes).unwrap(),
            bytes: bytes.clone(),
        };
        let path = std::env::temp_dir().join(format!("dirigo-pcap-{}", std::process::id()));
        write_pcap(&path, &[seen]).unwrap();

        let mut reader = PcapReader::new(File::open(&path).unwrap()).unwrap();
        let packet = reader.next_packet().unwrap().unwrap();
        assert_eq!(packet.data(), bytes.as_slice());
        assert_eq!(packet.timestamp(), time);
        assert!(reader.next_packet().is_none());
        std::fs::remove_file(&path).unwrap();
    }
}
