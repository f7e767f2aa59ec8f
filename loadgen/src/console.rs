//! The output of a run while it runs: a progress line on a terminal, plain lines elsewhere. A slow
//! reader delays the run in neither case: see [`Show`].

use std::io::{self, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use standin_protocol::time::Micros;

/// The time between two plain progress lines, if there is no terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(4);

/// A function that takes a line without its line break, and does not wait for a reader.
pub type Show = Box<dyn Fn(&str)>;

/// The output of a run's progress.
pub struct Console {
    bar: Option<ProgressBar>,
    place: Place,
    last_plain: Micros,
}

enum Place {
    Nowhere,
    /// Standard output.
    Terminal,
    Lines(Show),
}

impl Console {
    /// Shows lines by `show`. If it is `None`, standard output is a terminal with a progress line.
    #[must_use]
    pub fn new(show: Option<Show>) -> Self {
        Self::at(show.map_or(Place::Terminal, Place::Lines))
    }

    /// A console that shows nothing, for tests.
    #[must_use]
    pub fn silent() -> Self {
        Self::at(Place::Nowhere)
    }

    fn at(place: Place) -> Self {
        Self { bar: None, place, last_plain: Micros(0) }
    }

    /// Prints text, above the progress line if there is one.
    pub fn line(&self, text: &str) {
        let print = || {
            // A terminal that is gone must not end the run.
            let _ = writeln!(io::stdout(), "{text}");
        };
        match (&self.place, &self.bar) {
            (Place::Nowhere, _) => {}
            (Place::Lines(show), _) => show(text),
            (Place::Terminal, Some(bar)) => bar.suspend(print),
            (Place::Terminal, None) => print(),
        }
    }

    /// Shows the progress of a stage: `done` of `whole` milliseconds or items, and a text.
    pub fn progress(&mut self, done: u64, whole: u64, text: &str) {
        if matches!(self.place, Place::Terminal) {
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

    /// Whether lines of progress replace each other.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self.place, Place::Terminal)
    }

    /// Removes the progress line.
    pub fn end_progress(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
