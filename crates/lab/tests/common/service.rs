//! Services beside the lab's own page, offered by both real servers.

use std::net::SocketAddr;
use std::time::Duration;

use api::LinkState;
use dirigo_lab::page::Kind;
use dirigo_lab::{Family, Host, Lab};

/// A lab that stands.
pub fn up(family: Family) -> Lab {
    let options = super::options(family);
    Lab::up(&options, Kind::available(), &mut |line| println!("{line}")).unwrap()
}

/// Adds a service with both real servers to the running director, as one does: `kind` is
/// ipvsadm's `-t` or `-u`. Returns when the director knows where they are.
pub fn offer(lab: &Lab, kind: &str, port: u16) -> SocketAddr {
    let family = lab.family();
    let service = SocketAddr::new(family.vip(), port);
    let words = service.to_string();
    lab.ipvsadm(&["-A", kind, &words, "-s", "rr"]).unwrap();
    for server in Host::SERVERS {
        let real = SocketAddr::new(server.address(family), port).to_string();
        lab.ipvsadm(&["-a", kind, &words, "-r", &real, "-g"])
            .unwrap();
    }
    let director = lab.director.as_ref().unwrap();
    let known = lab.net.interrupt().poll(Duration::from_secs(20), || {
        let services = director.services()?;
        let mut destinations = services.iter().flat_map(|service| &service.destinations);
        let known = destinations.all(|one| matches!(one.link, LinkState::Resolved { .. }));
        Ok(known.then_some(()))
    });
    known.unwrap().expect("the director finds the real servers");
    service
}

/// One of the director's counters.
pub fn counter(lab: &Lab, name: &str) -> u64 {
    let status = lab.director.as_ref().unwrap().status().unwrap();
    *status.counters.get(name).expect(name)
}
