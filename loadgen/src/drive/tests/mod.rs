//! Requests, engine, recorder and checker against a fake cache, on a virtual clock: the figures of a stall are
//! those that follow from the schedule, and each planted mistake is found, for each protocol.

mod kinds;
mod templates;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use standin_protocol::time::Micros;
use standin_testkit::fake_cache::{FakeCache, Planted, Speaks};

use super::request::{Arrival, Job};
use super::shared::Shared;
use super::wire::{Token, handle, submit};
use super::{DriveError, Pacing, Plan, cause};
use crate::checker::{Checker, Initial};
use crate::database::DatabaseError;
use crate::live::Live;
use crate::popularity::Popularity;
use crate::recorder::{Counts, FailureKind, Moments, Recording};
use crate::request::ValueSizes;
use crate::schedule::phases::Phases;
use crate::schedule::{Arrivals, Rates, Schedule};
use crate::targets::Target;
use crate::targets::wire::codec::{Login, Protocol};
use crate::targets::wire::settings::{Server, Settings};
use crate::targets::wire::{ConnId, Engine, Input, Output};
use crate::value_form::ValueForm;
use crate::workload::{Cold, Mix, Others, Supply, SweepAccess};

const START: Micros = Micros(1_000_000_000);
/// The time of a message from one side to the other.
const WAY: Duration = Duration::from_micros(50);
const RATE_PER_S: u32 = 500;
const SECONDS: u64 = 10;
const STALL_BEGINS: Micros = Micros(START.0 + 4_000_000);
const STALL_ENDS: Micros = Micros(START.0 + 6_000_000);
const SEED: u64 = 5;
const KEYS: u32 = 100;
const RUN: u32 = 77;

/// A message on its way, or the clock.
enum Event {
    Job,
    Connected(ConnId),
    ToServer(ConnId, Vec<u8>),
    ToClient(ConnId, Vec<u8>),
}

/// A run on a virtual clock.
struct World {
    engine: Engine<Token>,
    cache: FakeCache,
    /// Messages that arrive within this time are answered at its end.
    stall: Option<(Micros, Micros)>,
    /// A server whose messages are not answered.
    silent_server: Option<u16>,
    events: BTreeMap<(Micros, u64), Event>,
    numbers: u64,
    inputs: BTreeMap<ConnId, Vec<u8>>,
}

fn protocol(speaks: Speaks) -> Protocol {
    match speaks {
        Speaks::Text => Protocol::MemcachedText,
        Speaks::Meta => Protocol::MemcachedMeta,
        Speaks::Resp2 => Protocol::Resp2,
        Speaks::Resp3 => Protocol::Resp3,
    }
}

fn settings(speaks: Speaks) -> Settings {
    let (name, address) = ("127.0.0.1:1".to_owned(), ([127, 0, 0, 1], 1).into());
    Settings::new(protocol(speaks), vec![Server { name, address }])
}

fn plan(settings: &Settings, pacing: Pacing, seconds: u64) -> Plan {
    let checker = Checker::new(KEYS, RUN, Initial::Filled);
    Plan {
        duration: Some(Duration::from_secs(seconds)),
        checker: Some(Arc::new(checker)),
        ..Plan::new(Target::Wire(settings.clone()), pacing, SEED, RUN)
    }
}

fn supply() -> Supply {
    let mix = Mix {
        keys: KEYS,
        popularity: Popularity::ranked(0.9),
        reads_percent: 90.0,
        reads_first: false,
        others: Others::NONE,
        sizes: ValueSizes::between(40, 200),
        cold: Cold::default(),
    };
    Supply::mixed(mix, SEED, 0, 1)
}

impl World {
    fn new(settings: Settings, cache: FakeCache) -> Self {
        Self {
            engine: Engine::new(settings),
            cache,
            stall: None,
            silent_server: None,
            events: BTreeMap::new(),
            numbers: 0,
            inputs: BTreeMap::new(),
        }
    }

    fn at(&mut self, time: Micros, event: Event) {
        self.numbers += 1;
        self.events.insert((time, self.numbers), event);
    }

