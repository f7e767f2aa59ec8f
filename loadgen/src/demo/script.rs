//! The script of the demo: load, a kill after one third, a restart after two thirds, and the record of
//! what each party saw when.

use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use standin_client::ClientConfig;
use standin_protocol::time::Micros;

use super::DemoError;
use super::story::{Story, StoryEvent, StoryKind};
use crate::console::Console;
use crate::drive::{self, Pacing, Plan};
use crate::faults::kinds::StartError;
use crate::faults::kinds::standin::Cluster;
use crate::interrupt::Interrupt;
use crate::live::{Live, Progress};
use crate::observer::{EventTail, StatsReading, StatsWatch};
use crate::recorder::Recording;
use crate::report::table::thousands;
use crate::schedule::Arrivals;
use crate::workload::{Mix, Supply};

/// Names of the phases.
pub(super) const PHASES: [&str; 3] = ["before", "failover", "after return"];
/// The server that is killed.
const VICTIM: u16 = 0;
/// The time within which the servers report their database calls.
const STATS_WITHIN: Duration = Duration::from_millis(400);
/// The time between two checks of the event file and the clock.
const TICK: Duration = Duration::from_millis(10);
/// The time between two progress lines.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// An open loop at this rate.
pub(super) fn pacing(rate_per_s: u32, arrivals: Arrivals) -> Pacing {
    Pacing::Open { rates: rate_per_s.into(), arrivals }
}

/// The result of the script.
pub(super) struct Played {
    pub(super) recording: Recording,
    pub(super) story: Story,
    /// The times at which the phases began, and the end.
    pub(super) bounds: Vec<Micros>,
    /// The servers' counters at these times.
    pub(super) origin: Vec<Option<StatsReading>>,
    /// The servers' counters over the whole run.
    pub(super) readings: Vec<StatsReading>,
}

impl Played {
    /// Events that should have happened but did not.
    pub(super) fn problems(&self) -> Vec<String> {
        let victim = self.story.victim_name();
        let expected = [
            (StoryKind::Killed, "was not killed"),
            (StoryKind::StandingIn, "was not replaced by a stand-in"),
            (StoryKind::VerifiedOffline, "was not verified as offline"),
            (StoryKind::Acknowledged, "was not known to all others as offline"),
            (StoryKind::Restarted, "was not restarted"),
            (StoryKind::Online, "was not announced as online after its restart"),
        ];
        let missing = expected.iter().filter(|(kind, _)| self.story.at(*kind).is_none());
        missing.map(|(_, what)| format!("{victim} {what} while the load ran")).collect()
    }
}

struct Stage<'c> {
    plan: &'c Plan,
    cluster: &'c mut Cluster,
    stats: StatsWatch,
    live: Arc<Live>,
    start: Micros,
    story: Story,
    bounds: Vec<Micros>,
    origin: Vec<Option<StatsReading>>,
}

/// Runs the load and the script. Children are started on this thread and die with it.
pub(super) fn play(
    plan: &Plan,
    mix: Mix,
    workers: u32,
    cluster: &mut Cluster,
    interrupt: &Interrupt,
    console: &mut Console,
) -> Result<Played, DemoError> {
    let client = ClientConfig::from(&cluster.config);
    let stats = StatsWatch::start(Arc::clone(&cluster.topology), &client)
        .map_err(DemoError::system("asking for statistics"))?;
    let first = stats.read_now(STATS_WITHIN);
    let mut tail = EventTail::new(&cluster.event_file);
    let names = cluster.topology.servers.iter().map(|server| server.name.clone()).collect();
    let live = Arc::new(Live::new(workers));
    let supplies =
        (0..workers).map(|worker| Supply::mixed(mix, plan.seed, worker, workers)).collect();
    let running = drive::start(plan, supplies, &live)?;
    let mut stage = Stage {
        plan,
        cluster,
        stats,
        live,
        start: running.start,
        story: Story::new(names, VICTIM),
        bounds: vec![running.start],
        origin: vec![first],
    };
    let mut shown = (running.start, Progress::default());
    while !running.is_finished() {
        match running.notables.recv_timeout(TICK) {
            Ok(notable) => stage.story.client(&notable),
            // The workers have ended; their results are about to be collected.
            Err(RecvTimeoutError::Disconnected) => std::thread::park_timeout(TICK),
            Err(RecvTimeoutError::Timeout) => {}
        }
        running.notables.try_iter().for_each(|notable| stage.story.client(&notable));
        tail.take().iter().for_each(|line| stage.story.master(line));
        if interrupt.is_set() {
            stage.live.stop();
            return Err(DemoError::Interrupted);
        }
        stage.act()?;
        stage.show_events(console);
        stage.show_progress(&mut shown, console);
    }
    stage.close_phase();
    tail.take().iter().for_each(|line| stage.story.master(line));
    stage.show_events(console);
    let recording = running.join()?;
    let Stage { story, bounds, origin, stats, .. } = stage;
    Ok(Played { recording, story, bounds, origin, readings: stats.readings() })
}

