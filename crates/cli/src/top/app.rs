//! What the screen shows and what keys do, without a terminal.

use std::collections::VecDeque;
use std::net::SocketAddr;

use api::{Connection, Event, MaintenanceOrder, ServiceKey};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::feed::{Look, News, Wish};
use super::history::Histories;
use super::rows::{self, ServerLine, ServiceLine};
use super::theme::Grade;

/// Events that are kept: some screens of them.
const EVENTS: usize = 200;

/// What is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum View {
    #[default]
    Services,
    /// The real servers of a service.
    Servers(ServiceKey),
    /// The connections of a real server.
    Connections(ServiceKey, SocketAddr),
    Events,
}

/// What a table is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Name,
    /// The worst first.
    State,
    Connections,
    /// New connections a second.
    Rate,
    Packets,
    Bytes,
}

impl Sort {
    fn next(self) -> Self {
        match self {
            Self::Name => Self::State,
            Self::State => Self::Connections,
            Self::Connections => Self::Rate,
            Self::Rate => Self::Packets,
            Self::Packets => Self::Bytes,
            Self::Bytes => Self::Name,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::State => "state",
            Self::Connections => "connections",
            Self::Rate => "conn/s",
            Self::Packets => "packets/s",
            Self::Bytes => "bytes/s",
        }
    }
}

/// A question that waits for y or n.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) words: String,
    order: MaintenanceOrder,
}

/// Whose history.
pub(super) type Of = (ServiceKey, Option<SocketAddr>);

/// Everything.
#[derive(Debug, Default)]
pub(super) struct App {
    pub(super) view: View,
    /// Where to go back to from the events.
    before_events: View,
    pub(super) look: Option<Box<Look>>,
    pub(super) connections: Vec<Connection>,
    pub(super) are_more: bool,
    pub(super) events: VecDeque<Event>,
    /// Why the daemon does not answer.
    pub(super) lost: Option<String>,
    /// What was done last, and whether it worked.
    pub(super) note: Option<(String, bool)>,
    pub(super) question: Option<Question>,
    pub(super) filter: String,
    pub(super) is_typing: bool,
    pub(super) is_helping: bool,
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    /// The selected line, of those that are shown.
    pub(super) selected: usize,
    /// The first line in sight; the drawing keeps the selected one in sight.
    pub(super) first: usize,
    /// How many lines there are; the drawing says it.
    pub(super) lines: usize,
    /// How many lines are in sight.
    pub(super) page: usize,
    pub(super) histories: Histories<Of>,
    pub(super) total: Histories<()>,
    pub(super) wishes: Vec<Wish>,
    pub(super) is_over: bool,
}

impl App {
    /// Takes in what the feed tells.
    pub(super) fn take(&mut self, news: News) {
        match news {
            News::Look(look) => self.take_look(look),
            News::Connections(connections, are_more) => {
                self.connections = connections;
                self.are_more = are_more;
            }
            News::Lost(error) => self.lost = Some(error),
            News::Event(event) => {
                self.events.push_front(*event);
                self.events.truncate(EVENTS);
            }
            News::Done(words, worked) => {
                self.note = Some((words, worked));
                self.wishes.push(Wish::Look);
            }
        }
    }

    fn take_look(&mut self, look: Box<Look>) {
        if self.lost.take().is_some() {
            let pid = look.status.pid;
            self.note = Some((format!("the daemon answers again, pid {pid}"), true));
        }
        let services = look.services.iter().flat_map(|service| {
            let own = ((service.service, None), service.rates.packets);
            let destinations = service.destinations.iter().map(|one| {
                let of = (service.service, Some(one.destination));
                (of, one.rates.packets)
            });
            std::iter::once(own).chain(destinations)
        });
        self.histories.add(services);
        self.total
            .add(std::iter::once(((), look.status.rates.packets)));
        self.look = Some(look);
    }

