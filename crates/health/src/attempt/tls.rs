//! TLS of a check: what is verified, and when.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::socket::{Connection, Ends};
use crate::check::{Tls, Trust};
use crate::reason::Reason;

/// The authorities of the machine, as Debian, Ubuntu and their relatives keep them.
const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";
const DAY: Duration = Duration::from_secs(86_400);

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));

/// Agrees on TLS over a connection.
pub(super) async fn agree(
    tls: &Tls,
    host: &str,
    connection: Connection,
    ends: &Ends<'_>,
) -> Result<TlsStream<Connection>, Reason> {
    ends.set_stage("agreeing on TLS");
    let name = tls.sni.as_deref().unwrap_or(host).to_owned();
    let name = ServerName::try_from(name.clone())
        .map_err(|_| Reason::Local(format!("{name} is no name for SNI: set sni")))?;
    let connector = TlsConnector::from(configured(tls)?);
    let agreed = connector.connect(name, connection).await;
    agreed.map_err(|error| why(&error, tls, ends))
}

fn why(error: &std::io::Error, tls: &Tls, ends: &Ends<'_>) -> Reason {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(rustls::CertificateError::Other(other)))
            if other.0.downcast_ref::<Soon>().is_some() =>
        {
            Reason::ExpiresSoon {
                days: tls.days_left.unwrap_or(0),
            }
        }
        Some(error) => Reason::Tls(error.to_string()),
        None => ends.failed(error),
    }
}

/// Configurations are made once: those of the machine's authorities are large.
fn configured(tls: &Tls) -> Result<Arc<ClientConfig>, Reason> {
    type Made = HashMap<(Option<PathBuf>, Option<SystemTime>, Option<u32>), Arc<ClientConfig>>;
    static MADE: LazyLock<Mutex<Made>> = LazyLock::new(Mutex::default);
    let file = match &tls.trust {
        Trust::Anybody => None,
        Trust::System => Some(PathBuf::from(SYSTEM)),
        Trust::File(file) => Some(file.clone()),
    };
    // A file that is replaced counts from the next attempt on.
    let changed = file.as_ref().and_then(|file| {
        let read = std::fs::metadata(file);
        read.and_then(|read| read.modified()).ok()
    });
    let key = (file.clone(), changed, tls.days_left);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(config) = made.get(&key) {
        return Ok(Arc::clone(config));
    }
    let config = Arc::new(make(file.as_ref(), tls.days_left)?);
    made.retain(|(other, _, days), _| (other, days) != (&key.0, &key.2));
    made.insert(key, Arc::clone(&config));
    Ok(config)
}

fn make(file: Option<&PathBuf>, days_left: Option<u32>) -> Result<ClientConfig, Reason> {
    let failed = |error: &dyn std::fmt::Display| Reason::Local(format!("TLS: {error}"));
    let inner = match file {
        None => None,
        Some(file) => {
            let read = |error: &dyn std::fmt::Display| {
                Reason::Local(format!(
                    "reading authorities from {}: {error}",
                    file.display()
                ))
            };
            let mut roots = RootCertStore::empty();
            let found = CertificateDer::pem_file_iter(file).map_err(|error| read(&error))?;
            let found: Result<Vec<_>, _> = found.collect();
            let (added, _odd) =
                roots.add_parsable_certificates(found.map_err(|error| read(&error))?);
            if added == 0 {
                return Err(read(&"no certificate in it"));
            }
            let provider = Arc::clone(&PROVIDER);
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
            Some(verifier.build().map_err(|error| failed(&error))?)
        }
    };
    let verifier = Verifier { inner, days_left };
    let config = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(config)
}

/// Verifies as of now, and once more as of the day until which a certificate must last.
#[derive(Debug)]
struct Verifier {
    /// None trusts anybody.
    inner: Option<Arc<WebPkiServerVerifier>>,
    days_left: Option<u32>,
}

/// It is good now, and not on that day.
#[derive(Debug, thiserror::Error)]
#[error("expires too soon")]
struct Soon;

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(inner) = &self.inner else {
            return Ok(ServerCertVerified::assertion());
        };
        let verify = |when| {
            inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, when)
        };
        let good = verify(now)?;
        if let Some(days) = self.days_left {
            let then = Duration::from_secs(now.as_secs()) + DAY * days;
            let soon = rustls::OtherError(Arc::new(Soon));
            verify(UnixTime::since_unix_epoch(then))
                .map_err(|_| Error::InvalidCertificate(rustls::CertificateError::Other(soon)))?;
        }
        Ok(good)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &PROVIDER.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &PROVIDER.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER
            .signature_verification_algorithms
            .supported_schemes()
    }
}
