//! Whether the load generator's judgement is right: millions of requests of all kinds to a cache without a fault, which must
//! not be accused, and caches with a planted fault, which must be found; over sockets, for each protocol. Run by
//! `cargo xtask bench judge`.
#![expect(
    clippy::disallowed_methods,
    reason = "a shell: it sleeps until there are enough requests"
)]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use standin_benches::Failure;
use standin_benches::report::{markdown_head, markdown_row};
use standin_loadgen::checker::{Checker, Initial, Off, Sums};
use standin_loadgen::drive::{self, Pacing, Plan};
use standin_loadgen::live::Live;
use standin_loadgen::popularity::Popularity;
use standin_loadgen::recorder::Counts;
use standin_loadgen::report::table::thousands;
use standin_loadgen::request::{KeyCounts, ValueSizes};
use standin_loadgen::targets::Target;
use standin_loadgen::targets::wire::codec::Protocol;
use standin_loadgen::targets::wire::settings::{Server, Settings};
use standin_loadgen::workload::{Cold, Mix, Others, Supply, SweepAccess};
use standin_protocol::time::Micros;
use standin_testkit::fake_cache::{Planted, Speaks};
use standin_testkit::fake_server::FakeServer;

const COUNTS: KeyCounts = KeyCounts { plain: 1_000, cas: 20, counters: 20 };
const SEED: u64 = 1;
const RUN: u32 = 0x0B5E;
const WORKERS: u32 = 2;
/// Clients of all load threads, each with a connection, and the requests that each has under way.
const CLIENTS: u32 = 4;
const DEPTH: u32 = 16;
/// Requests to a cache with a fault that is made once.
const ONCE: u64 = 50_000;
/// Requests between two stale reads, and to the cache that returns them.
const STALE_EVERY: u64 = 10_000;
const STALE_REQUESTS: u64 = 1_000_000;
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Sends requests of all kinds to fake caches that have no fault, or a planted one, and shows what the judge says. The exit
/// code is 0 if no correct cache is accused, and each fault is found.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench judge", max_term_width = 100)]
struct Args {
    /// Requests to the cache without a fault, for each protocol.
    #[arg(long, default_value_t = 10_000_000)]
    requests: u64,
    /// Only protocols whose name contains this text.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
}

/// A run, and what is expected of the judge.
struct Trial {
    name: &'static str,
    planted: Planted,
    requests: u64,
    mix: Mix,
    /// Whether these verdicts, for this number of faults, are right.
    is_right: fn(&Seen) -> bool,
}

/// What was seen in a run.
struct Seen {
    counts: Counts,
    sums: Sums,
    /// The faults that the cache has made.
    made: u64,
    took: Duration,
}

impl Seen {
    /// Stale and wrong reads.
    fn bad(&self) -> (u64, u64) {
        (self.counts.stale, self.counts.wrong)
    }
}

