//! The two pages: nginx on each real server if the machine has it, else a responder of our own.
//!
//! Either answers every path with one line that begins with its host's name, keeps connections
//! open as long as the client likes, and listens on the wildcard address: real servers serve the
//! VIP although it is on `lo`.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::limits::PAGE_READY_MAX;
use crate::process::Process;
use crate::topology::PORT;
use crate::{Error, Family, Host, Net};

/// Who serves the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// nginx, from the PATH.
    Nginx,
    /// `dirigo lab page`.
    Builtin,
}

impl Kind {
    /// nginx if it is on the PATH.
    #[must_use]
    pub fn available() -> Self {
        match on_path("nginx") {
            Some(_) => Self::Nginx,
            None => Self::Builtin,
        }
    }

    /// For people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Builtin => "the built-in responder (nginx is not on the PATH)",
        }
    }
}

/// A page being served.
#[derive(Debug)]
pub struct Page {
    process: Process,
    /// By whom.
    pub kind: Kind,
}

impl Page {
    /// Starts serving on a host and waits until it accepts.
    pub fn start(net: &Net, host: Host, kind: Kind) -> Result<Self, Error> {
        let words = match kind {
            Kind::Nginx => nginx(net, host)?,
            Kind::Builtin => builtin(net, host),
        };
        let mut process = net.spawn(host, &format!("{host}-page"), words)?;
        let at = (host.address(net.family()), PORT).into();
        let ready = net.interrupt().poll(PAGE_READY_MAX, || {
            let tried = net.on(host, || TcpStream::connect_timeout(&at, PAGE_READY_MAX))?;
            Ok(match tried {
                Ok(_) => Some(true),
                Err(_) => process.ended().map(|_| false),
            })
        })?;
        match ready {
            Some(true) => Ok(Self { process, kind }),
            Some(false) => Err(Error::Command {
                command: format!("{} on {host}", kind.title()),
                how: "ended before it served".to_owned(),
                said: process.log_tail(),
            }),
            None => Err(Error::Timeout {
                what: format!("{} on {host} to accept", kind.title()),
                seconds: PAGE_READY_MAX.as_secs(),
                said: process.log_tail(),
            }),
        }
    }

    /// Stops at once, as a crashed server does: its connections are reset.
    pub fn crash(mut self) {
        self.process.kill();
    }
}

/// The line a host serves.
#[must_use]
pub fn text(host: Host, family: Family) -> String {
    let address = host.address(family);
    format!("{host}: {} ({address}) serves this page\n", host.title())
}

/// Serves `text` to everybody, for ever: the built-in responder.
pub fn serve(family: Family, text: &str) -> Result<std::convert::Infallible, Error> {
    let at = match family {
        Family::Ipv4 => format!("0.0.0.0:{PORT}"),
        Family::Ipv6 => format!("[::]:{PORT}"),
    };
    let failed = |source| Error::io(format!("listening on {at}"), source);
    let listener = TcpListener::bind(&at).map_err(failed)?;
    loop {
        let (stream, _client) = listener.accept().map_err(failed)?;
        let text = text.to_owned();
        // A client that goes away ends its thread; nobody is interested in how.
        std::thread::spawn(move || answer(&stream, &text));
    }
}

/// Answers the requests of one connection.
fn answer(mut stream: &TcpStream, text: &str) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let mut close = false;
    while let Some(line) = lines.next().transpose()? {
        if line.eq_ignore_ascii_case("connection: close") {
            close = true;
        }
        if !line.is_empty() {
            continue;
        }
        let after = if close { "close" } else { "keep-alive" };
        let length = text.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
             Connection: {after}\r\n\r\n{text}"
        );
        stream.write_all(answer.as_bytes())?;
        if close {
            break;
        }
    }
    Ok(())
}

fn builtin(net: &Net, host: Host) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec![net.dirigo().into()];
    words.extend(["lab", "page", "--text"].map(OsString::from));
    words.push(text(host, net.family()).into());
    if net.family() == Family::Ipv6 {
        words.push("--ipv6".into());
    }
    words
}

/// nginx with everything it writes in a directory of the lab.
fn nginx(net: &Net, host: Host) -> Result<Vec<OsString>, Error> {
    let prefix = net.state().directory().join(format!("{host}-nginx"));
    let failed = |source| Error::io(format!("writing nginx's files for {host}"), source);
    std::fs::create_dir_all(&prefix).map_err(failed)?;
    let file = prefix.join("nginx.conf");
    let config = nginx_config(&prefix, net.family(), &text(host, net.family()));
    std::fs::write(&file, config).map_err(failed)?;
    let nginx = on_path("nginx").unwrap_or_else(|| "nginx".into());
    Ok(vec![
        nginx.into(),
        "-p".into(),
        prefix.clone().into(),
        "-e".into(),
        prefix.join("error.log").into(),
        "-c".into(),
        file.into(),
    ])
}

/// One process (`master_process off`), so that killing it leaves no worker behind.
fn nginx_config(prefix: &Path, family: Family, text: &str) -> String {
    let listen = match family {
        Family::Ipv4 => format!("0.0.0.0:{PORT}"),
        Family::Ipv6 => format!("[::]:{PORT} ipv6only=on"),
    };
    let text = text.trim_end();
    let prefix = prefix.display();
    format!(
        "daemon off;
master_process off;
pid {prefix}/nginx.pid;
error_log {prefix}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {prefix}/body;
    proxy_temp_path {prefix}/proxy;
    fastcgi_temp_path {prefix}/fastcgi;
    uwsgi_temp_path {prefix}/uwsgi;
    scgi_temp_path {prefix}/scgi;
    # The lab's long connections must not end by themselves.
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    server {{
        listen {listen};
        location / {{
            default_type text/plain;
            return 200 \"{text}\\n\";
        }}
    }}
}}
"
    )
}

/// A program's path, as the shell would find it.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn nginx_writes_nothing_outside_its_directory() {
        let config = nginx_config(Path::new("/run/x"), Family::Ipv4, "rs1: page\n");
        let paths = config.lines().filter(|line| line.contains('/'));
        for line in
            paths.filter(|line| !line.contains("location /") && !line.contains("text/plain"))
        {
            assert!(line.contains("/run/x/"), "{line}");
        }
    }

    #[test]
    fn the_responder_answers_many_requests_of_one_connection_and_closes_when_asked() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let served = std::thread::spawn(move || answer(&server, "rs1: page\n"));

        let keep = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let close = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n";
        client
            .write_all(&[&keep[..], &keep[..], &close[..]].concat())
            .unwrap();
        let mut answers = String::new();
        client.read_to_string(&mut answers).unwrap();

        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3);
        assert_eq!(answers.matches("rs1: page\n").count(), 3);
        served.join().unwrap().unwrap();
    }
}
