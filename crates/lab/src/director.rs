//! The real director: `dirigo run` in the director's namespace, driven as a person would.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use api::{Client, LinkState, Service, Status};

use crate::limits::{DAEMON_READY_MAX, GONE_MAX, SERVERS_READY_MAX};
use crate::process::Process;
use crate::topology::INTERFACE;
use crate::{Error, Host, Net};

/// A running director. Dropping it kills the daemon; what it pinned goes with the lab.
#[derive(Debug)]
pub struct Director {
    process: Process,
    client: Client,
}

impl Director {
    /// Writes its configuration, starts it and waits until it answers and knows every real
    /// server's MAC. After [`Director::kill`] this is the restart.
    pub fn start(net: &Net) -> Result<Self, Error> {
        let file = config_file(net);
        std::fs::write(&file, config(net))
            .map_err(|source| Error::io(format!("writing {}", file.display()), source))?;
        let instance = net.state().instance();
        let words = [
            net.dirigo().as_os_str(),
            "run".as_ref(),
            "-c".as_ref(),
            file.as_os_str(),
            "--instance".as_ref(),
            instance.as_ref(),
        ];
        let words = words.map(std::ffi::OsStr::to_owned).to_vec();
        let process = net.spawn(Host::Director, "director", words)?;
        let mut director = Self {
            process,
            client: Client::new(&instance),
        };
        director.await_answer(net)?;
        director.await_servers(net)?;
        Ok(director)
    }

    /// What the daemon says of itself.
    pub fn status(&self) -> Result<Status, Error> {
        self.client.status().map_err(asking)
    }

    /// Its services.
    pub fn services(&self) -> Result<Vec<Service>, Error> {
        self.client.services().map_err(asking)
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Kills the daemon with SIGKILL. The data plane stays.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Ends the daemon with SIGTERM, which it obeys within seconds.
    pub fn terminate(&mut self, net: &Net) -> Result<(), Error> {
        self.process.terminate(GONE_MAX, net.interrupt()).map(drop)
    }

    fn await_answer(&mut self, net: &Net) -> Result<(), Error> {
        let own = self.id();
        let ready = net.interrupt().poll(DAEMON_READY_MAX, || {
            if let Some(status) = self.process.ended() {
                return Err(Error::Command {
                    command: format!("dirigo run -c {}", config_file(net).display()),
                    how: format!("ended with {status}"),
                    said: self.process.log_tail(),
                });
            }
            // An earlier daemon's socket may still be there; only our own counts.
            let status = self.client.status().ok();
            Ok(status.filter(|status| status.pid == own && !status.interfaces.is_empty()))
        })?;
        ready.map(drop).ok_or_else(|| Error::Timeout {
            what: "the director's API to answer".to_owned(),
            seconds: DAEMON_READY_MAX.as_secs(),
            said: self.process.log_tail(),
        })
    }

    fn await_servers(&self, net: &Net) -> Result<(), Error> {
        let resolved = net.interrupt().poll(SERVERS_READY_MAX, || {
            let services = self.services()?;
            let mut destinations = services.iter().flat_map(|service| &service.destinations);
            let known = destinations.all(|one| matches!(one.link, LinkState::Resolved { .. }));
            Ok((!services.is_empty() && known).then_some(()))
        })?;
        resolved.ok_or_else(|| Error::Timeout {
            what: "the director to learn the real servers' MACs".to_owned(),
            seconds: SERVERS_READY_MAX.as_secs(),
            said: self.process.log_tail(),
        })
    }
}

/// `dirigo ipvsadm WORDS` on the director.
pub fn ipvsadm(net: &Net, words: &[&str]) -> Result<String, Error> {
    let mut command = Command::new(net.dirigo());
    command
        .arg("ipvsadm")
        .args(words)
        .env("DIRIGO_INSTANCE", net.state().instance());
    net.exec_ok(Host::Director, &mut command)
}

/// The words that name a destination of the lab's service: `-t VIP:80 -r RS:80`.
#[must_use]
pub fn destination_words(net: &Net, server: Host) -> [String; 4] {
    let family = net.family();
    let real = std::net::SocketAddr::new(server.address(family), crate::topology::PORT);
    [
        "-t".to_owned(),
        family.service().to_string(),
        "-r".to_owned(),
        real.to_string(),
    ]
}

fn config_file(net: &Net) -> PathBuf {
    net.state().directory().join("director.toml")
}

/// The experiment as a configuration file.
fn config(net: &Net) -> String {
    let family = net.family();
    let service = family.service();
    let mut text = format!(
        "# Written by `dirigo lab`.\n\
         [director]\ninterface = \"{INTERFACE}\"\n\n\
         [connections]\nmax = 65536\n\n\
         [[service]]\naddress = \"{service}\"\nprotocol = \"tcp\"\nscheduler = \"wrr\"\n"
    );
    for server in Host::SERVERS {
        let address = server.address(family);
        // Writing into a String cannot fail.
        let _written = write!(
            text,
            "\n[[service.destination]]\naddress = \"{address}\"\nweight = 1\n"
        );
    }
    text
}

fn asking(error: api::ClientError) -> Error {
    Error::io("asking the director", std::io::Error::other(error))
}
