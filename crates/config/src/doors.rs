//! `[api]`: who may ask the daemon, besides those whom its socket lets in.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::mistake::{Place, Quoted, Reason};
use crate::notes::Notes;
use crate::schema::{self, Key};
use crate::section::{At, Section};

/// Who may ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Api {
    /// Whether every user of the host may read through the socket.
    pub everyone_reads: bool,
    /// An address to listen on, besides the socket.
    pub listen: Option<Listen>,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The address and port.
    pub address: SocketAddr,
    /// Certificate and key; without them it speaks plain HTTP, which only loopback may.
    pub tls: Option<TlsFiles>,
    /// Who has this token may change.
    pub token_file: Option<PathBuf>,
    /// Who has this token may read.
    pub read_token_file: Option<PathBuf>,
    /// Whether the web console is served there.
    pub console: bool,
}

/// Files in PEM format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate with those that lead to its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What can be wrong with `[api]`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence beside each variant says it")]
pub enum ApiFault {
    #[error(
        "\"{found}\" is no address with a port: write for example listen = \"192.0.2.1:8443\" or \"[::1]:8443\""
    )]
    Listen { found: Quoted },
    #[error(
        "{address} can be reached from other hosts, which plain HTTP would show every token: leave `tls` out and name certificate and key, or listen on 127.0.0.1"
    )]
    Plain { address: SocketAddr },
    #[error(
        "without `listen` nobody connects, so `{key}` means nothing: add listen = \"192.0.2.1:8443\""
    )]
    WithoutListen { key: &'static str },
    #[error("with tls = false there is no TLS, so `{key}` means nothing: leave one of the two out")]
    WithoutTls { key: &'static str },
    #[error(
        "without a token nobody could use {address}: add token_file = \"/etc/dirigo/token\", or read_token_file"
    )]
    NoToken { address: SocketAddr },
    #[error("\"{found}\" is no absolute path: begin it with a slash, as the daemon works in /")]
    Path { found: Quoted },
    #[error(
        "{address} is the service in {service}, whose clients are sent to real servers, so nobody would reach the API there: listen on another port, or on an address of the director's own"
    )]
    IsService { address: SocketAddr, service: Place },
}

const OF_LISTEN: [&Key; 6] = [
    &schema::API_TLS,
    &schema::API_CERTIFICATE,
    &schema::API_KEY,
    &schema::API_TOKEN_FILE,
    &schema::API_READ_TOKEN_FILE,
    &schema::API_CONSOLE,
];

/// The table, and where it says an address to listen on.
pub(crate) fn api(section: &Section<'_>, notes: &mut Notes<'_>) -> (Api, Option<At<SocketAddr>>) {
    let everyone_reads = section.flag(&schema::API_EVERYONE_READS, notes);
    let listen = listen(section, notes);
    let at = section.position(&schema::API_LISTEN);
    let place = listen.as_ref().zip(at);
    let place = place.map(|(listen, at)| At {
        at,
        value: listen.address,
    });
    let api = Api {
        everyone_reads: everyone_reads.unwrap_or(false),
        listen,
    };
    (api, place)
}

fn listen(section: &Section<'_>, notes: &mut Notes<'_>) -> Option<Listen> {
    if section.position(&schema::API_LISTEN).is_none() {
        for key in OF_LISTEN {
            if let Some(at) = section.position(key) {
                let fault = ApiFault::WithoutListen { key: key.name };
                notes.add(at, Reason::Api(fault));
            }
        }
        return None;
    }
    let text = section.string(&schema::API_LISTEN, notes);
    let address = text.and_then(|text| address(&text, notes));
    let token_file = path(section, &schema::API_TOKEN_FILE, notes);
    let read_token_file = path(section, &schema::API_READ_TOKEN_FILE, notes);
    let console = section.flag(&schema::API_CONSOLE, notes).unwrap_or(true);
    let has_tls = section.flag(&schema::API_TLS, notes).unwrap_or(true);
    let tls = match has_tls {
        true => tls(section, notes),
        false => {
            no_tls(section, address.as_ref(), notes);
            None
        }
    };
    let At { at, value: address } = address?;
    let has_token = [&schema::API_TOKEN_FILE, &schema::API_READ_TOKEN_FILE]
        .iter()
        .any(|key| section.position(key).is_some());
    if !has_token && !address.ip().is_loopback() {
        notes.add(at, Reason::Api(ApiFault::NoToken { address }));
    }
    Some(Listen {
        address,
        tls,
        token_file,
        read_token_file,
        console,
    })
}

fn address(text: &At<&str>, notes: &mut Notes<'_>) -> Option<At<SocketAddr>> {
    let good = text.value.parse().ok();
    let good = good.filter(|address: &SocketAddr| address.port() != 0);
    if good.is_none() {
        let found = text.value.into();
        notes.add(text.at, Reason::Api(ApiFault::Listen { found }));
    }
    let at = text.at;
    good.map(|value| At { at, value })
}

fn tls(section: &Section<'_>, notes: &mut Notes<'_>) -> Option<TlsFiles> {
    section.require(&schema::API_CERTIFICATE, notes);
    section.require(&schema::API_KEY, notes);
    let certificate = path(section, &schema::API_CERTIFICATE, notes);
    let key = path(section, &schema::API_KEY, notes);
    Some(TlsFiles {
        certificate: certificate?,
        key: key?,
    })
}

fn no_tls(section: &Section<'_>, address: Option<&At<SocketAddr>>, notes: &mut Notes<'_>) {
    if let Some(At { at, value: address }) = address
        && !address.ip().is_loopback()
    {
        let address = *address;
        notes.add(*at, Reason::Api(ApiFault::Plain { address }));
    }
    for key in [&schema::API_CERTIFICATE, &schema::API_KEY] {
        if let Some(at) = section.position(key) {
            let fault = ApiFault::WithoutTls { key: key.name };
            notes.add(at, Reason::Api(fault));
        }
    }
}

fn path(section: &Section<'_>, key: &Key, notes: &mut Notes<'_>) -> Option<PathBuf> {
    let text = section.string(key, notes)?;
    if !text.value.starts_with('/') {
        let found = text.value.into();
        notes.add(text.at, Reason::Api(ApiFault::Path { found }));
        return None;
    }
    Some(text.value.into())
}
