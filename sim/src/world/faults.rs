//! The effects of a plan's entries, when they begin and when they end.

use super::World;
use super::events::{Actor, Event};
use super::master::MasterProcess;
use crate::plan::{Host, Rule, What};

impl World {
    pub(crate) fn begin_entry(&mut self, index: usize) {
        let entry = self.plan[index];
        if self.is_told && !matches!(entry.what, What::Act { .. } | What::Ask(_)) {
            let text = entry.to_string();
            self.lines.push(format!("{text} ─────"));
        }
        if let What::Act { client, key, act } = entry.what {
            let id = u32::try_from(index).unwrap_or(0) + 1;
            return self.act(client, key, act, id);
        }
        if let What::Ask(ask) = entry.what {
            let id = u32::try_from(index).unwrap_or(0) + 1;
            return self.ask_raw(ask, id);
        }
        if let Some(lasts) = entry.what.lasts() {
            let ends = (self.time + lasts).min(self.setup.quiet_at).max(self.time);
            self.queue.push(ends, Event::End(index));
        }
        self.apply(entry.what, true);
        self.checker.faults(self.time, &self.master_lost());
    }

    pub(crate) fn end_entry(&mut self, index: usize) {
        self.apply(self.plan[index].what, false);
        self.net.release(&mut self.queue, self.time);
        self.checker.faults(self.time, &self.master_lost());
    }

    fn apply(&mut self, what: What, begins: bool) {
        match what {
            What::Act { .. } | What::Ask(_) => {}
            What::Cut { from, to, .. } => self.net.cut(from, to, begins),
            What::Isolate { host, .. } => {
                for other in self.hosts() {
                    if other != host {
                        self.net.cut(host, other, begins);
                        self.net.cut(other, host, begins);
                    }
                }
            }
            What::Break { a, b } => self.net.reset_between(&mut self.queue, self.time, a, b),
            What::Mute { from, to, .. } => self.net.mute(from, to, begins),
            What::Stall { from, to, .. } => self.net.stall(from, to, begins),
            What::Noise { loss, twice, late_max, .. } => match begins {
                true => self.net.add_noise(loss, twice, late_max),
                false => self.net.remove_noise(loss, twice, late_max),
            },
            What::Pause { host, lasts } if begins => self.pause_host(host, lasts, false),
            What::PauseInside { server, lasts } if begins => {
                self.pause_host(Host::Server(server), lasts, true);
            }
            What::StallShard { server, shard, lasts } if begins => {
                self.pause(Actor::Shard(server, shard.into()), lasts);
            }
            // A sleeping host whose clock stops meanwhile.
            What::Pause { host, lasts } if self.setup.missing == Some(Rule::BootClock) => {
                let time = self.time;
                self.clock(host).stood_still(time, lasts);
            }
            What::Pause { .. } | What::PauseInside { .. } | What::StallShard { .. } => {}
            What::Crash { server, silent, .. } => match begins {
                true => {
                    self.dark[server] |= silent;
                    self.end_server(server, silent);
                }
                false => self.restart_server(server),
            },
            What::Leave { server, .. } => match begins {
                true => self.leave_server(server),
                false => self.restart_server(server),
            },
            What::CrashMaster { forgets, .. } => match begins {
                true => {
                    self.end_master(0);
                    if forgets {
                        self.masters[0].disk = None;
                        self.has_forgotten = true;
                    }
                }
                false if self.masters[0].process.is_none() => self.start_master(0),
                false => {}
            },
            What::DiskFull { .. } => count(&mut self.masters[0].disk_full, begins),
            What::ClockRate { host, rate_ppm } => {
                let time = self.time;
                self.clock(host).set_rate(time, rate_ppm);
            }
            What::WallStep { host, by_us } => self.clock(host).set_wall(by_us),
            What::OriginSlow { server, by, .. } => match begins {
                true => self.origin.slow_by.push((server, by)),
                false => remove(&mut self.origin.slow_by, (server, by)),
            },
            What::OriginDown { .. } => {
                count(&mut self.origin.down, begins);
                (0..self.servers.len()).for_each(|server| self.set_health(server, begins));
            }
            What::OriginPath { server, hangs, .. } => {
                let path = &mut self.origin.paths[server];
                count(if hangs { &mut path.hangs } else { &mut path.refuses }, begins);
                self.set_health(server, begins);
            }
            What::OriginLate { percent, by_max, .. } => match begins {
                true => self.origin.late.push((percent, by_max)),
                false => remove(&mut self.origin.late, (percent, by_max)),
            },
            What::OtherMaster { host, .. } => {
                // A client may still have the map of a master that is gone.
                self.has_forgotten = true;
                if begins && self.masters[1].process.is_none() {
                    self.masters[1].disk = self.masters[0].disk.clone();
                    self.start_master(1);
                }
                count(&mut self.other_master[host.index()], begins);
                if self.other_master.iter().all(|count| *count == 0) {
                    self.end_master(1);
                }
            }
            What::Replay { from, .. } => self.net.replay(from, begins),
            What::Forge { server, forged } => self.forge(server, forged),
        }
    }

