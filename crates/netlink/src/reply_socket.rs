//! Packets of checks on a segment: frames out, and what comes back to their ports.
//!
//! Unlike [`crate::FrameSocket`] it hears only what checks can be interested in, and keeps what the
//! kernel knows of unfinished checksums and merged segments, so that another kernel stack can take
//! the packet as it is.
#![allow(unsafe_code)]

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, recv, sendmsg, socket,
};

use crate::{Error, filter, frame_socket};

/// `struct virtio_net_hdr`, which stands before each packet received.
///
/// ```text
///  0      1          2            4           6             8               10
/// +------+----------+------------+-----------+-------------+---------------+
/// | flags| GSO type | header len | GSO size  | csum start  | csum offset   |
/// +------+----------+------------+-----------+-------------+---------------+
/// ```
///
/// Source: Linux `include/uapi/linux/virtio_net.h`; the processor's own byte order.
pub const OFFLOAD_BYTES: usize = 10;
/// Destination, source, EtherType.
const ETHERNET_BYTES: usize = 14;
/// Where the offload words count from the start of the frame.
const POSITIONS: [usize; 2] = [2, 6];

/// A raw socket on one interface that hears what answers checks.
#[derive(Debug)]
pub struct ReplySocket {
    socket: OwnedFd,
}

impl AsFd for ReplySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl ReplySocket {
    /// Opens a socket on the interface of this index. It receives ARP, ICMP, and TCP and UDP
    /// towards the ports `first..=last`; not what this host sends.
    pub fn open(index: u32, first: u16, last: u16) -> Result<Self, Error> {
        let opened = || -> std::io::Result<OwnedFd> {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
            switch_on(&socket, libc::PACKET_VNET_HDR)?;
            switch_on(&socket, libc::PACKET_IGNORE_OUTGOING)?;
            filter::attach(&socket, &filter::replies_to(first, last))?;
            frame_socket::bind(&socket, index)?;
            Ok(socket)
        };
        let socket = opened().map_err(|source| {
            Error::system(
                format!("opening a socket for checks on the interface #{index}"),
                source,
            )
        })?;
        Ok(Self { socket })
    }

    /// Sends a frame, given as Ethernet header and packet. Its checksums must be complete.
    pub fn send(&self, ethernet: &[u8], packet: &[u8]) -> Result<(), Error> {
        let parts = [
            IoSlice::new(&[0; OFFLOAD_BYTES]),
            IoSlice::new(ethernet),
            IoSlice::new(packet),
        ];
        loop {
            let fd = self.socket.as_raw_fd();
            match sendmsg::<SockaddrStorage>(fd, &parts, &[], MsgFlags::empty(), None) {
                Ok(_) => return Ok(()),
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => {
                    let attempt = format!("sending a check's packet of {} bytes", packet.len());
                    return Err(Error::system(attempt, error));
                }
            }
        }
    }

    /// The next frame: the length of what is now in `buffer`, offload words first. `None` if
    /// there is none.
    pub fn recv(&self, buffer: &mut [u8]) -> Result<Option<usize>, Error> {
        loop {
            match recv(self.socket.as_raw_fd(), buffer, MsgFlags::empty()) {
                Ok(length) if length > OFFLOAD_BYTES + ETHERNET_BYTES => return Ok(Some(length)),
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::EAGAIN) => return Ok(None),
                Err(error) => return Err(Error::system("receiving a check's packet", error)),
            }
        }
    }
}

/// Takes the Ethernet header out of a received frame: what is left is what [`crate::Tun`] takes.
/// `received` is offload words and frame.
#[must_use]
pub fn without_ethernet(received: &mut [u8]) -> Option<&[u8]> {
    let mut offload = [0; OFFLOAD_BYTES];
    offload.copy_from_slice(received.get(..OFFLOAD_BYTES)?);
    for position in POSITIONS {
        let word = [offload[position], offload[position + 1]];
        let moved = u16::from_ne_bytes(word).saturating_sub(ETHERNET_BYTES as u16);
        offload[position..position + 2].copy_from_slice(&moved.to_ne_bytes());
    }
    let packet = received.get_mut(ETHERNET_BYTES..)?;
    packet.get_mut(..OFFLOAD_BYTES)?.copy_from_slice(&offload);
    Some(packet)
}

fn switch_on(socket: &OwnedFd, option: libc::c_int) -> std::io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option reads one int, which lives here, of the size given.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if done < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}
