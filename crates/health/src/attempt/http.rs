//! A page by HTTP/1.1, with or without TLS.

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use md5::{Digest, Md5};
use tokio::io::{AsyncRead, AsyncWrite};

use super::socket::Ends;
use super::tls;
use crate::check::Http;
use crate::limits;
use crate::reason::Reason;

pub(super) async fn ask(http: &Http, ends: &Ends<'_>) -> Result<(), Reason> {
    let connection = ends.connect().await?;
    let host = http.host.clone().unwrap_or_else(|| ends.to().to_string());
    match &http.tls {
        None => talk(http, &host, connection, ends).await,
        Some(wanted) => {
            let name = without_port(&host);
            let secure = tls::agree(wanted, name, connection, ends).await?;
            talk(http, &host, secure, ends).await
        }
    }
}

async fn talk<S>(http: &Http, host: &str, stream: S, ends: &Ends<'_>) -> Result<(), Reason>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    ends.set_stage("waiting for the answer to the request");
    let request = Request::builder()
        .method(http.method.as_str())
        .uri(http.path.as_str())
        .header("host", host)
        .header("user-agent", concat!("dirigo/", env!("CARGO_PKG_VERSION")))
        .header("accept", "*/*")
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Reason::Local(format!("this is no request: {error}")))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error, ends))?;
    let exchange = async {
        let response = sender.send_request(request).await;
        let response = response.map_err(|error| failed(&error, ends))?;
        judge(http, response, ends).await
    };
    // The connection is driven here, not by a task of its own, and ends with the exchange.
    tokio::pin!(connection);
    tokio::pin!(exchange);
    let mut driven = false;
    loop {
        tokio::select! {
            biased;
            done = &mut exchange => return done,
            _ended = &mut connection, if !driven => driven = true,
        }
    }
}

async fn judge(http: &Http, response: Response<Incoming>, ends: &Ends<'_>) -> Result<(), Reason> {
    let status = response.status().as_u16();
    if !http.statuses.contain(status) {
        return Err(Reason::Status {
            found: status,
            wanted: http.statuses.to_string(),
        });
    }
    if http.body.is_none() && http.digest.is_none() {
        return Ok(());
    }
    ends.set_stage("reading the body");
    let body = read(response.into_body(), ends).await?;
    if let Some(pattern) = &http.body
        && !pattern.is_match(&body)
    {
        return Err(Reason::Body {
            pattern: pattern.to_string(),
            bytes: body.len(),
        });
    }
    let found: [u8; 16] = Md5::digest(&body).into();
    match http.digest {
        Some(wanted) if wanted != found => Err(Reason::Digest {
            found: hexadecimal(&found),
            wanted: hexadecimal(&wanted),
        }),
        _ => Ok(()),
    }
}

/// The body, of which the first [`limits::BODY_BYTES`] count.
async fn read(mut body: Incoming, ends: &Ends<'_>) -> Result<Vec<u8>, Reason> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| failed(&error, ends))?;
        if let Some(data) = frame.data_ref() {
            let room = limits::BODY_BYTES - read.len();
            read.extend(data.iter().take(room));
        }
        if read.len() >= limits::BODY_BYTES {
            break;
        }
    }
    Ok(read)
}

fn failed(error: &hyper::Error, ends: &Ends<'_>) -> Reason {
    let mut source: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(system) = inner.downcast_ref::<std::io::Error>() {
            return ends.failed(system);
        }
        source = inner.source();
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return Reason::Closed {
            stage: ends.stage(),
        };
    }
    Reason::Answer {
        protocol: "HTTP",
        found: error.to_string(),
        wanted: "an answer by HTTP/1.1".to_owned(),
    }
}

/// The name or address of a Host header.
fn without_port(host: &str) -> &str {
    if let Some(bracketed) = host.strip_prefix('[') {
        return bracketed.split(']').next().unwrap_or(bracketed);
    }
    match host.rsplit_once(':') {
        Some((name, _port)) if !name.contains(':') => name,
        _ => host,
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::without_port;

    #[test]
    fn a_host_header_has_a_name_before_its_port() {
        assert_eq!(without_port("www.example:8443"), "www.example");
        assert_eq!(without_port("www.example"), "www.example");
        assert_eq!(without_port("192.0.2.1:443"), "192.0.2.1");
        assert_eq!(without_port("[2001:db8::1]:443"), "2001:db8::1");
        assert_eq!(without_port("2001:db8::1"), "2001:db8::1");
    }
}
