//! Runs one fault: cluster, warm-up, load, and the fault's script. Records everything that `row/`
//! judges.
//!
//! ```text
//!  start ─ fill ─ warm-up ─┬─ before ─┬─ steady ─┬─ strike ─ … ─┬─ heal ─ … ─┬─ aftermath ─┐ end
//!                          └ load, 8 clients, every request logged ─────────────────────────┘
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use standin_client::ClientConfig;
use standin_config::Mode;
use standin_loadgen::checker::{Checker, Initial, age_allowed, grace};
use standin_loadgen::drive::{self, DriveError, Pacing, Plan, Running};
use standin_loadgen::faults::proxy::Call;
use standin_loadgen::interrupt::Interrupt;
use standin_loadgen::live::Live;
use standin_loadgen::observer::{EventTail, MasterLine};
use standin_loadgen::origin::{OriginError, Rows, RunOrigin, lost_rows};
use standin_loadgen::popularity::Popularity;
use standin_loadgen::recorder::Recording;
use standin_loadgen::request::ValueSizes;
use standin_loadgen::schedule::Arrivals;
use standin_loadgen::targets::{Standin, Target};
use standin_loadgen::workload::{Cold, Keys, Mix, Others, Supply, SweepAccess};
use standin_protocol::time::Micros;

use crate::catalogue::{Action, Fault, Script, Step};
use crate::cluster::{Cluster, ClusterError, KEYSPACE};
use crate::net::{Net, Node};
use crate::samples::{Sample, Sampler};
use crate::settings::Settings;

/// Keys that the caches hold.
const HOT_KEYS: u32 = 10_000;
/// The number of keys that are rarely read a second time (see [`Cold`]) for each read of one in a run.
/// They are drawn uniformly, and the caches have room for them. So one in this many of the last reads of
/// a run is a hit, and half as many of all reads.
const COLD_KEYS_PER_READ: f64 = 10.0;
/// The smallest number of cold keys, for a run at a low rate.
const COLD_KEYS_MIN: u32 = 20_000;
/// Each of these reads costs a row of the database.
const COLD_KEYS_MAX: u32 = 4_000_000;
/// The percentage of reads of cold keys, which makes the hit ratio 95 %.
pub(crate) const COLD_PERCENT: f64 = 5.0;
const READS_PERCENT: f64 = 95.0;
const ZIPF_EXPONENT: f64 = 0.99;
const VALUE_BYTES: u32 = 100;
/// Each has a client of its own.
pub(crate) const WORKERS: u32 = 8;
const WARM_DEPTH: u32 = 8;
const SWEEPS_MAX: u32 = 5;
/// Share of hits at which the caches are warm.
const WARM: f64 = 0.99;

/// Load while the steady state is measured.
const STEADY: Duration = Duration::from_secs(5);
/// Load after the fault.
const AFTERMATH: Duration = Duration::from_secs(10);
/// The longest wait for a server to come online.
const ONLINE_WITHIN: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(5);
const SLOT: Duration = Duration::from_millis(500);

/// Everything that was observed.
pub(crate) struct Played {
    pub(crate) fault: Fault,
    pub(crate) seed: u64,
    pub(crate) recording: Recording,
    /// The time at which the measurement of the steady state began.
    pub(crate) steady: Micros,
    /// The time at which the first fault began, and the steady state ended.
    pub(crate) steady_end: Micros,
    /// The times at which the faults affected each node, in order.
    pub(crate) strikes: Vec<(Option<Node>, Micros)>,
    pub(crate) healed: Option<Micros>,
    pub(crate) end: Micros,
    pub(crate) origin_reads: Vec<Micros>,
    pub(crate) events: Vec<MasterLine>,
    pub(crate) samples: Vec<Sample>,
    /// Home of every key.
    pub(crate) homes: Vec<u16>,
    /// Acknowledged writes that the database does not have.
    pub(crate) lost_writes: Vec<String>,
    /// Other events that should not have happened.
    pub(crate) problems: Vec<String>,
    pub(crate) mode: Mode,
    pub(crate) bound: Duration,
    pub(crate) attempt_timeout: Duration,
}

