//! One load thread: an event loop, its clients, and the times at which they send.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::task::Poll;
use std::time::Duration;

use standin_client::monoio::Client;
use standin_client::runtime::{Driver, runtime};
use standin_client::{Bootstrap, Target as Party};
use standin_protocol::time::Micros;

use super::aside::AsideClient;
use super::database::{DatabaseClient, close_all};
use super::doubts::Rechecks;
use super::effort::Effort;
use super::link::Link;
use super::pacer::Pacer;
use super::rechecks::{SETTLE_WITHIN, abandon};
use super::request::{Arrival, Job, next_of_loop};
use super::shared::Shared;
use super::wire::WireClient;
use super::{DriveError, Notable, Pacing, Plan};
use crate::live::Live;
use crate::recorder::{LoadThread, Recording};
use crate::schedule::Schedule;
use crate::targets::wire::settings::Settings;
use crate::targets::{Standin, Target};
use crate::trace::Next;
use crate::workload::Supply;

/// Requests that are begun before answers are looked at, when the worker is behind.
const BURST_MAX: u32 = 256;
/// The interval at which a paced worker checks whether the run is to end.
const STOP_CHECK: Duration = Duration::from_millis(50);
/// The longest wait for answers to a run, or a part of one, that was stopped: by an interrupt, or because enough is known, as
/// in a search and a warm-up.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// The time before the start at which a worker reads what it has computed so far, which must not make it late.
const EFFORT_LEAD: Duration = Duration::from_micros(500);
/// The interval at which a worker looks for more of a trace, when it is not read that far.
const READ_CHECK: Duration = Duration::from_micros(500);

/// The parameters of a worker.
pub(super) struct WorkerParameters {
    pub(super) plan: Plan,
    pub(super) number: u32,
    /// The number of this worker among those of all machines, and theirs.
    pub(super) place: (u32, u32),
    pub(super) live: Arc<Live>,
    pub(super) notables: Sender<Notable>,
    pub(super) ready: Sender<()>,
    pub(super) started: Receiver<Micros>,
}

/// The thread's body.
pub(super) fn run(
    parameters: WorkerParameters,
    supply: Supply,
) -> Result<(Recording, Supply), DriveError> {
    let mut runtime = runtime(Driver::Auto)?;
    runtime.block_on(run_in_loop(parameters, supply))
}

async fn run_in_loop(
    parameters: WorkerParameters,
    supply: Supply,
) -> Result<(Recording, Supply), DriveError> {
    let WorkerParameters { plan, number, place, live, notables, ready, started } = parameters;
    let (own, all) = place;
    let pacer = Pacer::new()?;
    let links = {
        let links = connect(&plan, (&live, number), place, &notables);
        unless_stopped(&live, &pacer, links).await?.ok_or(DriveError::Interrupted)??
    };
    let rechecks = plan.rows.as_ref().map(|rows| Rechecks::connect(rows, &live)).transpose()?;
    // Blocking is right: nothing runs in this loop yet.
    let _ = ready.send(());
    drop(ready);
    let Ok(start) = started.recv() else {
        // Another load thread could not start, and says why.
        return Err(DriveError::Interrupted);
    };
    // What came before, such as waiting for other agents, is no part of the run.
    pacer.wait_until(start - EFFORT_LEAD).await?;
    let (effort, since) = (Effort::own(), Micros::boottime());
    let shared = Shared::new(plan, number, start, live, notables, supply);
    let shared = Rc::new(shared.with_rechecks(rechecks));
    match &shared.plan.pacing {
        Pacing::Open { rates, arrivals } => {
            let seed = shared.plan.seed;
            let schedule = Schedule::new(*arrivals, rates.clone(), own, all, seed);
            // An open loop has one client per worker.
            if let Some(link) = links.first() {
                paced(&shared, link, Times::Scheduled(schedule), &pacer).await?;
            }
        }
        Pacing::Recorded => {
            if let Some(link) = links.first() {
                paced(&shared, link, Times::Recorded, &pacer).await?;
            }
        }
        Pacing::Closed { depth, .. } => {
            pacer.wait_until(start).await?;
            for link in &links {
                (0..(*depth).max(1)).for_each(|_| unpaced(&shared, link));
            }
            resume(&shared, &links, &pacer).await?;
        }
    }
    all_ended(&shared, &pacer).await?;
    // What is asked of the database from now on is no part of the run.
    let (ended, Effort { computed, waited }) = (Micros::boottime(), Effort::own().since(effort));
    let is_settled = settled(&shared, &pacer, ended + SETTLE_WITHIN).await?;
    let unanswered = shared.open();
    let has_ended = is_settled && unanswered == 0;
    if !has_ended {
        links.iter().for_each(Link::close);
        // All clients of a load thread share the connections of its database.
        let own = links.iter().find_map(Link::database);
        let again = shared.rechecks.as_ref().map(|rechecks| &rechecks.database);
        close_all(own.into_iter().chain(again));
    }
    drop(links);
    let (recorder, supply) = match Rc::try_unwrap(shared) {
        Ok(Shared { recorder, supply, .. }) => (recorder.into_inner(), supply.into_inner()),
        Err(shared) if !has_ended => shared.taken(),
        Err(_) => unreachable!("no task is left that could hold a reference"),
    };
    let mut recording = recorder.finish();
    recording.at_end.unanswered += unanswered as u64;
    let ran_for = ended.since(since);
    recording.threads.push(LoadThread { worker: number, ran_for, computed, waited });
    Ok((recording, supply))
}