    /// Writes every key once.
    fn fill(&mut self, plan: &Plan) {
        let access = SweepAccess::Fill(60);
        let sweep = Supply::Sweep { next: 0, end: KEYS, step: 1, access };
        let pacing = Pacing::Closed { clients: 1, depth: 1 };
        let plan = Plan { pacing, checker: None, ..plan.clone() };
        let recording = self.run(plan, sweep, Micros(START.0 - 100_000_000));
        assert_eq!(recording.counts().requests, u64::from(KEYS));
        assert_eq!(recording.counts().failed, 0);
    }

    fn run(&mut self, plan: Plan, supply: Supply, start: Micros) -> Recording {
        let (notables, _received) = mpsc::channel();
        let end = plan.duration.unwrap_or(Duration::MAX);
        let mut schedule = match &plan.pacing {
            Pacing::Open { rates, arrivals } => {
                Some(Schedule::new(*arrivals, rates.clone(), 0, 1, plan.seed))
            }
            Pacing::Closed { .. } | Pacing::Recorded => None,
        };
        let mut next_arrival = move || {
            let schedule = schedule.as_mut()?;
            let offset = schedule.next().filter(|offset| *offset < end)?;
            Some(Arrival { due: start + offset, phase: schedule.phase() })
        };
        let is_closed = matches!(plan.pacing, Pacing::Closed { .. });
        let live = Arc::new(Live::new(1));
        let shared = Rc::new(Shared::new(plan, 0, start, live, notables, supply));
        let mut arrival = next_arrival();
        if let Some(due) = arrival.map(|arrival| arrival.due).or(is_closed.then_some(start)) {
            self.at(due, Event::Job);
        }
        while let Some((now, event)) = self.next_event() {
            match event {
                Some(Event::Job) => {
                    if let Some(job) = Job::next(&shared, arrival, now) {
                        shared.begin();
                        submit(&mut self.engine, &shared, job, now);
                    }
                    arrival = next_arrival();
                    if let Some(Arrival { due, .. }) = arrival {
                        self.at(due, Event::Job);
                    }
                }
                Some(Event::Connected(conn)) => {
                    handle(&mut self.engine, now, Input::Connected(conn), &mut Vec::new());
                }
                Some(Event::ToClient(conn, bytes)) => {
                    handle(&mut self.engine, now, Input::Received(conn, &bytes), &mut Vec::new());
                }
                Some(Event::ToServer(conn, bytes)) => self.serve(now, conn, bytes),
                None => handle(&mut self.engine, now, Input::Tick, &mut Vec::new()),
            }
            self.carry_out(now);
        }
        assert_eq!(self.engine.open(), 0, "every request ends");
        match Rc::try_unwrap(shared) {
            Ok(shared) => shared.recorder.into_inner().finish(),
            Err(_) => panic!("nothing is open any more"),
        }
    }

    /// The next message or deadline; `None` in its place is a deadline.
    fn next_event(&mut self) -> Option<(Micros, Option<Event>)> {
        let first = self.events.first_key_value().map(|((at, _), _)| *at);
        match (first, self.engine.next_deadline()) {
            (Some(at), deadline) if deadline.is_none_or(|deadline| at <= deadline) => {
                let ((at, _), event) = self.events.pop_first()?;
                Some((at, Some(event)))
            }
            (_, deadline) => Some((deadline?, None)),
        }
    }

    fn serve(&mut self, now: Micros, conn: ConnId, bytes: Vec<u8>) {
        if let Some((begins, ends)) = self.stall
            && now >= begins
            && now < ends
        {
            return self.at(ends, Event::ToServer(conn, bytes));
        }
        if self.silent_server == Some(conn.server()) {
            return;
        }
        let input = self.inputs.entry(conn).or_default();
        input.extend(bytes);
        let mut output = Vec::new();
        self.cache.answer(input, &mut output);
        if !output.is_empty() {
            self.at(now + WAY, Event::ToClient(conn, output));
        }
    }

    fn carry_out(&mut self, now: Micros) {
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Connect(conn, _) => self.at(now + WAY, Event::Connected(conn)),
                Output::Send(conn, bytes) => self.at(now + WAY, Event::ToServer(conn, bytes)),
                Output::Close(conn) => drop(self.inputs.remove(&conn)),
            }
        }
    }
}