/// The reason why a fault could not be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlayError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Drive(#[from] DriveError),
    #[error(transparent)]
    Origin(#[from] OriginError),
    #[error("interrupted; all processes that were started have ended")]
    Interrupted,
}

impl From<crate::net::NetError> for PlayError {
    fn from(error: crate::net::NetError) -> Self {
        ClusterError::from(error).into()
    }
}

/// The parts that run beside the script.
struct Stage<'a> {
    net: &'a Net,
    cluster: &'a mut Cluster,
    interrupt: &'a Interrupt,
    running: Running,
    tail: EventTail,
    events: Vec<MasterLine>,
    strikes: Vec<(Option<Node>, Micros)>,
    steady_end: Option<Micros>,
    problems: Vec<String>,
    /// Processes that the script has ended.
    down: Vec<&'static str>,
}

/// Runs one fault in a folder of its own. Call this on the main thread.
pub(crate) fn play(
    fault: Fault,
    settings: &Settings,
    net: &Net,
    folder: &Path,
    interrupt: &Interrupt,
) -> Result<Played, PlayError> {
    net.impair(&[])?;
    let run = run_of(settings);
    let script = fault.script(settings.lasts);
    let cold =
        cold_keys(fault.load_before() + STEADY + script.length() + AFTERMATH, settings.rate_per_s);
    let rows = Rows { count: HOT_KEYS + cold, run, value_bytes: VALUE_BYTES };
    let origin = RunOrigin::prepare(Some(&settings.database_url), folder, rows)?;
    let mut cluster = Cluster::start(settings, folder, net, interrupt)?;

    let bound = age_allowed(&cluster.processes.config);
    let checker = Checker::new(rows.count, run, Initial::Filled).with_bound(bound);
    let checker = checker.with_grace(grace(&cluster.processes.config));
    let checker = Arc::new(checker);
    let plan = load(settings, &cluster, &checker);
    warm_up(&plan, net, interrupt)?;

    let sampler = net
        .within(Node::Client, || {
            Sampler::start(
                &cluster.processes.topology,
                &ClientConfig::from(&cluster.processes.config),
            )
        })?
        .map_err(ClusterError::system("asking for statistics"))?;
    let live = Arc::new(Live::new(WORKERS));
    let supplies = (0..WORKERS)
        .map(|worker| Supply::mixed(mix(cold), settings.seed, worker, WORKERS))
        .collect();
    let running = net.within(Node::Client, || drive::start(&plan, supplies, &live))??;
    let tail = EventTail::new(&cluster.processes.event_file);
    let mut stage = Stage::new(net, &mut cluster, interrupt, running, tail);
    let Moments { steady, healed, end } = stage.play(fault.load_before(), &script)?;
    live.stop();
    while !stage.running.is_finished() {
        stage.wait(TICK)?;
    }
    let Stage { running, mut events, mut tail, strikes, steady_end, problems, .. } = stage;
    events.extend(tail.take());
    let recording = running.join()?;
    let samples = sampler.taken();
    drop(sampler);
    let origin_reads = cluster.proxy.calls(Call::Read);
    let attempt_timeout = cluster.processes.config.timings.attempt_timeout;
    let homes = (0..rows.count).map(|key| home(&cluster, key)).collect();
    drop(cluster);
    let rows = origin.read_all()?;
    let lost_writes = lost_rows(&rows, &checker, &Keys::Numbered, checker.keys());
    origin.remove()?;
    Ok(Played {
        fault,
        seed: settings.seed,
        recording,
        steady,
        steady_end: steady_end.unwrap_or(end),
        strikes,
        healed,
        end,
        origin_reads,
        events,
        samples,
        homes,
        lost_writes,
        problems,
        mode: settings.mode,
        bound,
        attempt_timeout,
    })
}

