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
/// Names of what happens to it; the last one is only the moment at which it is online again.
const KILLING: &str = "kill";
const RESTART: &str = "restart";
const MARK: &str = "online";
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
    let restart = fault(RESTART, whole / 4, victim(What::Restart));
    Script {
        processes: vec![process],
        faults: vec![
            fault(KILLING, whole / 3, victim(What::Kill)),
            // Long enough to see the whole failover; but the return needs its time, too.
            after(ServerState::Offline, whole / 3, restart),
            after(ServerState::Online, whole, fault(MARK, Duration::ZERO, Deed::Mark)),
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
    let told = stage.marks().iter().filter_map(failed).chain(stage.problems(false)).collect();
    let problems = problems(told, &story);
    Ok(Played { recording, story, moments: stage.moments(), readings: stats.readings(), problems })
}

/// What the stage has told, and the events that should have happened but did not: each cause once. What could only follow
/// from an event that is missing is not told, nor what a fault that has not happened has told already.
fn problems(told: Vec<String>, story: &Story) -> Vec<String> {
    let of_fault = |problem: &String, fault: &str| problem.split([' ', ':']).next() == Some(fault);
    let was_killed = story.at(StoryKind::Killed).is_some();
    let mut problems = told;
    // The story knows better than the mark what has become of the server.
    problems
        .retain(|problem| !of_fault(problem, MARK) && (was_killed || !of_fault(problem, RESTART)));
    let (killed, verified) = (Some(StoryKind::Killed), Some(StoryKind::VerifiedOffline));
    let (announced, restarted) = (Some(StoryKind::Announced), Some(StoryKind::Restarted));
    let expected = [
        (None, StoryKind::Killed, Some(KILLING), "was not killed"),
        (killed, StoryKind::StandingIn, None, "was not replaced by a stand-in"),
        // The restart waits for the announcement.
        (killed, StoryKind::VerifiedOffline, Some(RESTART), "was not verified as offline"),
        (verified, StoryKind::Announced, Some(RESTART), "was not announced as offline"),
        (announced, StoryKind::Acknowledged, None, "was not known to all others as offline"),
        (announced, StoryKind::Restarted, Some(RESTART), "was not restarted"),
        (restarted, StoryKind::Online, None, "was not announced as online after its restart"),
    ];
    let victim = story.victim_name();
    let missing = expected.into_iter().filter(|(after, kind, fault, _)| {
        let is_told = |fault| problems.iter().any(|problem| of_fault(problem, fault));
        story.at(*kind).is_none()
            && after.is_none_or(|after| story.at(after).is_some())
            && !fault.is_some_and(is_told)
    });
    let missing = missing.map(|(.., what)| format!("{victim} {what} while the load ran"));
    let missing: Vec<_> = missing.collect();
    [problems, missing].concat()
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
                KILLING => self.story.killed(start + done, pid),
                RESTART => self.story.restarted(start + done, pid),
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
    use standin_protocol::time::Micros;

    use super::super::options::{SECONDS_MIN, tests::parse};
    use super::*;
    use crate::faults::mistakes;
    use crate::observer::MasterLine;

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

    /// The story of a killed server, with what the master has written.
    fn story(lines: &[&str]) -> Story {
        let mut story = Story::new(vec![VICTIM_NAME.to_owned(), "demo-a2".to_owned()], VICTIM);
        story.killed(Micros(1), 77);
        let (phase, server, is_stand_in) = (1, 1, true);
        story.client(&Notable::FirstAnswer { at: Micros(2), phase, server, is_stand_in });
        for (t_us, kind) in (3..).zip(lines) {
            let server = if *kind == "acked" { "demo-a2" } else { VICTIM_NAME };
            let (kind, server) = ((*kind).to_owned(), Some(server.to_owned()));
            story.master(&MasterLine { t_us, kind, server, text: String::new() });
        }
        story
    }

    #[test]
    fn each_cause_is_told_once() {
        let told = |told: &[&str], story: &Story| {
            problems(told.iter().map(|problem| (*problem).to_owned()).collect(), story)
        };
        let late = "online: it has not happened, because the master had not announced it";
        let ended = "demo-b1 ended although no fault did that";

        // The master is silent.
        let restart = "restart: it has not happened, because the master had not announced it";
        assert_eq!(told(&[ended, restart, late], &story(&[])), [ended, restart]);
        let silent = told(&[], &story(&[]));
        assert_eq!(silent, ["demo-a1 was not verified as offline while the load ran"]);

        // The new process does not start.
        let offline = ["offline", "announced", "acked"];
        let restart = "restart: the program is gone";
        assert_eq!(told(&[restart, late], &story(&offline)), [restart]);

        // It starts, and is not heard of.
        let mut restarted = story(&offline);
        restarted.restarted(Micros(10), 78);
        let online = "demo-a1 was not announced as online after its restart while the load ran";
        assert_eq!(told(&[late], &restarted), [online]);

        // One server has never confirmed; nothing else is wrong.
        let mut unconfirmed = story(&offline[..2]);
        unconfirmed.restarted(Micros(10), 78);
        let back = Some(VICTIM_NAME.to_owned());
        let (kind, text) = ("online".to_owned(), String::new());
        unconfirmed.master(&MasterLine { t_us: 11, kind, server: back, text });
        let unknown = "demo-a1 was not known to all others as offline while the load ran";
        assert_eq!(told(&[], &unconfirmed), [unknown]);

        let alive = Story::new(vec![VICTIM_NAME.to_owned()], VICTIM);
        let kill = "kill: the process is gone";
        assert_eq!(told(&[kill, restart, late], &alive), [kill]);
        let nothing = told(&[], &alive);
        assert_eq!(nothing, ["demo-a1 was not killed while the load ran"]);
    }
}
