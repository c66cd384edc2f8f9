//! Who may read and who may change.
//!
//! ```text
//! Unix socket ─► user and groups of the peer ──┐
//! TCP ─────────► token, constant in its time ──┴─► nothing, read, change ─► the route's need
//! ```
//!
//! You may rely on it: every route goes through [`guard`], and one that is not said to be harmless needs
//! the right to change. What a browser sends on behalf of another site changes nothing.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use api::{Access, Refusal, RefusalCode};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use data_encoding::BASE64;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The group whose members may change.
pub(crate) const GROUP: &str = "dirigo";

/// Who is at the other end.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    /// A process of this host, as the kernel knows it; none if the kernel would not say.
    Local(Option<Credentials>),
    /// Somebody on the network.
    Remote,
}

/// A process's user, and all its groups.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) user: u32,
    pub(crate) groups: Vec<u32>,
}

impl Connected<IncomingStream<'_, crate::socket::Listener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, crate::socket::Listener>) -> Self {
        stream.remote_addr().clone()
    }
}

impl Connected<IncomingStream<'_, crate::door::Listener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, crate::door::Listener>) -> Self {
        stream.remote_addr().clone()
    }
}

/// A token, as what is compared: of one length, and useless to whoever reads our memory.
#[derive(Clone)]
pub(crate) struct Token([u8; 32]);

impl Token {
    pub(crate) fn of(text: &[u8]) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// Takes as long for every other token.
    fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// What lets in over TCP.
#[derive(Clone, Default)]
pub(crate) struct Tokens {
    /// For those who change.
    pub(crate) change: Option<Token>,
    /// For those who read.
    pub(crate) read: Option<Token>,
    /// Whether reading needs none: on loopback without a token for it.
    pub(crate) is_open: bool,
}

/// What is exchanged as a whole while it is used.
#[derive(Default)]
pub(crate) struct Shared<T>(Arc<RwLock<Arc<T>>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(value))))
    }

    pub(crate) fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
    }

    /// Takes what another holds.
    pub(crate) fn put(&self, other: &Self) {
        let value = other.get();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = value;
    }
}

/// What is asked of each request.
pub(crate) struct Guard {
    /// Number of [`GROUP`], where it exists.
    pub(crate) group: Option<u32>,
    /// The daemon's own user.
    pub(crate) own: u32,
    /// What a request is compared with. Another one may come with every apply.
    pub(crate) tokens: Shared<Tokens>,
    /// Paths that change nothing though they are asked by POST.
    pub(crate) harmless: HashSet<&'static str>,
}

/// Why a request is not answered.
#[derive(Debug, PartialEq, Eq)]
enum Denied {
    /// Another token, or one at all, would do.
    Token(&'static str),
    /// Nothing the asker can send would do.
    Never(String),
}

/// Answers what is not permitted itself, and hands everything else on.
pub(crate) async fn guard(
    State(guard): State<Arc<Guard>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD)
        || guard.harmless.contains(request.uri().path());
    let need = match reads {
        true => Access::Read,
        false => Access::Change,
    };
    match guard.access(&peer, request.headers(), need) {
        Ok(access) => {
            request.extensions_mut().insert(access);
            next.run(request).await
        }
        Err(denied) => denied.into_response(),
    }
}

