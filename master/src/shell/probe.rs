//! Contacting servers over TCP: every shard to probe a server (claim 19), or one shard to fetch the
//! map.
//!
//! The shards of a server are probed in parallel, and servers independently of each other. All
//! probes share a limit on open connections. A probe that gets no connection in time counts as not
//! tried, which is no evidence against the server.

use std::rc::Rc;

use monoio::time::timeout;
use standin_protocol::body::PingReply;
use standin_protocol::frame::{Opcode, Status};
use standin_protocol::hello::{ANY_SHARD, HelloBody, Role};
use standin_protocol::map::ClusterMap;

use crate::machine::{Input, ProbeFailure, ProbeOrder};
use crate::shell::Shell;
use crate::shell::dial::Dial;

/// The largest number of connections of all probes at once, if the system allows that many. They
/// are reserved: callers of the master can't use them.
pub(crate) const PROBES_MAX: usize = 256;

/// Probes every shard, then tells the machine.
pub(crate) async fn probe(shell: Rc<Shell>, order: ProbeOrder) {
    let tasks: Vec<_> = (0..order.shards)
        .map(|shard| shell.spawn(probe_in_turn(shell.clone(), order, shard)))
        .collect();
    let mut shards = Vec::with_capacity(tasks.len());
    for task in tasks {
        shards.push(task.await);
    }
    let ProbeOrder { server, probe_id, .. } = order;
    shell.feed(Input::Probed { server, probe_id, shards });
}

async fn probe_in_turn(
    shell: Rc<Shell>,
    order: ProbeOrder,
    shard: u16,
) -> Result<PingReply, ProbeFailure> {
    let turn = timeout(order.timeout, shell.probe_permits.acquire()).await;
    // Other probes have held the descriptors for the whole time of this probe.
    let Ok(_permit) = turn else { return Err(ProbeFailure::NotTried) };
    let probe = timeout(order.timeout, probe_shard(&shell, order, shard));
    probe.await.unwrap_or(Err(ProbeFailure::Timeout))
}

async fn probe_shard(
    shell: &Shell,
    order: ProbeOrder,
    shard: u16,
) -> Result<PingReply, ProbeFailure> {
    let mut dial = Dial::connect(order.address, shell).await?;
    let access = shell.access();
    let reply = dial.hello(shell.hello(shard), access.key()).await?;
    if reply.server != order.server || reply.shard != shard {
        return Err(ProbeFailure::Nonsense);
    }
    match dial.exchange(Opcode::Ping, &[]).await? {
        (Status::Ok, value) => PingReply::from_bytes(&value).map_err(|_| ProbeFailure::Nonsense),
        (status, _) => Err(ProbeFailure::Refusing(status)),
    }
}

/// Fetches a server's map, then tells the machine.
pub(crate) async fn fetch_map(shell: Rc<Shell>, server: u16, address: std::net::SocketAddr) {
    let in_turn = async {
        let _permit = shell.probe_permits.acquire().await;
        read_map(&shell, address).await
    };
    let fetched = timeout(shell.fetch_timeout, in_turn).await;
    let map = fetched.ok().flatten().map(Box::new);
    shell.feed(Input::Fetched { server, map });
}

async fn read_map(shell: &Shell, address: std::net::SocketAddr) -> Option<ClusterMap> {
    let mut dial = Dial::connect(address, shell).await.ok()?;
    let access = shell.access();
    dial.hello(shell.hello(ANY_SHARD), access.key()).await.ok()?;
    let (status, value) = dial.exchange(Opcode::Map, &[]).await.ok()?;
    if status != Status::Ok {
        return None;
    }
    ClusterMap::from_bytes(&value).ok()
}

impl Shell {
    fn hello(&self, shard: u16) -> HelloBody {
        HelloBody {
            client_id: u64::from(self.machine.borrow().term()),
            cluster_id: self.cluster_id,
            shard,
            role: Role::Master as u8,
            ..HelloBody::default()
        }
    }
}
