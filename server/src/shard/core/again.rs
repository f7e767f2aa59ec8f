//! Bytes that are decoded before others of their connection, which came earlier: those that take the place
//! of a request, and those that follow from an answer.

use super::backend::Backend;
use super::conn::Conn;
use super::{ConnKey, Core, Io};
use crate::node::Now;
use crate::shard::codec::Again;

/// The largest number of bytes that are moved in a turn because other requests take the place of some.
const AGAIN_BYTES_MAX: usize = 8 << 20;
/// An AUTH counts as so many bytes, because a password is compared with all of a password file.
pub(super) const AUTH_BYTES: usize = 64 << 10;

/// Requests whose place others take (`What::Again`), and those that change the rights of what is behind
/// them (`What::Auth`): what is behind them is moved, so that their number in a turn is bounded.
#[derive(Debug, Default)]
pub(super) struct Agains {
    /// The bytes that were moved in this turn.
    pub(super) bytes: usize,
    /// Connections that go on in the next turn.
    pub(super) deferred: Vec<ConnKey>,
}

impl Agains {
    pub(super) fn is_used_up(&self) -> bool {
        self.bytes > AGAIN_BYTES_MAX
    }

    pub(super) fn has_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }
}

impl Conn {
    /// Puts what follows from an answer before all that has not been decoded, while nothing is staged
    /// behind the request.
    pub(super) fn take_again(&mut self) {
        if let Some(again) = self.codec.take_again() {
            self.decoder = self.decoder.again(again.tag);
            self.input.splice(self.staged_to..self.staged_to, again.bytes);
        }
    }
}

impl<B: Backend> Core<B> {
    /// Goes on with the connections that were deferred in the last turn. The loop reads nothing more of them
    /// before [`Self::end_deferred`]: otherwise their inputs could grow faster than they are served.
    pub(super) fn begin_deferred(&mut self, now: Now) -> Vec<ConnKey> {
        let deferred = std::mem::take(&mut self.agains.deferred);
        for key in deferred.iter().copied() {
            // It has been closed.
            let Some(conn) = self.conns.get_mut(key) else { continue };
            conn.is_deferred = false;
            if self.unpause(now, key) {
                self.read_input(now, key);
            }
        }
        deferred
    }

    /// Has the loop read on from those that need no other turn.
    pub(super) fn end_deferred(&mut self, deferred: Vec<ConnKey>) {
        for key in deferred {
            if self.conns.get(key).is_some_and(|conn| !conn.paused) {
                self.io.push_back(Io::Resume(key));
            }
        }
    }

    /// Lets a connection be served again, unless it has too much unsent or too many of its requests are
    /// unanswered. Returns whether it was paused and is not any more.
    pub(super) fn unpause(&mut self, now: Now, key: ConnKey) -> bool {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return false };
        if !conn.paused || conn.closing || conn.unsent_bytes > self.outbound.limit() {
            return false;
        }
        // Not at each answer: then it would be paused again at once.
        let half = self.context.cluster.limits.in_flight_per_connection / 2;
        if conn.is_busy(half + 1) {
            return false;
        }
        conn.paused = false;
        conn.take_again();
        // The time for an unfinished frame begins anew: it could not be read.
        conn.unfinished_since = conn.unfinished_since.map(|_| now.mono);
        if conn.ended {
            self.ended.push(key);
        }
        true
    }

    /// Has bytes of a connection decoded before all that has not been served.
    pub(super) fn decode_first(&mut self, key: ConnKey, again: Again) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.decoder = conn.decoder.again(again.tag);
        conn.unserved = Some(again.bytes);
        self.with_unserved.push(key);
        self.read_again(key);
    }

    /// Has what came behind a request of this tag, which changes nothing for the decoder, decoded again: the
    /// caller may have other rights now.
    pub(super) fn decode_behind(&mut self, key: ConnKey, tag: u64) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.decoder = conn.decoder.before(tag);
        conn.unserved = Some(Vec::new());
        self.with_unserved.push(key);
        self.read_again(key);
    }

    /// Goes on with a connection whose last request is alone: behind it nothing was decoded.
    pub(super) fn go_on_behind(&mut self, key: ConnKey) {
        // It has been closed.
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.codec.is_alone() {
            self.pause(key);
        } else if let Some(again) = conn.codec.take_again() {
            self.decode_first(key, again);
        }
    }
}

