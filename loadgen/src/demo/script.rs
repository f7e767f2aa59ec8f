//! What the demo starts and breaks: a cluster that loses a server after a third of the load, and has it again some time
//! after all know of its death. Played by the stage of any load, it is watched by [`Witness`].

use std::sync::Arc;
use std::time::Duration;

use standin_config::Mode;
use standin_protocol::map::ServerState;

use super::story::{Story, StoryEvent, StoryKind};
use super::{DemoArgs, DemoError};
use crate::console::Console;
use crate::drive::{self, Notable, Plan};
use crate::faults::kinds::standin::UP_WITHIN;
use crate::faults::script::{
    Awaited, Backing, ClusterSpec, Deed, FaultSpec, Kind, ProcessSpec, Script, What,
};
use crate::faults::{Mark, Stage};
use crate::interrupt::Interrupt;
use crate::live::Live;
use crate::observer::{EventTail, StatsReading, StatsWatch};
use crate::origin::Rows;
use crate::recorder::{Moments, Recording};
use crate::watch::{Look, Shown, Watched};
use crate::workload::{Mix, Supply};

/// Names of the phases.
pub(super) const PHASES: [&str; 3] = ["before", "failover", "after return"];
/// The moments that end the first and the second of them.
pub(super) const KILL: usize = 1;
pub(super) const ONLINE: usize = 3;
/// The cluster, and the folder of its files.
pub(super) const CLUSTER: &str = "demo";
/// The server that is killed.
const VICTIM: u16 = 0;
const VICTIM_NAME: &str = "demo-a1";
/// Cache of one server. The rows of a server do not all fit, so that the steady state has
/// misses, as in real use.
const MEMORY_BYTES: u64 = 6 << 20;
/// Largest value: far above the demo's; a small bound keeps the cache's segments small.
const VALUE_BYTES_MAX: u32 = 4_096;
/// The time within which the servers report their database calls.
const STATS_WITHIN: Duration = Duration::from_millis(400);

/// The script: `groups` of two servers, and what happens to one of them.
pub(super) fn script(args: &DemoArgs, groups: u16, rows: Rows) -> Script {
    let cluster = ClusterSpec {
        groups,
        servers: 2,
        memory_bytes: MEMORY_BYTES,
        mode: Mode::Available,
        database: (!args.cache).then(|| Backing::Own { url: args.origin.clone(), rows }),
        surge_reads: None,
        value_bytes_max: Some(VALUE_BYTES_MAX),
    };
    let process = ProcessSpec {
        name: CLUSTER.to_owned(),
        kind: Kind::Standin(cluster),
        namespace: false,
        program: None,
        arguments: Vec::new(),
        ready_within: UP_WITHIN,
    };
    let whole = Duration::from_secs(args.seconds.into());
    let fault = |name: &str, at, deed| FaultSpec {
        name: name.to_owned(),
        line: 0,
        at,
        after: None,
        lasts: None,
        deed,
    };
    let after = |state, within, fault| {
        let server = VICTIM_NAME.to_owned();
        FaultSpec { after: Some(Awaited { server, state, within }), ..fault }
    };
    let victim = |what| Deed::Process { name: VICTIM_NAME.to_owned(), what };
    let restart = fault("restart", whole / 4, victim(What::Restart));
    Script {
        processes: vec![process],
        faults: vec![
            fault("kill", whole / 3, victim(What::Kill)),
            // Long enough to see the whole failover; but the return needs its time, too.
            after(ServerState::Offline, whole / 3, restart),
            after(ServerState::Online, whole, fault("online", Duration::ZERO, Deed::Mark)),
        ],
    }
}

/// What was measured and seen.
pub(super) struct Played {
    pub(super) recording: Recording,
    pub(super) story: Story,
    pub(super) moments: Arc<Moments>,
    /// The servers' counters over the whole run.
    pub(super) readings: Vec<StatsReading>,
    /// What did not go as it should.
    pub(super) problems: Vec<String>,
}

