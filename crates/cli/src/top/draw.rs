//! The screen: three lines of head, a table, the last events if there is room, two lines of foot.
//!
//! ```text
//! dirigo edge  up 1 d 02:03:04  eth0 native           4 of 2.1M connections
//! 12 conn/s  340 packets/s  27.1k bytes/s  ▁▂▅█
//! services  sort: name                                 the daemon does not answer …
//! …
//! ? help  Enter servers  / filter  s sort  Tab events  q quit
//! ```

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Table, TableState};

use super::app::{App, View};
use super::rows::short;
use super::theme::{Grade, Theme};

/// Heights at which the last events are shown below the table, and how many.
const ROOM_FOR_EVENTS: u16 = 20;
const LAST_EVENTS: u16 = 3;

/// Draws everything.
pub(super) fn screen(frame: &mut Frame<'_>, app: &mut App, theme: Theme) {
    let area = frame.area();
    let shows_events = area.height >= ROOM_FOR_EVENTS && app.view != View::Events;
    let events = if shows_events { LAST_EVENTS + 1 } else { 0 };
    let [head, table, below, foot] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Fill(1),
        Constraint::Length(events),
        Constraint::Length(2),
    ])
    .areas(area);
    self::head(frame, head, app, theme);
    match app.view {
        View::Services => services(frame, table, app, theme),
        View::Servers(_) => servers(frame, table, app, theme),
        View::Connections(..) => connections(frame, table, app, theme),
        View::Events => all_events(frame, table, app, theme),
    }
    if shows_events {
        last_events(frame, below, app, theme);
    }
    self::foot(frame, foot, app, theme);
    if app.is_helping {
        help(frame, area);
    }
}

fn head(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme) {
    let [first, second, third] = Layout::vertical([Constraint::Length(1); 3]).areas(area);
    let Some(look) = &app.look else {
        frame.render_widget(Paragraph::new("dirigo: waiting for the daemon"), first);
        return;
    };
    let status = &look.status;
    let mut left = vec![
        Span::styled(format!("dirigo {}", status.instance), theme.head()),
        Span::raw(format!("  up {}", crate::show::duration(status.uptime_s))),
    ];
    for one in &status.interfaces {
        let grade = match one.mode.as_str() {
            "native" => Grade::Good,
            _ => Grade::Warning,
        };
        left.push(Span::raw(format!("  {} ", one.name)));
        left.push(Span::styled(one.mode.clone(), theme.grade(grade)));
    }
    let connections = format!(
        "{} of {} connections",
        short(status.connections),
        short(status.connections_max)
    );
    two_sides(frame, first, Line::from(left), Line::from(connections));
    let rates = status.rates;
    let words = format!(
        "{} conn/s  {} packets/s  {} bytes/s  ",
        short(rates.connections),
        short(rates.packets),
        short(rates.bytes)
    );
    let room = usize::from(second.width)
        .saturating_sub(words.len())
        .min(60);
    let bars = app.total.bars(&(), room, theme.unicode);
    let bars = Span::styled(bars.trim_start().to_owned(), theme.chart());
    frame.render_widget(Line::from(vec![Span::raw(words), bars]), second);
    let mut path = vec![Span::styled(path(app), theme.head())];
    if !app.filter.is_empty() || app.is_typing {
        let cursor = if app.is_typing { "_" } else { "" };
        path.push(Span::raw(format!("  filter: {}{cursor}", app.filter)));
    }
    let order = if app.is_reversed { ", reversed" } else { "" };
    let sort = format!("sort: {}{order}", app.sort.name());
    let right = match app.view {
        View::Events => Line::default(),
        _ => Line::styled(sort, theme.faint()),
    };
    two_sides(frame, third, Line::from(path), right);
}

fn path(app: &App) -> String {
    match app.view {
        View::Services => format!("services ({})", app.service_lines().len()),
        View::Servers(service) => format!("{service}"),
        View::Connections(service, server) => format!("{service} > {server}"),
        View::Events => "events".to_owned(),
    }
}

/// The right side gives way.
fn two_sides(frame: &mut Frame<'_>, area: Rect, left: Line<'_>, right: Line<'_>) {
    let room = area.width.saturating_sub(left.width() as u16 + 2);
    let right_width = if right.width() as u16 > room {
        0
    } else {
        right.width() as u16
    };
    let [one, other] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(right_width)]).areas(area);
    frame.render_widget(left, one);
    frame.render_widget(right.alignment(Alignment::Right), other);
}

