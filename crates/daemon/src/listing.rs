//! The list of connections: chosen here, written in pieces, read while packets flow.
//!
//! ```text
//! mapping ─► slot by slot ─► conditions ─► JSON line ─► 64 KiB piece ─► channel of 4 ─► socket
//! ```
//!
//! A listing has a thread of its own and holds nothing that the data path or the actor wait for: it
//! reads the mapped table word by word, and of the actor it asks once for addresses and numbers. A slow
//! reader holds up its own listing only, a gone one ends it; in memory are a few pieces, however large
//! the table is.
//!
//! It never sorts: that would be to hold the table twice.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll};

use api::{ConnectionQuery, Protocol, Refusal, RefusalCode};
use axum::body::Bytes;
use hyper::body::Frame;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::limits;
use crate::message::Connections;

/// Begins a listing.
///
/// # Errors
///
/// When the query names a service that does not exist.
pub(crate) fn start(
    query: &ConnectionQuery,
    connections: Connections,
    permit: OwnedSemaphorePermit,
) -> Result<Chunks, Refusal> {
    let wanted = Wanted::new(query, &connections)?;
    let (sender, receiver) = mpsc::channel(limits::LISTING_CHUNKS);
    tokio::task::spawn_blocking(move || {
        list(&connections, &wanted, &sender);
        drop(permit);
    });
    Ok(Chunks::of(receiver))
}

/// [`api::Connection`] before it is text.
#[derive(Serialize)]
struct Line {
    protocol: Option<Protocol>,
    client: SocketAddr,
    virtual_address: SocketAddr,
    destination: SocketAddr,
    state: &'static str,
    expires_s: u64,
}

/// Writes what is wanted as lines, in pieces, until done or the reader has gone.
fn list(connections: &Connections, wanted: &Wanted, sender: &mpsc::Sender<Bytes>) {
    let mut left = wanted.limit;
    if left == 0 {
        return;
    }
    let room = limits::LISTING_CHUNK_BYTES + limits::LISTING_LINE_BYTES;
    let mut chunk = Vec::with_capacity(room);
    (connections.listing)(&mut |found| {
        let Some(line) = line(connections, &found).filter(|line| wanted.has(&found, line)) else {
            return ControlFlow::Continue(());
        };
        // Into memory, and every part has a JSON form: this cannot fail.
        if serde_json::to_writer(&mut chunk, &line).is_ok() {
            chunk.push(b'\n');
        }
        left -= 1;
        let is_last = left == 0;
        if chunk.len() < limits::LISTING_CHUNK_BYTES && !is_last {
            return ControlFlow::Continue(());
        }
        let full = std::mem::replace(&mut chunk, Vec::with_capacity(room));
        match (sender.blocking_send(full.into()), is_last) {
            (Ok(()), false) => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    });
    if !chunk.is_empty() {
        let _gone = sender.blocking_send(chunk.into());
    }
}

/// A connection to a destination made since the listing began has no address here; the next
/// listing shows it.
fn line(connections: &Connections, found: &dataplane::Connection) -> Option<Line> {
    let mut destination = *connections.addresses.get(&found.destination)?;
    // One of a service of every port has the port of the packet.
    if destination.port() == 0 {
        destination.set_port(found.virtual_address.port());
    }
    Some(Line {
        protocol: Protocol::of_number(found.protocol),
        client: found.client,
        virtual_address: found.virtual_address,
        destination,
        state: found.state,
        expires_s: found.expires_s,
    })
}

/// A query, with a service's number for its name.
struct Wanted {
    query: ConnectionQuery,
    service: Option<u32>,
    limit: u64,
}

impl Wanted {
    fn new(query: &ConnectionQuery, connections: &Connections) -> Result<Self, Refusal> {
        let number = |key| {
            let mut services = connections.services.iter();
            let known = services.find(|(_, known)| *known == key);
            known.map(|(number, _)| *number).ok_or_else(|| Refusal {
                code: RefusalCode::NoSuchService,
                message: format!("there is no virtual service {key}: dirigo services lists them"),
            })
        };
        Ok(Self {
            service: query.service.as_ref().map(number).transpose()?,
            limit: query.limit.unwrap_or(u64::MAX),
            query: query.clone(),
        })
    }

    fn has(&self, found: &dataplane::Connection, line: &Line) -> bool {
        let query = &self.query;
        self.service.is_none_or(|service| service == found.service)
            && query.protocol.is_none_or(|one| Some(one) == line.protocol)
            && (query.client).is_none_or(|network| network.contains(line.client.ip()))
            && (query.destination).is_none_or(|one| one.matches(line.destination))
            && (query.state.as_deref()).is_none_or(|state| state.eq_ignore_ascii_case(line.state))
    }
}

/// Pieces of an answer, as they are made.
pub(crate) struct Chunks(mpsc::Receiver<Bytes>);

impl Chunks {
    /// What comes out of a channel.
    pub(crate) fn of(receiver: mpsc::Receiver<Bytes>) -> Self {
        Self(receiver)
    }
}

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0
            .poll_recv(context)
            .map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes))))
    }
}
