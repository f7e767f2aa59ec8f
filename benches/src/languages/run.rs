//! One run: a library's checks, and then its load through the fault and the return of a server.
#![expect(clippy::disallowed_methods, reason = "a shell: it looks again after a pause")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use standin_loadgen::interrupt::Interrupt;
use standin_testkit::languages::Script;
use standin_testkit::languages::load::{Load, Quote, Sample};
use standin_testkit::languages::script::Check;

use super::servers::Running;
use super::{Case, Fault};
use crate::Failure;

/// Scripts of load, each a process with a client of its own.
pub const SCRIPTS: usize = 4;
/// The shortest time from one request of a script to its next.
pub const INTERVAL: Duration = Duration::from_millis(8);
/// The longest load after a kill, if the clients do not go on before.
pub const OUTAGE_MAX: Duration = Duration::from_secs(40);
/// Load after the clients go on without the server.
pub const AFTER: Duration = Duration::from_secs(5);
const BEGIN_WITHIN: Duration = Duration::from_secs(30);
/// Good answers with which a script has begun; each has asked for all kinds of requests by then.
const BEGUN: usize = 200;
/// Good answers for the victim's keys with which a script goes on.
const GOES_ON: usize = 20;
const LOOK: Duration = Duration::from_millis(20);

/// The parameters of a run.
#[derive(Debug)]
pub struct Setting<'a> {
    /// The `standin` program.
    pub program: &'a Path,
    /// For logs and configurations.
    pub folder: &'a Path,
    /// The fault of a server.
    pub fault: Fault,
    /// Load after the return.
    pub after: Duration,
    /// Ends it.
    pub interrupt: &'a Interrupt,
}

/// The observations.
#[derive(Debug)]
pub struct Observed {
    /// The outcome of each check; none without Standin.
    pub checks: Vec<Check>,
    /// Every request of the load.
    pub samples: Vec<Sample>,
    /// Keys of the victim.
    pub struck: BTreeSet<usize>,
    /// The time of the fault, since the beginning of the load.
    pub began: Duration,
    /// The time at which the server was started again, or resumed.
    pub returned: Duration,
    /// What was said of failures, and of reads that should not have been.
    pub quotes: Vec<Quote>,
}

/// Runs a case.
///
/// # Errors
/// Something does not start or hangs, or the user has interrupted it.
pub fn run(case: &Case, setting: &Setting<'_>) -> Result<Observed, Failure> {
    let &Setting { program, folder, fault, after, interrupt } = setting;
    let mut running = Running::start(case.system, case.service, program, folder)?;
    let script = || Script::start(case.library, &running.place, folder);
    // They are about Standin. In some, one server has what another was given.
    let checks = if case.system.is_standin() { script()?.check("checked-")? } else { Vec::new() };
    let load = Load::start((0..SCRIPTS).map(|_| script()).collect::<Result<_, _>>()?, INTERVAL);

    let has_begun = wait(BEGIN_WITHIN, interrupt, || load.goes_on(Duration::ZERO, BEGUN, |_| true));
    if !has_begun && !interrupt.is_set() {
        let quotes = load.finish()?.1;
        return Err(format!("the clients do not begin: {:?}", quotes.first()).into());
    }
    let prefix = case.library.key_prefix;
    let keys: Vec<Vec<u8>> =
        load.keys().iter().map(|key| format!("{prefix}{key}").into_bytes()).collect();
    let held = running.servers().held_by_victim(&keys)?;
    let struck: BTreeSet<usize> = held.into_iter().map(|key| key as usize).collect();
    if struck.is_empty() {
        return Err(
            "the server with the fault has none of the keys, so that this says nothing".into()
        );
    }
    let began = load.now();
    match fault {
        Fault::Kill => {
            running.servers().victim().kill();
            let goes_on = || load.goes_on(began, GOES_ON, |key| struck.contains(&key));
            wait(OUTAGE_MAX, interrupt, goes_on);
            wait(AFTER, interrupt, || false);
        }
        Fault::Pause { seconds } => {
            running.servers().victim().pause();
            wait(Duration::from_secs(seconds.into()), interrupt, || false);
        }
    }
    let returned = load.now();
    running.return_victim(fault)?;
    wait(after, interrupt, || false);
    if interrupt.is_set() {
        return Err("interrupted; all processes that were started have ended".into());
    }
    let (samples, quotes) = load.finish()?;
    Ok(Observed { checks, samples, struck, began, returned, quotes })
}

/// Waits until a condition holds, the time has passed, or the user interrupts. Returns whether it holds.
fn wait(within: Duration, interrupt: &Interrupt, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline || interrupt.is_set() {
            return false;
        }
        std::thread::sleep(LOOK);
    }
}