#[cfg(test)]
mod tests {
    use standin_config::{Security, ServiceProtocol};
    use standin_protocol::users::{Rights, User, UserKey, Users};

    use super::*;
    use crate::shard::access::Access;
    use crate::shard::core::Buffers;
    use crate::shard::core::testing::{NOW, core};
    use crate::shard::listeners::Service;

    const REQUESTS: usize = 50_000;
    /// The bytes that the loop reads at once.
    const CHUNK_BYTES: usize = 64 << 10;

    struct Received<'a>(&'a [u8]);

    impl Buffers for Received<'_> {
        fn bytes(&self, _buffer: u16) -> &[u8] {
            self.0
        }
    }

    /// The user `ann` with a password, and the open user `default` if others need not say who they are.
    fn with_users(is_open: bool) -> Access {
        let user = |name: &str, verifiers| User {
            name: name.into(),
            verifiers,
            rights: Rights::default(),
        };
        let ann = user("ann", vec![UserKey::new(b"ann", b"hers").verifier()]);
        let default = is_open.then(|| user("default", Vec::new()));
        let users = Users::new([ann].into_iter().chain(default).collect());
        let security = Security { users: Some(users), ..Security::default() };
        Access::read(Vec::new(), &security, std::iter::empty()).unwrap()
    }

    #[test]
    fn a_pipeline_of_auth_takes_many_turns_and_little_of_each() {
        let none = Access::default;
        for (access, line, reply) in [
            (none(), "AUTH hers\r\n", "-ERR AUTH <password> called without any password"),
            (with_users(true), "AUTH ann wrong\r\n", "-WRONGPASS "),
            (with_users(true), "AUTH ann hers\r\n", "+OK\r\n"),
        ] {
            let mut core = core(|_| {}, access);
            let service = Service::Other(ServiceProtocol::Redis);
            let key = core.accept(NOW, false, service).unwrap();
            let bytes = line.repeat(REQUESTS);
            let (mut rest, mut replies, mut sending) = (bytes.as_bytes(), Vec::new(), Vec::new());
            let (mut is_paused, mut turns, mut answered) = (false, 0, 0);
            while answered < REQUESTS {
                turns += 1;
                assert!(turns < REQUESTS, "it makes no progress");
                let (chunk, behind) =
                    rest.split_at(if is_paused { 0 } else { CHUNK_BYTES.min(rest.len()) });
                rest = behind;
                if !chunk.is_empty() {
                    core.received(NOW, key, 0, chunk);
                    assert_eq!(core.staged.requests().len(), 1, "nothing is decoded behind it");
                }
                core.serve_staged(NOW, &Received(chunk));
                let moved_bytes = core.agains.bytes;
                let most = AGAIN_BYTES_MAX + AUTH_BYTES + 2 * CHUNK_BYTES;
                assert!(moved_bytes <= most, "{moved_bytes}");
                let input_bytes = core.conns[key].input.len();
                assert!(input_bytes <= 2 * CHUNK_BYTES, "it reads on: {input_bytes}");
                while let Some(io) = core.io() {
                    match io {
                        Io::Flush(_) => {
                            core.take_output(NOW, key, &mut sending);
                            answered += sending.iter().filter(|byte| **byte == b'\n').count();
                            replies.append(&mut sending);
                            core.sent(NOW, key);
                        }
                        Io::Pause(_) => is_paused = true,
                        Io::Resume(_) => is_paused = false,
                        Io::FindCaller(..) => {}
                        other => panic!("{other:?}"),
                    }
                }
            }
            let replies = String::from_utf8(replies).unwrap();
            assert!(replies.lines().all(|said| said.starts_with(reply.trim_end())), "{line}");
            assert!(turns > 100, "others are served between: {turns} turns for {line}");
        }
    }

    #[test]
    fn a_caller_without_the_right_password_has_a_bounded_number_of_attempts() {
        let mut core = core(|_| {}, with_users(false));
        let key = core.accept(NOW, false, Service::Other(ServiceProtocol::Redis)).unwrap();
        core.received(NOW, key, 0, "AUTH ann wrong\r\n".repeat(REQUESTS).as_bytes());
        let mut sending = Vec::new();
        core.take_output(NOW, key, &mut sending);
        let replies = String::from_utf8(sending).unwrap();
        assert_eq!(replies.matches("-WRONGPASS").count(), 65);
        assert!(std::iter::from_fn(|| core.io()).any(|io| matches!(io, Io::Close(_))));
    }
}
