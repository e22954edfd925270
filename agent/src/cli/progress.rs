//! What those who wait at a terminal are told.

use std::borrow::Cow;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Who gets the answer within this time needs no progress.
const PATIENCE: Duration = Duration::from_secs(1);

/// So often the line is written anew.
const TICK: Duration = Duration::from_millis(200);

/// A line on standard error that says what the command is doing, and for how long: only where that is a terminal, and only
/// once the command has taken a second. Dropped, it leaves nothing there.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    /// Dropped before the line has appeared, it never does.
    ended: Option<Sender<()>>,
    waiting: Option<JoinHandle<()>>,
}

impl Progress {
    /// Begins to wait for the second to be over.
    pub(super) fn new() -> Self {
        Self::shown_on(ProgressDrawTarget::stderr(), PATIENCE)
    }

    fn shown_on(target: ProgressDrawTarget, patience: Duration) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        let (ended, end) = mpsc::channel();
        let shown = bar.clone();
        let waiting = thread::spawn(move || {
            if end.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                shown.set_draw_target(target);
                shown.enable_steady_tick(TICK);
            }
        });
        Self { bar, ended: Some(ended), waiting: Some(waiting) }
    }

    /// Says what is being done from now on.
    pub(super) fn doing(&self, what: impl Into<Cow<'static, str>>) {
        self.bar.set_message(what);
    }

    /// Says how many pairs of pods are judged, as their judge tells: steps done, and all.
    pub(super) fn judging_pairs(&self) -> impl FnMut(usize, usize) {
        |done, all| self.doing(format!("judging all pairs of pods: {} %", done * 100 / all.max(1)))
    }

    /// Takes the line away while something else is written to standard error.
    pub(super) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.ended.take());
        if let Some(waiting) = self.waiting.take() {
            // It only waits and draws; if it has failed, there is no line to take away.
            let _ = waiting.join();
        }
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;

    use super::*;

    fn on(terminal: &InMemoryTerm, patience: Duration) -> Progress {
        Progress::shown_on(ProgressDrawTarget::term_like(Box::new(terminal.clone())), patience)
    }

    #[test]
    fn who_waits_is_told_what_is_done_and_nothing_of_it_stays() {
        let terminal = InMemoryTerm::new(3, 80);
        let progress = on(&terminal, Duration::ZERO);
        progress.judging_pairs()(1, 3);
        let told = (0..1000).any(|_| {
            thread::sleep(Duration::from_millis(10));
            terminal.contents().contains("judging all pairs of pods: 33 % (0s)")
        });
        assert!(told, "{:?}", terminal.contents());
        assert_eq!(progress.aside(|| terminal.contents()), "");
        drop(progress);
        assert_eq!(terminal.contents(), "");
    }

    #[test]
    fn who_is_answered_at_once_is_told_nothing() {
        let terminal = InMemoryTerm::new(3, 80);
        let progress = on(&terminal, Duration::from_secs(600));
        progress.doing("reading");
        drop(progress);
        assert!(terminal.moves_since_last_check().is_empty(), "{:?}", terminal.contents());
    }
}