/// What a latency should be, from the schedule alone.
fn expected(arrivals: Arrivals, quantile: f64) -> f64 {
    let end = Duration::from_secs(SECONDS);
    let dues = Schedule::new(arrivals, RATE_PER_S, 0, 1, SEED).take_while(|due| *due < end);
    let round_trip = 2 * WAY;
    let mut latencies: Vec<Duration> = dues
        .map(|due| START + due)
        .map(|due| {
            let is_stalled = due + WAY >= STALL_BEGINS && due + WAY < STALL_ENDS;
            if is_stalled { STALL_ENDS.since(due) + WAY } else { round_trip }
        })
        .collect();
    latencies.sort();
    #[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "an index")]
    let index = (quantile * latencies.len() as f64).ceil() as usize;
    latencies[index.saturating_sub(1)].as_secs_f64() * 1e6
}

#[track_caller]
fn assert_close(measured_us: u64, expected_us: f64, what: &str) {
    let off = (measured_us as f64 / expected_us - 1.0).abs();
    assert!(off < 0.01, "{what}: {measured_us} µs instead of {expected_us} µs");
}

/// Each phase has the requests that were due in it, with their waits, also those that ended in a later phase.
#[test]
fn a_stall_is_in_the_figures_of_its_phase() {
    let settings = settings(Speaks::Text);
    let phases: Phases = "2s@500,2s@500..1000,2s@0,4s@500".parse().unwrap();
    let rates = Rates::Phased(Arc::new(phases.profile().unwrap()));
    let pacing = Pacing::Open { rates, arrivals: Arrivals::Constant };
    let plan = Plan { phases: 4, ..plan(&settings, pacing, 10) };
    let mut world = World::new(settings, FakeCache::new(Speaks::Text, Planted::Nothing));
    world.fill(&Plan { phases: 1, ..plan.clone() });
    // From the middle of the second phase into the fourth.
    let begins = START + Duration::from_secs(3);
    world.stall = Some((begins, begins + Duration::from_secs(4)));
    let recording = world.run(plan, supply(), START);
    let counts: Vec<u64> = recording.phases.iter().map(|phase| phase.counts.requests).collect();
    assert_eq!(counts, [1_000, 1_500, 0, 2_000]);
    let longest: Vec<u64> = recording.phases.iter().map(|phase| phase.all().max()).collect();
    assert_eq!((longest[0], longest[2]), (100, 0), "twice the way, and a phase without requests");
    assert_close(longest[1], 4e6, "the longest of the phase in which the stall begins");
    assert_close(longest[3], 1e6, "the longest of the phase in which it ends");
}

/// What is under way when the first thing happens belongs to that; otherwise a request is where it was due.
#[test]
fn moments_begin_phases_where_the_schedule_has_none() {
    let second = Duration::from_secs;
    let settings = settings(Speaks::Text);
    let pacing = Pacing::Open { rates: 500.into(), arrivals: Arrivals::Constant };
    let moments = Arc::new(Moments::new([0, 2, 4].map(|at_s| Some(second(at_s)))));
    for (stall, counts, longest) in [
        ((1, 3), [500, 1_500, 1_000], [100.0, 2e6, 100.0]),
        ((3, 5), [1_000, 1_000, 1_000], [100.0, 2e6, 1e6]),
    ] {
        let (moments, pacing) = (Arc::clone(&moments), pacing.clone());
        let plan = Plan { phases: 3, moments, ..plan(&settings, pacing, 6) };
        let cache = FakeCache::new(Speaks::Text, Planted::Nothing);
        let mut world = World::new(settings.clone(), cache);
        world.fill(&Plan { phases: 1, moments: Arc::default(), ..plan.clone() });
        world.stall = Some((START + second(stall.0), START + second(stall.1)));
        let recording = world.run(plan, supply(), START);
        let phases = &recording.phases;
        let requests: Vec<u64> = phases.iter().map(|phase| phase.counts.requests).collect();
        assert_eq!(requests, counts, "{stall:?}");
        for (phase, expected_us) in phases.iter().zip(longest) {
            assert_close(phase.all().max(), expected_us, "the longest");
        }
    }
}

