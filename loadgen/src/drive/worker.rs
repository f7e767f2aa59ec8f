//! One load thread: an event loop, its clients, and the times at which they send.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use standin_client::monoio::Client;
use standin_client::runtime::{Driver, runtime};
use standin_client::{Bootstrap, Target};
use standin_protocol::time::Micros;

use super::pacer::Pacer;
use super::request::{perform, ticket};
use super::shared::Shared;
use super::{Notable, Pacing, Plan};
use crate::live::Live;
use crate::recorder::Recording;
use crate::schedule::Schedule;
use crate::workload::Supply;

/// Requests that are begun before answers are looked at, when the worker is behind.
const BURST_MAX: u32 = 256;
/// The interval at which a paced worker checks whether the run is to end.
const STOP_CHECK: Duration = Duration::from_millis(50);

/// The parameters of a worker.
pub(super) struct WorkerParameters {
    pub(super) plan: Plan,
    pub(super) number: u32,
    pub(super) count: u32,
    pub(super) live: Arc<Live>,
    pub(super) notables: Sender<Notable>,
    pub(super) ready: Sender<()>,
    pub(super) started: Receiver<Micros>,
}

/// The thread's body.
pub(super) fn run(parameters: WorkerParameters, supply: Supply) -> io::Result<Recording> {
    let mut runtime = runtime(Driver::Auto)?;
    runtime.block_on(run_in_loop(parameters, supply))
}

async fn run_in_loop(parameters: WorkerParameters, supply: Supply) -> io::Result<Recording> {
    let WorkerParameters { plan, number, count, live, notables, ready, started } = parameters;
    let clients = connect(&plan, number, count, &notables).await?;
    let pacer = Pacer::new()?;
    // Blocking is right: nothing runs in this loop yet.
    let _ = ready.send(());
    drop(ready);
    let Ok(start) = started.recv() else {
        return Err(io::Error::other("another load thread could not start"));
    };
    let shared = Rc::new(Shared::new(plan, number, start, live, notables, supply));
    match shared.plan.pacing {
        Pacing::Open { rate_per_s, arrivals } => {
            let schedule = Schedule::new(arrivals, rate_per_s, number, count, shared.plan.seed);
            // An open loop has one client per worker.
            if let Some(client) = clients.first() {
                paced(&shared, client, schedule, &pacer).await?;
            }
        }
        Pacing::Closed { depth, .. } => {
            pacer.wait_until(start).await?;
            for client in &clients {
                (0..depth.max(1)).for_each(|_| unpaced(&shared, client));
            }
        }
    }
    shared.all_ended().await;
    drop(clients);
    match Rc::try_unwrap(shared) {
        Ok(shared) => Ok(shared.recorder.into_inner().finish()),
        Err(_) => unreachable!("no task is left that could hold a reference"),
    }
}

/// The worker's clients, connected to every shard, so that no measured request pays for it.
async fn connect(
    plan: &Plan,
    number: u32,
    count: u32,
    notables: &Sender<Notable>,
) -> io::Result<Vec<Client>> {
    let own = match plan.pacing {
        Pacing::Open { .. } => 1,
        Pacing::Closed { clients, .. } => {
            (0..clients.max(1)).filter(|client| client % count == number).count()
        }
    };
    let mut clients = Vec::new();
    for _ in 0..own {
        let bootstrap = Bootstrap::Config(Arc::clone(&plan.topology));
        let client = Client::new(plan.client.clone(), bootstrap)?;
        let notables = notables.clone();
        client.observe(move |at, event| {
            let _ = notables.send(Notable::Client { at, worker: number, event: event.clone() });
        });
        for (id, server) in (0..).zip(&plan.topology.servers) {
            for shard in 0..server.shards {
                // A server that is down now is what the run may be about.
                let _ = client.ping(Target::Server(id), shard).await;
            }
        }
        clients.push(client);
    }
    Ok(clients)
}

/// The open loop: sends what is due, however many answers are outstanding.
async fn paced(
    shared: &Rc<Shared>,
    client: &Client,
    schedule: Schedule,
    pacer: &Pacer,
) -> io::Result<()> {
    let end = shared.plan.duration.unwrap_or(Duration::MAX);
    let mut burst = 0;
    for offset in schedule.take_while(|offset| *offset < end) {
        let due = shared.start + offset;
        loop {
            if shared.live.is_stopped() {
                return Ok(());
            }
            standin_protocol::fault::point();
            let now = Micros::boottime();
            if due <= now && burst < BURST_MAX {
                break;
            }
            pacer.wait_until(due.min(now + STOP_CHECK)).await?;
            burst = 0;
        }
        burst += 1;
        // The supply is used up.
        let Some(wanted) = shared.supply.borrow_mut().next() else { return Ok(()) };
        let ticket = ticket(shared, wanted);
        let (shared, client) = (Rc::clone(shared), client.clone());
        shared.begin();
        monoio::spawn(async move {
            perform(&shared, &client, ticket, Some(due)).await;
            drop(client);
            shared.end();
        });
    }
    Ok(())
}

/// One of the closed loop's chains: the next request when the last is answered.
fn unpaced(shared: &Rc<Shared>, client: &Client) {
    let (shared, client) = (Rc::clone(shared), client.clone());
    let end = shared.plan.duration.map_or(Micros::NEVER, |duration| shared.start + duration);
    shared.begin();
    monoio::spawn(async move {
        while !shared.live.is_stopped() && Micros::boottime() < end {
            // The supply is used up.
            let Some(wanted) = shared.supply.borrow_mut().next() else { break };
            let ticket = ticket(&shared, wanted);
            perform(&shared, &client, ticket, None).await;
        }
        drop(client);
        shared.end();
    });
}
