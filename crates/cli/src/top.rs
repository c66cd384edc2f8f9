//! `dirigo top`: the director as it works, in a terminal.
//!
//! ```text
//! feed: a thread that asks, a thread that listens for events ──► News ─┐
//! keys ───────────────────────────────────────────────────────► App ──┴─► draw
//!                                                                └─► Wish: what to ask, what to do
//! ```
//!
//! It knows what the API says and nothing else. A daemon that goes away is said, and found again when it is
//! back. The terminal is as before when it ends, however it ends.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossterm::event::{Event, KeyEventKind};

use crate::exit;
use crate::show::{ShowError, finish};

mod app;
mod draw;
mod feed;
mod history;
mod rows;
#[cfg(test)]
mod tests;
mod theme;

use app::App;
use theme::Theme;

/// How long a key may wait for the screen, and news for a key.
const LOOK: Duration = Duration::from_millis(50);

/// Arguments of `dirigo top`.
#[derive(clap::Args)]
pub struct Args {
    /// Which daemon, when there are several [default: DIRIGO_INSTANCE, else "default"]
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    interval: u64,
    /// No colours; also with NO_COLOR in the environment
    #[arg(long)]
    no_color: bool,
}

/// Shows the director until the user has seen enough.
pub fn main(args: &Args) -> ExitCode {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        talk!(
            "dirigo: top needs a terminal; for programs there are `dirigo services --json` and \
             `dirigo metrics`"
        );
        return ExitCode::from(exit::USAGE);
    }
    finish(watch(args))
}

fn watch(args: &Args) -> Result<(), ShowError> {
    let client = crate::remote::client(args.instance.as_deref());
    // Whoever mistypes the instance wants to know at once, and not from a screen that waits for ever.
    client.status()?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGHUP,
        signal_hook::consts::SIGINT,
    ] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let feed = feed::start(&client, Duration::from_secs(args.interval));
    let theme = Theme::of_environment(args.no_color);
    let mut terminal = ratatui::try_init()?;
    let done = run(&mut terminal, &feed, theme, &stop);
    ratatui::restore();
    done
}

fn run(
    terminal: &mut ratatui::DefaultTerminal,
    feed: &feed::Feed,
    theme: Theme,
    stop: &AtomicBool,
) -> Result<(), ShowError> {
    let mut app = App::default();
    let mut is_new = true;
    while !app.is_over && !stop.load(Ordering::Relaxed) {
        if is_new {
            terminal.draw(|frame| draw::screen(frame, &mut app, theme))?;
        }
        is_new = crossterm::event::poll(LOOK)?;
        if is_new {
            match crossterm::event::read()? {
                Event::Key(key) if key.kind == KeyEventKind::Press => app.key(key),
                _ => {}
            }
        }
        for wish in app.wishes.drain(..) {
            feed.wish(wish);
        }
        while let Ok(news) = feed.news.try_recv() {
            app.take(news);
            is_new = true;
        }
    }
    Ok(())
}
