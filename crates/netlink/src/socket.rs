//! One netlink conversation: a request, its acknowledgement or its dump.
//!
//! ```text
//! request ──► kernel ──► NLMSG_ERROR (code 0: done; else errno, and its words in TLVs)
//! dump    ──► kernel ──► message, message, … each NLM_F_MULTI … NLMSG_DONE
//! ```
//!
//! Source: RFC 3549; Linux `net/netlink/af_netlink.c`.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::Error;

/// Longest answer to one system call. The kernel builds dumps in pieces of at most 32 KiB; a
/// single link with many virtual functions can be longer.
const ANSWER_MAX_BYTES: usize = 256 * 1024;
/// How often a dump that the kernel reports as interrupted is read again.
const DUMP_TRIES: u32 = 16;
/// `NLM_F_CAPPED`: the error does not quote the request.
const CAPPED: u16 = 0x100;
/// `NLM_F_ACK_TLVS`: attributes follow the error.
const ACK_TLVS: u16 = 0x200;
/// `NLMSGERR_ATTR_MSG`
const ATTRIBUTE_MESSAGE: u16 = 1;
/// Bytes of a netlink header, which an error quotes.
const HEADER_BYTES: usize = 16;

/// A blocking handle on the links, addresses, neighbours and routes of one network namespace:
/// that of the thread which opened it.
pub struct Netlink {
    socket: Socket,
    sequence: Cell<u32>,
    buffer: RefCell<Vec<u8>>,
}

impl std::fmt::Debug for Netlink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Netlink")
            .field("sequence", &self.sequence.get())
            .finish_non_exhaustive()
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Netlink {
    /// Opens a handle in the calling thread's namespace. Reading needs no privilege.
    pub fn open() -> Result<Self, Error> {
        let failed = |source| Error::system("opening a netlink socket", source);
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(failed)?;
        socket.bind_auto().map_err(failed)?;
        // Without these an error is an errno without words. All kernels since 4.12 have them.
        socket.set_ext_ack(true).map_err(failed)?;
        socket.set_cap_ack(true).map_err(failed)?;
        Ok(Self {
            socket,
            sequence: Cell::new(0),
            buffer: RefCell::new(Vec::with_capacity(ANSWER_MAX_BYTES)),
        })
    }

    /// Sends a change and waits for its acknowledgement. `flags` come on top of request and ack.
    pub(crate) fn change(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        attempt: &dyn Fn() -> String,
    ) -> Result<(), Error> {
        let sequence = self.send(message, NLM_F_REQUEST | NLM_F_ACK | flags, attempt)?;
        self.receive(sequence, attempt, |_| ()).map(|_| ())
    }

    /// Asks one question and returns the kernel's one answer.
    pub(crate) fn ask(
        &self,
        message: RouteNetlinkMessage,
        attempt: &dyn Fn() -> String,
    ) -> Result<RouteNetlinkMessage, Error> {
        let mut answer = None;
        let sequence = self.send(message, NLM_F_REQUEST | NLM_F_ACK, attempt)?;
        self.receive(sequence, attempt, |found| answer = Some(found))?;
        answer.ok_or_else(|| Error::Unreadable {
            attempt: attempt(),
            detail: "it holds no message".to_owned(),
        })
    }

    /// Reads a whole table, again if it changed meanwhile.
    pub(crate) fn dump(
        &self,
        message: &RouteNetlinkMessage,
        attempt: &dyn Fn() -> String,
    ) -> Result<Vec<RouteNetlinkMessage>, Error> {
        for _ in 0..DUMP_TRIES {
            let mut found = Vec::new();
            let sequence = self.send(message.clone(), NLM_F_REQUEST | NLM_F_DUMP, attempt)?;
            if self.receive(sequence, attempt, |message| found.push(message))? == Answer::Whole {
                return Ok(found);
            }
        }
        Err(Error::Restless {
            attempt: attempt(),
            tries: DUMP_TRIES,
        })
    }

    fn send(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        attempt: &dyn Fn() -> String,
    ) -> Result<u32, Error> {
        let sequence = self.sequence.get().wrapping_add(1);
        self.sequence.set(sequence);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket
            .send_to(&bytes, &SocketAddr::new(0, 0), 0)
            .map_err(|source| Error::system(attempt(), source))?;
        Ok(sequence)
    }

    /// Reads until this request's last message, handing each one over.
    fn receive(
        &self,
        sequence: u32,
        attempt: &dyn Fn() -> String,
        mut visit: impl FnMut(RouteNetlinkMessage),
    ) -> Result<Answer, Error> {
        let mut answer = Answer::Whole;
        let mut buffer = self.buffer.borrow_mut();
        loop {
            read_datagram(&self.socket, &mut buffer)
                .map_err(|source| Error::system(attempt(), source))?;
            if read_answer(&buffer, sequence, attempt, &mut answer, &mut visit)? == Last::Yes {
                return Ok(answer);
            }
        }
    }
}

