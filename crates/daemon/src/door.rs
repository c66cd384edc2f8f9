//! The API over TCP, for other hosts, browsers and Prometheus.
//!
//! ```text
//! open (before anything else) ─► files read, address bound
//! serve ─► accept ─► TLS handshake, each in a task of its own ─► connection with a deadline
//! ```
//!
//! It has places of its own: whoever holds them all holds up nobody on the Unix socket. Somebody who
//! says nothing for a while loses the place.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::{Context as _, ensure};
use config::{Listen, TlsFiles};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info};

use crate::access::{Peer, Shared, Token, Tokens};
use crate::limits;

/// What is open before the daemon does anything.
pub(crate) struct Door {
    listener: std::net::TcpListener,
    keys: Keys,
    /// Whether the web console is served, too.
    pub(crate) console: bool,
}

/// What is read from the files that `[api]` names. Clones are the same ones.
#[derive(Clone)]
pub(crate) struct Keys {
    /// None for plain HTTP, for good.
    tls: Option<Shared<ServerConfig>>,
    pub(crate) tokens: Shared<Tokens>,
}

/// Reads the files and binds the address; nothing is answered yet.
pub(crate) fn open(listen: &Listen) -> anyhow::Result<Door> {
    let (tls, tokens) = read(listen)?;
    let keys = Keys {
        tls: tls.map(Shared::new),
        tokens: Shared::new(tokens),
    };
    let address = listen.address;
    let listener = std::net::TcpListener::bind(address)
        .with_context(|| format!("listening on {address}, the `listen` of [api]"))?;
    listener.set_nonblocking(true)?;
    Ok(Door {
        listener,
        keys,
        console: listen.console,
    })
}

impl Keys {
    /// Reads the files again: all of them count from now on, or, when one is wrong, none does. Who is connected stays
    /// so; each request is compared with the new tokens.
    pub(crate) fn renew(&self, listen: &Listen) -> anyhow::Result<()> {
        let (tls, tokens) = read(listen)?;
        if let (Some(shared), Some(tls)) = (&self.tls, tls) {
            shared.set(tls);
        }
        self.tokens.set(tokens);
        Ok(())
    }
}

fn read(listen: &Listen) -> anyhow::Result<(Option<ServerConfig>, Tokens)> {
    let token = |file: &Option<std::path::PathBuf>| file.as_deref().map(token).transpose();
    let (change, read) = (token(&listen.token_file)?, token(&listen.read_token_file)?);
    let tokens = Tokens {
        is_open: listen.address.ip().is_loopback() && read.is_none(),
        change,
        read,
    };
    Ok((listen.tls.as_ref().map(tls).transpose()?, tokens))
}