#[test]
fn the_figures_of_a_stall_of_two_seconds_follow_from_the_schedule() {
    for speaks in Speaks::ALL {
        for arrivals in [Arrivals::Constant, Arrivals::Poisson] {
            let settings = settings(speaks);
            let pacing = Pacing::Open { rates: RATE_PER_S.into(), arrivals };
            let plan = plan(&settings, pacing, SECONDS);
            let mut world = World::new(settings, FakeCache::new(speaks, Planted::Nothing));
            world.fill(&plan);
            world.stall = Some((STALL_BEGINS, STALL_ENDS));
            let recording = world.run(plan, supply(), START);
            let (counts, latency) = (recording.counts(), recording.latency());
            assert_eq!((counts.failed, counts.stale, counts.wrong), (0, 0, 0), "{speaks:?}");
            for quantile in [0.5, 0.75, 0.9, 0.99, 0.999] {
                let measured = latency.value_at_quantile(quantile);
                let what = format!("{speaks:?} {arrivals:?} {quantile}");
                assert_close(measured, expected(arrivals, quantile), &what);
            }
            assert_close(latency.max(), expected(arrivals, 1.0), "the longest");
        }
    }
}

#[test]
fn a_closed_loop_hides_the_same_stall() {
    let settings = settings(Speaks::Text);
    let plan = plan(&settings, Pacing::Closed { clients: 1, depth: 1 }, 7);
    let mut world = World::new(settings, FakeCache::new(Speaks::Text, Planted::Nothing));
    world.fill(&plan);
    world.stall = Some((STALL_BEGINS, STALL_ENDS));
    let latency = world.run(plan, supply(), START).latency();
    assert!(latency.value_at_quantile(0.999) < 1_000, "one request in tens of thousands was late");
    assert_close(latency.max(), 2e6, "the longest");
    assert!(expected(Arrivals::Constant, 0.99) > 1.8e6);
}

/// Runs this many seconds of 2,000 requests each against a cache with this mistake.
fn judged(speaks: Speaks, planted: Planted, seconds: u64) -> (Counts, u64) {
    judged_in_form(speaks, planted, seconds, &ValueForm::default())
}

fn judged_in_form(
    speaks: Speaks,
    planted: Planted,
    seconds: u64,
    form: &ValueForm,
) -> (Counts, u64) {
    let settings = settings(speaks);
    let pacing = Pacing::Open { rates: 2_000.into(), arrivals: Arrivals::Constant };
    let checker = Checker::new(KEYS, RUN, Initial::Filled).with_form(form.clone());
    let (checker, form) = (Some(Arc::new(checker)), form.clone());
    let plan = Plan { checker, form, ..plan(&settings, pacing, seconds) };
    let mut world = World::new(settings, FakeCache::new(speaks, planted));
    world.fill(&plan);
    let counts = world.run(plan, supply(), START).counts();
    assert_eq!((counts.requests, counts.failed), (seconds * 2_000, 0));
    (counts, world.cache.mistakes())
}

#[test]
fn a_correct_cache_is_never_accused() {
    for speaks in Speaks::ALL {
        let (counts, mistakes) = judged(speaks, Planted::Nothing, 2);
        assert_eq!((counts.stale, counts.wrong, mistakes), (0, 0, 0), "{speaks:?}");
        assert!(counts.checked > 3_000 && counts.hits == counts.reads);
    }
}

#[test]
fn a_redis_with_a_password_is_measured_in_both_versions_of_its_protocol() {
    for speaks in [Speaks::Resp2, Speaks::Resp3] {
        let login = Login { password: Some("pw".into()), ..Login::default() };
        let settings = Settings { login, ..settings(speaks) };
        let plan = plan(&settings, Pacing::Closed { clients: 1, depth: 1 }, 1);
        let cache = FakeCache::new(speaks, Planted::Nothing).with_password("pw");
        let mut world = World::new(settings, cache);
        // Every request is answered.
        world.fill(&plan);
    }
}

#[test]
fn each_planted_mistake_is_found() {
    for speaks in Speaks::ALL {
        let (counts, mistakes) = judged(speaks, Planted::StaleRead(10_000), 6);
        assert_eq!((counts.stale, counts.wrong, mistakes), (1, 0, 1), "{speaks:?}");
        let (counts, mistakes) = judged(speaks, Planted::LostWrite(200), 2);
        assert!(counts.stale > 0 && counts.wrong == 0 && mistakes == 1, "{speaks:?}");
        for planted in [Planted::TornValue(1_000), Planted::WrongKey(1_000)] {
            let (counts, mistakes) = judged(speaks, planted, 2);
            assert_eq!((counts.stale, counts.wrong, mistakes), (0, 1, 1), "{speaks:?} {planted:?}");
        }
    }
}