/// Whether the last message of an answer has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Yes,
    No,
}

/// Reads one datagram of the answer to the request `sequence`.
fn read_answer(
    datagram: &[u8],
    sequence: u32,
    attempt: &dyn Fn() -> String,
    answer: &mut Answer,
    visit: &mut dyn FnMut(RouteNetlinkMessage),
) -> Result<Last, Error> {
    for message in Messages(datagram) {
        let (message, bytes) = message.map_err(|detail| Error::Unreadable {
            attempt: attempt(),
            detail,
        })?;
        if message.header.sequence_number != sequence {
            continue; // the rest of an answer somebody gave up on
        }
        if message.header.flags & NLM_F_DUMP_INTR != 0 {
            *answer = Answer::Torn;
        }
        match message.payload {
            NetlinkPayload::InnerMessage(inner) => visit(inner),
            NetlinkPayload::Done(done) if done.code < 0 => {
                return Err(refusal(attempt(), done.code, words_of(&done.extended_ack)));
            }
            NetlinkPayload::Done(_) => return Ok(Last::Yes),
            NetlinkPayload::Error(error) => {
                acknowledge(&error, message.header.flags, bytes, attempt)?;
                return Ok(Last::Yes);
            }
            _ => {}
        }
    }
    Ok(Last::No)
}

/// Whether a dump shows the table at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Whole,
    Torn,
}

