//! What a driver does by itself, asked and set through `SIOCETHTOOL`, in the namespace of the
//! calling thread.
//!
//! On veth, TX checksum offload leaves the checksum to a device that is not there: a frame that an
//! XDP program sends on arrives with a checksum nobody has finished. Senders must switch it off.
#![allow(unsafe_code)]

use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType};

use crate::Error;

/// `ETHTOOL_GDRVINFO`. Source: Linux `include/uapi/linux/ethtool.h`, as are those below.
const GET_DRIVER: u32 = 0x3;
/// `ETHTOOL_GTXCSUM`
const GET_TX_CHECKSUM: u32 = 0x16;
/// `ETHTOOL_STXCSUM`
const SET_TX_CHECKSUM: u32 = 0x17;

/// `ETHTOOL_GRINGPARAM`
const GET_RINGS: u32 = 0x10;
/// `ETHTOOL_GRXCSUM`
const GET_RX_CHECKSUM: u32 = 0x14;
/// `ETHTOOL_GTSO`
const GET_TSO: u32 = 0x1e;
/// `ETHTOOL_GFLAGS`
const GET_FLAGS: u32 = 0x25;
/// `ETHTOOL_GGRO`
const GET_GRO: u32 = 0x2b;
/// `ETHTOOL_GRXFHINDIR`
const GET_RSS: u32 = 0x38;
/// `ETHTOOL_GCHANNELS`
const GET_CHANNELS: u32 = 0x3c;
/// `ETH_FLAG_LRO`
const FLAG_LRO: u32 = 1 << 15;
/// Entries of the RSS table that are read. Cards have 128 to 1,024; a longer one is not judged.
const RSS_MAX: usize = 2_048;

/// What an interface does with frames by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// It writes checksums.
    pub tx_checksum: bool,
    /// It verifies checksums.
    pub rx_checksum: bool,
    /// It cuts large segments into frames.
    pub tso: bool,
    /// The stack merges received segments.
    pub gro: bool,
    /// The card merges received segments, beyond repair.
    pub lro: bool,
}

/// Sizes of the queues between driver and card, in frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rings {
    /// Receiving, as set.
    pub rx: u32,
    /// Receiving, at most.
    pub rx_max: u32,
    /// Sending, as set.
    pub tx: u32,
    /// Sending, at most.
    pub tx_max: u32,
}

/// How many queues a card uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// Queues that receive, combined ones included.
    pub rx: u32,
    /// The same, at most.
    pub rx_max: u32,
    /// They are combined ones, each of which also sends.
    pub combined: bool,
}

/// Asks for the offloads; what a driver does not know counts as off.
#[must_use]
pub fn offloads(interface: &str) -> Offloads {
    let ask = |command| {
        let mut value = Value { command, data: 0 };
        match request(interface, &mut value, &|| String::new()) {
            Ok(()) => value.data,
            Err(_) => 0,
        }
    };
    Offloads {
        tx_checksum: ask(GET_TX_CHECKSUM) != 0,
        rx_checksum: ask(GET_RX_CHECKSUM) != 0,
        tso: ask(GET_TSO) != 0,
        gro: ask(GET_GRO) != 0,
        lro: ask(GET_FLAGS) & FLAG_LRO != 0,
    }
}

/// Asks for the ring sizes; an error on drivers that have no rings.
pub fn rings(interface: &str) -> Result<Rings, Error> {
    // struct ethtool_ringparam: command, maxima of rx, mini, jumbo, tx; then the same as set.
    let mut words = [0_u32; 9];
    words[0] = GET_RINGS;
    request(interface, &mut words, &|| {
        format!("asking for the ring sizes of {interface}")
    })?;
    let [_, rx_max, _, _, tx_max, rx, _, _, tx] = words;
    Ok(Rings {
        rx,
        rx_max,
        tx,
        tx_max,
    })
}

/// Asks for the queues; an error on drivers that have no choice.
pub fn channels(interface: &str) -> Result<Channels, Error> {
    // struct ethtool_channels: command, maxima of rx, tx, other, combined; then the same as set.
    let mut words = [0_u32; 9];
    words[0] = GET_CHANNELS;
    request(interface, &mut words, &|| {
        format!("asking for the queues of {interface}")
    })?;
    let [_, rx_max, _, _, combined_max, rx, _, _, combined] = words;
    Ok(Channels {
        rx: rx.saturating_add(combined),
        rx_max: rx_max.max(combined_max),
        combined: combined_max > 0,
    })
}

