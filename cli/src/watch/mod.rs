//! Watching a cluster: a thread that asks the master for the map and every server for its counters, once a
//! second. It is no thread of a shard, of the master's event loop or of a port, and it waits for no server
//! longer than for its deadline: whoever shows a look gets the newest one at once.
//!
//! ```text
//! master ◄── map ───┐                                   ┌─► dashboard/ (as JSON)
//! servers ◄─ STATS ─┴─ thread `watch` ─► view.rs ─► Shown┴─► top/
//! master's events ─────────┘ (queue)     sample.rs, standing.rs, timeline.rs
//! ```
#![expect(clippy::disallowed_methods, reason = "a shell: the time of a look")]

mod sample;
mod shown;
mod standing;
#[cfg(test)]
pub(crate) mod tests;
mod timeline;
mod view;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use standin_client::tokio::Client;
use standin_client::{Bootstrap, ClientConfig, ClientError, Target};
use standin_config::ClusterConfig;
use standin_master::MasterEvent;
use standin_protocol::body::StatsReply;
use standin_protocol::map::Topology;
use standin_protocol::time::Micros;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::error;

pub(crate) use self::shown::{Latency, Server, Shown};
use self::view::{Look, STEP, View};
use crate::status::Heard;

/// The longest time for which one party is waited for, whatever the timeouts of the cluster file are.
const DEADLINE: Duration = Duration::from_millis(900);
/// The number of events that wait for the thread. Those beyond it are not shown.
const EVENTS_MAX: usize = 1_024;

/// The master's end of the queue of its events.
#[derive(Debug, Clone)]
pub(crate) struct EventSender(SyncSender<(SystemTime, MasterEvent)>);

/// The other end.
#[derive(Debug)]
pub(crate) struct Events(Receiver<(SystemTime, MasterEvent)>);

/// Creates a queue for the events of a master.
pub(crate) fn events() -> (EventSender, Events) {
    let (sender, receiver) = sync_channel(EVENTS_MAX);
    (EventSender(sender), Events(receiver))
}

impl EventSender {
    /// Passes an event on, without waiting.
    pub(crate) fn note(&self, event: MasterEvent) {
        // Nobody watches, or the thread is behind.
        let _ = self.0.try_send((SystemTime::now(), event));
    }
}

/// A thread that watches a cluster. Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Watcher {
    newest: Newest,
    ends: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

type Newest = Arc<Mutex<Option<Arc<Shown>>>>;

impl Watcher {
    /// Starts to watch. With the events of the master, these are what the timeline shows of states.
    ///
    /// # Errors
    /// The system refuses the thread or its descriptors.
    pub(crate) fn start(
        cluster: &ClusterConfig,
        topology: Arc<Topology>,
        events: Option<Events>,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (newest, ends) = (Newest::default(), Arc::new(Notify::new()));
        let mut watch = Watch {
            config: ClientConfig { attempts: 1, observer: true, ..ClientConfig::from(cluster) },
            view: View::new(cluster, events.is_some()),
            asked: Arc::clone(&topology),
            topology,
            events,
            newest: Arc::clone(&newest),
        };
        let until = Arc::clone(&ends);
        let body = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = watch.run() => {}
                    () = until.notified() => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("watch".to_owned()).spawn(body)?;
        Ok(Self { newest, ends, thread: Some(thread) })
    }

    /// Returns the newest look, if there has been one.
    pub(crate) fn newest(&self) -> Option<Arc<Shown>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.ends.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the thread `watch` panicked");
        }
    }
}

struct Watch {
    config: ClientConfig,
    view: View,
    /// The topology of the cluster file.
    topology: Arc<Topology>,
    /// That of the client.
    asked: Arc<Topology>,
    events: Option<Events>,
    newest: Newest,
}

impl Watch {
    async fn run(&mut self) {
        let mut pace = interval(STEP);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut client = None;
        loop {
            pace.tick().await;
            if client.is_none() {
                client = self.client();
            }
            let Some(asked) = &client else { continue };
            let look = look(asked, &self.asked).await;
            // The cluster may have been started again with another file.
            if look.topology.id != self.asked.id {
                self.asked = Arc::clone(&look.topology);
                client = None;
            }
            let shown = catch_unwind(AssertUnwindSafe(|| self.take(&look)));
            match shown {
                Ok(shown) => {
                    let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
                    *newest = Some(Arc::new(shown));
                }
                Err(_) => error!("a look at the cluster panicked; this is a bug"),
            }
        }
    }

    fn client(&self) -> Option<Client> {
        let bootstrap = Bootstrap::Config(Arc::clone(&self.asked));
        // The system may have random numbers the next time.
        Client::new(self.config.clone(), bootstrap).ok()
    }

    fn take(&mut self, look: &Look) -> Shown {
        while let Some((wall, event)) = self.events.as_ref().and_then(|e| e.0.try_recv().ok()) {
            self.view.note(view::unix_ms(wall), &event, &self.topology);
        }
        self.view.look(look)
    }
}

/// Asks the master and all servers, each for no longer than [`DEADLINE`].
async fn look(client: &Client, topology: &Arc<Topology>) -> Look {
    let master = within(client.map(Target::Master), || "the master".to_owned());
    let mut asked = JoinSet::new();
    for (id, info) in (0u16..).zip(&topology.servers) {
        let (client, info) = (client.clone(), info.clone());
        asked.spawn(async move {
            let who = || format!("{} ({})", info.name, info.address);
            (id, within(client.stats(Target::Server(id)), who).await)
        });
    }
    let master = master.await;
    let (master, map) = match master {
        Ok(map) => (Heard::Answer(()), Some(map)),
        Err(error) => {
            let other = within(client.map(Target::Any), || "no server".to_owned()).await;
            (Heard::from(error), other.ok())
        }
    };
    let unheard = || ClientError::NoAnswer("it does not answer; is it".to_owned());
    let mut stats: Vec<Heard<StatsReply>> = Vec::new();
    stats.resize_with(topology.servers.len(), || Heard::Failed(unheard()));
    while let Some(ended) = asked.join_next().await {
        // A task that has panicked leaves its server unheard.
        if let Ok((id, answer)) = ended {
            stats[usize::from(id)] = Heard::from(answer);
        }
    }
    let current = map.as_ref().map_or_else(|| Arc::clone(topology), |m| Arc::clone(&m.topology));
    if current.id != topology.id {
        // The answers are those of other servers.
        stats.clear();
        stats.resize_with(current.servers.len(), || Heard::Busy);
    }
    let (now, wall) = (Micros::boottime(), SystemTime::now());
    Look { now, wall, topology: current, map, master, stats }
}

async fn within<T>(
    ask: impl Future<Output = Result<T, ClientError>>,
    who: impl Fn() -> String,
) -> Result<T, ClientError> {
    let late = || Err(ClientError::NoAnswer(format!("{} does not answer; is it", who())));
    timeout(DEADLINE, ask).await.unwrap_or_else(|_| late())
}