/// Runs all actions against a cache with this mistake.
fn judged_by_all_actions(speaks: Speaks, planted: Planted) -> (Counts, u64) {
    let settings = settings(speaks);
    let pacing = Pacing::Open { rates: 2_000.into(), arrivals: Arrivals::Constant };
    let plan = plan(&settings, pacing, 4);
    let mut world = World::new(settings, FakeCache::new(speaks, planted));
    world.fill(&plan);
    let others =
        Others { adds_percent: 10.0, touches_percent: 10.0, deletes_percent: 5.0, ..Others::NONE };
    let mix = Mix {
        keys: KEYS,
        popularity: Popularity::ranked(0.9),
        reads_percent: 60.0,
        reads_first: false,
        others,
        sizes: ValueSizes::between(40, 200),
        cold: Cold::default(),
    };
    let counts = world.run(plan, Supply::mixed(mix, SEED, 0, 1), START).counts();
    assert_eq!((counts.requests, counts.failed), (8_000, 0), "{speaks:?}");
    (counts, world.cache.mistakes())
}

#[test]
fn adds_touches_and_deletes_are_judged() {
    for speaks in Speaks::ALL {
        let (counts, mistakes) = judged_by_all_actions(speaks, Planted::Nothing);
        assert_eq!((counts.stale, counts.wrong, mistakes), (0, 0, 0), "{speaks:?}");
        assert!(counts.absent > 100 && counts.checked > counts.reads, "{speaks:?} {counts:?}");
        let (counts, mistakes) = judged_by_all_actions(speaks, Planted::AddOver(300));
        assert_eq!((counts.stale, counts.wrong, mistakes), (1, 0, 1), "{speaks:?}");
        let (counts, mistakes) = judged_by_all_actions(speaks, Planted::LostWrite(300));
        assert!(counts.stale > 0 && mistakes == 1, "{speaks:?}");
    }
}

#[test]
fn nothing_of_an_outage_that_is_longer_than_the_timeout_is_discarded() {
    let timeout = Duration::from_millis(500);
    let settings = Settings { timeout, ..settings(Speaks::Text) };
    let pacing = Pacing::Open { rates: RATE_PER_S.into(), arrivals: Arrivals::Constant };
    let plan = plan(&settings, pacing, SECONDS);
    let mut world = World::new(settings, FakeCache::new(Speaks::Text, Planted::Nothing));
    world.fill(&plan);
    world.stall = Some((STALL_BEGINS, STALL_ENDS));
    let recording = world.run(plan, supply(), START);
    let counts = recording.counts();
    assert_eq!(counts.requests, SECONDS * u64::from(RATE_PER_S), "each request is recorded");
    assert_eq!((counts.stale, counts.wrong), (0, 0));
    let of = |kind: FailureKind| counts.failures[kind as usize];
    let (timed_out, lost) = (of(FailureKind::DeadlineExceeded), of(FailureKind::ConnectionLost));
    assert_eq!(timed_out + lost, counts.failed);
    assert!(timed_out > 0 && (500..=1_000).contains(&counts.failed), "{counts:?}");
    assert!(recording.latency().max() <= 505_000, "{}", recording.latency().max());
}

#[test]
fn a_worker_that_fails_is_the_cause_and_not_those_that_it_interrupts() {
    let ended =
        |errors: Vec<DriveError>| cause(errors.into_iter().map(|one| Ok(Err::<(), _>(one))));
    let interrupted = || [DriveError::Interrupted, DatabaseError::Interrupted.into()];
    let no_slots = DriveError::NoSlots("why".to_owned());
    let errors = interrupted().into_iter().chain([no_slots]).chain(interrupted()).collect();
    assert!(matches!(ended(errors), DriveError::NoSlots(_)));
    assert!(matches!(ended(interrupted().into()), DriveError::Interrupted));
    let panicked = [Ok(Err(DriveError::Interrupted)), Err(Box::new("a bug") as _), Ok(Ok(()))];
    assert!(matches!(cause(panicked.into_iter()), DriveError::Panicked));
}
