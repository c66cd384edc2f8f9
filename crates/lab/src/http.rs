//! The client's side of the pages: HTTP/1.1 over one TCP connection, kept open or not.
//!
//! Small on purpose: it talks only to the lab's own pages, which answer with `Content-Length`.
//! Each connection has a port no other had before: the captures are searched for it, and a director
//! that does as IPVS does (`conn_reuse_mode` 1) sends a port whose last connection it saw half
//! closed back to its old server, so that used ports would blur the spread.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage, sockopt};
use nix::sys::time::TimeVal;

use crate::limits::{ANSWER_MAX_BYTES, HTTP_MAX};
use crate::{Error, Host, Net};

/// One TCP connection to a web server.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    to: SocketAddr,
    /// The client's end.
    pub from: SocketAddr,
}

/// What a page answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The client's end of the connection it came over.
    pub from: SocketAddr,
    /// HTTP status.
    pub status: u16,
    /// The page.
    pub body: String,
}

impl Answer {
    /// Which real server wrote the page: its first word.
    #[must_use]
    pub fn server(&self) -> Option<Host> {
        let word = self.body.split([':', ' ']).next()?;
        let host = word.parse().ok()?;
        (self.status == 200 && Host::SERVERS.contains(&host)).then_some(host)
    }
}

impl Connection {
    /// Connects from a host.
    pub fn open(net: &Net, host: Host, to: SocketAddr) -> Result<Self, Error> {
        net.interrupt().check()?;
        let failed = |source| Error::io(format!("connecting from {host} to {to}"), source);
        let port = net.fresh_port();
        let stream = net.on(host, || connect(to, port))?.map_err(failed)?;
        let from = stream.local_addr().map_err(failed)?;
        Ok(Self { stream, to, from })
    }

    /// Asks for the page and keeps the connection open.
    pub fn get(&mut self) -> Result<Answer, Error> {
        self.ask("keep-alive")
    }

    /// Asks for the page and has the server close.
    pub fn get_last(mut self) -> Result<Answer, Error> {
        self.ask("close")
    }

    fn ask(&mut self, after: &str) -> Result<Answer, Error> {
        let to = self.to;
        let failed = |source| Error::io(format!("asking {to} for the page"), source);
        let request = format!("GET / HTTP/1.1\r\nHost: {to}\r\nConnection: {after}\r\n\r\n");
        self.stream.write_all(request.as_bytes()).map_err(failed)?;
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        loop {
            if let Some((status, body)) =
                read_answer(&bytes).map_err(|detail| self.wrong(detail))?
            {
                let from = self.from;
                return Ok(Answer { from, status, body });
            }
            match self.stream.read(&mut piece).map_err(failed)? {
                0 => return Err(self.wrong("it ends early")),
                length => bytes.extend_from_slice(&piece[..length]),
            }
        }
    }

    fn wrong(&self, detail: &str) -> Error {
        Error::Answer {
            from: self.to.to_string(),
            detail: detail.to_owned(),
        }
    }
}

/// Connects from a given port, within [`HTTP_MAX`].
fn connect(to: SocketAddr, port: u16) -> std::io::Result<TcpStream> {
    let (family, own) = match to {
        SocketAddr::V4(_) => (AddressFamily::Inet, SocketAddr::from(([0; 4], port))),
        SocketAddr::V6(_) => (AddressFamily::Inet6, SocketAddr::from(([0; 16], port))),
    };
    let flags = SockFlag::SOCK_CLOEXEC;
    let connection = socket::socket(family, SockType::Stream, flags, None)?;
    // The time limit for sending is also the one for connecting (socket(7)).
    let limit = i64::try_from(HTTP_MAX.as_secs()).unwrap_or(i64::MAX);
    let limit = TimeVal::new(limit, 0);
    socket::setsockopt(&connection, sockopt::SendTimeout, &limit)?;
    socket::setsockopt(&connection, sockopt::ReceiveTimeout, &limit)?;
    socket::setsockopt(&connection, sockopt::TcpNoDelay, &true)?;
    socket::bind(connection.as_raw_fd(), &SockaddrStorage::from(own))?;
    socket::connect(connection.as_raw_fd(), &SockaddrStorage::from(to))?;
    Ok(TcpStream::from(connection))
}

/// One request over a connection of its own.
pub fn get(net: &Net, host: Host, to: SocketAddr) -> Result<Answer, Error> {
    Connection::open(net, host, to)?.get_last()
}

/// Status and body, or `None` while bytes are missing.
fn read_answer(bytes: &[u8]) -> Result<Option<(u16, String)>, &'static str> {
    if bytes.len() > ANSWER_MAX_BYTES {
        return Err("it is longer than the lab's pages are");
    }
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "its head is not text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status.and_then(|word| word.parse().ok());
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    let status = status.ok_or("its first line has no status")?;
    let length = length.ok_or("it has no Content-Length")?;
    let body = &bytes[end + 4..];
    if body.len() < length {
        return Ok(None);
    }
    let body = String::from_utf8_lossy(&body[..length]).into_owned();
    Ok(Some((status, body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nrs1: and more";

    #[test]
    fn an_answer_is_whole_when_its_content_length_is_there_and_not_before() {
        let whole = ANSWER.len() - " and more".len() + 1;
        for cut in 0..whole {
            assert_eq!(read_answer(&ANSWER[..cut]).unwrap(), None, "at {cut}");
        }
        let answer = Some((200, "rs1: ".to_owned()));
        assert_eq!(read_answer(&ANSWER[..whole]).unwrap(), answer);
        assert_eq!(read_answer(ANSWER).unwrap(), answer);
    }

    #[test]
    fn an_answer_without_length_or_status_is_refused() {
        assert!(read_answer(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(read_answer(b"hello\r\ncontent-length: 0\r\n\r\n").is_err());
        assert!(read_answer(&vec![b'a'; ANSWER_MAX_BYTES + 1]).is_err());
    }

    #[test]
    fn only_a_good_page_names_its_server() {
        let answer = |status, body: &str| Answer {
            from: "192.0.2.1:1".parse().unwrap(),
            status,
            body: body.to_owned(),
        };
        assert_eq!(answer(200, "rs2: page").server(), Some(Host::Rs2));
        assert_eq!(answer(500, "rs2: page").server(), None);
        assert_eq!(answer(200, "client: page").server(), None);
        assert_eq!(answer(200, "").server(), None);
    }
}