/// Waits for a result, until the run is to end. `None`: it ends.
async fn unless_stopped<T>(
    live: &Live,
    pacer: &Pacer,
    result: impl Future<Output = T>,
) -> io::Result<Option<T>> {
    let mut result = pin!(result);
    while !live.is_stopped() {
        if let Some(result) = for_a_while(pacer, result.as_mut()).await? {
            return Ok(Some(result));
        }
    }
    Ok(None)
}

/// Waits until no request is left; of a run that was ended, for [`ANSWERS_WITHIN`] at most.
async fn all_ended(shared: &Shared, pacer: &Pacer) -> io::Result<()> {
    let mut all_ended = pin!(shared.all_ended());
    let mut closes = Micros::NEVER;
    while for_a_while(pacer, all_ended.as_mut()).await?.is_none() {
        let now = Micros::boottime();
        if now >= closes {
            break;
        }
        if shared.live.is_stopped() {
            closes = closes.min(now + ANSWERS_WITHIN);
        }
    }
    Ok(())
}

/// Waits until the database has been asked again for all rows that are in doubt, until this time. What is asked for then is
/// left unjudged: the database may take its time, which was to begin earlier. So is all of a run that was stopped. Returns
/// whether nothing was.
async fn settled(shared: &Shared, pacer: &Pacer, closes: Micros) -> io::Result<bool> {
    shared.close_rechecks(closes);
    let mut settled = pin!(shared.settled());
    while for_a_while(pacer, settled.as_mut()).await?.is_none() {
        if shared.live.is_stopped() || Micros::boottime() >= closes + STOP_CHECK {
            abandon(shared);
            return Ok(false);
        }
    }
    Ok(true)
}

/// Waits for a result, for [`STOP_CHECK`] at most.
async fn for_a_while<T>(
    pacer: &Pacer,
    mut result: Pin<&mut impl Future<Output = T>>,
) -> io::Result<Option<T>> {
    let mut end = pin!(pacer.wait_until(Micros::boottime() + STOP_CHECK));
    poll_fn(|context| match result.as_mut().poll(context) {
        Poll::Ready(result) => Poll::Ready(Ok(Some(result))),
        Poll::Pending => end.as_mut().poll(context).map(|ended| ended.map(|()| None)),
    })
    .await
}

/// The worker's clients, connected to every server, so that no measured request pays for it.
async fn connect(
    plan: &Plan,
    (live, number): (&Live, u32),
    (own, all): (u32, u32),
    notables: &Sender<Notable>,
) -> Result<Vec<Link>, DriveError> {
    let clients = match plan.pacing {
        Pacing::Open { .. } | Pacing::Recorded => 1,
        Pacing::Closed { clients, .. } => {
            (0..clients.max(1)).filter(|client| client % all == own).count()
        }
    };
    // All clients of a load thread share the connections of its database.
    let database = plan.target.database().map(|database| DatabaseClient::connect(database, live));
    let database = database.transpose()?.map(Rc::new);
    let mut links = Vec::new();
    for _ in 0..clients {
        links.push(match &plan.target {
            Target::Standin(standin) => connect_standin(standin, number, notables).await?,
            Target::Wire(settings) => Link::Wire(connect_wire(settings).await?),
            Target::Database(aside) => {
                let cache = match &aside.cache {
                    Some(settings) => Some(connect_wire(settings).await?),
                    None => None,
                };
                let database =
                    database.clone().expect("a target with a database has connected to it");
                Link::Aside(Rc::new(AsideClient {
                    cache,
                    database,
                    writes: aside.writes,
                    ttl_s: aside.ttl_s,
                }))
            }
        });
    }
    Ok(links)
}

