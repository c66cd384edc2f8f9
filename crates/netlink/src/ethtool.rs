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
    let mut request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_data: std::ptr::from_mut(argument).cast(),
        },
    };
    // SAFETY: `request` and the structure it points at outlive the call; the command at the head of
    // that structure tells the kernel its size, which the types above mirror.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if done < 0 {
        return Err(failed(std::io::Error::last_os_error()));
    }
    Ok(())
}
