//! A server's control thread: the shipped agent, the datagrams that it sends and receives, and the
//! end of a server that was asked to stop.

use std::net::SocketAddr;
use std::sync::Arc;

use standin_protocol::control::{Datagram, SENDER_MASTER};
use standin_protocol::time::Micros;
use standin_server::control::agent::{Input, Output};
use standin_server::origin::Health;
use standin_server::shard::mailbox::Message;

use super::World;
use super::cluster::address;
use super::events::Actor;
use super::server::Process;
use crate::check::queues;
use crate::clock::Time;
use crate::plan::Host;

impl World {
    /// The control thread's turn.
    pub(crate) fn control_turn(&mut self, server: usize, datagram: Option<(SocketAddr, Datagram)>) {
        let Some(mut process) = self.servers[server].process.take() else { return };
        let now = self.servers[server].clock.local(self.time);
        let is_down = process.gate.health() != Health::Up;
        process.agent.handle(now, Input::OriginDown(is_down));
        if let Some((from, datagram)) = datagram {
            process.agent.handle(now, Input::Datagram { from, datagram });
        }
        while let Some(input) = process.control_inbox.pop_front() {
            process.agent.handle(now, input);
        }
        while let Some(output) = process.agent.poll() {
            match output {
                Output::Send { to, datagram } => {
                    let to = match to {
                        SENDER_MASTER => self.master_seen_by(Host::Server(server)),
                        other => Host::Server(other.into()),
                    };
                    let from = (Host::Server(server), address(Host::Server(server)));
                    let bytes = datagram.to_bytes(None);
                    self.net.datagram(&mut self.queue, self.time, from, to, bytes);
                }
                Output::Lease(lease) => {
                    process.post_to_all(|| Message::Lease(lease));
                }
                Output::Word(word) => {
                    process.post_to_all(|| Message::Word(word));
                }
                Output::AskProbe { nonce, server } => {
                    process.mailboxes[0].push_back(Message::AskProbe { nonce, server });
                }
                Output::Map(map) => {
                    process.post_to_all(|| Message::Map(Arc::clone(&map)));
                }
                Output::Verdict { server, state } => {
                    process.post_to_all(|| Message::Verdict { server, state });
                }
                Output::Distrust { .. } if self.has_forged => {}
                Output::Distrust { from, sender, epoch } => self.violation(format!(
                    "a datagram of {sender} from {from}, epoch {epoch}, is not believed"
                )),
                Output::Left => self.stop_shards(&mut process),
            }
        }
        if queues::is_looked_at(self.queue.count())
            && let Err(text) = queues::bounded(process.agent.queues())
        {
            self.violation(format!("{}: {text}", Host::Server(server)));
        }
        // As the shell does if the master does not acknowledge.
        if process.leaves_by.is_some_and(|by| self.time >= by) {
            self.stop_shards(&mut process);
        }
        self.after_turn(&mut process, server);
        let due = self.servers[server].clock.when(process.agent.next_deadline());
        self.servers[server].process = Some(process);
        self.wake(Actor::Control(server), due);
    }

    /// Asks a server to stop.
    pub(crate) fn leave_server(&mut self, server: usize) {
        let Some(mut process) = self.servers[server].process.take() else { return };
        if !std::mem::replace(&mut process.is_leaving, true) {
            process.control_inbox.push_back(Input::Leave);
            process.leaves_by = Some(self.time + self.drain_us());
            self.after_turn(&mut process, server);
        }
        self.servers[server].process = Some(process);
    }

    fn drain_us(&self) -> Time {
        let drain = self.cluster.config.timings.drain_timeout;
        u64::try_from(drain.as_micros()).unwrap_or(0)
    }

    /// Tells the shards to finish what is in flight, and to end.
    pub(crate) fn stop_shards(&mut self, process: &mut Process) {
        if process.ends_by.is_some() {
            return;
        }
        let ends_by = self.time + self.drain_us();
        process.ends_by = Some(ends_by);
        // The simulated process then ends by itself.
        let by = Micros::NEVER;
        process.post_to_all(|| Message::Stop { by });
    }
}