/// The load during a fault.
fn load(settings: &Settings, cluster: &Cluster, checker: &Arc<Checker>) -> Plan {
    let target = Target::Standin(Box::new(Standin {
        topology: Arc::clone(&cluster.processes.topology),
        client: ClientConfig::from(&cluster.processes.config),
        keyspace: KEYSPACE,
    }));
    let pacing = Pacing::Open { rates: settings.rate_per_s.into(), arrivals: Arrivals::Constant };
    Plan {
        checker: Some(Arc::clone(checker)),
        slot: SLOT,
        is_logged: true,
        ..Plan::new(target, pacing, settings.seed, run_of(settings))
    }
}

/// Identifies the values of a run.
fn run_of(settings: &Settings) -> u32 {
    u32::try_from(settings.seed & 0xFFFF_FFFF).unwrap_or(1) ^ 0x00C4_A050
}

/// Returns how many cold keys a run of this length needs.
fn cold_keys(length: Duration, rate_per_s: u32) -> u32 {
    let reads_per_s = f64::from(rate_per_s) * READS_PERCENT / 100.0 * COLD_PERCENT / 100.0;
    let keys = reads_per_s * length.as_secs_f64() * COLD_KEYS_PER_READ;
    (keys as u32).clamp(COLD_KEYS_MIN, COLD_KEYS_MAX)
}

fn mix(cold: u32) -> Mix {
    Mix {
        keys: HOT_KEYS,
        popularity: Popularity::ranked(ZIPF_EXPONENT),
        reads_percent: READS_PERCENT,
        reads_first: false,
        others: Others::NONE,
        sizes: ValueSizes::fixed(VALUE_BYTES),
        cold: Cold { keys: cold, percent: COLD_PERCENT },
    }
}

fn home(cluster: &Cluster, key: u32) -> u16 {
    let topology = &cluster.processes.topology;
    topology.home(topology.partition(KEYSPACE, &Keys::Numbered.name(key)))
}

/// Reads every hot key until nearly all are cached: a cluster that has just started may answer
/// before it caches anything.
fn warm_up(plan: &Plan, net: &Net, interrupt: &Interrupt) -> Result<(), PlayError> {
    for _ in 0..SWEEPS_MAX {
        if sweep(plan, net, interrupt)? >= WARM {
            break;
        }
    }
    Ok(())
}

/// Reads every hot key once; the share that was in a cache.
fn sweep(plan: &Plan, net: &Net, interrupt: &Interrupt) -> Result<f64, PlayError> {
    let pacing = Pacing::Closed { clients: WORKERS, depth: WARM_DEPTH };
    let plan = Plan { pacing, is_logged: false, ..plan.clone() };
    let live = Arc::new(Live::new(WORKERS));
    let sweep =
        |next| Supply::Sweep { next, end: HOT_KEYS, step: WORKERS, access: SweepAccess::Read };
    let supplies = (0..WORKERS).map(sweep).collect();
    let running = net.within(Node::Client, || drive::start(&plan, supplies, &live))??;
    while !running.is_finished() {
        running.notables.try_iter().for_each(drop);
        if interrupt.is_set() {
            live.stop();
            return Err(PlayError::Interrupted);
        }
        std::thread::park_timeout(TICK);
    }
    Ok(running.join()?.counts().hit_ratio())
}

/// The times at which the parts of a script began.
struct Moments {
    steady: Micros,
    /// When the script began to heal, if it does.
    healed: Option<Micros>,
    end: Micros,
}

impl<'a> Stage<'a> {
    fn new(
        net: &'a Net,
        cluster: &'a mut Cluster,
        interrupt: &'a Interrupt,
        running: Running,
        tail: EventTail,
    ) -> Self {
        Self {
            net,
            cluster,
            interrupt,
            running,
            tail,
            events: Vec::new(),
            strikes: Vec::new(),
            steady_end: None,
            problems: Vec::new(),
            down: Vec::new(),
        }
    }

