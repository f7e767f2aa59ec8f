//! One load thread: an event loop, its clients, and the times at which they send.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::task::{Poll, Waker};
use std::time::Duration;

use standin_client::monoio::Client;
use standin_client::runtime::{Driver, runtime};
use standin_client::{Bootstrap, Target};
use standin_protocol::time::Micros;

use super::pacer::Pacer;
use super::request::{perform, ticket};
use super::{Notable, Pacing, Plan};
use crate::live::Live;
use crate::recorder::{Recorder, Recording};
use crate::schedule::Schedule;
use crate::workload::Supply;

/// Requests that are begun before answers are looked at, when the worker is behind.
const BURST_MAX: u32 = 256;
/// The interval at which a paced worker checks whether the run is to end.
const STOP_CHECK: Duration = Duration::from_millis(50);

/// The parameters of a worker.
pub(super) struct Seat {
    pub(super) plan: Plan,
    pub(super) number: u32,
    pub(super) count: u32,
    pub(super) live: Arc<Live>,
    pub(super) notables: Sender<Notable>,
    pub(super) ready: Sender<()>,
    pub(super) started: Receiver<Micros>,
}

/// The state that the tasks of a worker share.
pub(super) struct Desk {
    pub(super) plan: Plan,
    pub(super) number: u32,
    pub(super) start: Micros,
    pub(super) live: Arc<Live>,
    pub(super) notables: Sender<Notable>,
    pub(super) supply: RefCell<Supply>,
    pub(super) recorder: RefCell<Recorder>,
    seen: RefCell<BTreeSet<(usize, u16, bool)>>,
    open: Cell<usize>,
    idle: RefCell<Option<Waker>>,
}

/// The thread's body.
pub(super) fn run(seat: Seat, supply: Supply) -> io::Result<Recording> {
    let mut runtime = runtime(Driver::Auto)?;
    runtime.block_on(run_in_loop(seat, supply))
}

async fn run_in_loop(seat: Seat, supply: Supply) -> io::Result<Recording> {
    let Seat { plan, number, count, live, notables, ready, started } = seat;
    let clients = connect(&plan, number, count, &notables).await?;
    let pacer = Pacer::new()?;
    // Blocking is right: nothing runs in this loop yet.
    let _ = ready.send(());
    drop(ready);
    let Ok(start) = started.recv() else {
        return Err(io::Error::other("another load thread could not start"));
    };
    let recorder = Recorder::new(start, plan.phases, plan.slot);
    let desk = Rc::new(Desk {
        plan,
        number,
        start,
        live,
        notables,
        supply: RefCell::new(supply),
        recorder: RefCell::new(recorder),
        seen: RefCell::default(),
        open: Cell::new(0),
        idle: RefCell::default(),
    });
    match desk.plan.pacing {
        Pacing::Open { rate_per_s, arrivals } => {
            let schedule = Schedule::new(arrivals, rate_per_s, number, count, desk.plan.seed);
            // An open loop has one client per worker.
            if let Some(client) = clients.first() {
                paced(&desk, client, schedule, &pacer).await?;
            }
        }
        Pacing::Closed { depth, .. } => {
            pacer.wait_until(start).await?;
            for client in &clients {
                (0..depth.max(1)).for_each(|_| unpaced(&desk, client));
            }
        }
    }
    desk.all_ended().await;
    drop(clients);
    match Rc::try_unwrap(desk) {
        Ok(desk) => Ok(desk.recorder.into_inner().finish()),
        Err(_) => unreachable!("no task is left that could hold the desk"),
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
    desk: &Rc<Desk>,
    client: &Client,
    schedule: Schedule,
    pacer: &Pacer,
) -> io::Result<()> {
    let end = desk.plan.duration.unwrap_or(Duration::MAX);
    let mut burst = 0;
    for offset in schedule.take_while(|offset| *offset < end) {
        let due = desk.start + offset;
        loop {
            if desk.live.is_stopped() {
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
        let Some(wanted) = desk.supply.borrow_mut().next() else { return Ok(()) };
        let ticket = ticket(desk, wanted);
        let (desk, client) = (Rc::clone(desk), client.clone());
        desk.begin();
        monoio::spawn(async move {
            perform(&desk, &client, ticket, Some(due)).await;
            drop(client);
            desk.end();
        });
    }
    Ok(())
}

/// One of the closed loop's chains: the next request when the last is answered.
fn unpaced(desk: &Rc<Desk>, client: &Client) {
    let (desk, client) = (Rc::clone(desk), client.clone());
    let end = desk.plan.duration.map_or(Micros::NEVER, |duration| desk.start + duration);
    desk.begin();
    monoio::spawn(async move {
        while !desk.live.is_stopped() && Micros::boottime() < end {
            let Some(wanted) = desk.supply.borrow_mut().next() else { break };
            let ticket = ticket(&desk, wanted);
            perform(&desk, &client, ticket, None).await;
        }
        drop(client);
        desk.end();
    });
}

impl Desk {
    /// Whether this is the worker's first such answer in the phase.
    pub(super) fn is_first(&self, phase: usize, server: u16, is_stand_in: bool) -> bool {
        let key = (phase, server, is_stand_in);
        // Looking first keeps the usual case cheap: the set has a few entries.
        !self.seen.borrow().contains(&key) && self.seen.borrow_mut().insert(key)
    }

    fn begin(&self) {
        self.open.set(self.open.get() + 1);
    }

    /// Drops the caller's share of the desk, so that whoever waits for the end has it alone.
    fn end(self: Rc<Self>) {
        self.open.set(self.open.get() - 1);
        if self.open.get() == 0
            && let Some(waker) = self.idle.borrow_mut().take()
        {
            waker.wake();
        }
    }

    async fn all_ended(&self) {
        poll_fn(|context| {
            if self.open.get() == 0 {
                return Poll::Ready(());
            }
            *self.idle.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
