//! A segment of namespaces: a director, real servers with the virtual address on `lo`, nginx.
#![allow(dead_code)]
// A test that cannot go on should say where.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dirigo_health as health;
use health::attempt::{Route, Target, attempt};
use health::check::{Check, Http, Kind, Pace, To};
use health::path::{TruePath, Way};
use health::reason::Outcome;
use netlink::{AddressFlags, Mac, Namespace, Netlink};

pub const VIP4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 100));
pub const VIP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 9, 0, 0, 0, 0x100));

/// Whether this test may run; says so if not. In CI it must.
pub fn root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    assert!(
        root || std::env::var("CI").as_deref() != Ok("true"),
        "this test needs root, and CI must give it"
    );
    if !root {
        println!("skipped: needs root");
    }
    root
}

/// Whether there is nginx. In CI it must be.
pub fn have_nginx() -> bool {
    if Command::new("nginx").arg("-v").output().is_ok() {
        return true;
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "CI must have nginx"
    );
    println!("skipped: needs nginx");
    false
}

/// A host of the segment, on `eth0`.
pub struct Host {
    pub namespace: Namespace,
    number: u8,
}

impl Host {
    pub fn v4(&self) -> IpAddr {
        IpAddr::from([10, 9, 0, self.number])
    }

    pub fn v6(&self) -> IpAddr {
        Ipv6Addr::new(0xfd00, 0, 0, 9, 0, 0, 0, u16::from(self.number)).into()
    }

    pub fn mac(&self) -> Mac {
        [2, 0, 0, 0, 9, self.number]
    }

    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace.run(work).unwrap()
    }

    pub fn sysctl(&self, name: &str, value: &str) {
        self.run(|| std::fs::write(format!("/proc/sys/net/{name}"), value).unwrap());
    }

    pub fn add(&self, address: IpAddr, interface: &str) {
        self.run(|| {
            let netlink = Netlink::open().unwrap();
            let index = netlink.link(interface).unwrap().index;
            let prefix = netlink::host_prefix(&address);
            netlink
                .add_address(index, address, prefix, no_dad())
                .unwrap();
        });
    }

    pub fn remove(&self, address: IpAddr, interface: &str) {
        self.run(|| {
            let netlink = Netlink::open().unwrap();
            let index = netlink.link(interface).unwrap().index;
            let prefix = netlink::host_prefix(&address);
            netlink.delete_address(index, address, prefix).unwrap();
        });
    }

    pub fn spawn(&self, command: &mut Command) -> Process {
        Process(self.namespace.spawn(command).unwrap())
    }
}

fn no_dad() -> AddressFlags {
    AddressFlags {
        no_dad: true,
        ..AddressFlags::default()
    }
}

/// A child that ends with its owner.
pub struct Process(pub Child);

