//! The log of a server or master, and the messages of the other commands. Diagnostics are best
//! effort: they delay and end nothing, and lost lines are counted.
//!
//! ```text
//! sink.rs   a bounded queue and the thread that writes it
//! limit.rs  the number of lines that one place in the code may write
//! style.rs  the form of a line
//! ```

mod limit;
mod sink;
mod style;

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::{Args, ValueEnum};
use standin_config::LogLevel;
use standin_protocol::time::Micros;
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::layer::{Layer, Layered, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

use limit::Places;
pub(crate) use sink::{Sink, Target};
use style::Style;

/// The time for which the end of the process waits for unwritten lines.
const FLUSH_WITHIN: Duration = Duration::from_millis(200);

/// The time for which the start of a role waits for a log or event file to be opened.
const OPEN_WITHIN: Duration = Duration::from_millis(500);

/// The time for which the reader of standard error may stall before a command drops its last lines.
const STDERR_PATIENCE: Duration = Duration::from_secs(1);

/// The standard error of a command without a log, once it has written something.
static STDERR: OnceLock<Option<Sink>> = OnceLock::new();

/// The log of this process, if it has one.
static LOG: OnceLock<(Sink, Style, Places)> = OnceLock::new();

/// The options of a role's log.
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// Append the log to this file instead of standard error. SIGHUP reopens it.
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// Format of log lines.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    log_format: Format,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Time, level and text.
    Text,
    /// One JSON object per line.
    Json,
}

/// The wall-clock time as in log lines: `2026-05-04T03:02:01.123456Z`.
pub(crate) fn wall_time() -> String {
    let mut time = String::new();
    // Formatting into a string does not fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    time
}

/// The diagnostics of a role.
#[derive(Clone)]
pub(crate) struct Diagnostics {
    log: Sink,
    /// The number of lines of the log, the event file and standard output that could not be written
    /// or were suppressed.
    pub(crate) lost: Arc<AtomicU64>,
    /// Whether the log is a file, which can be reopened.
    pub(crate) has_file: bool,
    /// By this the level is changed; `None`: the environment has chosen the lines.
    levels: Option<Levels>,
}

type Levels = reload::Handle<EnvFilter, Layered<BoxedLayer, Registry>>;
type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

impl Diagnostics {
    /// Starts logging under the name of a server, or `master`. `RUST_LOG` selects the lines, otherwise the
    /// level does. Panics are logged too.
    pub(crate) fn start(args: &LogArgs, name: &str, level: LogLevel) -> io::Result<Self> {
        let lost = Arc::new(AtomicU64::new(0));
        let style = Style::new(args.log_format, name);
        let target = match &args.log_file {
            None => Target::Stderr,
            Some(path) => Target::file(path),
        };
        let of_note = style.clone();
        let note = Box::new(move |count| {
            of_note.line(Level::WARN, &format!("{count} log lines could not be written"))
        });
        let places = Places::default();
        let (of_sink, of_rest) = (places.clone(), style.clone());
        let rest = Box::new(move |now| of_sink.rest(now, &of_rest));
        let log = Sink::start_with("log", target, Arc::clone(&lost), note, rest)?;
        if let Some(path) = &args.log_file
            && !wait_open(&log, "--log-file", path)?
        {
            // The log itself can't say it.
            remark(&format!("standin: {}", not_open("--log-file", path)));
        }
        let of_environment = EnvFilter::try_from_default_env().ok();
        let is_of_file = of_environment.is_none();
        let filter = of_environment.unwrap_or_else(|| EnvFilter::new(level.name()));
        let (filter, levels) = reload::Layer::new(filter);
        let lines = tracing_subscriber::fmt::layer::<Registry>()
            .with_writer(LogWriter(log.clone()))
            .with_target(false)
            .with_ansi(args.log_file.is_none() && io::stderr().is_terminal())
            .log_internal_errors(false);
        let lines = match style.format {
            Format::Text => lines.boxed(),
            Format::Json => lines.event_format(style.clone()).boxed(),
        };
        let limit = limit::Limit::new(places.clone(), log.clone(), style.clone());
        let _ = tracing_subscriber::registry().with(lines).with(filter).with(limit).try_init();
        let levels = is_of_file.then_some(levels);
        let _ = LOG.set((log.clone(), style, places));
        std::panic::set_hook(Box::new(|panic| {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("without a name");
            log_now(&format!("thread {name}: {panic}; this is a bug, please report it"));
        }));
        Ok(Self { log, lost, has_file: args.log_file.is_some(), levels })
    }

