//! The segment with everything running: real servers, pages, the director, captures.

use std::path::{Path, PathBuf};

use netlink::Mac;

use crate::director::{self, Director};
use crate::page::{Kind, Page};
use crate::process::Process;
use crate::{Capture, Error, Family, Host, Net, Options, flush, realserver};

/// A running lab. Dropping it takes everything away; when that happens in a panic, the evidence
/// is kept first.
#[derive(Debug)]
pub struct Lab {
    // The order is that of dropping: whoever uses the segment before the segment.
    /// The director, unless it was killed.
    pub director: Option<Director>,
    pages: [Option<Page>; 2],
    flush: Option<Process>,
    /// Everything since the segment was there.
    pub capture: Capture,
    /// The segment.
    pub net: Net,
}

impl Lab {
    /// Builds the segment and starts everything. `say` hears what happens.
    pub fn up(options: &Options, pages: Kind, say: &mut dyn FnMut(&str)) -> Result<Self, Error> {
        let family = options.family;
        say(&format!("building four hosts and a switch ({family})"));
        let net = Net::build(options)?;
        let mut lab = Self {
            director: None,
            pages: [None, None],
            flush: None,
            capture: net.capture()?,
            net,
        };
        match lab.start(pages, say) {
            Err(error) if !matches!(error, Error::Interrupted) => {
                lab.keep_evidence_and_say(say);
                Err(error)
            }
            Err(interrupted) => Err(interrupted),
            Ok(()) => Ok(lab),
        }
    }

    fn start(&mut self, pages: Kind, say: &mut dyn FnMut(&str)) -> Result<(), Error> {
        say("real servers: VIP on lo, quiet about it (dirigo realserver up)");
        for server in Host::SERVERS {
            realserver::up(&self.net, server)?;
        }
        say(&format!("pages by {}", pages.title()));
        for server in Host::SERVERS {
            self.start_page(server, pages)?;
        }
        self.flush = Some(flush::start(&self.net)?);
        say("director: dirigo run");
        self.director = Some(Director::start(&self.net)?);
        Ok(())
    }

    /// Lets it outlive this process.
    pub fn leave_standing(&mut self) -> Result<(), Error> {
        self.net.leave_standing()
    }

    /// Its family.
    #[must_use]
    pub fn family(&self) -> Family {
        self.net.family()
    }

    /// Who serves the pages.
    #[must_use]
    pub fn pages(&self) -> Option<Kind> {
        self.pages.iter().flatten().map(|page| page.kind).next()
    }

    /// Starts a page; see [`Lab::crash_page`].
    pub fn start_page(&mut self, server: Host, kind: Kind) -> Result<(), Error> {
        let page = match Page::start(&self.net, server, kind) {
            // An nginx without some module refuses the configuration; the experiment needs no nginx.
            Err(Error::Command { .. }) if kind == Kind::Nginx => {
                Page::start(&self.net, server, Kind::Builtin)
            }
            started => started,
        };
        self.pages[slot(server)] = Some(page?);
        Ok(())
    }

    /// A real server's web server dies.
    pub fn crash_page(&mut self, server: Host) {
        if let Some(page) = self.pages[slot(server)].take() {
            page.crash();
        }
    }

    /// The director dies by SIGKILL; what it pinned goes on forwarding.
    pub fn kill_director(&mut self) {
        if let Some(director) = self.director.take() {
            director.kill();
        }
    }

    /// Starts the director again.
    pub fn restart_director(&mut self) -> Result<(), Error> {
        self.director = Some(Director::start(&self.net)?);
        Ok(())
    }

    /// `dirigo ipvsadm` on the director.
    pub fn ipvsadm(&self, words: &[&str]) -> Result<String, Error> {
        director::ipvsadm(&self.net, words)
    }

    /// Changes a real server's weight, as one does: `ipvsadm -e … -g -w WEIGHT`.
    pub fn set_weight(&self, server: Host, weight: u32) -> Result<(), Error> {
        let weight = weight.to_string();
        self.edit("-e", server, &["-g", "-w", &weight])
    }

    /// Takes a real server out of the service: `ipvsadm -d …`.
    pub fn remove(&self, server: Host) -> Result<(), Error> {
        self.edit("-d", server, &[])
    }

    /// Puts a real server into the service: `ipvsadm -a … -g -w 1`.
    pub fn add(&self, server: Host) -> Result<(), Error> {
        self.edit("-a", server, &["-g", "-w", "1"])
    }

    /// Keeps what explains a failure in `./lab-failure/NAME/`, says so and returns the place.
    pub fn keep_evidence_and_say(&self, say: &mut dyn FnMut(&str)) -> Option<PathBuf> {
        match self.keep_evidence() {
            Ok(place) => {
                let at = place.display();
                say(&format!("captures, counters and logs are in {at}"));
                Some(place)
            }
            Err(error) => {
                say(&error.to_string());
                None
            }
        }
    }

    fn keep_evidence(&self) -> Result<PathBuf, Error> {
        let place = Path::new("lab-failure").join(&self.net.state().name);
        self.capture.write(&place)?;
        copy_tree(&self.net.state().directory(), &place)
            .map_err(|source| Error::io(format!("keeping logs in {}", place.display()), source))?;
        let status = self.director.as_ref().map(Director::status);
        let status = match status {
            Some(Ok(status)) => serde_json::to_string_pretty(&status).unwrap_or_default(),
            Some(Err(error)) => error.to_string(),
            None => "no director runs".to_owned(),
        };
        let table = self.ipvsadm(&["-ln"]);
        let table = table.unwrap_or_else(|error| error.to_string());
        for (name, text) in [("status.json", status), ("ipvsadm.txt", table)] {
            std::fs::write(place.join(name), text)
                .map_err(|source| Error::io(format!("writing {name}"), source))?;
        }
        Ok(place)
    }

    fn edit(&self, verb: &str, server: Host, more: &[&str]) -> Result<(), Error> {
        let named = director::destination_words(&self.net, server);
        let mut words = vec![verb];
        words.extend(named.iter().map(String::as_str));
        words.extend(more);
        self.ipvsadm(&words).map(drop)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep_evidence_and_say(&mut crate::say);
        }
    }
}

/// Whose MAC it is, in words: a host's name, or the bare MAC.
#[must_use]
pub fn owner(mac: &Mac) -> String {
    match Host::of_mac(mac) {
        Some(host) => host.title().to_owned(),
        None => netlink::mac_text(mac),
    }
}

fn slot(server: Host) -> usize {
    usize::from(server == Host::Rs2)
}

/// Copies regular files, small as those of a lab are; anything else (sockets) is left out.
fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target).map(drop)?;
        }
    }
    Ok(())
}
