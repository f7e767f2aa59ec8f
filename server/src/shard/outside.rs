//! The threads around a shard, and what its loop leaves with them.

use std::sync::Arc;

use super::core::backend::Backend;
use super::core::{Core, Effect};
use super::mailbox::{Mailbox, Mailboxes};
use crate::control::ControlHandle;
use crate::node::{Node, Now};
use crate::origin::Origin;
use crate::slow_log::SlowLog;
use crate::stats::StatsHub;

/// The other threads of a process, as a shard's loop reaches them.
pub struct Outside<B: Backend = Node> {
    /// All shards' mailboxes.
    pub mailboxes: Mailboxes,
    /// The place where counters are published.
    pub hub: Arc<StatsHub>,
    /// The threads that the backend needs.
    pub threads: B::Threads,
}

/// The threads of a server beside its shards.
#[derive(Clone)]
pub struct ServerThreads {
    /// The database.
    pub origin: Origin,
    /// The control thread.
    pub control: ControlHandle,
    /// The lines about requests that took long.
    pub slow_log: Arc<SlowLog>,
}

impl<B: Backend> Clone for Outside<B>
where
    B::Threads: Clone,
{
    fn clone(&self) -> Self {
        let (mailboxes, hub) = (self.mailboxes.clone(), Arc::clone(&self.hub));
        Self { mailboxes, hub, threads: self.threads.clone() }
    }
}

impl<B: Backend> Outside<B> {
    /// The mailbox of a shard of this process.
    pub(super) fn mailbox(&self, shard: u16) -> &Mailbox {
        &self.mailboxes.0[usize::from(shard)]
    }

    /// Carries out what a shard wants done by another thread.
    pub(super) fn carry_out(&self, core: &mut Core<B>, now: Now, effect: Effect) {
        match effect {
            Effect::Post { shard, message } => {
                if let Some(message) = self.mailbox(shard).post_bounded(message) {
                    core.post_refused(now, shard, message);
                }
            }
            effect => B::carry_out(core, &self.threads, &self.hub, now, effect),
        }
    }
}