    /// Sets the level of the file. Returns whether it counts: the environment may have chosen the lines.
    pub(crate) fn set_level(&self, level: LogLevel) -> bool {
        let set = |levels: &Levels| levels.reload(EnvFilter::new(level.name())).is_ok();
        self.levels.as_ref().is_some_and(set)
    }

    /// Opens another file of lines, which was named by `option`; `note` formats the line that says
    /// how many were lost.
    pub(crate) fn file(
        &self,
        name: &str,
        option: &str,
        path: &Path,
        note: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<Sink> {
        let sink = Sink::start(name, Target::file(path), Arc::clone(&self.lost), Box::new(note))?;
        if !wait_open(&sink, option, path)? {
            tracing::error!("{}", not_open(option, path));
        }
        Ok(sink)
    }

    /// Writes a line to standard output from a thread of its own, because nobody may read it.
    pub(crate) fn announce(&self, text: &str) -> io::Result<()> {
        let (line, lost) = (format!("{text}\n"), Arc::clone(&self.lost));
        std::thread::Builder::new().name("stdout".to_owned()).spawn(move || {
            if Target::Stdout.write(line.as_bytes()).is_err() {
                lost.fetch_add(1, Ordering::Relaxed);
            }
        })?;
        Ok(())
    }

    /// Reopens the log file.
    pub(crate) fn reopen(&self) {
        self.log.reopen();
    }
}

/// Waits briefly for a file to be open. Returns false if its disk hangs.
fn wait_open(sink: &Sink, option: &str, path: &Path) -> io::Result<bool> {
    sink.wait_open(OPEN_WITHIN).map_err(|error| {
        io::Error::new(error.kind(), format!("{option} {}: {error}", path.display()))
    })
}

fn not_open(option: &str, path: &Path) -> String {
    format!(
        "{option} {} has not been opened after {OPEN_WITHIN:?} (does its disk hang?); its lines \
         wait in memory, and are lost beyond 1 MiB",
        path.display()
    )
}

/// Reports why a command failed, in the log of this process if it has one, otherwise on standard
/// error.
pub(crate) fn complain(text: &str) {
    match LOG.get() {
        Some(_) => log_now(text),
        None => remark(&format!("standin: {text}")),
    }
}

/// Writes a line to standard error, for a command without a log. It never waits for a reader.
pub(crate) fn remark(text: &str) {
    let stderr = STDERR.get_or_init(|| {
        let note = Box::new(|count| format!("{count} lines could not be written\n"));
        Sink::start("stderr", Target::Stderr, Arc::default(), note).ok()
    });
    if let Some(stderr) = stderr {
        stderr.push(format!("{text}\n").as_bytes());
    }
}

/// Waits briefly for lines that are still to be written.
pub(crate) fn flush() {
    if let Some((log, style, places)) = LOG.get() {
        places.rest(Micros::NEVER, style).iter().for_each(|line| log.push(line.as_bytes()));
        log.flush(FLUSH_WITHIN);
    }
    if let Some(Some(stderr)) = STDERR.get() {
        stderr.drain(STDERR_PATIENCE);
    }
}

fn log_now(text: &str) {
    if let Some((log, style, _)) = LOG.get() {
        log.push(style.line(Level::ERROR, text).as_bytes());
    }
}

struct LogWriter(Sink);

impl<'w> MakeWriter<'w> for LogWriter {
    type Writer = LineWriter<'w>;

    fn make_writer(&'w self) -> Self::Writer {
        LineWriter(&self.0)
    }
}

/// The writer of one line: `tracing` writes each line with one call.
struct LineWriter<'w>(&'w Sink);

impl io::Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