/// Reads one datagram, whole, into `buffer`.
pub(crate) fn read_datagram(socket: &Socket, buffer: &mut Vec<u8>) -> std::io::Result<()> {
    loop {
        buffer.clear();
        buffer.reserve(ANSWER_MAX_BYTES);
        match socket.recv_from(buffer, libc::MSG_TRUNC) {
            Ok((length, sender)) if length <= buffer.len() => {
                // Another process may write to our port; only the kernel is port 0.
                if sender.port_number() == 0 {
                    return Ok(());
                }
            }
            Ok((length, _)) => {
                return Err(std::io::Error::other(format!(
                    "a netlink message of {length} bytes is longer than the {ANSWER_MAX_BYTES} we read"
                )));
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The messages of one datagram, each with its own bytes.
pub(crate) struct Messages<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Result<(NetlinkMessage<RouteNetlinkMessage>, &'a [u8]), String>;

    fn next(&mut self) -> Option<Self::Item> {
        let length = u32::from_ne_bytes(self.0.get(..4)?.try_into().ok()?) as usize;
        if length < HEADER_BYTES || length > self.0.len() {
            let detail = format!("a message says {length} bytes, {} are there", self.0.len());
            self.0 = &[];
            return Some(Err(detail));
        }
        let (bytes, rest) = self.0.split_at(length);
        // Messages are aligned to four bytes; the last one need not be padded.
        let padding = length.next_multiple_of(4) - length;
        self.0 = rest.get(padding..).unwrap_or_default();
        Some(
            NetlinkMessage::deserialize(bytes)
                .map(|message| (message, bytes))
                .map_err(|error| error.to_string()),
        )
    }
}

/// An NLMSG_ERROR: an acknowledgement when its code is zero.
fn acknowledge(
    error: &ErrorMessage,
    flags: u16,
    bytes: &[u8],
    attempt: &dyn Fn() -> String,
) -> Result<(), Error> {
    if error.code.is_none() {
        return Ok(());
    }
    let words = extended_ack(flags, bytes.get(HEADER_BYTES + 4..).unwrap_or_default());
    Err(refusal(attempt(), error.raw_code(), words))
}

/// The kernel's words behind the quoted request. `quoted` starts at the quoted header.
fn extended_ack(flags: u16, quoted: &[u8]) -> Option<String> {
    if flags & ACK_TLVS == 0 {
        return None;
    }
    let request = if flags & CAPPED != 0 {
        HEADER_BYTES
    } else {
        u32::from_ne_bytes(quoted.get(..4)?.try_into().ok()?) as usize
    };
    words_of(quoted.get(request.next_multiple_of(4)..)?)
}

fn words_of(attributes: &[u8]) -> Option<String> {
    NlasIterator::new(attributes)
        .map_while(Result::ok)
        .find(|attribute| attribute.kind() == ATTRIBUTE_MESSAGE)
        .map(|attribute| {
            String::from_utf8_lossy(attribute.value())
                .trim_end_matches('\0')
                .to_owned()
        })
        .filter(|text| !text.is_empty())
}

fn refusal(attempt: String, code: i32, extended: Option<String>) -> Error {
    Error::Refused {
        attempt,
        source: std::io::Error::from_raw_os_error(code.saturating_abs()),
        extended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_whose_length_lies_is_an_error_and_ends_the_datagram() {
        let mut bytes = vec![0_u8; 20];
        bytes[..4].copy_from_slice(&64_u32.to_ne_bytes());
        let mut messages = Messages(&bytes);
        assert!(matches!(messages.next(), Some(Err(_))));
        assert!(messages.next().is_none());
    }

    /// A header of the kernel's and its payload; type 3 is NLMSG_DONE, 2 NLMSG_ERROR, 16 a link.
    fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let length = (HEADER_BYTES + payload.len()) as u32;
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&sequence.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(payload);
        bytes
    }

    /// Reads datagrams of the answer to request 7: how it ended, and how many messages it had.
    fn read(datagrams: &[Vec<u8>]) -> (Result<Last, Error>, Answer, usize) {
        let (mut answer, mut count) = (Answer::Whole, 0);
        let mut last = Ok(Last::No);
        for datagram in datagrams {
            let attempt = || "reading".to_owned();
            last = read_answer(datagram, 7, &attempt, &mut answer, &mut |_| count += 1);
        }
        (last, answer, count)
    }

    #[test]
    fn a_dump_is_read_over_several_datagrams_up_to_its_end() {
        let link = message(16, 2, 7, &[0; 16]);
        let done = message(3, 2, 7, &[0; 4]);
        let (last, answer, count) = read(&[[link.clone(), link.clone()].concat(), link.clone()]);
        assert_eq!((last.unwrap(), answer, count), (Last::No, Answer::Whole, 3));
        let (last, answer, count) = read(&[link.clone(), [link, done].concat()]);
        assert_eq!(
            (last.unwrap(), answer, count),
            (Last::Yes, Answer::Whole, 2)
        );
    }

    #[test]
    fn a_dump_that_the_kernel_calls_interrupted_anywhere_is_torn() {
        let link = message(16, 2, 7, &[0; 16]);
        let torn = message(16, 2 | NLM_F_DUMP_INTR, 7, &[0; 16]);
        let done = message(3, 2, 7, &[0; 4]);
        let torn_done = message(3, 2 | NLM_F_DUMP_INTR, 7, &[0; 4]);
        for dump in [
            [torn, link.clone(), done].concat(),
            [link.clone(), link, torn_done].concat(),
        ] {
            let (last, answer, _) = read(&[dump]);
            assert_eq!((last.unwrap(), answer), (Last::Yes, Answer::Torn));
        }
    }

    #[test]
    fn messages_of_another_request_are_passed_over() {
        let stale = [message(16, 2, 6, &[0; 16]), message(3, 2, 6, &[0; 4])].concat();
        let (last, _, count) = read(&[stale]);
        assert_eq!((last.unwrap(), count), (Last::No, 0));
    }

    #[test]
    fn a_dump_that_ends_with_an_error_is_refused() {
        let errno = (-libc::EBUSY).to_ne_bytes();
        for kind in [2, 3] {
            let (last, _, _) = read(&[message(kind, 0, 7, &errno)]);
            assert_eq!(last.unwrap_err().errno(), Some(libc::EBUSY));
        }
    }

    #[test]
    fn the_kernels_words_are_found_behind_a_capped_request() {
        let mut quoted = vec![0_u8; HEADER_BYTES];
        quoted.extend_from_slice(&9_u16.to_ne_bytes());
        quoted.extend_from_slice(&ATTRIBUTE_MESSAGE.to_ne_bytes());
        quoted.extend_from_slice(b"nope\0\0\0\0");
        assert_eq!(
            extended_ack(ACK_TLVS | CAPPED, &quoted).as_deref(),
            Some("nope")
        );
        assert_eq!(extended_ack(CAPPED, &quoted), None);
    }
}