/// A column: its head, its width, and from which width of the screen on it is shown. 0: what is left.
type Column = (&'static str, u16, u16);

const SERVICES: [Column; 9] = [
    ("service", 0, 0),
    ("sched", 6, 100),
    ("state", 16, 0),
    ("active", 7, 0),
    ("inact", 7, 110),
    ("conn/s", 6, 70),
    ("packets/s", 9, 60),
    ("bytes/s", 7, 90),
    ("over time", 12, 76),
];

const SERVERS: [Column; 8] = [
    ("server", 21, 0),
    ("weight", 6, 50),
    ("active", 7, 0),
    ("inact", 7, 64),
    ("conn/s", 6, 72),
    ("packets/s", 9, 100),
    ("over time", 12, 110),
    ("state", 0, 0),
];

fn services(frame: &mut Frame<'_>, area: Rect, app: &mut App, theme: Theme) {
    let lines = app.service_lines();
    let bars = usize::from(SERVICES[8].1);
    let shown = window(app, lines.len(), area);
    let rows = lines.iter().enumerate().map(|(index, line)| {
        if !shown.contains(&index) {
            return Vec::new();
        }
        vec![
            Cell::from(line.key.to_string()),
            Cell::from(line.scheduler.clone()),
            Cell::from(line.words.clone()).style(theme.grade(line.grade)),
            number(line.active),
            number(line.inactive),
            number(line.rates.connections),
            number(line.rates.packets),
            number(line.rates.bytes),
            Cell::from(app.histories.bars(&(line.key, None), bars, theme.unicode))
                .style(theme.chart()),
        ]
    });
    let rows: Vec<_> = rows.collect();
    let empty = "no virtual services";
    table(frame, area, app, theme, &SERVICES, rows, empty);
}

fn servers(frame: &mut Frame<'_>, area: Rect, app: &mut App, theme: Theme) {
    let View::Servers(service) = app.view else {
        return;
    };
    let lines = app.server_lines();
    let bars = usize::from(SERVERS[6].1);
    let shown = window(app, lines.len(), area);
    let rows = lines.iter().enumerate().map(|(index, line)| {
        if !shown.contains(&index) {
            return Vec::new();
        }
        let of = (service, Some(line.address));
        vec![
            Cell::from(line.address.to_string()),
            right(
                line.weight
                    .map_or("-".to_owned(), |weight| weight.to_string()),
            ),
            number(line.active),
            number(line.inactive),
            number(line.rates.connections),
            number(line.rates.packets),
            Cell::from(app.histories.bars(&of, bars, theme.unicode)).style(theme.chart()),
            Cell::from(line.words.clone()).style(theme.grade(line.grade)),
        ]
    });
    let rows: Vec<_> = rows.collect();
    let empty = "no real servers, or no such service any more";
    // An IPv6 address is longer, a reason is what one looks for.
    let longest = lines.iter().map(|line| line.address.to_string().len());
    let mut columns = SERVERS;
    columns[0].1 = longest.max().unwrap_or(0).clamp(16, 47) as u16;
    table(frame, area, app, theme, &columns, rows, empty);
}

fn connections(frame: &mut Frame<'_>, area: Rect, app: &mut App, theme: Theme) {
    const COLUMNS: [Column; 4] = [
        ("client", 0, 0),
        ("virtual address", 22, 76),
        ("state", 12, 0),
        ("expires", 8, 0),
    ];
    let lines = app.connection_lines();
    let rows = lines.iter().map(|one| {
        vec![
            Cell::from(one.client.to_string()),
            Cell::from(one.virtual_address.to_string()),
            Cell::from(one.state.clone()),
            right(format!("{} s", one.expires_s)),
        ]
    });
    let mut rows: Vec<_> = rows.collect();
    if app.are_more {
        rows.push(vec![Cell::from("and more")]);
    }
    table(frame, area, app, theme, &COLUMNS, rows, "no connections");
}

fn all_events(frame: &mut Frame<'_>, area: Rect, app: &mut App, theme: Theme) {
    let rows: Vec<_> = app
        .event_lines()
        .into_iter()
        .map(|event| event_cells(event, theme))
        .collect();
    const COLUMNS: [Column; 2] = [("UTC", 8, 0), ("event", 0, 0)];
    table(
        frame,
        area,
        app,
        theme,
        &COLUMNS,
        rows,
        "nothing has happened",
    );
}

fn last_events(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme) {
    let [title, lines] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    frame.render_widget(Line::styled("last events (Tab: all)", theme.head()), title);
    let events = app.events.iter().take(LAST_EVENTS.into());
    let rows = events.map(|event| Row::new(event_cells(event, theme)));
    let widths = [Constraint::Length(8), Constraint::Fill(1)];
    frame.render_widget(Table::new(rows, widths), lines);
}

fn event_cells(event: &api::Event, theme: Theme) -> Vec<Cell<'static>> {
    // Of 2026-11-28T22:18:03.125Z the time of day.
    let time = event.time.get(11..19).unwrap_or(&event.time).to_owned();
    let style = match event.what.level {
        api::EventLevel::Warning => theme.grade(Grade::Warning),
        api::EventLevel::Info => Style::new(),
    };
    vec![
        Cell::from(time),
        Cell::from(event.what.to_string()).style(style),
    ]
}

