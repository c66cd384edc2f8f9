//! The API's socket: for root and the group, with a bound on open connections.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::Context as _;
use nix::sys::stat::{Mode, umask};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

use crate::access::{Credentials, GROUP, Peer};
use crate::files::Files;
use crate::limits;

/// A listening socket that lets in a limited number of connections at once; others wait in the
/// kernel.
pub(crate) struct Listener {
    listener: UnixListener,
    path: PathBuf,
    free: Arc<Semaphore>,
}

/// An open connection.
pub(crate) struct Connection {
    stream: UnixStream,
    _place: Option<OwnedSemaphorePermit>,
}

impl Listener {
    /// Replaces the socket of a dead daemon; the lock says that it is dead. Call it inside a
    /// runtime.
    pub(crate) fn bind(files: &Files, everyone_reads: bool) -> anyhow::Result<Self> {
        files.remove_socket()?;
        let path = files.socket();
        // Never open to others, not even for a moment. The mask is the whole process's: no other
        // thread makes files yet.
        let before = umask(Mode::from_bits_truncate(0o177));
        let bound = UnixListener::bind(&path);
        umask(before);
        let listener = bound.with_context(|| format!("listening on {}", path.display()))?;
        if let Some(group) = group()
            && let Err(error) = std::os::unix::fs::chown(&path, None, Some(group))
        {
            warn!(%error, group = GROUP, "the group gets no access to the socket");
        }
        let mode = if everyone_reads { 0o666 } else { 0o660 };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        Ok(Self {
            listener,
            path,
            free: Arc::new(Semaphore::new(limits::CONNECTIONS)),
        })
    }
}

impl axum::serve::Listener for Listener {
    type Io = Connection;
    type Addr = Peer;

    async fn accept(&mut self) -> (Connection, Peer) {
        // The semaphore is never closed.
        let place = Arc::clone(&self.free).acquire_owned().await.ok();
        let (stream, _unnamed) = axum::serve::Listener::accept(&mut self.listener).await;
        let peer = Peer::Local(credentials(&stream, &self.path));
        let connection = Connection {
            stream,
            _place: place,
        };
        (connection, peer)
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer::Local(None))
    }
}

/// The number of the group whose members may change, where it exists.
pub(crate) fn group() -> Option<u32> {
    let found = nix::unistd::Group::from_name(GROUP);
    found.ok().flatten().map(|group| group.gid.as_raw())
}

/// Who connected, as the kernel noted it then.
fn credentials(stream: &UnixStream, path: &Path) -> Option<Credentials> {
    let known = stream.peer_cred().and_then(|peer| {
        let mut groups = netlink::peer::groups(stream.as_fd())?;
        groups.push(peer.gid());
        let user = peer.uid();
        Ok(Credentials { user, groups })
    });
    known
        .inspect_err(|error| warn!(%error, socket = %path.display(), "who connects is not known"))
        .ok()
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream as Client;

    use super::*;

    #[tokio::test]
    async fn the_socket_is_for_root_and_its_group_and_lets_in_a_limited_number() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::within(folder.path(), "one");
        let mut listener = Listener::bind(&files, false).unwrap();
        let mode = std::fs::metadata(files.socket()).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o660);

        let mut clients = Vec::new();
        let mut open = Vec::new();
        for _ in 0..limits::CONNECTIONS {
            clients.push(Client::connect(files.socket()).unwrap());
            open.push(axum::serve::Listener::accept(&mut listener).await);
        }
        clients.push(Client::connect(files.socket()).unwrap());
        assert_eq!(listener.free.available_permits(), 0);
        {
            let mut next = Box::pin(axum::serve::Listener::accept(&mut listener));
            let waker = std::task::Waker::noop();
            let now = next.as_mut().poll(&mut Context::from_waker(waker));
            assert!(now.is_pending(), "one more than there may be");
            open.pop();
            next.await;
        }
    }
}