    /// Plays the script under load.
    fn play(&mut self, load_before: Duration, script: &Script) -> Result<Moments, PlayError> {
        self.wait(load_before)?;
        let steady = Micros::boottime();
        self.wait(STEADY)?;
        self.run(&script.strike)?;
        let healed = (!script.heal.is_empty()).then(Micros::boottime);
        self.run(&script.heal)?;
        self.wait(AFTERMATH)?;
        Ok(Moments { steady, healed, end: Micros::boottime() })
    }

    fn run(&mut self, steps: &[Step]) -> Result<(), PlayError> {
        for step in steps {
            match step {
                Step::Do(action) => self.act(action)?,
                Step::Wait(length) => self.wait(*length)?,
                Step::UntilOnline(node) => self.wait_until_online(*node)?,
            }
        }
        Ok(())
    }

    fn act(&mut self, action: &Action) -> Result<(), PlayError> {
        match action {
            Action::Kill(node) => self.down.push(node.name()),
            Action::Start(node) => self.down.retain(|name| *name != node.name()),
            _ => {}
        }
        let node = match action {
            Action::Kill(node) | Action::Pause(node) => Some(*node),
            _ => None,
        };
        let before = Micros::boottime();
        self.cluster.apply(action, self.net)?;
        // A signal takes effect at once. The network is changed by several processes, one after
        // the other: until the last has ended, an answer proves nothing.
        let at = if matches!(action, Action::Impair(_)) { Micros::boottime() } else { before };
        if action.strikes() {
            self.steady_end.get_or_insert(before);
            self.strikes.push((node, at));
        }
        Ok(())
    }

    fn wait_until_online(&mut self, node: Node) -> Result<(), PlayError> {
        let (from, deadline) = (Micros::boottime(), Micros::boottime() + ONLINE_WITHIN);
        let is_it = |line: &MasterLine| {
            line.at() >= from
                && line.kind == "online"
                && line.server.as_deref() == Some(node.name())
        };
        while !self.events.iter().any(is_it) {
            if Micros::boottime() >= deadline {
                let text = format!("{} was not online after {ONLINE_WITHIN:?}", node.name());
                self.problems.push(text);
                break;
            }
            self.wait(TICK)?;
        }
        Ok(())
    }

    /// Lets the load continue, and notes the events.
    fn wait(&mut self, length: Duration) -> Result<(), PlayError> {
        let until = Micros::boottime() + length;
        loop {
            self.running.notables.try_iter().for_each(drop);
            self.events.extend(self.tail.take());
            for (name, output) in self.cluster.processes.ended() {
                if !self.down.iter().any(|down| *down == name) {
                    self.problems
                        .push(format!("{name} ended unexpectedly; its last output was:\n{output}"));
                    self.down.extend(Node::all().map(Node::name).find(|known| *known == name));
                }
            }
            if self.interrupt.is_set() {
                return Err(PlayError::Interrupted);
            }
            let left = until.since(Micros::boottime());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::park_timeout(left.min(TICK));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hit_ratio_stays_what_it_is_however_long_a_run_lasts() {
        for (seconds, rate_per_s) in [(30, 4_000), (630, 4_000), (630, 1_000), (60, 10_000)] {
            let keys = f64::from(cold_keys(Duration::from_secs(seconds), rate_per_s));
            let reads = f64::from(rate_per_s) * seconds as f64 * 0.95 * COLD_PERCENT / 100.0;
            // The share of the last reads whose keys have been read before.
            let hits_percent = COLD_PERCENT * (1.0 - (-reads / keys).exp());
            assert!(hits_percent < 0.5, "{seconds} s, {rate_per_s}/s: {hits_percent}");
        }
    }
}
