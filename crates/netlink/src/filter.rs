//! Classic BPF programs that sockets run on what they receive, so that a busy interface costs
//! their owners nothing.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd};

/// Passes ARP and ICMPv6 neighbour advertisements (type 136). Linux `filter.h`: code, jump if
/// true, jump if false, value.
pub(crate) const DISCOVERY: [libc::sock_filter; 9] = [
    instruction(LOAD_HALF, 0, 0, 12),    // A = EtherType
    instruction(IF_EQUAL, 6, 0, 0x0806), // ARP: pass
    instruction(IF_EQUAL, 0, 4, 0x86dd), // not IPv6: drop
    instruction(LOAD_BYTE, 0, 0, 20),    // A = next header
    instruction(IF_EQUAL, 0, 2, 58),     // not ICMPv6: drop
    instruction(LOAD_BYTE, 0, 0, 54),    // A = ICMPv6 type
    instruction(IF_EQUAL, 1, 0, 136),    // advertisement: pass
    instruction(RETURN, 0, 0, 0),        // drop
    instruction(RETURN, 0, 0, u32::MAX),
];

/// Passes what may answer a probe whatever its port: TCP segments with SYN or RST, SCTP's INIT ACK and ABORT, and all
/// of ICMP and ICMPv6. IPv6 packets with extension headers are dropped.
pub(crate) const ANSWERS: [libc::sock_filter; 23] = [
    instruction(LOAD_HALF, 0, 0, 12),          //  0  A = EtherType
    instruction(IF_EQUAL, 10, 0, 0x86dd),      //  1  IPv6: 12
    instruction(IF_EQUAL, 0, 18, 0x0800),      //  2  not IPv4: drop
    instruction(LOAD_BYTE, 0, 0, 23),          //  3  A = protocol
    instruction(IF_EQUAL, 17, 0, 1),           //  4  ICMP: pass
    instruction(LOAD_HEADER_LENGTH, 0, 0, 14), //  5  X = length of the IPv4 header
    instruction(IF_EQUAL, 3, 0, 132),          //  6  SCTP: 10
    instruction(IF_EQUAL, 0, 13, 6),           //  7  not TCP: drop
    instruction(LOAD_BYTE_AT_X, 0, 0, 27),     //  8  A = TCP flags
    instruction(IF_ANY_BIT, 12, 11, 0x06),     //  9  SYN or RST: pass
    instruction(LOAD_BYTE_AT_X, 0, 0, 26),     // 10  A = type of SCTP's first chunk
    instruction(JUMP, 0, 0, 7),                // 11  19
    instruction(LOAD_BYTE, 0, 0, 20),          // 12  A = next header
    instruction(IF_EQUAL, 8, 0, 58),           // 13  ICMPv6: pass
    instruction(IF_EQUAL, 3, 0, 132),          // 14  SCTP: 18
    instruction(IF_EQUAL, 0, 5, 6),            // 15  not TCP: drop
    instruction(LOAD_BYTE, 0, 0, 67),          // 16  A = TCP flags
    instruction(IF_ANY_BIT, 4, 3, 0x06),       // 17  SYN or RST: pass
    instruction(LOAD_BYTE, 0, 0, 66),          // 18  A = type of SCTP's first chunk
    instruction(IF_EQUAL, 2, 0, 2),            // 19  INIT ACK: pass
    instruction(IF_EQUAL, 1, 0, 6),            // 20  ABORT: pass
    instruction(RETURN, 0, 0, 0),              // 21  drop
    instruction(RETURN, 0, 0, u32::MAX),       // 22  pass
];

/// Drops all.
pub(crate) const NOTHING: [libc::sock_filter; 1] = [instruction(RETURN, 0, 0, 0)];

const LOAD_HALF: u16 = 0x28;
const LOAD_HALF_AT_X: u16 = 0x48;
const LOAD_BYTE: u16 = 0x30;
const LOAD_BYTE_AT_X: u16 = 0x50;
const LOAD_HEADER_LENGTH: u16 = 0xb1;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_ABOVE: u16 = 0x25;
const IF_AT_LEAST: u16 = 0x35;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// Passes ARP, ICMP of both families, and TCP and UDP towards the ports `first..=last`.
/// IPv6 packets with extension headers and later fragments are dropped.
pub(crate) fn replies_to(first: u16, last: u16) -> [libc::sock_filter; 22] {
    let (first, last) = (u32::from(first), u32::from(last));
    [
        instruction(LOAD_HALF, 0, 0, 12),          //  0  A = EtherType
        instruction(IF_EQUAL, 18, 0, 0x0806),      //  1  ARP: pass
        instruction(IF_EQUAL, 10, 0, 0x86dd),      //  2  IPv6: 13
        instruction(IF_EQUAL, 0, 17, 0x0800),      //  3  not IPv4: drop
        instruction(LOAD_BYTE, 0, 0, 23),          //  4  A = protocol
        instruction(IF_EQUAL, 14, 0, 1),           //  5  ICMP: pass
        instruction(IF_EQUAL, 1, 0, 6),            //  6  TCP: 8
        instruction(IF_EQUAL, 0, 13, 17),          //  7  not UDP: drop
        instruction(LOAD_HALF, 0, 0, 20),          //  8  A = fragment offset
        instruction(IF_ANY_BIT, 11, 0, 0x1fff),    //  9  a later fragment: drop
        instruction(LOAD_HEADER_LENGTH, 0, 0, 14), // 10  X = length of the IPv4 header
        instruction(LOAD_HALF_AT_X, 0, 0, 16),     // 11  A = destination port
        instruction(JUMP, 0, 0, 5),                // 12  to 18
        instruction(LOAD_BYTE, 0, 0, 20),          // 13  A = next header
        instruction(IF_EQUAL, 5, 0, 58),           // 14  ICMPv6: pass
        instruction(IF_EQUAL, 1, 0, 6),            // 15  TCP: 17
        instruction(IF_EQUAL, 0, 4, 17),           // 16  not UDP: drop
        instruction(LOAD_HALF, 0, 0, 56),          // 17  A = destination port
        instruction(IF_AT_LEAST, 0, 2, first),     // 18  below: drop
        instruction(IF_ABOVE, 1, 0, last),         // 19  above: drop
        instruction(RETURN, 0, 0, u32::MAX),       // 20  pass
        instruction(RETURN, 0, 0, 0),              // 21  drop
    ]
}

const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// Makes a socket run `filter` on what it receives.
pub(crate) fn attach(socket: &impl AsFd, filter: &[libc::sock_filter]) -> std::io::Result<()> {
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies `len` instructions from `filter`, which outlives the call, and
    // writes nothing; the length given is that of `program`.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of_val(&program) as libc::socklen_t,
        )
    };
    if done < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}