fn main() -> Result<ExitCode, Failure> {
    let args = Args::parse();
    println!(
        "{}",
        markdown_head(&[
            "protocol",
            "fault",
            "requests",
            "judged",
            "faults",
            "stale",
            "wrong",
            "increments lost, doubled",
            "failed",
            "requests/s",
            "",
        ])
    );
    let mut is_right = true;
    for speaks in Speaks::ALL {
        let protocol = protocol(speaks);
        if !protocol.name().to_lowercase().contains(&args.only.to_lowercase()) {
            continue;
        }
        for trial in trials(args.requests) {
            is_right &= row(speaks, &trial)?;
        }
    }
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn trials(requests: u64) -> Vec<Trial> {
    let one_wrong: fn(&Seen) -> bool = |seen| seen.bad() == (0, 1) && seen.made == 1;
    let once =
        |name, planted, mix, is_right| Trial { name, planted, requests: ONCE, mix, is_right };
    vec![
        Trial {
            name: "none",
            planted: Planted::Nothing,
            requests,
            mix: all_kinds(),
            is_right: |seen| {
                seen.bad() == (0, 0) && seen.sums.counters == u64::from(COUNTS.counters)
            },
        },
        Trial {
            name: "a stale read in 10,000",
            planted: Planted::StaleRead(STALE_EVERY),
            requests: STALE_REQUESTS,
            mix: plain(90.0),
            // A value that was replaced while the read was under way is none that a judge may object to.
            is_right: |seen| {
                let (stale, wrong) = seen.bad();
                wrong == 0 && stale <= seen.made && stale * 4 >= seen.made * 3 && stale > 0
            },
        },
        // All reads of the key, until it is written again.
        once("a lost write", Planted::LostWrite(200), plain(99.0), |seen| {
            seen.counts.stale > 0 && seen.counts.wrong == 0 && seen.made == 1
        }),
        once("a torn value", Planted::TornValue(1_000), plain(90.0), one_wrong),
        once("a value of another key", Planted::WrongKey(1_000), plain(90.0), one_wrong),
        once(
            "two answers of a multi-get exchanged",
            Planted::ExchangedKeys(500),
            own_kinds(),
            |seen| seen.bad() == (0, 2) && seen.made == 1,
        ),
        once("an add over a value", Planted::AddOver(300), with_adds(), |seen| {
            seen.counts.stale > 0 && seen.counts.wrong == 0 && seen.made == 1
        }),
        once("a lost increment", Planted::LostIncrement(500), own_kinds(), |seen| {
            seen.bad() == (seen.sums.lost.times, 0) && seen.made == 1 && is_one(seen.sums.lost)
        }),
        once("a doubled increment", Planted::DoubledIncrement(500), own_kinds(), |seen| {
            seen.bad() == (0, seen.sums.extra.times) && seen.made == 1 && is_one(seen.sums.extra)
        }),
        once(
            "a compare-and-swap of an old version",
            Planted::SwapOfOldVersion(500),
            own_kinds(),
            |seen| seen.counts.wrong > 0 && seen.made == 1,
        ),
    ]
}

/// Whether what was found is one increment, by 1 to 9; in parts, perhaps, because others were under way.
fn is_one(found: Off) -> bool {
    found.times > 0 && (1..=9).contains(&found.by)
}

fn mix(reads_percent: f64, others: Others) -> Mix {
    Mix {
        keys: COUNTS.plain,
        popularity: Popularity::ranked(0.9),
        reads_percent,
        reads_first: false,
        others,
        sizes: ValueSizes::between(40, 200),
        cold: Cold::default(),
    }
}

/// The keys of compare-and-swaps and the counters are there in any case.
const NO_OTHERS: Others =
    Others { cas_keys: COUNTS.cas, counters: COUNTS.counters, ..Others::NONE };

fn plain(reads_percent: f64) -> Mix {
    mix(reads_percent, NO_OTHERS)
}

fn with_adds() -> Mix {
    let others = Others { adds_percent: 10.0, deletes_percent: 5.0, ..NO_OTHERS };
    mix(60.0, others)
}

fn own_kinds() -> Mix {
    let others = Others {
        multi_gets_percent: 20.0,
        multi_get_keys: 7,
        cas_percent: 20.0,
        increments_percent: 20.0,
        ..NO_OTHERS
    };
    mix(30.0, others)
}

fn all_kinds() -> Mix {
    let others = Others {
        adds_percent: 3.0,
        touches_percent: 3.0,
        deletes_percent: 2.0,
        multi_gets_percent: 5.0,
        multi_get_keys: 5,
        cas_percent: 5.0,
        increments_percent: 10.0,
        ..NO_OTHERS
    };
    mix(60.0, others)
}

fn protocol(speaks: Speaks) -> Protocol {
    match speaks {
        Speaks::Text => Protocol::MemcachedText,
        Speaks::Meta => Protocol::MemcachedMeta,
        Speaks::Resp2 => Protocol::Resp2,
        Speaks::Resp3 => Protocol::Resp3,
    }
}

/// Runs a trial and prints its row. Returns whether the judge was right.
fn row(speaks: Speaks, trial: &Trial) -> Result<bool, Failure> {
    let seen = run(speaks, trial)?;
    let Seen { counts, sums, made, took } = &seen;
    let is_right = (trial.is_right)(&seen) && counts.failed == 0;
    let per_s = counts.requests as f64 / took.as_secs_f64();
    let cells = [
        protocol(speaks).name().to_owned(),
        trial.name.to_owned(),
        thousands(counts.requests),
        thousands(counts.checked),
        thousands(*made),
        thousands(counts.stale),
        thousands(counts.wrong),
        format!("{}, {}", thousands(sums.lost.times), thousands(sums.extra.times)),
        thousands(counts.failed),
        thousands(per_s as u64),
        if is_right { "as it must be" } else { "WRONG" }.to_owned(),
    ];
    println!("{}", markdown_row(&cells));
    Ok(is_right)
}

fn run(speaks: Speaks, trial: &Trial) -> Result<Seen, Failure> {
    let server = FakeServer::new(speaks, trial.planted);
    let server_of = Server { name: server.address().to_string(), address: server.address() };
    let checker = Arc::new(Checker::of_kinds(COUNTS, RUN, Initial::Filled));
    let target = Target::Wire(Settings::new(protocol(speaks), vec![server_of]));
    let pacing = Pacing::Closed { clients: CLIENTS, depth: DEPTH };
    let checked = Some(Arc::clone(&checker));
    let plan = Plan { checker: checked, ..Plan::new(target, pacing, SEED, RUN) };
    let counters = COUNTS.first_counter()..COUNTS.all();
    let unjudged = Plan { checker: None, ..plan.clone() };
    sweep(&unjudged, 0..COUNTS.first_counter(), SweepAccess::Fill(60))?;
    sweep(&unjudged, counters.clone(), SweepAccess::SetCounters)?;

    let supplies = (0..WORKERS).map(|w| Supply::mixed(trial.mix, SEED, w, WORKERS)).collect();
    let live = Arc::new(Live::new(WORKERS));
    let begun = Micros::boottime();
    let running = drive::start(&plan, supplies, &live)?;
    while live.progress().ended < trial.requests && !running.is_finished() {
        std::thread::sleep(LOOK_EVERY);
    }
    live.stop();
    let recording = running.join()?;
    let took = Micros::boottime().since(begun);
    let mut counts = recording.counts();
    let at_end = sweep(&plan, counters, SweepAccess::ReadCounters)?;
    (counts.checked, counts.stale, counts.wrong) =
        (counts.checked + at_end.checked, counts.stale + at_end.stale, counts.wrong + at_end.wrong);
    recording
        .quotes
        .iter()
        .take(1)
        .filter(|_| counts.failed > 0)
        .for_each(|quote| eprintln!("{quote}"));
    Ok(Seen { counts, sums: checker.sums(), made: server.mistakes(), took })
}

/// Sends one request for each of these keys.
fn sweep(plan: &Plan, keys: std::ops::Range<u32>, access: SweepAccess) -> Result<Counts, Failure> {
    let pacing = Pacing::Closed { clients: 1, depth: DEPTH };
    let plan = Plan { pacing, ..plan.clone() };
    let count = u64::from(keys.end - keys.start);
    let supply = Supply::Sweep { next: keys.start, end: keys.end, step: 1, access };
    let recording = drive::start(&plan, vec![supply], &Arc::new(Live::new(1)))?.join()?;
    let counts = recording.counts();
    if counts.requests - counts.failed != count {
        return Err(format!("not all keys could be reached: {:?}", recording.quotes).into());
    }
    Ok(counts)
}