impl Process {
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.0.id() as i32);
        nix::sys::signal::kill(pid, signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

/// A director and two real servers with silent virtual addresses on `lo`.
pub struct Segment {
    pub director: Host,
    pub servers: [Host; 2],
    _switch: Namespace,
}

impl Segment {
    pub fn new() -> Self {
        let switch = Namespace::create().unwrap();
        switch
            .run(|| {
                let netlink = Netlink::open().unwrap();
                netlink.add_bridge("br0").unwrap();
                netlink.set_up(netlink.link("br0").unwrap().index).unwrap();
            })
            .unwrap();
        let host = |number| plug(&switch, number);
        let segment = Self {
            director: host(1),
            servers: [host(2), host(3)],
            _switch: switch,
        };
        for server in &segment.servers {
            for (name, value) in [("arp_ignore", "1"), ("arp_announce", "2")] {
                server.sysctl(&format!("ipv4/conf/all/{name}"), value);
            }
            server.add(VIP4, "lo");
            server.add(VIP6, "lo");
            // Duplicate address detection of link-local addresses takes the kernel a second or two.
            let director = SocketAddr::new(segment.director.v6(), 1);
            wait_for("IPv6 on the segment", || {
                let second = Duration::from_secs(1);
                let tried = server.run(|| std::net::TcpStream::connect_timeout(&director, second));
                tried.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
            });
        }
        segment
    }

    /// The director holds the virtual addresses itself, as a master does.
    pub fn promote(&self) {
        self.director.add(VIP4, "eth0");
        self.director.add(VIP6, "eth0");
    }

    /// Asks a server over a path made for this one attempt.
    pub fn ask(&self, server: usize, vip: IpAddr, port: u16, check: &Check) -> Outcome {
        self.ask_all(&[(server, vip, port)], check).remove(0)
    }

    /// Asks servers one after the other over one path.
    pub fn ask_all(&self, whom: &[(usize, IpAddr, u16)], check: &Check) -> Vec<Outcome> {
        self.director.run(|| {
            let path = Arc::new(TruePath::open().unwrap());
            let mut outcomes = Vec::new();
            for (server, vip, port) in whom {
                let target = self.target(&path, *server, SocketAddr::new(*vip, *port), check.to);
                outcomes.push(block_on(attempt(check, &target)));
            }
            outcomes
        })
    }

    /// To be called in the director's namespace.
    pub fn target(&self, path: &Arc<TruePath>, server: usize, to: SocketAddr, how: To) -> Target {
        let host = &self.servers[server];
        let own = if to.is_ipv4() { host.v4() } else { host.v6() };
        if how == To::Own {
            let to = SocketAddr::new(own, to.port());
            let route = Route::Host;
            return Target {
                server: own,
                to,
                route,
            };
        }
        let interface = Netlink::open().unwrap().link("eth0").unwrap().index;
        let vips = BTreeSet::from([VIP4, VIP6]);
        let way = Way::find(own, host.mac(), interface, &vips).unwrap();
        Target {
            server: own,
            to,
            route: Route::Through(Arc::clone(path), way),
        }
    }
}

fn plug(switch: &Namespace, number: u8) -> Host {
    let host = Host {
        namespace: Namespace::create().unwrap(),
        number,
    };
    switch
        .run(|| {
            let netlink = Netlink::open().unwrap();
            let port = format!("port{number}");
            netlink
                .add_veth(&port, "eth0", Some(host.namespace.fd()))
                .unwrap();
            let index = netlink.link(&port).unwrap().index;
            let bridge = netlink.link("br0").unwrap().index;
            netlink.set_master(index, Some(bridge)).unwrap();
            netlink.set_up(index).unwrap();
        })
        .unwrap();
    let (v4, v6, mac) = (host.v4(), host.v6(), host.mac());
    host.run(|| {
        let netlink = Netlink::open().unwrap();
        let index = netlink.link("eth0").unwrap().index;
        netlink.set_mac(index, mac).unwrap();
        netlink.set_up(netlink.link("lo").unwrap().index).unwrap();
        netlink.set_up(index).unwrap();
        netlink.add_address(index, v4, 24, no_dad()).unwrap();
        netlink.add_address(index, v6, 64, no_dad()).unwrap();
    });
    host
}

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

pub fn check(kind: Kind) -> Check {
    Check {
        kind,
        to: To::Vip,
        port: None,
        pace: Pace {
            timeout: Duration::from_millis(1500),
            ..Pace::default()
        },
        suppression: true,
    }
}

pub fn page(pattern: &str) -> Check {
    check(Kind::Http(Http {
        body: Some(regex::bytes::Regex::new(pattern).unwrap()),
        ..Http::default()
    }))
}

/// nginx with a page that names the server, on port 80, and on 443 with a certificate if given.
pub fn nginx(
    host: &Host,
    page: &str,
    certificate: Option<&Certificate>,
) -> (Process, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().display();
    let secure = certificate.map_or(String::new(), |certificate| {
        std::fs::write(directory.path().join("cert.pem"), &certificate.pem).unwrap();
        std::fs::write(directory.path().join("key.pem"), &certificate.key).unwrap();
        format!(
            "listen 443 ssl; listen [::]:443 ssl; ssl_certificate {at}/cert.pem; \
             ssl_certificate_key {at}/key.pem;"
        )
    });
    let config = format!(
        "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log; worker_rlimit_nofile 8192; events {{ worker_connections 4096; }}\n\
         http {{ access_log off; client_body_temp_path {at}/b; proxy_temp_path {at}/p; \
         fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
         server {{ listen 80; listen [::]:80; {secure}\n\
         location / {{ return 200 '{page}'; }} location /gone {{ return 404 'gone'; }} }} }}"
    );
    let file = directory.path().join("nginx.conf");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new("nginx");
    command
        .arg("-c")
        .arg(&file)
        .arg("-e")
        .arg(directory.path().join("error.log"));
    let process = host.spawn(command.stdout(Stdio::null()).stderr(Stdio::null()));
    wait_for("nginx", || {
        host.run(|| std::net::TcpStream::connect("127.0.0.1:80").is_ok())
    });
    (process, directory)
}

pub struct Certificate {
    pub pem: String,
    pub key: String,
}

/// An authority and what it signs.
pub struct Authority {
    pub file: PathBuf,
    _directory: tempfile::TempDir,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut wanted = rcgen::CertificateParams::default();
        wanted.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        wanted
            .distinguished_name
            .push(rcgen::DnType::CommonName, "test authority");
        let signed = wanted.self_signed(&key).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("authority.pem");
        std::fs::write(&file, signed.pem()).unwrap();
        Self {
            file,
            _directory: directory,
            issuer: rcgen::Issuer::new(wanted, key),
        }
    }

    /// A certificate for a name, good until then.
    pub fn sign(&self, name: &str, until: (i32, u8, u8)) -> Certificate {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut wanted = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        wanted.not_before = rcgen::date_time_ymd(2020, 1, 1);
        wanted.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
        let signed = wanted.signed_by(&key, &self.issuer).unwrap();
        Certificate {
            pem: signed.pem(),
            key: key.serialize_pem(),
        }
    }
}

pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < until, "waiting for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
