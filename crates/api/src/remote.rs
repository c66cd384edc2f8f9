//! A daemon of another host, or of this one by TCP.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where Debian and its kin keep the authorities of the machine.
const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";

/// How a daemon is reached over TCP.
#[derive(Clone, Debug)]
pub struct Remote {
    url: String,
    host: String,
    port: u16,
    /// What a webhook's requests ask for.
    route: String,
    tls: Option<Arc<ClientConfig>>,
    token: Option<HeaderValue>,
}

/// Why there is no way to a daemon.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// No address.
    #[error("{url:?} is no address of a daemon: write for example https://192.0.2.1:8443")]
    Url {
        /// What was given.
        url: String,
    },
    /// A token in the clear.
    #[error(
        "{url} is another host's and not https, so everybody on the way would read the token: write https"
    )]
    Clear {
        /// What was given.
        url: String,
    },
    /// A file that cannot be read.
    #[error("{what} {} cannot be used: {problem}", file.display())]
    File {
        /// What it is.
        what: &'static str,
        /// Which.
        file: PathBuf,
        /// Why.
        problem: String,
    },
}

/// Bytes in both directions.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<W: AsyncRead + AsyncWrite + Send + Unpin> Wire for W {}

impl Remote {
    /// A daemon at a URL, with the token in a file, trusting the authorities in another; without that,
    /// those of the machine.
    ///
    /// # Errors
    ///
    /// When one of them cannot be used.
    pub fn new(url: &str, token: Option<&Path>, trust: Option<&Path>) -> Result<Self, RemoteError> {
        let uri = parsed(url).filter(|uri| matches!(uri.path(), "" | "/") && uri.query().is_none());
        Self::at(uri, url, token, trust)
    }

    /// Something that takes requests by [`Remote::post`]; its URL may go on behind the host.
    ///
    /// # Errors
    ///
    /// When one of them cannot be used.
    pub fn webhook(
        url: &str,
        token: Option<&Path>,
        trust: Option<&Path>,
    ) -> Result<Self, RemoteError> {
        Self::at(parsed(url), url, token, trust)
    }

    /// Whether this is the URL of something that can be reached.
    #[must_use]
    pub fn is_url(url: &str) -> bool {
        parsed(url).is_some()
    }

    fn at(
        uri: Option<Uri>,
        url: &str,
        token: Option<&Path>,
        trust: Option<&Path>,
    ) -> Result<Self, RemoteError> {
        let wrong = || RemoteError::Url {
            url: url.to_owned(),
        };
        let uri = uri.ok_or_else(wrong)?;
        let is_tls = uri.scheme_str() == Some("https");
        let host = uri.host().ok_or_else(wrong)?.trim_matches(['[', ']']);
        let address: Option<IpAddr> = host.parse().ok();
        let is_here = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        if !is_tls && !is_here && token.is_some() {
            let url = url.to_owned();
            return Err(RemoteError::Clear { url });
        }
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            host: host.to_owned(),
            route: uri
                .path_and_query()
                .map_or("/", |route| route.as_str())
                .to_owned(),
            port: uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            tls: is_tls.then(|| trusting(trust)).transpose()?,
            token: token.map(bearer).transpose()?,
        })
    }

    /// The URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What a request says of its host.
    pub(crate) fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// What a request says to be let in.
    pub(crate) fn token(&self) -> Option<HeaderValue> {
        self.token.clone()
    }

    /// Sends JSON, and says what was answered. Call it inside a runtime.
    ///
    /// # Errors
    ///
    /// When the other side cannot be reached or does not speak HTTP.
    pub async fn post(&self, json: Bytes) -> std::io::Result<StatusCode> {
        let stream = TokioIo::new(self.connect().await?);
        let begun = hyper::client::conn::http1::handshake(stream).await;
        let (mut sender, connection) = begun.map_err(std::io::Error::other)?;
        // Its errors reach us through the request; it ends with the answer.
        tokio::spawn(connection);
        let mut request = Request::post(&self.route)
            .header(header::HOST, self.authority())
            .header(header::USER_AGENT, "dirigo")
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = self.token() {
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request
            .body(Full::new(json))
            .map_err(std::io::Error::other)?;
        let answer = sender.send_request(request).await;
        Ok(answer.map_err(std::io::Error::other)?.status())
    }

    pub(crate) async fn connect(&self) -> std::io::Result<Box<dyn Wire>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let name = ServerName::try_from(self.host.clone()).map_err(std::io::Error::other)?;
        let connector = TlsConnector::from(Arc::clone(tls));
        Ok(Box::new(connector.connect(name, stream).await?))
    }
}

fn parsed(url: &str) -> Option<Uri> {
    let uri: Uri = url.parse().ok()?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    (is_http && uri.host().is_some_and(|host| !host.is_empty())).then_some(uri)
}

fn trusting(file: Option<&Path>) -> Result<Arc<ClientConfig>, RemoteError> {
    let file = file.unwrap_or(Path::new(SYSTEM));
    let failed = |problem: String| RemoteError::File {
        what: "the file of authorities",
        file: file.to_owned(),
        problem,
    };
    let found = CertificateDer::pem_file_iter(file).map_err(|error| failed(error.to_string()))?;
    let found: Result<Vec<_>, _> = found.collect();
    let found = found.map_err(|error| failed(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    let (added, _odd) = roots.add_parsable_certificates(found);
    if added == 0 {
        return Err(failed("there is no certificate in it".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn bearer(file: &Path) -> Result<HeaderValue, RemoteError> {
    let failed = |problem: String| RemoteError::File {
        what: "the token",
        file: file.to_owned(),
        problem,
    };
    let text = std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
    let value = HeaderValue::try_from(format!("Bearer {}", text.trim()));
    let mut value = value.map_err(|error| failed(error.to_string()))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_daemons_address_is_refused_with_one_that_would_be() {
        for url in [
            "192.0.2.1:8443",
            "ftp://192.0.2.1",
            "https://",
            "http://127.0.0.1:80/v1",
            "http://127.0.0.1?x",
            "",
        ] {
            let error = Remote::new(url, None, None).unwrap_err();
            assert!(
                error.to_string().contains("https://192.0.2.1:8443"),
                "{url}"
            );
        }
    }

    #[test]
    fn a_token_is_not_sent_in_the_clear_to_another_host() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        let token = Some(file.path());
        let error = Remote::new("http://192.0.2.1:80", token, None).unwrap_err();
        assert!(matches!(error, RemoteError::Clear { .. }));
        for url in [
            "http://127.0.0.1:80",
            "http://[::1]:80/",
            "http://localhost:80",
        ] {
            let remote = Remote::new(url, token, None).unwrap();
            assert_eq!(remote.token().unwrap(), "Bearer 0123456789abcdef");
        }
        let six = Remote::new("http://[::1]:80", None, None).unwrap();
        assert_eq!(six.authority(), "[::1]:80");
    }
}
