//! The thread between the private namespace and the segments.

use std::io::{self, PipeReader, Read};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netlink::arp::Arp;
use netlink::ndp::{Ndp, Operation};
use netlink::reply_socket::{OFFLOAD_BYTES, without_ethernet};
use netlink::{ReplySocket, Tun};
use nix::poll::{PollFd, PollFlags, PollTimeout};

use super::book::Book;

/// A merged segment, its header and the offload words.
const BUFFER_BYTES: usize = 65_536 + 128;
/// Frames taken from one socket before the others get their turn.
const BURST: usize = 64;
/// How often ends whose time is over are forgotten.
const SWEEP: Duration = Duration::from_millis(500);

/// Starts it. It ends when the book is closed.
pub(super) fn start(book: Arc<Book>, tun: Tun, woken: PipeReader) -> io::Result<()> {
    let mut wire = Wire {
        book,
        tun,
        woken,
        buffer: vec![0; BUFFER_BYTES],
    };
    let thread = std::thread::Builder::new().name("path".to_owned());
    thread.spawn(move || wire.run())?;
    Ok(())
}

struct Wire {
    book: Arc<Book>,
    tun: Tun,
    woken: PipeReader,
    buffer: Vec<u8>,
}

impl Wire {
    fn run(&mut self) {
        let mut sweep = Instant::now() + SWEEP;
        while !self.book.is_closed() {
            let sockets = self.book.sockets();
            self.wait(&sockets);
            self.carry_out();
            for (index, socket) in &sockets {
                if let Err(error) = self.carry_in(socket) {
                    tracing::debug!(%error, "an interface of checks is gone or down");
                    self.book.forget(*index);
                }
            }
            if Instant::now() >= sweep {
                sweep = Instant::now() + SWEEP;
                self.book.sweep(Instant::now());
            }
        }
    }

    fn wait(&mut self, sockets: &[(u32, Arc<ReplySocket>)]) {
        let fds = [self.woken.as_fd(), self.tun.as_fd()].into_iter();
        let mut fds: Vec<PollFd<'_>> = fds
            .chain(sockets.iter().map(|(_, socket)| socket.as_fd()))
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        let timeout = PollTimeout::try_from(SWEEP).unwrap_or(PollTimeout::MAX);
        if let Err(error) = nix::poll::poll(&mut fds, timeout)
            && error != nix::errno::Errno::EINTR
        {
            tracing::warn!(%error, "waiting for packets of checks");
            std::thread::sleep(SWEEP);
        }
        if fds[0].any().unwrap_or(false) {
            let _count = self.woken.read(&mut [0; 64]);
        }
    }

    /// From the private namespace to the segments.
    fn carry_out(&mut self) {
        for _ in 0..BURST {
            match self.tun.recv(&mut self.buffer) {
                Ok(Some(length)) => {
                    if let Some(packet) = self.buffer.get(OFFLOAD_BYTES..length) {
                        self.book.carry_out(packet);
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "the checks' namespace does not speak");
                    std::thread::sleep(SWEEP);
                    return;
                }
            }
        }
    }

    /// From a segment to the private namespace.
    fn carry_in(&mut self, socket: &ReplySocket) -> Result<(), netlink::Error> {
        for _ in 0..BURST {
            let Some(length) = socket.recv(&mut self.buffer)? else {
                return Ok(());
            };
            let Some(received) = self.buffer.get_mut(..length) else {
                return Ok(());
            };
            let frame = &received[OFFLOAD_BYTES..];
            if let Some((mac, address, by_answer)) = claim(frame) {
                self.book.claimed(mac, address, by_answer);
            } else if self.book.is_ours(&frame[14..])
                && let Some(packet) = without_ethernet(received)
                && let Err(error) = self.tun.send(packet)
            {
                tracing::debug!(%error, "an answer to a check is lost");
            }
        }
        Ok(())
    }
}

/// Who says to have which address, if the frame says so.
fn claim(frame: &[u8]) -> Option<(netlink::Mac, IpAddr, bool)> {
    if let Some(arp) = Arp::parse(frame) {
        let by_answer = arp.operation == netlink::arp::Operation::Reply;
        return Some((arp.sender_mac, arp.sender.into(), by_answer));
    }
    let said = Ndp::parse(frame)?;
    match said.operation {
        Operation::Advertisement { .. } => Some((said.from, said.target.into(), true)),
        Operation::Solicitation => Some((said.from, said.source.into(), false)),
    }
}
