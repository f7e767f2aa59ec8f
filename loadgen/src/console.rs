//! What a run shows while it runs: a progress line at a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use standin_protocol::time::Micros;

/// Between two plain progress lines, where there is no terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(4);

/// Standard output.
#[derive(Debug)]
pub struct Console {
    bar: Option<ProgressBar>,
    is_silent: bool,
    is_terminal: bool,
    last_plain: Micros,
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}

impl Console {
    /// A console without a progress line.
    #[must_use]
    pub fn new() -> Self {
        let is_terminal = io::stdout().is_terminal();
        Self { bar: None, is_silent: false, is_terminal, last_plain: Micros(0) }
    }

    /// A console that shows nothing, for tests.
    #[must_use]
    pub fn silent() -> Self {
        Self { bar: None, is_silent: true, is_terminal: false, last_plain: Micros(0) }
    }

    /// Prints text, above the progress line if there is one.
    pub fn line(&self, text: &str) {
        if self.is_silent {
            return;
        }
        let print = || {
            // A reader that has gone must not end the run.
            let _ = writeln!(io::stdout(), "{text}");
        };
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Shows how far a stage is: `done` of `whole` milliseconds or items, and some words.
    pub fn progress(&mut self, done: u64, whole: u64, text: &str) {
        if self.is_terminal {
            let bar = self.bar.get_or_insert_with(|| {
                let bar = ProgressBar::with_draw_target(Some(whole), ProgressDrawTarget::stdout());
                match ProgressStyle::with_template("  {bar:24} {msg}") {
                    Ok(style) => bar.with_style(style.progress_chars("━━─")),
                    Err(_) => bar,
                }
            });
            bar.set_length(whole);
            bar.set_position(done.min(whole));
            bar.set_message(text.to_owned());
            return;
        }
        let now = Micros::boottime();
        if now.since(self.last_plain) >= PLAIN_INTERVAL {
            self.last_plain = now;
            self.line(&format!("  {text}"));
        }
    }

    /// Takes the progress line away.
    pub fn end_progress(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
