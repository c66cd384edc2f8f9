//! A TUN device: IP packets of a namespace, read and written by a program.
//!
//! ```text
//! sockets ──► TCP, UDP, ICMP of the namespace ──► TUN ──recv──► program
//!                                             ◄── TUN ◄──send── program
//! ```
//!
//! Source: Linux `Documentation/networking/tuntap.rst`, `include/uapi/linux/if_tun.h`.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use crate::Error;
use crate::reply_socket::OFFLOAD_BYTES;

/// One end is an interface of the namespace it was made in, the other is this. It ends with it.
#[derive(Debug)]
pub struct Tun {
    file: File,
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Tun {
    /// Makes an interface in the calling thread's namespace. It is down, and has no address.
    pub fn create(name: &str) -> Result<Self, Error> {
        let attempt = || format!("making the TUN device {name}");
        let failed = |source| Error::system(attempt(), source);
        let mut request_name = [0; libc::IFNAMSIZ];
        if name.len() >= request_name.len() {
            return Err(failed(std::io::Error::from_raw_os_error(libc::EINVAL)));
        }
        for (slot, byte) in request_name.iter_mut().zip(name.bytes()) {
            *slot = byte as libc::c_char;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")
            .map_err(failed)?;
        let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        let mut request = libc::ifreq {
            ifr_name: request_name,
            ifr_ifru: libc::__c_anonymous_ifr_ifru {
                ifru_flags: flags as libc::c_short,
            },
        };
        // SAFETY: `request` is a whole ifreq that outlives the call, which reads and writes it.
        let done = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
        if done < 0 {
            return Err(failed(std::io::Error::last_os_error()));
        }
        Ok(Self { file })
    }

    /// The next packet that the namespace sends: the length of what is now in `buffer`, of which
    /// the first [`OFFLOAD_BYTES`] are no part of the packet. Its checksums are complete. `None`
    /// if there is none.
    pub fn recv(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Error> {
        match self.file.read(buffer) {
            Ok(length) if length > OFFLOAD_BYTES => Ok(Some(length)),
            Ok(_) => Ok(None),
            Err(error) if is_nothing(&error) => Ok(None),
            Err(source) => Err(Error::system("reading a TUN device", source)),
        }
    }

    /// Gives the namespace a packet, with the words of [`crate::ReplySocket`] before it. What the
    /// device does not take (it is down, the packet is none) is lost, as on a wire.
    pub fn send(&mut self, packet: &[u8]) -> Result<(), Error> {
        match self.file.write(packet) {
            Ok(_) => Ok(()),
            Err(error) if is_nothing(&error) => Ok(()),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EIO)) => Ok(()),
            Err(source) => Err(Error::system("writing a TUN device", source)),
        }
    }
}

fn is_nothing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
