//! Colours and signs, or none: everything that a colour says, a word says too.

use ratatui::style::{Color, Modifier, Style};

/// How it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Theme {
    pub(super) color: bool,
    /// Whether the terminal shows more than ASCII.
    pub(super) unicode: bool,
}

/// How good something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grade {
    Bad,
    Warning,
    Good,
}

impl Theme {
    /// As `NO_COLOR` (no-color.org), `TERM` and the locale have it.
    pub(super) fn of_environment(no_color: bool) -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let locale = set("LC_ALL")
            .or_else(|| set("LC_CTYPE"))
            .or_else(|| set("LANG"));
        let locale = locale.unwrap_or_default().to_uppercase();
        let is_dumb = set("TERM").is_some_and(|term| term == "dumb");
        Self {
            color: !no_color && set("NO_COLOR").is_none() && !is_dumb,
            unicode: locale.contains("UTF-8") || locale.contains("UTF8"),
        }
    }

    pub(super) fn grade(self, grade: Grade) -> Style {
        let style = Style::new();
        match (grade, self.color) {
            (Grade::Good, true) => style.fg(Color::Green),
            (Grade::Warning, true) => style.fg(Color::Yellow),
            (Grade::Bad, true) => style.fg(Color::Red).add_modifier(Modifier::BOLD),
            (Grade::Bad, false) => style.add_modifier(Modifier::BOLD),
            (_, false) => style,
        }
    }

    pub(super) fn head(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(super) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(super) fn faint(self) -> Style {
        match self.color {
            true => Style::new().fg(Color::DarkGray),
            false => Style::new(),
        }
    }

    pub(super) fn chart(self) -> Style {
        match self.color {
            true => Style::new().fg(Color::Cyan),
            false => Style::new(),
        }
    }
}