fn tls(files: &TlsFiles) -> anyhow::Result<ServerConfig> {
    private(&files.key)?;
    let name = files.certificate.display();
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.with_context(|| format!("reading the certificate {name}"))?;
    ensure!(
        !chain.is_empty(),
        "there is no certificate in {name}: it must be in PEM format"
    );
    let key = PrivateKeyDer::from_pem_file(&files.key).with_context(|| {
        format!(
            "reading the private key {}, which must be in PEM format",
            files.key.display()
        )
    })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| {
            let key = files.key.display();
            format!("using the certificate {name} with the key {key}")
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// A token: the file's first line.
fn token(file: &Path) -> anyhow::Result<Token> {
    private(file)?;
    let name = file.display();
    let text =
        std::fs::read_to_string(file).with_context(|| format!("reading the token {name}"))?;
    let text = text.trim();
    let is_word = text.bytes().all(|byte| byte.is_ascii_graphic());
    ensure!(
        is_word && (limits::TOKEN_BYTES).contains(&text.len()),
        "the token in {name} must be one word of {} to {} ASCII characters: make one with \
         `openssl rand -hex 32 > {name}`",
        limits::TOKEN_BYTES.start(),
        limits::TOKEN_BYTES.end()
    );
    Ok(Token::of(text.as_bytes()))
}

/// Refuses a secret that everybody can read.
fn private(file: &Path) -> anyhow::Result<()> {
    let name = file.display();
    let about = std::fs::metadata(file).with_context(|| format!("looking at {name}"))?;
    let mode = about.permissions().mode() & 0o777;
    ensure!(
        mode & 0o027 == 0,
        "{name} is a secret and has mode {mode:04o}, so that others can read or its group can \
         write it: chmod 600 {name}"
    );
    Ok(())
}

/// Connections that are ready to be answered.
pub(crate) struct Listener {
    ready: mpsc::Receiver<(Connection, Peer)>,
}

impl Door {
    pub(crate) fn keys(&self) -> Keys {
        self.keys.clone()
    }

    /// Begins to let in. Call it inside a runtime.
    pub(crate) fn serve(self) -> anyhow::Result<Listener> {
        let address = self.listener.local_addr()?;
        let listener = TcpListener::from_std(self.listener)?;
        let tls = self.keys.tls;
        info!(%address, tls = tls.is_some(), "listening");
        let (sender, ready) = mpsc::channel(1);
        tokio::spawn(let_in(listener, tls, sender));
        Ok(Listener { ready })
    }
}

async fn let_in(
    mut listener: TcpListener,
    tls: Option<Shared<ServerConfig>>,
    ready: mpsc::Sender<(Connection, Peer)>,
) {
    let free = Arc::new(Semaphore::new(limits::CONNECTIONS));
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&free).acquire_owned().await {
        let accepted = axum::serve::Listener::accept(&mut listener);
        let (stream, from) = tokio::select! {
            accepted = accepted => accepted,
            () = ready.closed() => return,
        };
        let tls = tls.as_ref().map(|tls| TlsAcceptor::from(tls.get()));
        let ready = ready.clone();
        tokio::spawn(async move {
            let stream: Box<dyn Stream> = match tls {
                None => Box::new(stream),
                Some(tls) => match timeout(limits::HANDSHAKE, tls.accept(stream)).await {
                    Ok(Ok(stream)) => Box::new(stream),
                    Ok(Err(error)) => return debug!(%from, %error, "no TLS"),
                    Err(_) => return debug!(%from, "no TLS in time"),
                },
            };
            let connection = Connection {
                stream,
                deadline: Box::pin(sleep(limits::SILENCE)),
                _place: place,
            };
            let _ended = ready.send((connection, Peer::Remote)).await;
        });
    }
}

impl axum::serve::Listener for Listener {
    type Io = Connection;
    type Addr = Peer;

    async fn accept(&mut self) -> (Connection, Peer) {
        match self.ready.recv().await {
            Some(ready) => ready,
            // The task that lets in ends only after us.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer::Remote)
    }
}

/// Plain or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// An open connection.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    deadline: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// What came of trying; a silence that is too long is an error.
    fn heard<T>(
        &mut self,
        context: &mut Context<'_>,
        tried: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if tried.is_ready() {
            let next = Instant::now() + limits::SILENCE;
            self.deadline.as_mut().reset(next);
            return tried;
        }
        match self.deadline.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let tried = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.heard(context, tried)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.heard(context, tried)
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
    use std::path::PathBuf;

    use super::*;

    fn file(folder: &tempfile::TempDir, text: &str, mode: u32) -> PathBuf {
        let file = folder.path().join(format!("{mode:o}"));
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let good = "0123456789abcdef\n";
        for (mode, is_good) in [(0o600, true), (0o640, true), (0o644, false), (0o660, false)] {
            let file = file(&folder, good, mode);
            let token = token(&file);
            assert_eq!(token.is_ok(), is_good, "{mode:o}");
            if let Err(error) = token {
                assert!(error.to_string().contains("chmod 600"), "{error}");
            }
        }
    }

    #[test]
    fn a_token_that_could_be_guessed_or_not_be_sent_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["short", "two words of a token", ""] {
            let file = file(&folder, text, 0o600);
            let Err(error) = token(&file) else {
                panic!("{text:?} is taken for a token")
            };
            assert!(error.to_string().contains("openssl rand"), "{error}");
        }
    }
}