/// Puts the load on the cluster of the stage while its script is carried out.
pub(super) fn play(
    plan: &Plan,
    mix: Mix,
    workers: u32,
    stage: &mut Stage,
    (interrupt, console): (&Interrupt, &mut Console),
) -> Result<Played, DemoError> {
    let standin = plan.target.standin().expect("the demo's target");
    let stats = StatsWatch::start(Arc::clone(&standin.topology), &standin.client)
        .map_err(DemoError::system("asking for statistics"))?;
    let _first = stats.read_now(STATS_WITHIN);
    let names = standin.topology.servers.iter().map(|server| server.name.clone()).collect();
    let tail = EventTail::new(stage.places().events(CLUSTER).expect("the script's cluster"));
    let mut witness = Witness { story: Story::new(names, VICTIM), tail, marks: 0 };
    let live = Arc::new(Live::new(workers).ended_by(interrupt.flag()));
    let supplies =
        (0..workers).map(|worker| Supply::mixed(mix, plan.seed, worker, workers)).collect();
    let running = drive::start(plan, supplies, &live)?;
    stage.begin(running.start);
    let watched = Watched { live: &live, plan, whole: 0, shown: Shown::Progress("") };
    let mut observer = |look: Look<'_>| {
        witness.look(look);
        false
    };
    let on_stage = Some(&mut *stage);
    let (recording, _) = watched.until_end(running, on_stage, interrupt, console, &mut observer)?;
    stage.undo();
    if interrupt.is_set() {
        return Err(DemoError::Interrupted);
    }
    let _last = stats.read_now(STATS_WITHIN);
    let story = witness.story;
    let failed = |mark: &Mark| Some(format!("{}: {}", mark.fault, mark.error.as_ref()?));
    let failed = stage.marks().iter().filter_map(failed).collect();
    let problems = [failed, stage.problems(false), missing(&story)].concat();
    Ok(Played { recording, story, moments: stage.moments(), readings: stats.readings(), problems })
}

/// Events that should have happened but did not.
fn missing(story: &Story) -> Vec<String> {
    let victim = story.victim_name();
    let expected = [
        (StoryKind::Killed, "was not killed"),
        (StoryKind::StandingIn, "was not replaced by a stand-in"),
        (StoryKind::VerifiedOffline, "was not verified as offline"),
        (StoryKind::Acknowledged, "was not known to all others as offline"),
        (StoryKind::Restarted, "was not restarted"),
        (StoryKind::Online, "was not announced as online after its restart"),
    ];
    let missing = expected.iter().filter(|(kind, _)| story.at(*kind).is_none());
    missing.map(|(_, what)| format!("{victim} {what} while the load ran")).collect()
}

/// Tells the story what has happened, and the console what is new in it.
struct Witness {
    story: Story,
    /// What the master writes.
    tail: EventTail,
    /// The number of the stage's marks that were told.
    marks: usize,
}

impl Witness {
    fn look(&mut self, look: Look<'_>) {
        let Look { start, notables, stage, console } = look;
        let stage = stage.expect("the demo has one");
        for mark in &stage.marks()[self.marks..] {
            self.marks += 1;
            let Some((done, pid)) = mark.done.zip(stage.pid(VICTIM_NAME)) else { continue };
            match &*mark.fault {
                "kill" => self.story.killed(start + done, pid),
                "restart" => self.story.restarted(start + done, pid),
                _ => {}
            }
        }
        // A server answers again when the master has written that it is online.
        let (events, answers): (Vec<_>, Vec<_>) =
            notables.iter().partition(|notable| matches!(notable, Notable::Client { .. }));
        events.into_iter().for_each(|event| self.story.client(event));
        self.tail.take().iter().for_each(|line| self.story.master(line));
        answers.into_iter().for_each(|answer| self.story.client(answer));
        for StoryEvent { at, kind, server, text } in self.story.take_new() {
            let t_s = at.since(start).as_micros() as f64 / 1e6;
            console.line(&format!("  {t_s:>8.3} s  {:<14}{server:<5}{text}", kind.words()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::{SECONDS_MIN, tests::parse};
    use super::*;
    use crate::faults::mistakes;

    #[test]
    fn the_shortest_demo_has_time_for_its_script() {
        let rows = Rows { count: 1, run: 1, value_bytes: 64 };
        let args = parse(&["demo", "--seconds", &SECONDS_MIN.to_string()]).unwrap();
        let script = script(&args, 2, rows);
        assert!(mistakes(&script).is_empty() && script.has_process(VICTIM_NAME));
        assert_eq!(script.servers()[usize::from(VICTIM)], VICTIM_NAME);
        // If its death is announced as late as may be, the new process still has half a second.
        let restart = script.faults[1].at + script.faults[1].after.as_ref().unwrap().within;
        let end = Duration::from_secs(args.seconds.into());
        assert!(script.faults[0].at + restart + Duration::from_millis(500) <= end);
    }
}
