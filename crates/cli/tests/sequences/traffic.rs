//! Constant requests: new connections every few milliseconds, and open ones that are kept and used.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::common::{Patience, World, vip};
use crate::plan::Plan;

/// How long an answer may take: a lost SYN is sent again after a second, and the machine is busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// Those that ask.
const THREADS: usize = 2;

/// What the threads share.
#[derive(Default)]
struct Shared {
    ends: AtomicBool,
    requests: AtomicU64,
    failures: Mutex<Vec<String>>,
    /// Real servers whose clients go away.
    leaving: Mutex<BTreeSet<u8>>,
    /// Real servers that clients still hold connections to.
    held: Mutex<BTreeSet<u8>>,
    /// What each thread does, and how often it has begun something.
    doing: [Mutex<(u64, String)>; THREADS],
}

pub struct Traffic {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Traffic {
    pub fn begin(world: &World, plan: &Plan) -> Self {
        let shared = Arc::new(Shared::default());
        let works: [fn(&Shared); THREADS] = [new_connections, open_connections];
        let threads = works.map(|work| {
            let shared = Arc::clone(&shared);
            // A thread begins in the namespace of the one that begins it.
            world
                .client
                .run(move || std::thread::spawn(move || work(&shared)))
                .unwrap()
        });
        let traffic = Self {
            shared,
            threads: threads.into(),
        };
        traffic.expect(plan);
        traffic
    }

    /// Has clients let go of these real servers, which get no new ones, and waits until they have: each thread has
    /// also ended what it was about when they were drained.
    pub fn leave(&self, servers: BTreeSet<u8>) {
        *self.shared.leaving.lock().unwrap() = servers.clone();
        if servers.is_empty() {
            return;
        }
        let turns = || {
            self.shared
                .doing
                .each_ref()
                .map(|one| one.lock().unwrap().0)
        };
        let begun = turns();
        // One that hangs has failed by then, and says so.
        let patience = Patience::of(3 * PATIENCE);
        // The turn that is next begins with a look at who is leaving.
        let is_left = || {
            let mut turns = turns().into_iter().zip(begun);
            turns.all(|(now, begun)| now > begun + 1)
                && self.shared.held.lock().unwrap().is_disjoint(&servers)
        };
        while !is_left() {
            assert!(
                !patience.is_over(),
                "clients hold on to {servers:?}: {:#?}",
                self.shared.doing
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Real servers of this plan may be used again.
    pub fn expect(&self, plan: &Plan) {
        let servers = plan.servers();
        self.shared
            .leaving
            .lock()
            .unwrap()
            .retain(|n| !servers.contains(n));
    }

    pub fn assert_none_failed(&self, when: &str) {
        let failures = self.shared.failures.lock().unwrap();
        assert!(failures.is_empty(), "{when}: {failures:#?}");
    }

    /// How many requests were answered.
    pub fn end(mut self) -> u64 {
        self.stop();
        self.assert_none_failed("at the end");
        self.shared.requests.load(Ordering::Relaxed)
    }

    fn stop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A connection and who answers it.
fn connect() -> std::io::Result<(u8, TcpStream)> {
    let service = SocketAddr::new(vip(), 80);
    let mut stream = TcpStream::connect_timeout(&service, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut number = [0];
    stream.read_exact(&mut number)?;
    Ok((number[0], stream))
}

fn echo(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(&[7])?;
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    match byte {
        [7] => Ok(()),
        other => Err(std::io::Error::other(format!("{other:?} came back"))),
    }
}

fn new_connections(shared: &Shared) {
    while !shared.ends.load(Ordering::Relaxed) {
        shared.begin(0, "a new connection");
        let begun = Instant::now();
        match connect().and_then(|(_, mut stream)| echo(&mut stream)) {
            Ok(()) => {
                shared.requests.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => shared.fail(format!(
                "a new connection, {:?} after it began: {error}",
                begun.elapsed()
            )),
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Two connections to each real server that there is, used all the time.
fn open_connections(shared: &Shared) {
    let mut open: Vec<(u8, TcpStream)> = Vec::new();
    let mut turn = 0_usize;
    while !shared.ends.load(Ordering::Relaxed) {
        shared.begin(1, "a connection to be kept");
        let leaving = shared.leaving.lock().unwrap().clone();
        open.retain(|(server, _)| !leaving.contains(server));
        *shared.held.lock().unwrap() = open.iter().map(|(server, _)| *server).collect();
        if turn.is_multiple_of(8) {
            match connect() {
                Ok((server, stream)) => {
                    let count = open.iter().filter(|(one, _)| *one == server).count();
                    if count < 2 && !shared.leaving.lock().unwrap().contains(&server) {
                        open.push((server, stream));
                    }
                }
                Err(error) => shared.fail(format!("a connection to be kept: {error}")),
            }
        }
        if !open.is_empty() {
            let at = turn % open.len();
            let (server, stream) = &mut open[at];
            shared.goes_on(
                1,
                &format!("an open connection to server {server}: {stream:?}"),
            );
            match echo(stream) {
                Ok(()) => {
                    shared.requests.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    shared.fail(format!("an open connection to server {server}: {error}"));
                    open.remove(at);
                }
            }
        }
        turn += 1;
        std::thread::sleep(Duration::from_millis(2));
    }
    shared.held.lock().unwrap().clear();
}

impl Shared {
    fn begin(&self, thread: usize, what: &str) {
        self.doing[thread].lock().unwrap().0 += 1;
        self.goes_on(thread, what);
    }

    fn goes_on(&self, thread: usize, what: &str) {
        what.clone_into(&mut self.doing[thread].lock().unwrap().1);
    }

    fn fail(&self, what: String) {
        self.failures.lock().unwrap().push(what);
    }
}
