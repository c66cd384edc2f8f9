//! Raw frames of one interface: to announce, to ask, to capture.
//!
//! This is the one file of the room with sockets the libraries cannot make safely: an `AF_PACKET`
//! socket is bound through a `sockaddr_ll` that no safe constructor builds.
#![allow(unsafe_code)]

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, SystemTime};

use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockType, recvmsg, sockopt,
};

use crate::Error;
use crate::filter::{self, ANSWERS, DISCOVERY};
use crate::monitor::wait_readable;

/// Longest frame received whole: 64 KiB of merged segments and their header.
const FRAME_MAX_BYTES: usize = 65_536 + 64;
/// Room for frames nobody has read yet; a burst of a lab's requests fits many times.
const BACKLOG_BYTES: usize = 8 * 1024 * 1024;

/// A raw socket on one interface of the namespace it was opened in.
#[derive(Debug)]
pub struct FrameSocket {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// A frame as it passed the interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// From the destination MAC on, without checksum.
    pub bytes: Vec<u8>,
    /// When the kernel saw it.
    pub time: SystemTime,
    /// This host sent it (`PACKET_OUTGOING`).
    pub outgoing: bool,
    /// It was longer than the buffer and is cut off.
    pub truncated: bool,
}

impl AsFd for FrameSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for FrameSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl FrameSocket {
    /// Opens a socket on the interface of this index. Sees frames of every protocol, both ways.
    pub fn open(index: u32) -> Result<Self, Error> {
        Self::open_with(index, None)
    }

    /// As [`FrameSocket::open`], but it receives ARP and neighbour advertisements only: the rest
    /// is filtered by the kernel, so that a busy interface costs its owner nothing.
    pub fn open_discovery(index: u32) -> Result<Self, Error> {
        Self::open_with(index, Some(&DISCOVERY))
    }

    /// As [`FrameSocket::open`], but it receives only what may answer a probe: TCP segments with
    /// SYN or RST, ICMP and ICMPv6.
    pub fn open_answers(index: u32) -> Result<Self, Error> {
        Self::open_with(index, Some(&ANSWERS))
    }

    fn open_with(index: u32, filter: Option<&[libc::sock_filter]>) -> Result<Self, Error> {
        let attempt = || format!("opening a raw socket on the interface #{index}");
        let failed = |source| Error::system(attempt(), std::io::Error::from(source));
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        // Protocol 0 receives nothing until bind names both protocol and interface, so that no
        // frame of another interface slips in between.
        let socket = nix::sys::socket::socket(AddressFamily::Packet, SockType::Raw, flags, None)
            .map_err(failed)?;
        if nix::sys::socket::setsockopt(&socket, sockopt::RcvBufForce, &BACKLOG_BYTES).is_err() {
            let _smaller = nix::sys::socket::setsockopt(&socket, sockopt::RcvBuf, &BACKLOG_BYTES);
        }
        nix::sys::socket::setsockopt(&socket, sockopt::ReceiveTimestampns, &true)
            .map_err(failed)?;
        if let Some(filter) = filter {
            filter::attach(&socket, filter).map_err(|source| Error::system(attempt(), source))?;
        }
        bind(&socket, index).map_err(|source| Error::system(attempt(), source))?;
        Ok(Self {
            socket,
            buffer: vec![0; FRAME_MAX_BYTES],
        })
    }

    /// Sends one frame, Ethernet header included.
    pub fn send(&self, frame: &[u8]) -> Result<(), Error> {
        loop {
            match nix::sys::socket::send(self.socket.as_raw_fd(), frame, MsgFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => {
                    let attempt = format!("sending a frame of {} bytes", frame.len());
                    return Err(Error::system(attempt, error));
                }
            }
        }
    }

    /// The next frame, or `None` if `timeout` passed without one. No timeout waits for ever.
    pub fn recv(&mut self, timeout: Option<Duration>) -> Result<Option<Frame>, Error> {
        let failed = |source| Error::system("receiving a frame", source);
        let until = timeout.map(|timeout| std::time::Instant::now() + timeout);
        loop {
            match self.recv_now() {
                Ok(frame) => return Ok(Some(frame)),
                Err(nix::errno::Errno::EAGAIN) => {}
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(failed(error.into())),
            }
            let left =
                until.map(|until| until.saturating_duration_since(std::time::Instant::now()));
            if left == Some(Duration::ZERO) || !wait_readable(self.as_fd(), left).map_err(failed)? {
                return Ok(None);
            }
        }
    }

    fn recv_now(&mut self) -> nix::Result<Frame> {
        let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
        let mut parts = [IoSliceMut::new(&mut self.buffer)];
        let fd = self.socket.as_raw_fd();
        let received = recvmsg::<LinkAddr>(fd, &mut parts, Some(&mut control), MsgFlags::empty())?;
        let outgoing = received
            .address
            .is_some_and(|from| from.pkttype() == libc::PACKET_OUTGOING);
        let time = received.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(time) => Some(system_time(&time)),
            _ => None,
        });
        let truncated = received.flags.contains(MsgFlags::MSG_TRUNC);
        let length = received.bytes;
        Ok(Frame {
            bytes: self.buffer.get(..length).unwrap_or_default().to_vec(),
            time: time.unwrap_or_else(SystemTime::now),
            outgoing,
            truncated,
        })
    }

    /// Frames that arrived while the backlog was full, since the last time this was asked.
    ///
    /// A capture that is used as proof should find zero here.
    pub fn lost(&self) -> Result<u32, Error> {
        let mut statistics = [0_u32; 2]; // struct tpacket_stats: seen, lost
        let mut length = size_of_val(&statistics) as libc::socklen_t;
        // SAFETY: the option writes at most `length` bytes of `statistics`, which both live here.
        let done = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                statistics.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if done < 0 {
            let source = std::io::Error::last_os_error();
            return Err(Error::system("reading a raw socket's statistics", source));
        }
        Ok(statistics[1])
    }
}

fn system_time(time: &nix::sys::time::TimeSpec) -> SystemTime {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let nanoseconds = u32::try_from(time.tv_nsec()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds)
}

pub(crate) fn bind(socket: &OwnedFd, index: u32) -> std::io::Result<()> {
    let index =
        i32::try_from(index).map_err(|_| std::io::Error::from_raw_os_error(libc::ENODEV))?;
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: `address` is a whole sockaddr_ll, `length` is its size, and bind only reads it.
    let done = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if done < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}