/// The queues that RSS spreads over, each once and in order; an error on drivers without RSS.
pub fn rss_queues(interface: &str) -> Result<Vec<u32>, Error> {
    let attempt = || format!("asking for the RSS table of {interface}");
    // struct ethtool_rxfh_indir: command, size, then so many queue numbers.
    let mut table = [0_u32; RSS_MAX + 2];
    table[0] = GET_RSS;
    // Size 0 asks for the size.
    request(interface, &mut table, &attempt)?;
    let size = table[1] as usize;
    if size > RSS_MAX {
        return Ok(Vec::new());
    }
    table[0] = GET_RSS;
    request(interface, &mut table, &attempt)?;
    let queues: std::collections::BTreeSet<u32> =
        table.iter().skip(2).take(size).copied().collect();
    Ok(queues.into_iter().collect())
}

/// `struct ethtool_value`
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct ethtool_drvinfo`
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    version: [u8; 32],
    firmware_version: [u8; 32],
    bus: [u8; 32],
    expansion_rom_version: [u8; 32],
    reserved: [u8; 12],
    counts: [u32; 5],
}
const _: () = assert!(size_of::<DriverInfo>() == 196);

/// Switches the interface's TX checksum offload on or off.
pub fn set_tx_checksum(interface: &str, on: bool) -> Result<(), Error> {
    let mut value = Value {
        command: SET_TX_CHECKSUM,
        data: u32::from(on),
    };
    let way = if on { "on" } else { "off" };
    request(interface, &mut value, &|| {
        format!("switching {way} the TX checksum offload of {interface}")
    })
}

/// Whether the interface leaves checksums to its device.
pub fn tx_checksum(interface: &str) -> Result<bool, Error> {
    let mut value = Value {
        command: GET_TX_CHECKSUM,
        data: 0,
    };
    request(interface, &mut value, &|| {
        format!("asking for the TX checksum offload of {interface}")
    })?;
    Ok(value.data != 0)
}

/// The name of the interface's driver: `veth`, `virtio_net`, `mlx5_core`.
pub fn driver(interface: &str) -> Result<String, Error> {
    let mut info = DriverInfo {
        command: GET_DRIVER,
        driver: [0; 32],
        version: [0; 32],
        firmware_version: [0; 32],
        bus: [0; 32],
        expansion_rom_version: [0; 32],
        reserved: [0; 12],
        counts: [0; 5],
    };
    request(interface, &mut info, &|| {
        format!("asking for the driver of {interface}")
    })?;
    let name: Vec<u8> = info
        .driver
        .into_iter()
        .take_while(|byte| *byte != 0)
        .collect();
    Ok(String::from_utf8_lossy(&name).into_owned())
}

/// Hands `argument`, an ethtool structure that begins with its command, to the driver.
fn request<T>(
    interface: &str,
    argument: &mut T,
    attempt: &dyn Fn() -> String,
) -> Result<(), Error> {
    let failed = |source: std::io::Error| Error::system(attempt(), source);
    let mut name = [0; libc::IFNAMSIZ];
    // One byte stays zero: the kernel reads a C string.
    if interface.is_empty() || interface.len() >= name.len() {
        return Err(Error::NoSuchLink {
            name: interface.to_owned(),
        });
    }
    for (slot, byte) in name.iter_mut().zip(interface.bytes()) {
        *slot = byte as libc::c_char;
    }
    let socket = nix::sys::socket::socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .map_err(|error| failed(error.into()))?;
    // Its type is the C library's: glibc has an unsigned long, musl an int.
    const COMMAND: libc::Ioctl = libc::SIOCETHTOOL as libc::Ioctl;
    let mut request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_data: std::ptr::from_mut(argument).cast(),
        },
    };
    // SAFETY: `request` and the structure it points at outlive the call; the command at the head of
    // that structure tells the kernel its size, which the types above mirror.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), COMMAND, &raw mut request) };
    if done < 0 {
        return Err(failed(std::io::Error::last_os_error()));
    }
    Ok(())
}
