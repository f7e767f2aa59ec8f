//! Logins that have failed: counted by protocol, and told in the log now and then, with the address of the last
//! caller. Connections do not keep their addresses; the loop looks one up when a login has failed.

use std::net::IpAddr;

use standin_config::ServiceProtocol;
use standin_protocol::bursts::Bursts;
use standin_protocol::time::Micros;
use tracing::warn;

use super::backend::Backend;
use super::conn::ConnKind;
use super::{ConnKey, Core, Io, Mishap};

/// The logins that have failed, each with its caller; `None`: it came through a Unix socket, or had already left.
#[derive(Debug, Default)]
pub(super) struct FailedLogins {
    native: Bursts<Option<IpAddr>>,
    memcached: Bursts<Option<IpAddr>>,
    redis: Bursts<Option<IpAddr>>,
}

impl FailedLogins {
    fn add(&mut self, protocol: Option<ServiceProtocol>, count: u32, from: Option<IpAddr>) {
        let failed = match protocol {
            None => &mut self.native,
            Some(ServiceProtocol::Memcached) => &mut self.memcached,
            Some(ServiceProtocol::Redis) => &mut self.redis,
        };
        let known = failed.last().and_then(|last| *last);
        failed.add(count.into(), from.or(known));
    }

    /// Says in the log that logins have failed, now and then.
    pub(super) fn tell(&mut self, now: Micros) {
        let protocols = [
            ("Standin's own protocol", &mut self.native),
            ("memcached's protocol", &mut self.memcached),
            ("Redis' protocol", &mut self.redis),
        ];
        for (protocol, logins) in protocols {
            let Some((failed, from)) = logins.due(now) else { continue };
            let from = from.map_or("an unknown address".to_owned(), |from| from.to_string());
            warn!(
                failed,
                "refused logins by {protocol} because of a wrong secret, user or password; the last came from {from}: \
                 give that client the right one, or close the port to it"
            );
        }
    }
}

impl<B: Backend> Core<B> {
    /// Says in the log, now and then, what has failed of connections. A shard that ends leaves nothing out.
    pub(super) fn tell_mishaps(&mut self, now: Micros) {
        let now = if self.stopping { Micros::NEVER } else { now };
        self.tell_refusals(now);
        self.failures.tell(now);
        self.logins.tell(now);
    }

    /// Notes that logins have failed on a connection.
    pub(super) fn login_failed(&mut self, key: ConnKey, count: u32) {
        // It has been closed.
        let Some(conn) = self.conns.get(key) else { return };
        let ConnKind::Accepted(greeting) = &conn.kind else { return };
        if count == 0 {
            return;
        }
        let protocol = greeting.service().protocol();
        let counters = self.node.counters();
        *match protocol {
            None => &mut counters.auth_failures_native,
            Some(ServiceProtocol::Memcached) => &mut counters.auth_failures_memcached,
            Some(ServiceProtocol::Redis) => &mut counters.auth_failures_redis,
        } += u64::from(count);
        self.io.push_back(Io::FindCaller(key, Mishap::Login { protocol, count }));
    }

    /// The address of the caller that [`Io::FindCaller`] asked for; `None`: it has none, or has left.
    pub fn called_from(&mut self, mishap: Mishap, from: Option<IpAddr>) {
        match mishap {
            Mishap::Login { protocol, count } => self.logins.add(protocol, count, from),
            Mishap::Tls => self.failures.came_from(from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REDIS: Option<ServiceProtocol> = Some(ServiceProtocol::Redis);

    #[test]
    fn each_protocol_has_a_line_now_and_then_with_the_last_caller() {
        let mut logins = FailedLogins::default();
        assert_eq!(logins.redis.due(Micros(0)), None);
        let of = |last| Some(IpAddr::from([10, 0, 0, last]));
        logins.add(REDIS, 1, of(7));
        logins.add(None, 1, None);
        assert_eq!(logins.redis.due(Micros(0)), Some((1, of(7))));
        assert_eq!(logins.native.due(Micros(0)), Some((1, None)), "it had left");
        logins.add(REDIS, 3, of(8));
        logins.add(REDIS, 1, None);
        assert_eq!(logins.redis.due(Micros(9_999_999)), None);
        assert_eq!(logins.redis.due(Micros(10_000_000)), Some((4, of(8))));
        assert_eq!(logins.memcached.due(Micros(10_000_000)), None);
    }
}