impl Stage<'_> {
    /// Carries out the steps that are due.
    fn act(&mut self) -> Result<(), DemoError> {
        let seconds = self.plan.duration.expect("a demo has a duration");
        let elapsed = Micros::boottime().since(self.start);
        let has = |kind| self.story.at(kind).is_some();
        if !has(StoryKind::Killed) {
            if elapsed >= seconds / 3 {
                self.close_phase();
                self.kill();
            }
        } else if !has(StoryKind::Restarted) {
            // Long enough to see the whole failover; but the return needs its time too.
            let is_told = has(StoryKind::Acknowledged);
            if elapsed >= seconds * 2 / 3 && (is_told || elapsed >= seconds * 5 / 6) {
                self.restart()?;
            }
        } else if self.bounds.len() == 2 && has(StoryKind::Online) {
            self.close_phase();
            self.begin_phase(2, Micros::boottime());
        }
        Ok(())
    }

    fn kill(&mut self) {
        let process = &mut self.cluster.servers[usize::from(VICTIM)];
        let pid = process.pid();
        let at = Micros::boottime();
        process.kill();
        // Reading the counters took a moment, but the phase ends with the kill.
        if let Some(bound) = self.bounds.last_mut() {
            *bound = at;
        }
        self.begin_phase(1, at);
        self.story.killed(at, pid);
    }

    fn begin_phase(&self, phase: usize, at: Micros) {
        let at = at.since(self.start);
        self.plan.moments.set(phase, at, at);
    }

    fn restart(&mut self) -> Result<(), DemoError> {
        let process = &mut self.cluster.servers[usize::from(VICTIM)];
        let at = Micros::boottime();
        process.restart().map_err(StartError::from)?;
        let pid = process.pid();
        self.story.restarted(at, pid);
        Ok(())
    }

    /// Notes what the servers have counted up to now, and the time.
    fn close_phase(&mut self) {
        self.bounds.push(Micros::boottime());
        self.origin.push(self.stats.read_now(STATS_WITHIN));
    }

    fn show_events(&mut self, console: &mut Console) {
        for StoryEvent { at, kind, server, text } in self.story.take_new() {
            let t_s = at.since(self.start).as_micros() as f64 / 1e6;
            console.line(&format!("  {t_s:>8.3} s  {:<14}{server:<5}{text}", kind.words()));
        }
    }

    fn show_progress(&self, shown: &mut (Micros, Progress), console: &mut Console) {
        let now = Micros::boottime();
        let passed = now.since(shown.0);
        if passed < PROGRESS_INTERVAL {
            return;
        }
        let progress = self.live.progress();
        let recent = progress.since(shown.1);
        *shown = (now, progress);
        let (elapsed, whole) =
            (now.since(self.start), self.plan.duration.expect("a demo has a duration"));
        let text = format!(
            "{:>4.1} s  {:<12}  {:>7}/s  hits {:>5.1} %  failed {}  stale {}",
            elapsed.as_secs_f64(),
            PHASES[self.plan.moments.last_at(elapsed)],
            thousands((recent.ended as f64 / passed.as_secs_f64()) as u64),
            recent.hit_ratio() * 100.0,
            progress.failed,
            progress.bad,
        );
        console.progress(elapsed.as_millis() as u64, whole.as_millis() as u64, &text);
    }
}
