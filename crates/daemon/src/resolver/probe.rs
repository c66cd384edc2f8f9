//! What is known of one real server's MAC, and when to ask again.
//!
//! ```text
//!            answer                    no answer: ask everybody
//!   ┌──► KNOWN (ask it every 300 ms) ────────► DOUBTED ──── 10 rounds ────► LOST
//!   │        ▲                                  │                            │
//!   │        └──────────── answer ──────────────┘   ask everybody, 500 ms    │
//!   └───────────────────────── answer ◄──────────────────────────────────────┘
//! ```
//!
//! The kernel would not ask: forwarded frames pass below its stack, so its entries look unused.
//! An answer counts only while a question is open, and the first one wins; anything else that
//! names the address (gratuitous ARP, the kernel's table) only brings the next question forward.

use std::time::{Duration, Instant};

use netlink::Mac;

use crate::limits;

/// One real server's MAC.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    known: Option<Mac>,
    /// Rounds without an answer.
    unanswered: u32,
    /// When the open question was asked.
    asked: Option<Instant>,
    last_asked: Option<Instant>,
    next: Instant,
}

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// The one that answered last.
    At(Mac),
    /// The segment.
    Everybody,
}

/// What a round found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    /// Ask this now.
    pub(crate) question: Question,
    /// Nobody has answered for long enough: it is lost (said once).
    pub(crate) lost: bool,
}

impl Probe {
    /// Begins to ask; `known` is believed until it fails to answer.
    pub(crate) fn new(known: Option<Mac>, now: Instant) -> Self {
        Self {
            known,
            unanswered: 0,
            asked: None,
            last_asked: None,
            next: now,
        }
    }

    /// Its MAC, as far as known.
    pub(crate) fn known(&self) -> Option<Mac> {
        self.known
    }

    /// When to ask next.
    pub(crate) fn due(&self) -> Instant {
        self.next
    }

    /// Whether nobody has answered for long.
    pub(crate) fn is_lost(&self) -> bool {
        self.unanswered >= limits::LOST_AFTER
    }

    /// Asks: counts the open question as unanswered and opens another. The next is due after
    /// `pace`, or `lost_pace` when nobody answers.
    pub(crate) fn round(&mut self, now: Instant, pace: Duration, lost_pace: Duration) -> Round {
        if self.asked.is_some() {
            self.unanswered = self.unanswered.saturating_add(1);
        }
        let lost = self.unanswered == limits::LOST_AFTER;
        if self.is_lost() {
            self.known = None;
        }
        self.asked = Some(now);
        self.last_asked = Some(now);
        self.next = now + if self.is_lost() { lost_pace } else { pace };
        let question = match self.known {
            Some(mac) if self.unanswered == 0 => Question::At(mac),
            _ => Question::Everybody,
        };
        Round { question, lost }
    }

    /// Somebody answered; the MAC if it is news.
    pub(crate) fn answer(&mut self, mac: Mac, now: Instant) -> Option<Mac> {
        let asked = self.asked?;
        if now.duration_since(asked) > limits::ANSWER_WINDOW {
            return None;
        }
        self.asked = None;
        self.unanswered = 0;
        let is_news = self.known != Some(mac);
        self.known = Some(mac);
        is_news.then_some(mac)
    }

    /// Somebody says that it has another MAC: ask sooner.
    pub(crate) fn hint(&mut self, mac: Mac, now: Instant) {
        if self.known == Some(mac) {
            return;
        }
        let soonest = match self.last_asked {
            Some(last) => last + limits::PROBE_INTERVAL_MIN,
            None => now,
        };
        self.next = self.next.min(soonest.max(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Mac = [2, 0, 0, 0, 0, 1];
    const B: Mac = [2, 0, 0, 0, 0, 2];
    const PACE: Duration = limits::PROBE_INTERVAL;
    const LOST: Duration = limits::LOST_INTERVAL;

    #[test]
    fn one_that_answers_is_asked_alone_and_never_lost() {
        let mut now = Instant::now();
        let mut probe = Probe::new(Some(A), now);
        for _ in 0..50 {
            let round = probe.round(now, PACE, LOST);
            assert_eq!(round.question, Question::At(A));
            assert!(!round.lost);
            assert_eq!(probe.answer(A, now), None);
            now += PACE;
        }
    }

    #[test]
    fn one_that_changed_its_mac_is_followed_within_two_rounds() {
        let start = Instant::now();
        let mut probe = Probe::new(Some(A), start);
        probe.round(start, PACE, LOST);
        let round = probe.round(probe.due(), PACE, LOST);
        assert_eq!(round.question, Question::Everybody);
        assert_eq!(probe.answer(B, start + PACE), Some(B));
        assert!(probe.due().duration_since(start) < Duration::from_secs(1));
    }

    #[test]
    fn one_that_never_answers_is_lost_once_after_ten_rounds_and_asked_more_slowly() {
        let start = Instant::now();
        let mut probe = Probe::new(Some(A), start);
        let lost: Vec<u32> = (0..30)
            .filter(|_| probe.round(probe.due(), PACE, LOST).lost)
            .collect();
        assert_eq!(lost, [limits::LOST_AFTER]);
        assert_eq!(probe.known(), None);
        let before = probe.due();
        probe.round(before, PACE, LOST);
        assert_eq!(probe.due() - before, LOST);
        assert_eq!(probe.answer(B, before), Some(B));
    }

    #[test]
    fn an_answer_without_a_question_is_not_believed() {
        let now = Instant::now();
        let mut probe = Probe::new(Some(A), now);
        assert_eq!(probe.answer(B, now), None);
        probe.round(now, PACE, LOST);
        assert_eq!(probe.answer(B, now + Duration::from_secs(2)), None);
        assert_eq!(probe.known(), Some(A));
        assert_eq!(probe.answer(A, now), None);
        // The question is closed: a second answer changes nothing.
        assert_eq!(probe.answer(B, now), None);
        assert_eq!(probe.known(), Some(A));
    }

    #[test]
    fn a_hint_brings_the_next_question_forward_but_not_without_end() {
        let now = Instant::now();
        let mut probe = Probe::new(Some(A), now);
        probe.round(now, PACE, LOST);
        probe.answer(A, now);
        probe.hint(B, now);
        assert_eq!(probe.due(), now + limits::PROBE_INTERVAL_MIN);
        assert_eq!(probe.known(), Some(A));
        let later = probe.due();
        assert_eq!(probe.round(later, PACE, LOST).question, Question::At(A));
        probe.hint(A, later);
        assert_eq!(probe.due(), later + PACE);
    }
}
