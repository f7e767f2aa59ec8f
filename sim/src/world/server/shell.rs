//! The surroundings of a shard's core in the simulator, in place of a loop and other threads.

use standin_server::node::Now;
use standin_server::shard::core::{Core, Effect, Io};
use standin_server::shard::mailbox::Message;
use standin_server::shard::turn::Shell;

use super::{Process, Received, World};

/// The surroundings of a shard.
pub(super) struct SimShell<'a> {
    pub(super) world: &'a mut World,
    pub(super) process: &'a mut Process,
    pub(super) server: usize,
    pub(super) index: usize,
    pub(super) received: Received,
}

impl Shell for SimShell<'_> {
    fn core(&mut self) -> &mut Core {
        &mut self.process.shards[self.index].core
    }

    fn take_in(&mut self, now: Now, message: Message) {
        self.core().mail(now, message);
    }

    fn serve(&mut self, now: Now) {
        let shard = &mut self.process.shards[self.index];
        self.world.adopt(shard, now, self.index);
        shard.core.serve_staged(now, &self.received);
        self.received.0.clear();
    }

    fn close_overdue(&mut self, _now: Now) {
        // A socket here takes everything at once.
    }

    fn carry_out(&mut self, now: Now, effect: Effect) {
        let Process { shards, mailboxes, control_inbox, gate, .. } = &mut *self.process;
        let core = &mut shards[self.index].core;
        match effect {
            Effect::Submit(call) => {
                if let Err(call) = gate.submit(call) {
                    core.call_refused(now, call.token);
                }
            }
            Effect::Post { shard, message } => mailboxes[usize::from(shard)].push_back(message),
            Effect::Tell(input) => control_inbox.push_back(input),
            Effect::Slow(_) => {}
            Effect::Refresh => core.refreshed(gate.health(), true),
            Effect::Stats { to } | Effect::Hot { to } => core.told(now, to, Vec::new()),
        }
    }

    fn perform(&mut self, now: Now, io: Io) {
        self.world.perform(self.process, self.server, self.index, now, io);
    }

    fn clock(&mut self) -> Now {
        self.world.servers[self.server].clock.now(self.world.time)
    }
}