/// Lets nobody read answers by way of a page of another site, nor take them for what they are not.
pub(crate) async fn for_ourselves(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Answers for the files of the web console, which hold no secret: they need no token, and change nothing.
pub(crate) async fn guard_pages(
    State(guard): State<Arc<Guard>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let is_reading = matches!(*request.method(), Method::GET | Method::HEAD);
    let is_near = match (&peer, guard.tokens.get().is_open) {
        (Peer::Remote, true) => only_this_host(request.headers()),
        _ => Ok(()),
    };
    match (is_reading, is_near) {
        (false, _) => {
            let code = RefusalCode::BadRequest;
            let message = "the console's files are read by GET".to_owned();
            let allow = [(header::ALLOW, "GET, HEAD")];
            let refusal = axum::Json(Refusal { code, message });
            (StatusCode::METHOD_NOT_ALLOWED, allow, refusal).into_response()
        }
        (true, Err(denied)) => denied.into_response(),
        (true, Ok(())) => next.run(request).await,
    }
}

impl Guard {
    fn access(&self, peer: &Peer, headers: &HeaderMap, need: Access) -> Result<Access, Denied> {
        match peer {
            Peer::Local(credentials) => self.local(credentials.as_ref(), need),
            Peer::Remote => self.remote(headers, need),
        }
    }

    fn local(&self, credentials: Option<&Credentials>, need: Access) -> Result<Access, Denied> {
        let user = credentials.map(|one| one.user);
        let is_root = user.is_some_and(|user| user == 0 || user == self.own);
        let is_member = credentials
            .zip(self.group)
            .is_some_and(|(one, group)| one.groups.contains(&group));
        if is_root || is_member {
            return Ok(Access::Change);
        }
        if need == Access::Read {
            return Ok(Access::Read);
        }
        let user = user.map_or_else(|| "unknown".to_owned(), |user| user.to_string());
        Err(Denied::Never(format!(
            "user {user} may read but not change: become root, or a member of the group {GROUP}{}",
            match self.group {
                Some(_) => "",
                None => ", which does not exist here",
            }
        )))
    }

    fn remote(&self, headers: &HeaderMap, need: Access) -> Result<Access, Denied> {
        let access = match token(headers) {
            Some(token) => self.of_token(&token)?,
            None if self.tokens.get().is_open => {
                only_this_host(headers)?;
                only_own_pages(headers)?;
                Access::Read
            }
            None => {
                return Err(Denied::Token(
                    "a token is needed: send it as Authorization: Bearer TOKEN",
                ));
            }
        };
        if need == Access::Read {
            return Ok(access);
        }
        if access == Access::Read {
            return Err(Denied::Token(
                "reading is permitted, changing is not: it needs the token of token_file",
            ));
        }
        same_site(headers)?;
        Ok(access)
    }

    fn of_token(&self, found: &Token) -> Result<Access, Denied> {
        let is = |token: &Option<Token>| token.as_ref().is_some_and(|token| token.is(found));
        // Both are compared, whatever the first one says.
        let tokens = self.tokens.get();
        match (is(&tokens.change), is(&tokens.read)) {
            (true, _) => Ok(Access::Change),
            (false, true) => Ok(Access::Read),
            (false, false) => Err(Denied::Token("this is not the token")),
        }
    }
}

/// `Bearer TOKEN`, or what browsers can: `Basic`, with any user and the token for a password.
fn token(headers: &HeaderMap) -> Option<Token> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let scheme = value.split(|byte| *byte == b' ').next()?;
    let rest = value.get(scheme.len() + 1..).unwrap_or_default();
    if scheme.eq_ignore_ascii_case(b"basic") {
        let pair = BASE64.decode(rest.trim_ascii()).unwrap_or_default();
        let colon = pair.iter().position(|byte| *byte == b':');
        let password = colon.and_then(|colon| pair.get(colon + 1..));
        return Some(Token::of(password.unwrap_or_default()));
    }
    Some(Token::of(rest.trim_ascii()))
}

/// A name that another site's owner lets point here is not believed: its pages would read.
fn only_this_host(headers: &HeaderMap) -> Result<(), Denied> {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let authority = host.and_then(|host| host.parse::<axum::http::uri::Authority>().ok());
    let is_here = authority.is_some_and(|authority| {
        let name = authority.host().trim_matches(['[', ']']);
        let address: Option<IpAddr> = name.parse().ok();
        name == "localhost" || address.is_some_and(|address| address.is_loopback())
    });
    is_here.then_some(()).ok_or(Denied::Token(
        "without a token only a host name of loopback is answered: ask 127.0.0.1 or localhost",
    ))
}

/// A browser says of which page a request is; one of another site has no use for an open door, not even to keep
/// our streams busy. What is typed into the address bar comes from none.
fn only_own_pages(headers: &HeaderMap) -> Result<(), Denied> {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    match site {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => Err(Denied::Never(
            "the request comes from a page of another site, which may not read without a token"
                .to_owned(),
        )),
    }
}

