//! One load thread: an event loop, its clients, and the times at which they send.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use standin_client::monoio::Client;
use standin_client::runtime::{Driver, runtime};
use standin_client::{Bootstrap, Target as Party};
use standin_protocol::time::Micros;

use super::effort::Effort;
use super::link::Link;
use super::pacer::Pacer;
use super::request::{Arrival, Job};
use super::shared::Shared;
use super::wire::WireClient;
use super::{DriveError, Notable, Pacing, Plan};
use crate::live::Live;
use crate::recorder::{LoadThread, Recording};
use crate::schedule::Schedule;
use crate::targets::{Standin, Target};
use crate::workload::Supply;

/// Requests that are begun before answers are looked at, when the worker is behind.
const BURST_MAX: u32 = 256;
/// The interval at which a paced worker checks whether the run is to end.
const STOP_CHECK: Duration = Duration::from_millis(50);

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
    let links = connect(&plan, number, place, &notables).await?;
    let pacer = Pacer::new()?;
    // Blocking is right: nothing runs in this loop yet.
    let _ = ready.send(());
    drop(ready);
    let Ok(start) = started.recv() else {
        return Err(io::Error::other("another load thread could not start").into());
    };
    let effort = Effort::own();
    let shared = Rc::new(Shared::new(plan, number, start, live, notables, supply));
    match &shared.plan.pacing {
        Pacing::Open { rates, arrivals } => {
            let seed = shared.plan.seed;
            let schedule = Schedule::new(*arrivals, rates.clone(), own, all, seed);
            // An open loop has one client per worker.
            if let Some(link) = links.first() {
                paced(&shared, link, schedule, &pacer).await?;
            }
        }
        Pacing::Closed { depth, .. } => {
            pacer.wait_until(start).await?;
            for link in &links {
                (0..(*depth).max(1)).for_each(|_| unpaced(&shared, link));
            }
        }
    }
    shared.all_ended().await;
    drop(links);
    match Rc::try_unwrap(shared) {
        Ok(shared) => {
            let Shared { recorder, supply, .. } = shared;
            let mut recording = recorder.into_inner().finish();
            let Effort { computed, waited } = Effort::own().since(effort);
            let ran_for = Micros::boottime().since(start);
            recording.threads.push(LoadThread { worker: number, ran_for, computed, waited });
            Ok((recording, supply.into_inner()))
        }
        Err(_) => unreachable!("no task is left that could hold a reference"),
    }
}

/// The worker's clients, connected to every server, so that no measured request pays for it.
async fn connect(
    plan: &Plan,
    number: u32,
    (own, all): (u32, u32),
    notables: &Sender<Notable>,
) -> Result<Vec<Link>, DriveError> {
    let clients = match plan.pacing {
        Pacing::Open { .. } => 1,
        Pacing::Closed { clients, .. } => {
            (0..clients.max(1)).filter(|client| client % all == own).count()
        }
    };
    let mut links = Vec::new();
    for _ in 0..clients {
        links.push(match &plan.target {
            Target::Standin(standin) => connect_standin(standin, number, notables).await?,
            Target::Wire(settings) => {
                let client = WireClient::new(settings);
                client.connect().await?;
                Link::Wire(client)
            }
        });
    }
    Ok(links)
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

/// The open loop: sends what is due, however many answers are outstanding.
async fn paced(
    shared: &Rc<Shared>,
    link: &Link,
    mut schedule: Schedule,
    pacer: &Pacer,
) -> io::Result<()> {
    let end = shared.plan.duration.unwrap_or(Duration::MAX);
    let mut burst = 0;
    while let Some(offset) = schedule.next().filter(|offset| *offset < end) {
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
        // The supply is used up.
        let arrival = Some(Arrival { due, phase: schedule.phase() });
        let Some(job) = Job::next(shared, arrival, now) else { return Ok(()) };
        link.begin(shared, job);
    }
    Ok(())
}

/// One of the closed loop's chains: the next request when the last is answered.
fn unpaced(shared: &Rc<Shared>, link: &Link) {
    let now = Micros::boottime();
    // The supply is used up, or the run is over already.
    let first = shared.goes_on(now).then(|| Job::next(shared, None, now)).flatten();
    if let Some(job) = first {
        link.begin(shared, job);
    }
}
