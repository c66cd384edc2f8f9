//! What the screen is fed with: one thread asks, one listens for events, and what the user wants done is
//! done by a third, so that the screen never waits.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use api::{
    Client, ClientError, Connection, ConnectionQuery, Endpoint, Event, EventQuery,
    MaintenanceOrder, Service, ServiceHealth, ServiceKey, Status, Told,
};

/// Connections of a server that are shown; nobody reads more, and the table may have millions.
const CONNECTIONS: u64 = 500;

/// How long to wait before the daemon is looked for again.
const AGAIN: Duration = Duration::from_secs(1);

/// The director at one moment.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) status: Status,
    pub(super) services: Vec<Service>,
    pub(super) health: Vec<ServiceHealth>,
}

/// Something new.
#[derive(Debug)]
pub(super) enum News {
    Look(Box<Look>),
    /// Of the server that was asked for, and whether there are more.
    Connections(Vec<Connection>, bool),
    /// The daemon does not answer.
    Lost(String),
    Event(Box<Event>),
    /// What became of an order: words for the user, and whether it was done.
    Done(String, bool),
}

/// Something that the user wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Connections of this server from now on, or of none.
    Connections(Option<(ServiceKey, SocketAddr)>),
    /// Look at once.
    Look,
    Order(MaintenanceOrder),
}

/// The ends that the screen holds.
pub(super) struct Feed {
    pub(super) news: Receiver<News>,
    wishes: Sender<Wish>,
}

impl Feed {
    pub(super) fn wish(&self, wish: Wish) {
        // The thread ends only when this is dropped.
        let _gone = self.wishes.send(wish);
    }
}

/// Starts the threads. They end with the process.
pub(super) fn start(client: &Client, interval: Duration) -> Feed {
    let (tell, news) = channel();
    let (wishes, inbox) = channel();
    let (asker, listener) = (client.clone(), client.clone());
    let told = tell.clone();
    std::thread::spawn(move || ask(&asker, interval, &inbox, &tell));
    std::thread::spawn(move || listen(&listener, &told));
    Feed { news, wishes }
}

fn ask(client: &Client, interval: Duration, wishes: &Receiver<Wish>, tell: &Sender<News>) {
    let mut of = None;
    loop {
        let begun = Instant::now();
        for news in look(client, of) {
            if tell.send(news).is_err() {
                return;
            }
        }
        // A table of ten thousand services takes a while: the daemon shall not only work for us.
        let pause = interval.max(begun.elapsed() * 4);
        let until = Instant::now() + pause;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match wishes.recv_timeout(left) {
                Ok(Wish::Look) => break,
                Ok(Wish::Connections(other)) => {
                    of = other;
                    break;
                }
                Ok(Wish::Order(order)) => {
                    let (client, tell) = (client.clone(), tell.clone());
                    std::thread::spawn(move || tell.send(obey(&client, &order)));
                }
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

fn look(client: &Client, of: Option<(ServiceKey, SocketAddr)>) -> Vec<News> {
    let look = || {
        Ok::<_, ClientError>(Look {
            status: client.status()?,
            services: client.services()?,
            health: client.health()?,
        })
    };
    let mut news = match look() {
        Ok(look) => vec![News::Look(Box::new(look))],
        Err(error) => return vec![News::Lost(error.to_string())],
    };
    if let Some((service, server)) = of {
        news.extend(connections(client, service, server));
    }
    news
}

fn connections(client: &Client, service: ServiceKey, server: SocketAddr) -> Option<News> {
    let query = ConnectionQuery {
        service: Some(service),
        destination: Some(Endpoint {
            address: server.ip(),
            port: Some(server.port()).filter(|port| *port != 0),
        }),
        limit: Some(CONNECTIONS + 1),
        ..ConnectionQuery::default()
    };
    let mut found = Vec::new();
    let done = client.connections(&query, &mut |connection| {
        found.push(connection);
        ControlFlow::Continue(())
    });
    let is_more = found.len() as u64 > CONNECTIONS;
    found.truncate(CONNECTIONS as usize);
    // A service that is gone meanwhile has none; the next look shows that it is gone.
    done.ok().map(|()| News::Connections(found, is_more))
}

fn obey(client: &Client, order: &MaintenanceOrder) -> News {
    let server = order.server();
    match client.maintain(order) {
        Ok(_) => {
            let what = match order {
                MaintenanceOrder::Drain { .. } => "drains: no new connections",
                MaintenanceOrder::Disable { .. } => "is disabled: no new connections",
                MaintenanceOrder::Enable { .. } => "is enabled",
            };
            News::Done(format!("{server} {what}"), true)
        }
        Err(error) => News::Done(error.to_string(), false),
    }
}

/// Goes on where it was when a daemon ends and another one begins.
fn listen(client: &Client, tell: &Sender<News>) {
    let mut query = EventQuery {
        follow: Some(true),
        since: Some(0),
        ..EventQuery::default()
    };
    loop {
        let mut last = query.since;
        let mut is_over = false;
        let _lost = client.events(&query, &mut |told| {
            let Told::Event(event) = told else {
                return ControlFlow::Continue(());
            };
            last = Some(event.id);
            is_over = tell.send(News::Event(event)).is_err();
            match is_over {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        if is_over {
            return;
        }
        query.since = last;
        std::thread::sleep(AGAIN);
    }
}
