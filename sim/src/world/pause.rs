//! Processes and threads that are stopped for a while, and go on where they were, with all that
//! they hold.

use super::World;
use super::events::{Actor, Event};
use super::server::{Came, ServerHost};
use crate::clock::{MS, NEVER, Time};
use crate::plan::{Host, Rule};
use crate::random::mix;

/// Of a pause in the middle of a turn, how late that turn may begin.
const INSIDE: Time = 3 * MS;

impl World {
    /// All of a process makes no progress for so long. `inside`: each of its shards has begun
    /// something when it stops.
    pub(super) fn pause_host(&mut self, host: Host, lasts: Time, inside: bool) {
        if let Host::Server(server) = host {
            self.stop_process(server, inside);
            let until = (self.time + lasts).min(self.setup.quiet_at);
            let runs = self.servers[server].process.is_some();
            if runs && self.setup.missing != Some(Rule::BootClock) {
                self.checker.held.stopped(server, self.time, until);
            }
        }
        for actor in self.actors(host) {
            self.pause(actor, lasts);
        }
    }

    /// An actor makes no progress for so long.
    pub(super) fn pause(&mut self, actor: Actor, lasts: Time) {
        let (seed, time) = (self.seed, self.time);
        let until = (time + lasts).min(self.setup.quiet_at).max(time);
        let Some(pace) = self.pace(actor) else { return };
        // Its threads do not go on in the same instant.
        let until = until + 1 + mix(seed ^ until, actor.index()) % 150;
        if until > pace.paused_until {
            pace.paused_until = until;
            self.queue.push(until, Event::Resume(actor));
        }
    }

    /// A paused actor goes on: first with what has come meanwhile, then with what is due.
    pub(crate) fn resume(&mut self, actor: Actor) {
        let time = self.time;
        let Some(pace) = self.pace(actor) else { return };
        if pace.paused_until != time {
            return;
        }
        pace.paused_until = 0;
        pace.wake_at = NEVER;
        let mut inbox = std::mem::take(&mut pace.inbox);
        if let Actor::Shard(server, shard) = actor {
            self.finish_turn(server, shard);
            // What other threads of the process have left may be found before what lies in the
            // sockets: they have woken earlier.
            if mix(self.seed ^ time, actor.index()).is_multiple_of(2) {
                let (mail, other): (Vec<_>, Vec<_>) =
                    inbox.into_iter().partition(|event| matches!(event, Event::Mail(_)));
                inbox = mail.into_iter().chain(other).collect();
            }
        }
        for event in inbox {
            self.happen(event);
        }
        self.wake(actor, time);
        self.checker.faults(time, &self.master_lost());
    }

    /// A process is stopped. `inside`: what comes to a shard next it has begun already.
    pub(crate) fn stop_process(&mut self, server: usize, inside: bool) {
        let ServerHost { clock, process, .. } = &mut self.servers[server];
        let Some(process) = process else { return };
        let now = clock.local(self.time);
        if !process.was_stopped {
            process.pulse.beat(now);
        }
        process.was_stopped = true;
        for shard in &mut process.shards {
            // One that is stopped already begins nothing.
            let runs = shard.pace.paused_until <= self.time;
            shard.pace.begins_one_until = if inside && runs { self.time + INSIDE } else { 0 };
        }
    }

    /// A shard that was stopped in the middle of a turn goes on with what it had decided, as the
    /// loops do: they look at the clock once more before anything goes out to a peer.
    pub(crate) fn finish_turn(&mut self, server: usize, index: usize) {
        let Some(mut process) = self.servers[server].process.take() else { return };
        let shard = &mut process.shards[index];
        shard.pace.begins_one_until = 0;
        if std::mem::take(&mut shard.is_inside) {
            let now = self.servers[server].clock.now(self.time);
            self.act_on(&mut process, server, index, now);
            self.after_turn(&mut process, server);
        }
        let has_work = process.shards[index].core.has_work();
        self.servers[server].process = Some(process);
        // What the look at the clock has left is done before the loop waits again.
        if has_work {
            self.shard_turn(server, index, Came::Nothing);
        }
    }
}