    fn restart_server(&mut self, server: usize) {
        self.dark[server] = false;
        self.end_server(server, false);
        self.start_server(server);
    }

    /// Whether the server's machine has no power.
    pub(crate) fn is_dark(&self, host: Host) -> bool {
        matches!(host, Host::Server(server) if self.dark[server])
    }

    fn set_health(&mut self, server: usize, down: bool) {
        if let Some(process) = self.servers[server].process.as_ref() {
            process.gate.set_down(down);
        }
    }

    fn clock(&mut self, host: Host) -> &mut crate::clock::Clock {
        match host {
            Host::Server(id) => &mut self.servers[id].clock,
            Host::Client(id) => &mut self.clients[id].clock,
            Host::Master(id) => &mut self.masters[id].clock,
        }
    }

    pub(crate) fn hosts(&self) -> Vec<Host> {
        let servers = (0..self.servers.len()).map(Host::Server);
        let clients = (0..self.clients.len()).map(Host::Client);
        servers.chain(clients).chain([Host::Master(0), Host::Master(1)]).collect()
    }

    pub(super) fn actors(&self, host: Host) -> Vec<Actor> {
        match host {
            Host::Server(server) => {
                let shards = 0..usize::from(self.setup.shards);
                let shards = shards.map(|shard| Actor::Shard(server, shard));
                shards.chain([Actor::Control(server), Actor::Driver(server)]).collect()
            }
            Host::Client(client) => vec![Actor::Client(client)],
            Host::Master(master) => vec![Actor::Master(master)],
        }
    }

    /// Returns the process that the host uses as its master.
    pub(crate) fn master_seen_by(&self, host: Host) -> Host {
        self.redirected(host, Host::Master(0))
    }

    pub(crate) fn redirected(&self, from: Host, to: Host) -> Host {
        match to {
            Host::Master(_) if self.other_master[from.index()] > 0 => Host::Master(1),
            other => other,
        }
    }

    /// Returns, for each group, whether no member can hear from the master now. A master that is
    /// stopped, or can't save its new term, sends nothing.
    pub(crate) fn master_lost(&self) -> Vec<bool> {
        let master = Host::Master(0);
        let host = &self.masters[0];
        let saved_term = host.disk.as_ref().map_or(0, |state| state.epoch.term);
        let is_silent = |process: &MasterProcess| {
            let machine = &process.machine;
            let is_mute = !machine.registry().is_announcing() && machine.term() > saved_term;
            process.pace.paused_until > self.time || is_mute
        };
        let is_down = host.process.as_deref().is_none_or(is_silent);
        let mut first = 0;
        let lost = |size: &usize| {
            let members = first..first + size;
            first += size;
            let reaches = |server: usize| {
                let host = Host::Server(server);
                self.servers[server].process.is_some()
                    && !self.net.is_cut(host, master)
                    && !self.net.is_cut(master, host)
            };
            is_down || !members.into_iter().any(reaches)
        };
        self.setup.groups.iter().map(lost).collect()
    }
}

fn count(counter: &mut u8, begins: bool) {
    match begins {
        true => *counter += 1,
        false => *counter = counter.saturating_sub(1),
    }
}

fn remove<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if let Some(at) = list.iter().position(|other| *other == item) {
        list.remove(at);
    }
}
