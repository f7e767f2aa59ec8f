//! The threads around a shard, and what its loop leaves with them.

use std::sync::Arc;

use super::core::{Core, Effect};
use super::mailbox::{Mailbox, Mailboxes};
use crate::control::ControlHandle;
use crate::node::Now;
use crate::origin::Origin;
use crate::stats::StatsHub;

/// The other threads of a server, as a shard's loop reaches them.
#[derive(Clone)]
pub struct Outside {
    /// All shards' mailboxes.
    pub mailboxes: Mailboxes,
    /// The place where counters are published.
    pub hub: Arc<StatsHub>,
    /// The database.
    pub origin: Origin,
    /// The control thread.
    pub control: ControlHandle,
}

impl Outside {
    /// The mailbox of a shard of this server.
    pub(super) fn mailbox(&self, shard: u16) -> &Mailbox {
        &self.mailboxes.0[usize::from(shard)]
    }

    /// Carries out what a shard wants done by another thread.
    pub(super) fn carry_out(&self, core: &mut Core, now: Now, effect: Effect) {
        match effect {
            Effect::Submit(call) => {
                if let Err(call) = self.origin.submit(call) {
                    core.call_refused(now, call.token);
                }
            }
            Effect::Post { shard, message } => {
                if let Some(message) = self.mailbox(shard).post_bounded(message) {
                    core.post_refused(now, shard, message);
                }
            }
            Effect::Tell(input) => self.control.post(input),
            Effect::Refresh => {
                core.refreshed(self.origin.health(), self.control.runs(now.mono));
                self.hub.publish(core.shard(), &core.node.counters);
            }
            Effect::Stats { to } => {
                let epoch = core.node.map().map_or(0, |map| map.epoch.to_u64());
                let (health, reason) = (self.origin.health(), self.origin.outage());
                let reply = self.hub.reply(epoch, now.mono, health, reason.as_deref());
                core.stats(now, to, reply.to_bytes());
            }
        }
    }
}
