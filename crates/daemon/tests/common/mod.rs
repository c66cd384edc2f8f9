//! One segment with a client, a director and two real servers, each in a namespace of its own,
//! and a daemon as a process of its own.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dirigo_daemon as daemon;
use netlink::{AddressFlags, Mac, Namespace, Netlink};
pub use patience::Patience;

mod patience;

/// How long something that takes milliseconds may take.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Names the configuration for the child process that is the daemon.
pub const CHILD: &str = "DIRIGO_TEST_DAEMON";

/// How many files the child process may open, if limited.
pub const FILES: &str = "DIRIGO_TEST_FILES";

/// Is the daemon, if the environment says that this process is to be one. Does not return then.
pub fn run_as_a_child(
    child: &str,
    files: &str,
    run: impl Fn(daemon::Options) -> Result<(), daemon::Error>,
) {
    let Some(file) = std::env::var_os(child) else {
        return;
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    if let Ok(limit) = std::env::var(files) {
        let limit = limit.parse().unwrap();
        let files = nix::sys::resource::Resource::RLIMIT_NOFILE;
        nix::sys::resource::setrlimit(files, limit, limit).unwrap();
    }
    let options = daemon::Options {
        instance: std::env::var("DIRIGO_TEST_INSTANCE").unwrap(),
        file: file.clone().into(),
        texts: config::read_files(file.as_ref()).unwrap(),
        config: config::Config::load(file.as_ref()).unwrap(),
    };
    if let Err(error) = run(options) {
        eprintln!("{error}");
        std::process::exit(1);
    }
    std::process::exit(0);
}

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

pub fn vip() -> IpAddr {
    IpAddr::from([10, 9, 0, 100])
}

pub fn server(n: u8) -> IpAddr {
    IpAddr::from([10, 9, 0, 10 + n])
}

/// Waits until something is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let patience = Patience::of(PATIENCE);
    while !is_so() {
        assert!(!patience.is_over(), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The segment.
pub struct World {
    pub instance: String,
    pub folder: tempfile::TempDir,
    switch: Namespace,
    pub client: Namespace,
    pub director: Namespace,
    pub servers: Vec<Namespace>,
    /// What the daemon finds in its environment, besides.
    pub child_environment: Vec<(&'static str, String)>,
    daemon: Option<Child>,
    /// What is started as the daemon.
    pub program: PathBuf,
    pass: dataplane::PassProgram,
}

impl World {
    /// Client .1, director .2, real servers .11 and .12, which have the virtual address on `lo`.
    pub fn new() -> Self {
        Self::with_servers(2)
    }

    /// The same with so many real servers.
    pub fn with_servers(count: u8) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let switch = Namespace::create().unwrap();
        switch
            .run(|| {
                let netlink = Netlink::open().unwrap();
                netlink.add_bridge("br0").unwrap();
                netlink.set_up(netlink.link("br0").unwrap().index).unwrap();
            })
            .unwrap();
        let host = |name: &str, last: u8| plug(&switch, name, last);
        let client = host("client", 1);
        let director = host("director", 2);
        let servers: Vec<Namespace> = (1..=count)
            .map(|n| host(&format!("rs{n}"), 10 + n))
            .collect();
        for (index, server) in servers.iter().enumerate() {
            quiet_vip(server);
            serve(server, index as u8 + 1);
        }
        // What a veth sends by XDP_TX arrives only if its peer has a program, too.
        let pass = switch
            .run(|| dataplane::attach_pass("director").unwrap())
            .unwrap();
        Self {
            instance: format!("daemon-test-{}-{number}", std::process::id()),
            folder: tempfile::tempdir().unwrap(),
            switch,
            client,
            director,
            servers,
            child_environment: Vec::new(),
            daemon: None,
            program: std::env::current_exe().unwrap(),
            pass,
        }
    }

    /// The classic service with both real servers.
    pub fn classic(&self, scheduler: &str) -> String {
        format!(
            "[director]\ninterface = \"eth0\"\n[[service]]\naddress = \"{}:80\"\nprotocol = \"tcp\"\n\
             scheduler = \"{scheduler}\"\n[[service.destination]]\naddress = \"{}\"\n\
             [[service.destination]]\naddress = \"{}\"\n",
            vip(),
            server(1),
            server(2)
        )
    }

    /// Starts the daemon and waits until it answers.
    pub fn start(&mut self, config: &str) {
        self.spawn(config);
        until("the daemon answers", || {
            let daemon = self.daemon.as_mut().unwrap();
            assert!(
                daemon.try_wait().unwrap().is_none(),
                "the daemon ended:\n{}",
                std::fs::read_to_string(self.folder.path().join("log")).unwrap()
            );
            self.api().status().is_ok()
        });
    }

    /// Starts a daemon that may open few files, and waits for its end.
    pub fn start_with_files(&mut self, config: &str, limit: u32) {
        let mut command = self.command(config);
        command.env(FILES, limit.to_string());
        let ended = self.director.spawn(&mut command).unwrap().wait().unwrap();
        assert!(!ended.success(), "{}", self.log());
    }

    /// Starts a daemon that shall not run, and waits for its end.
    pub fn start_in_vain(&mut self, config: &str) {
        let mut command = self.command(config);
        let ended = self.director.spawn(&mut command).unwrap().wait().unwrap();
        assert!(!ended.success(), "{}", self.log());
    }

    pub fn spawn(&mut self, config: &str) {
        let mut command = self.command(config);
        self.daemon = Some(self.director.spawn(&mut command).unwrap());
    }

    /// Starts a daemon of another instance on the same host; its log is the same.
    pub fn start_another(&self, instance: &str, config: &str) -> Child {
        let mut command = self.command_of(instance, config);
        self.director.spawn(&mut command).unwrap()
    }

    fn command(&self, config: &str) -> Command {
        self.command_of(&self.instance, config)
    }

    fn command_of(&self, instance: &str, config: &str) -> Command {
        let file = self.folder.path().join(format!("{instance}.toml"));
        std::fs::write(&file, config).unwrap();
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .unwrap();
        let mut command = Command::new(&self.program);
        command
            .args(["--exact", "the_daemon_as_a_child", "--nocapture"])
            .env(CHILD, &file)
            .env("DIRIGO_TEST_INSTANCE", instance)
            .envs(self.child_environment.iter().cloned())
            .stdout(Stdio::null())
            .stderr(log);
        command
    }

    /// The configuration that the daemon follows.
    pub fn file(&self) -> std::path::PathBuf {
        self.folder.path().join(format!("{}.toml", self.instance))
    }

    /// Writes another configuration, without telling the daemon.
    pub fn write(&self, config: &str) {
        std::fs::write(self.file(), config).unwrap();
    }

    /// Writes another configuration and has it applied.
    pub fn apply(&self, config: &str) -> Result<api::Applied, api::ClientError> {
        self.write(config);
        self.api().apply(&api::Apply::default())
    }

    /// Sends the daemon a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.pid() as i32);
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub fn api(&self) -> api::Client {
        api::Client::new(&self.instance)
    }

    /// Sends bytes to the daemon's socket and reads its whole answer.
    pub fn raw(&self, request: &str) -> String {
        let path = api::socket_path(&self.instance);
        let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
        // The daemon may answer and close before it has read everything.
        let _closed = stream.write_all(request.as_bytes());
        let mut answer = String::new();
        let _closed = stream.read_to_string(&mut answer);
        answer
    }

    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().id()
    }

    /// SIGKILL, without waiting for the end.
    pub fn kill_and_run(&mut self) -> Child {
        let mut daemon = self.daemon.take().unwrap();
        daemon.kill().unwrap();
        daemon
    }

    /// Leaves the daemon to itself.
    pub fn leave_running(&mut self) -> Child {
        self.daemon.take().unwrap()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// SIGTERM.
    pub fn terminate(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        let pid = nix::unistd::Pid::from_raw(daemon.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        assert!(daemon.wait().unwrap().success(), "{}", self.log());
    }

    /// `dirigo down`
    pub fn down(&mut self, release: bool) -> Result<daemon::Down, daemon::Error> {
        let instance = self.instance.clone();
        let done = self
            .director
            .run(move || daemon::down(&instance, release))
            .unwrap();
        if let Some(mut daemon) = self.daemon.take() {
            daemon.wait().unwrap();
        }
        done
    }

    /// A connection from the client to the virtual service: who answered, and the stream.
    pub fn connect(&self) -> std::io::Result<Conversation> {
        self.client.run(Conversation::begin).unwrap()
    }

    /// Who answers each of `count` new connections.
    pub fn ask(&self, count: usize) -> Vec<u8> {
        (0..count)
            .map(|_| self.connect().expect("the virtual service answers").server)
            .collect()
    }

    /// The director's addresses.
    pub fn director_has(&self, address: IpAddr) -> bool {
        self.director
            .run(|| {
                let addresses = Netlink::open().unwrap().addresses(None).unwrap();
                addresses.iter().any(|own| own.address == address)
            })
            .unwrap()
    }

    pub fn set_mac(&self, server: u8, mac: Mac) {
        self.servers[usize::from(server) - 1]
            .run(|| {
                let netlink = Netlink::open().unwrap();
                let index = netlink.link("eth0").unwrap().index;
                netlink.set_mac(index, mac).unwrap();
            })
            .unwrap();
    }

    pub fn set_link(&self, server: u8, up: bool) {
        self.servers[usize::from(server) - 1]
            .run(|| {
                let netlink = Netlink::open().unwrap();
                let index = netlink.link("eth0").unwrap().index;
                if up {
                    netlink.set_up(index).unwrap();
                } else {
                    netlink.set_down(index).unwrap();
                }
            })
            .unwrap();
    }

    /// One more host on the segment.
    pub fn add_host(&self, name: &str, last: u8) -> Namespace {
        plug(&self.switch, name, last)
    }

    /// Another host in the director's place.
    pub fn replace_director(&mut self) {
        self.director
            .run(|| Netlink::open().unwrap().delete_link("eth0").unwrap())
            .unwrap();
        self.director = plug(&self.switch, "director", 3);
        self.pass = self
            .switch
            .run(|| dataplane::attach_pass("director").unwrap())
            .unwrap();
    }

    /// Another network card for the director, with the same addresses.
    pub fn replace_directors_interface(&mut self) {
        self.director
            .run(|| Netlink::open().unwrap().delete_link("eth0").unwrap())
            .unwrap();
        wire(&self.switch, &self.director, "director", 22);
        self.director
            .run(|| {
                let netlink = Netlink::open().unwrap();
                let index = netlink.link("eth0").unwrap().index;
                let address = IpAddr::from([10, 9, 0, 2]);
                let flags = AddressFlags::default();
                netlink.add_address(index, address, 24, flags).unwrap();
            })
            .unwrap();
        self.pass = self
            .switch
            .run(|| dataplane::attach_pass("director").unwrap())
            .unwrap();
    }

    /// How a real server is reached, as the daemon says.
    pub fn link(&self, server: IpAddr) -> Option<api::LinkState> {
        let services = self.api().services().unwrap();
        let mut destinations = services.iter().flat_map(|service| &service.destinations);
        destinations
            .find(|one| one.destination.ip() == server)
            .map(|one| one.link.clone())
    }

    pub fn is_resolved(&self, server: IpAddr) -> bool {
        matches!(self.link(server), Some(api::LinkState::Resolved { .. }))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ended = daemon.kill();
            let _ended = daemon.wait();
        }
        let instance = self.instance.clone();
        let released = self.director.run(move || daemon::down(&instance, true));
        if std::thread::panicking() {
            eprintln!("daemon's log:\n{}", self.log());
        } else {
            assert!(matches!(released, Ok(Ok(_))), "{released:?}");
        }
    }
}

/// A host on the segment.
fn plug(switch: &Namespace, name: &str, last: u8) -> Namespace {
    let host = Namespace::create().unwrap();
    wire(switch, &host, name, last);
    host
}

/// A wire from the switch's port `name` to the host's `eth0`.
fn wire(switch: &Namespace, host: &Namespace, name: &str, last: u8) {
    switch
        .run(|| {
            let netlink = Netlink::open().unwrap();
            netlink.add_veth(name, "eth0", Some(host.fd())).unwrap();
            let port = netlink.link(name).unwrap().index;
            let bridge = netlink.link("br0").unwrap().index;
            netlink.set_master(port, Some(bridge)).unwrap();
            netlink.set_up(port).unwrap();
        })
        .unwrap();
    host.run(|| {
        let netlink = Netlink::open().unwrap();
        let index = netlink.link("eth0").unwrap().index;
        netlink.set_mac(index, [2, 0, 0, 9, 0, last]).unwrap();
        let flags = AddressFlags {
            no_dad: true,
            ..AddressFlags::default()
        };
        let (four, six) = (IpAddr::from([10, 9, 0, last]), six(last));
        netlink.add_address(index, four, 24, flags).unwrap();
        netlink.add_address(index, six, 64, flags).unwrap();
        netlink.set_up(index).unwrap();
        netlink.set_up(netlink.link("lo").unwrap().index).unwrap();
        // Frames that XDP sends keep the half-made checksum that a veth would never fill in.
        netlink::ethtool::set_tx_checksum("eth0", false).unwrap();
    })
    .unwrap();
}

pub fn six(last: u8) -> IpAddr {
    IpAddr::from([0xfd09, 0, 0, 0, 0, 0, 0, u16::from(last)])
}

/// The virtual address on `lo`, and no ARP for it.
fn quiet_vip(server: &Namespace) {
    server
        .run(|| {
            for (name, value) in [("arp_ignore", "1"), ("arp_announce", "2")] {
                let path = format!("/proc/sys/net/ipv4/conf/all/{name}");
                std::fs::write(path, value).unwrap();
            }
            let netlink = Netlink::open().unwrap();
            let index = netlink.link("lo").unwrap().index;
            let flags = AddressFlags {
                no_dad: true,
                ..AddressFlags::default()
            };
            netlink.add_address(index, vip(), 32, flags).unwrap();
            netlink.add_address(index, six(100), 128, flags).unwrap();
        })
        .unwrap();
}

/// Says its number to each connection, then echoes.
fn serve(server: &Namespace, number: u8) {
    let listener = server
        .run(|| TcpListener::bind("[::]:80").unwrap())
        .unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let _client_is_gone = stream.write_all(&[number]);
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
            });
        }
    });
}

/// An open connection.
pub struct Conversation {
    pub server: u8,
    stream: TcpStream,
}

impl Conversation {
    fn begin() -> std::io::Result<Self> {
        let service = SocketAddr::new(vip(), 80);
        let mut stream = TcpStream::connect_timeout(&service, Duration::from_secs(3))?;
        stream.set_read_timeout(Some(Duration::from_secs(3)))?;
        let mut number = [0];
        stream.read_exact(&mut number)?;
        Ok(Self {
            server: number[0],
            stream,
        })
    }

    /// How it fails when it is used.
    pub fn failure(&mut self) -> std::io::ErrorKind {
        let mut byte = [0];
        let used = self.stream.write_all(&[7]);
        let used = used.and_then(|()| self.stream.read_exact(&mut byte));
        used.expect_err("it still carries").kind()
    }

    /// Whether it still carries.
    pub fn echoes(&mut self) -> bool {
        let mut byte = [0];
        self.stream.write_all(&[7]).is_ok()
            && self.stream.read_exact(&mut byte).is_ok()
            && byte == [7]
    }
}
