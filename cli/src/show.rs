//! How commands that look at a cluster show what they have seen: as a table or as JSON, once or again and again.
#![expect(clippy::disallowed_methods, reason = "a shell: the wait for the next look")]

use std::error::Error;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::{Ended, diagnostics, out};

/// The arguments of these commands.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Print JSON; with --watch, one object per line.
    #[arg(long)]
    json: bool,
    /// Repeat every SECONDS seconds until interrupted; every 2 seconds if no number is given.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = clap::value_parser!(u64).range(1..=3_600))]
    watch: Option<u64>,
}

impl ShowArgs {
    /// Returns what is to be printed of a look.
    pub(crate) fn text(
        &self,
        json: impl FnOnce() -> Value,
        table: impl FnOnce() -> String,
    ) -> String {
        match (self.json, self.watch) {
            (true, None) => format!("{:#}", json()),
            (true, Some(_)) => json().to_string(),
            (false, _) => table(),
        }
    }

    /// Prints what `look` returns, once with its exit code, or every few seconds.
    pub(crate) fn show(
        &self,
        mut look: impl FnMut() -> Result<(String, u8), Box<dyn Error>>,
    ) -> Ended {
        let Some(seconds) = self.watch else {
            let (text, code) = look()?;
            out::line(&text)?;
            return Ok(ExitCode::from(code));
        };
        // On a terminal, each look replaces the previous one.
        let is_replaced = std::io::stdout().is_terminal() && !self.json;
        let clear = if is_replaced { "\x1b[2J\x1b[H" } else { "" };
        loop {
            match look() {
                Ok((text, _)) => out::line(&format!("{clear}{text}"))?,
                // The cluster may answer the next time.
                Err(error) => diagnostics::complain(&error.to_string()),
            }
            std::thread::sleep(Duration::from_secs(seconds));
        }
    }
}