/// The lines in sight: with ten thousand services only those are worth their text.
fn window(app: &App, lines: usize, area: Rect) -> std::ops::Range<usize> {
    let page = usize::from(area.height);
    let selected = app.selected.min(lines.saturating_sub(1));
    selected.saturating_sub(page).min(app.first)..app.first.max(selected) + page + 1
}

fn table(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &mut App,
    theme: Theme,
    columns: &[Column],
    rows: Vec<Vec<Cell<'_>>>,
    empty: &'static str,
) {
    app.lines = rows.len();
    app.page = usize::from(area.height.saturating_sub(1));
    app.selected = app.selected.min(app.lines.saturating_sub(1));
    if rows.is_empty() {
        frame.render_widget(Paragraph::new(empty).style(theme.faint()), area);
        return;
    }
    let is_shown = |(_, _, from): &Column| frame.area().width >= *from;
    let head = columns.iter().filter(|column| is_shown(column));
    let head = head.map(|(name, width, _)| match *width {
        6..10 => right((*name).to_owned()),
        _ => Cell::from(*name),
    });
    let head = Row::new(head.collect::<Vec<_>>()).style(theme.head());
    let widths = columns.iter().filter(|column| is_shown(column));
    let widths = widths.map(|(_, width, _)| match width {
        0 => Constraint::Fill(1),
        width => Constraint::Length(*width),
    });
    let rows = rows.into_iter().map(|cells| {
        let cells = cells.into_iter().zip(columns);
        let shown = cells.filter(|(_, column)| is_shown(column));
        Row::new(shown.map(|(cell, _)| cell).collect::<Vec<_>>())
    });
    let table = Table::new(rows.collect::<Vec<_>>(), widths.collect::<Vec<_>>())
        .header(head)
        .row_highlight_style(theme.selected());
    let mut state = TableState::new()
        .with_offset(app.first)
        .with_selected(app.selected);
    frame.render_stateful_widget(table, area, &mut state);
    app.first = state.offset();
}

fn number(number: u64) -> Cell<'static> {
    right(short(number))
}

fn right(text: String) -> Cell<'static> {
    Cell::from(Text::from(text).alignment(Alignment::Right))
}

fn foot(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme) {
    let [says, keys] = Layout::vertical([Constraint::Length(1); 2]).areas(area);
    let line = match (&app.question, &app.lost, &app.note) {
        (Some(question), ..) => Line::styled(format!("{}  y/n", question.words), theme.head()),
        (None, Some(error), _) => {
            let words = format!("what is shown is old: {error}");
            Line::styled(words, theme.grade(Grade::Bad))
        }
        (None, None, Some((words, true))) => Line::raw(words.clone()),
        (None, None, Some((words, false))) => Line::styled(words.clone(), theme.grade(Grade::Bad)),
        (None, None, None) => Line::default(),
    };
    frame.render_widget(line, says);
    let help = match (app.view, app.is_typing) {
        (_, true) => "type to filter  Enter keep  Esc drop",
        (View::Services, _) => {
            "? help  Enter servers  / filter  s sort  r reverse  Tab events  q quit"
        }
        (View::Servers(_), _) => {
            "? help  Enter connections  d drain  e enable  / filter  s sort  Esc back  q quit"
        }
        (View::Connections(..), _) => "? help  d drain  e enable  / filter  Esc back  q quit",
        (View::Events, _) => "? help  / filter  Tab back  q quit",
    };
    frame.render_widget(Line::styled(help, theme.faint()), keys);
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let text = "\
arrows, j k   one line           PgUp PgDn   one page
g G           first, last        Enter       look into it
Esc           back               Tab, v      events
/             filter: address, state or words, in any case
s             sort: name, state, connections, conn/s,
              packets/s, bytes/s
r             the other way round
d             drain the real server (asks first)
e             enable it again (asks first)
q, Ctrl-C     quit

Rates are IPVS's: averages over some seconds.
Any key goes back.";
    let [area] = Layout::horizontal([Constraint::Max(60)])
        .flex(ratatui::layout::Flex::Center)
        .areas(area);
    let [area] = Layout::vertical([Constraint::Max(15)])
        .flex(ratatui::layout::Flex::Center)
        .areas(area);
    frame.render_widget(Clear, area);
    let block = Block::bordered().title(" keys ");
    frame.render_widget(Paragraph::new(text).block(block), area);
}
