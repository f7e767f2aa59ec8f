//! `standin top`: what the dashboard shows, in a terminal, and looked at from here: the master need not be
//! there.
//!
//! ```text
//! watch/ ─► newest look ─► draw.rs ─► terminal
//! keys, signals ─► this file          numbers.rs
//! ```

mod draw;
mod numbers;

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::flag;

use self::draw::Scroll;
use crate::watch::Watcher;
use crate::{ConfigArg, Ended};

/// The longest time until a key, a signal or a newer look is taken note of.
const PAUSE: Duration = Duration::from_millis(100);

/// `standin top`.
#[derive(Debug, Args)]
#[command(
    after_help = "Keys: q or Ctrl-C ends it; the arrow keys, j, k, Page Up, Page Down, Home and End \
                        move through the servers."
)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    config: ConfigArg,
}

/// Runs the command.
pub(crate) fn top(args: &TopArgs) -> Ended {
    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        return Err("standard input and output are no terminal, which `standin top` needs; \
                    `standin status`, with --watch or --json, prints the same to a file or a pipe"
            .into());
    }
    let cluster = args.config.load()?;
    let topology = Arc::new(cluster.topology()?);
    let ends = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGQUIT, SIGHUP] {
        flag::register(signal, Arc::clone(&ends))?;
    }
    let watcher = Watcher::start(&cluster, topology, None)?;
    let terminal = ratatui::try_init().inspect_err(|_| ratatui::restore())?;
    let ended = run(terminal, &watcher, &ends);
    // However it ends, the terminal is as it was.
    ratatui::restore();
    match ended {
        // It went before that was seen.
        Err(_) if !is_terminal_there().unwrap_or(false) => {}
        ended => ended?,
    }
    Ok(ExitCode::SUCCESS)
}

fn run(mut terminal: DefaultTerminal, watcher: &Watcher, ends: &AtomicBool) -> io::Result<()> {
    let mut scroll = Scroll::default();
    let mut drawn = None;
    loop {
        let newest = watcher.newest();
        let is_newer = drawn != newest.as_ref().map(|shown| shown.at_ms);
        if is_newer || drawn.is_none() {
            drawn = newest.as_ref().map(|shown| shown.at_ms);
            terminal.draw(|frame| draw::draw(frame, newest.as_deref(), &mut scroll))?;
        }
        if ends.load(Ordering::Relaxed) {
            return Ok(());
        }
        if !is_terminal_there()? {
            return Ok(());
        }
        // All that have come at once are read at once, so that only a part of them would look like none.
        while event::poll(Duration::ZERO)? {
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    if is_end(key) {
                        return Ok(());
                    }
                    scroll.press(key.code);
                }
                Event::Resize(..) => {}
                _ => continue,
            }
            drawn = None;
        }
    }
}

/// Waits for a key for a while. Returns whether the terminal is still there: a window that is closed does not
/// always send a signal, and whoever asks crossterm for keys of a terminal that is gone never gets an answer.
fn is_terminal_there() -> io::Result<bool> {
    let stdin = io::stdin();
    let mut watched = [PollFd::new(&stdin, PollFlags::IN)];
    let pause = Timespec::try_from(PAUSE).map_err(io::Error::other)?;
    match poll(&mut watched, Some(&pause)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(!watched[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL))
}

fn is_end(key: KeyEvent) -> bool {
    let with_control = key.modifiers.contains(KeyModifiers::CONTROL);
    matches!(key.code, KeyCode::Char('q')) || (with_control && key.code == KeyCode::Char('c'))
}