async fn connect_wire(settings: &Settings) -> Result<WireClient, DriveError> {
    let client = WireClient::new(settings);
    client.connect().await?;
    Ok(client)
}

async fn connect_standin(
    standin: &Standin,
    number: u32,
    notables: &Sender<Notable>,
) -> io::Result<Link> {
    let Standin { topology, client, keyspace } = standin;
    let client = Client::new(client.clone(), Bootstrap::Config(Arc::clone(topology)))?;
    let notables = notables.clone();
    client.observe(move |at, event| {
        let _ = notables.send(Notable::Client { at, worker: number, event: event.clone() });
    });
    for (id, server) in (0..).zip(&topology.servers) {
        for shard in 0..server.shards {
            // A server that is down now is what the run may be about.
            let _ = client.ping(Party::Server(id), shard).await;
        }
    }
    Ok(Link::Standin(client, *keyspace))
}

/// The times of an open loop.
enum Times {
    Scheduled(Schedule),
    /// Those of the trace.
    Recorded,
}

impl Times {
    /// The time of the next request since the start, and its phase; `None`: there is none, or the run was stopped. Waits
    /// while a trace is not read that far.
    async fn next(
        &mut self,
        shared: &Shared,
        pacer: &Pacer,
    ) -> io::Result<Option<(Duration, usize)>> {
        let recorded = loop {
            let next = shared.supply.borrow_mut().peek();
            match next {
                Next::At(time) => break time,
                Next::Ended => return Ok(None),
                Next::NotYet if shared.live.is_stopped() => return Ok(None),
                Next::NotYet => pacer.wait_until(Micros::boottime() + READ_CHECK).await?,
            }
        };
        Ok(match self {
            Self::Scheduled(schedule) => {
                let next = schedule.next();
                next.map(|offset| (offset, schedule.phase()))
            }
            Self::Recorded => Some((recorded, 0)),
        })
    }
}

/// The open loop: sends what is due, however many answers are outstanding.
async fn paced(
    shared: &Rc<Shared>,
    link: &Link,
    mut times: Times,
    pacer: &Pacer,
) -> io::Result<()> {
    let end = shared.plan.duration.unwrap_or(Duration::MAX);
    let mut burst = 0;
    while let Some((offset, phase)) = times.next(shared, pacer).await?
        && offset < end
    {
        let due = shared.start + offset;
        let now = loop {
            if shared.live.is_stopped() {
                return Ok(());
            }
            standin_protocol::fault::point();
            let now = Micros::boottime();
            if due <= now && burst < BURST_MAX {
                break now;
            }
            pacer.wait_until(due.min(now + STOP_CHECK)).await?;
            burst = 0;
        };
        burst += 1;
        let arrival = Some(Arrival { due, phase });
        // The supply is used up.
        let Some(job) = Job::next(shared, arrival, now) else { return Ok(()) };
        link.begin(shared, job);
    }
    Ok(())
}

/// Begins chains of a closed loop again that have ended because the trace was not read that far, until it has ended.
async fn resume(shared: &Rc<Shared>, links: &[Link], pacer: &Pacer) -> io::Result<()> {
    // What is made up never starves.
    if !matches!(&*shared.supply.borrow(), Supply::Replay(_)) {
        return Ok(());
    }
    let mut next_links = links.iter().cycle();
    while shared.goes_on(Micros::boottime()) {
        let next = shared.supply.borrow_mut().peek();
        match next {
            Next::Ended => break,
            Next::At(_) if shared.take_starved() => {
                next_links.next().into_iter().for_each(|link| unpaced(shared, link));
            }
            Next::At(_) | Next::NotYet => {
                pacer.wait_until(Micros::boottime() + READ_CHECK).await?;
            }
        }
    }
    Ok(())
}

/// One of the closed loop's chains: the next request when the last is answered.
fn unpaced(shared: &Rc<Shared>, link: &Link) {
    // The supply is used up, or the run is over already.
    if let Some(job) = next_of_loop(shared, Micros::boottime()) {
        link.begin(shared, job);
    }
}