/// A browser adds what it knows of passwords also when another site has it ask; it says which.
fn same_site(headers: &HeaderMap) -> Result<(), Denied> {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return Ok(());
    };
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let origin = origin.as_bytes();
    let from = origin
        .strip_prefix(b"https://")
        .or_else(|| origin.strip_prefix(b"http://"));
    match from.is_some() && from == host {
        true => Ok(()),
        false => Err(Denied::Never(
            "the request comes from a page of another site, which may not change anything"
                .to_owned(),
        )),
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Self::Token(message) => (StatusCode::UNAUTHORIZED, message.to_owned()),
            Self::Never(message) => (StatusCode::FORBIDDEN, message),
        };
        let code = RefusalCode::NotPermitted;
        let refusal = axum::Json(Refusal { code, message });
        let ask = [(header::WWW_AUTHENTICATE, "Basic realm=\"dirigo\"")];
        match status {
            StatusCode::UNAUTHORIZED => (status, ask, refusal).into_response(),
            _ => (status, refusal).into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(is_open: bool) -> Guard {
        Guard {
            group: Some(77),
            own: 0,
            tokens: Shared::new(Tokens {
                change: Some(Token::of(b"may-change-all")),
                read: Some(Token::of(b"may-read-all")),
                is_open,
            }),
            harmless: HashSet::new(),
        }
    }

    fn headers(of: &[(header::HeaderName, &str)]) -> HeaderMap {
        let of = of.iter();
        of.map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect()
    }

    fn remote(is_open: bool, of: &[(header::HeaderName, &str)], need: Access) -> Option<Access> {
        let peer = Peer::Remote;
        guard(is_open).access(&peer, &headers(of), need).ok()
    }

    #[test]
    fn a_token_lets_in_as_far_as_it_goes_and_another_one_not_at_all() {
        let basic = format!("Basic {}", BASE64.encode(b"anybody:may-change-all"));
        for (value, reads, changes) in [
            ("Bearer may-change-all", Some(Access::Change), true),
            ("bearer may-change-all", Some(Access::Change), true),
            (&*basic, Some(Access::Change), true),
            ("Bearer may-read-all", Some(Access::Read), false),
            ("Bearer may-change-al", None, false),
            ("Bearer", None, false),
            ("Basic ????", None, false),
            ("Basic YQ==", None, false),
        ] {
            for is_open in [false, true] {
                let of = [(header::AUTHORIZATION, value)];
                assert_eq!(remote(is_open, &of, Access::Read), reads, "{value}");
                let change = remote(is_open, &of, Access::Change);
                assert_eq!(change.is_some(), changes, "{value}");
            }
        }
        assert_eq!(remote(false, &[], Access::Read), None);
    }

    #[test]
    fn an_open_door_is_for_reading_and_for_names_of_this_host() {
        for (host, reads) in [
            ("127.0.0.1:8080", true),
            ("[::1]:8080", true),
            ("localhost", true),
            ("evil.example", false),
            ("192.0.2.1:8080", false),
        ] {
            let of = [(header::HOST, host)];
            assert_eq!(remote(true, &of, Access::Read).is_some(), reads, "{host}");
            assert_eq!(remote(true, &of, Access::Change), None);
        }
        assert_eq!(remote(true, &[], Access::Read), None);
    }

    #[test]
    fn an_open_door_is_not_for_pages_of_other_sites() {
        for (site, reads) in [
            ("none", true),
            ("same-origin", true),
            ("same-site", false),
            ("cross-site", false),
        ] {
            let site_name = header::HeaderName::from_static("sec-fetch-site");
            let of = [(header::HOST, "127.0.0.1:8080"), (site_name, site)];
            assert_eq!(remote(true, &of, Access::Read).is_some(), reads, "{site}");
        }
    }

    #[test]
    fn a_page_of_another_site_changes_nothing_with_a_password_that_the_browser_remembers() {
        for (origin, changes) in [
            ("https://lvs.example:8443", true),
            ("https://evil.example", false),
            ("null", false),
        ] {
            let of = [
                (header::AUTHORIZATION, "Bearer may-change-all"),
                (header::HOST, "lvs.example:8443"),
                (header::ORIGIN, origin),
            ];
            let change = remote(false, &of, Access::Change);
            assert_eq!(change.is_some(), changes, "{origin}");
            assert!(remote(false, &of, Access::Read).is_some());
        }
    }

    #[test]
    fn on_the_socket_root_and_members_change_and_others_read() {
        for (user, groups, changes) in [
            (0, vec![], true),
            (1000, vec![1000, 77], true),
            (1000, vec![1000, 0], false),
        ] {
            let peer = Peer::Local(Some(Credentials { user, groups }));
            let access = |need| guard(false).access(&peer, &HeaderMap::new(), need);
            assert!(access(Access::Read).is_ok());
            assert_eq!(access(Access::Change).is_ok(), changes, "{user}");
        }
        let nobody = Peer::Local(None);
        let change = guard(false).access(&nobody, &HeaderMap::new(), Access::Change);
        assert!(change.is_err());
    }
}
