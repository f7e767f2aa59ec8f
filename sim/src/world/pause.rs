//! Processes and threads that are stopped for a while, and resume where they were, with everything
//! that they hold.

use super::World;
use super::events::{Actor, Event};
use super::server::{ServerHost, TurnInput};
use crate::clock::{MS, NEVER, Time};
use crate::plan::{Host, Rule};
use crate::random::mix;

/// The latest start of the turn that a pause interrupts, counted from the start of the pause.
const INSIDE: Time = 3 * MS;

impl World {
    /// Stops a whole process for this long. `inside`: each of its shards stops in the middle of a
    /// turn.
    pub(super) fn pause_host(&mut self, host: Host, lasts: Time, inside: bool) {
        if let Host::Server(server) = host {
            self.stop_process(server, inside);
            let until = (self.time + lasts).min(self.setup.quiet_at);
            let runs = self.servers[server].process.is_some();
            if runs && self.setup.missing != Some(Rule::BootClock) {
                self.checker.pauses.stopped(server, self.time, until);
            }
        }
        for actor in self.actors(host) {
            self.pause(actor, lasts);
        }
    }

    /// Stops an actor for this long.
    pub(super) fn pause(&mut self, actor: Actor, lasts: Time) {
        let (seed, time) = (self.seed, self.time);
        let until = (time + lasts).min(self.setup.quiet_at).max(time);
        let Some(pace) = self.pace(actor) else { return };
        // Its threads do not resume at the same instant.
        let until = until + 1 + mix(seed ^ until, actor.index()) % 150;
        if until > pace.paused_until {
            pace.paused_until = until;
            self.queue.push(until, Event::Resume(actor));
        }
    }

    /// Resumes a paused actor: it handles first what has arrived meanwhile, then what is due.
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
            // Messages of other threads, which may have woken earlier, may be found before the data
            // in the sockets.
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

    /// Stops a process. `inside`: each shard begins its next turn before it stops.
    pub(crate) fn stop_process(&mut self, server: usize, inside: bool) {
        let ServerHost { clock, process, .. } = &mut self.servers[server];
        let Some(process) = process else { return };
        let now = clock.local(self.time);
        if !process.was_stopped {
            process.heartbeat.beat(now);
        }
        process.was_stopped = true;
        for shard in &mut process.shards {
            // A shard that is already stopped begins nothing.
            let runs = shard.pace.paused_until <= self.time;
            shard.pace.begins_one_until = if inside && runs { self.time + INSIDE } else { 0 };
        }
    }

    /// Lets a shard that was stopped in the middle of a turn act on its decisions, as the real
    /// loops do: they check the clock once more before anything is sent to a peer.
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
        // The work that remains after the check of the clock is done before the loop waits again.
        if has_work {
            self.shard_turn(server, index, TurnInput::Nothing);
        }
    }
}