    /// What a key does.
    pub(super) fn key(&mut self, key: KeyEvent) {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            self.is_over = true;
            return;
        }
        if let Some(question) = self.question.take() {
            match key.code {
                KeyCode::Char('y' | 'Y') => self.wishes.push(Wish::Order(question.order)),
                _ => self.note = Some(("nothing was done".to_owned(), true)),
            }
            return;
        }
        if self.is_typing {
            return self.type_key(key.code);
        }
        if std::mem::take(&mut self.is_helping) {
            return;
        }
        self.note = None;
        match key.code {
            KeyCode::Char('q') => self.is_over = true,
            KeyCode::Char('?' | 'h') => self.is_helping = true,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('r') => self.is_reversed = !self.is_reversed,
            KeyCode::Down | KeyCode::Char('j') => self.select(self.selected.saturating_add(1)),
            KeyCode::Up | KeyCode::Char('k') => self.select(self.selected.saturating_sub(1)),
            KeyCode::PageDown => self.select(self.selected + self.page.max(1)),
            KeyCode::PageUp => self.select(self.selected.saturating_sub(self.page.max(1))),
            KeyCode::Home | KeyCode::Char('g') => self.select(0),
            KeyCode::End | KeyCode::Char('G') => self.select(usize::MAX),
            KeyCode::Enter | KeyCode::Right => self.enter(),
            KeyCode::Esc if !self.filter.is_empty() => self.filter.clear(),
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left => self.leave(),
            KeyCode::Tab | KeyCode::Char('v') => self.turn_to_events(),
            KeyCode::Char('d') => self.ask_to(true),
            KeyCode::Char('e') => self.ask_to(false),
            _ => {}
        }
    }

    fn type_key(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(sign) if self.filter.len() < 64 => self.filter.push(sign),
            _ => {}
        }
        self.select(0);
    }

    fn select(&mut self, line: usize) {
        self.selected = line.min(self.lines.saturating_sub(1));
    }

    fn enter(&mut self) {
        let to = match self.view {
            View::Services => self
                .service_lines()
                .get(self.selected)
                .map(|line| View::Servers(line.key)),
            View::Servers(service) => self
                .server_lines()
                .get(self.selected)
                .map(|line| View::Connections(service, line.address)),
            View::Connections(..) | View::Events => None,
        };
        if let Some(view) = to {
            self.turn_to(view);
        }
    }

    fn leave(&mut self) {
        match self.view {
            View::Services => {}
            View::Servers(_) => self.turn_to(View::Services),
            View::Connections(service, _) => self.turn_to(View::Servers(service)),
            View::Events => self.turn_to(self.before_events),
        }
    }

    fn turn_to_events(&mut self) {
        match self.view {
            View::Events => self.turn_to(self.before_events),
            view => {
                self.turn_to(View::Events);
                self.before_events = view;
            }
        }
    }

    fn turn_to(&mut self, view: View) {
        let of = |view| match view {
            View::Connections(service, server) => Some((service, server)),
            _ => None,
        };
        if of(view) != of(self.view) {
            self.connections.clear();
            self.wishes.push(Wish::Connections(of(view)));
        }
        self.view = view;
        self.filter.clear();
        self.selected = 0;
        self.first = 0;
    }

    /// Whether the selected server shall be drained, or serve again.
    fn ask_to(&mut self, drain: bool) {
        let (service, line) = match self.view {
            View::Servers(service) => match self.server_lines().into_iter().nth(self.selected) {
                Some(line) => (service, line),
                None => return,
            },
            View::Connections(service, server) => {
                let Some(line) = self.all_servers(&service).find(|one| one.address == server)
                else {
                    return;
                };
                (service, line)
            }
            View::Services | View::Events => {
                self.note = Some((
                    "choose a service (Enter) and a real server first".to_owned(),
                    false,
                ));
                return;
            }
        };
        let server = line.address.ip();
        let count = line.active + line.inactive;
        self.question = Some(match drain {
            true => Question {
                words: format!(
                    "drain {server} of {service}? no new connections; {count} stay until they end"
                ),
                order: MaintenanceOrder::Drain {
                    server: server.into(),
                    service: Some(service),
                    deadline_s: None,
                    remove: false,
                    now: false,
                },
            },
            false => Question {
                words: format!("enable {server} in {service}? it gets new connections again"),
                order: MaintenanceOrder::Enable {
                    server: server.into(),
                    service: Some(service),
                },
            },
        });
    }

    /// The services that are shown, in their order.
    pub(super) fn service_lines(&self) -> Vec<ServiceLine> {
        let Some(look) = &self.look else {
            return Vec::new();
        };
        let fits = |line: &ServiceLine| self.has(&[&line.key.to_string(), &line.words]);
        let mut lines: Vec<ServiceLine> = rows::services(look).filter(fits).collect();
        self.put_in_order(&mut lines, |line| {
            let count = line.active + line.inactive;
            (line.key, line.grade, by(self.sort, count, &line.rates))
        });
        lines
    }

    /// The real servers that are shown, in their order.
    pub(super) fn server_lines(&self) -> Vec<ServerLine> {
        let View::Servers(service) = self.view else {
            return Vec::new();
        };
        let fits = |line: &ServerLine| self.has(&[&line.address.to_string(), &line.words]);
        let mut lines: Vec<ServerLine> = self.all_servers(&service).filter(fits).collect();
        self.put_in_order(&mut lines, |line| {
            let count = line.active + line.inactive;
            (line.address, line.grade, by(self.sort, count, &line.rates))
        });
        lines
    }

    /// Sorts lines by what each of them says of its name, its grade and its number.
    fn put_in_order<L, N: Ord>(&self, lines: &mut [L], says: impl Fn(&L) -> (N, Grade, u64)) {
        match self.sort {
            Sort::Name => lines.sort_by_key(|line| says(line).0),
            Sort::State => lines.sort_by_key(|line| {
                let (name, grade, _) = says(line);
                (grade, name)
            }),
            _ => lines.sort_by_key(|line| std::cmp::Reverse(says(line).2)),
        }
        if self.is_reversed {
            lines.reverse();
        }
    }

    fn all_servers(&self, service: &ServiceKey) -> impl Iterator<Item = ServerLine> + use<> {
        let look = self.look.as_ref();
        let servers = look.and_then(|look| rows::servers(look, service));
        servers.unwrap_or_default().into_iter()
    }

    /// The connections that are shown.
    pub(super) fn connection_lines(&self) -> Vec<&Connection> {
        let fits = |one: &&Connection| self.has(&[&one.client.to_string(), &one.state]);
        let mut lines: Vec<&Connection> = self.connections.iter().filter(fits).collect();
        match self.sort {
            Sort::State => lines.sort_by_key(|one| (&one.state, one.client)),
            _ => lines.sort_by_key(|one| one.client),
        }
        if self.is_reversed {
            lines.reverse();
        }
        lines
    }

    /// The events that are shown, the newest first.
    pub(super) fn event_lines(&self) -> Vec<&Event> {
        let fits = |one: &&Event| self.has(&[&one.what.to_string()]);
        self.events.iter().filter(fits).collect()
    }

    /// Whether the filter is in one of these, in any case.
    fn has(&self, texts: &[&str]) -> bool {
        let wanted = self.filter.to_lowercase();
        let mut texts = texts.iter();
        wanted.is_empty() || texts.any(|text| text.to_lowercase().contains(&wanted))
    }
}

fn by(sort: Sort, connections: u64, rates: &api::Rates) -> u64 {
    match sort {
        Sort::Rate => rates.connections,
        Sort::Packets => rates.packets,
        Sort::Bytes => rates.bytes,
        Sort::Connections | Sort::Name | Sort::State => connections,
    }
}
