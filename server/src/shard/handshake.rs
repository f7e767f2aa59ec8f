//! The server's side of the hello: who calls, which shard, and the proof if the cluster
//! has a secret. Pure: the challenges are given (challenges.rs). At ports of other services there is
//! no hello, but perhaps a password (`codec::ask`).

use std::cell::Cell;

use standin_config::ServiceProtocol;
use standin_protocol::frame::{
    FrameError, FrameLimits, Opcode, Request, RequestHeader, Response, ResponseHeader, Status,
};
use standin_protocol::handshake::{Heard, Listener};
use standin_protocol::hello::{
    ANY_SHARD, Accepted as Hello, HelloReply, Known, Role, TLS_ONLY, cluster_id, is_of_clients,
};
use standin_protocol::time::Micros;

use super::access::Grant;
use super::codec::{self, Asked, Caller};
use super::context::ShardContext;
use super::in_kernel::InKernel;
use super::listeners::Service;
use super::sealed::Sealed;
use super::unreadable::unreadable;

const HELLO_FIRST: &str = "the first request of a connection must be HELLO";
/// The largest number of requests that are refused before a password is right. A password is compared with
/// all of a password file.
const REFUSED_MAX: u32 = 64;
/// Larger than any hello.
const HELLO_LIMITS: FrameLimits = FrameLimits { key_bytes: 0, value_bytes: 128 };

/// The progress of a connection's handshake.
#[derive(Debug, Default)]
pub struct Greeting {
    service: Service,
    /// The shard that a connection gets if it can't ask for one.
    own_shard: u16,
    /// Its certificate proves that it may be a client.
    is_certified: bool,
    listener: Listener,
    /// The attempts at a port of another service that were refused.
    refused: u32,
    /// Those with a wrong secret, user or password that have not been taken.
    failed_logins: u32,
    accepted: Option<Accepted>,
}

#[derive(Debug)]
struct Accepted {
    caller: Caller,
    role: Role,
    shard: u16,
    grant: Grant,
}

/// A connection on its way to another shard.
#[derive(Debug)]
pub struct HandedOver {
    /// The terms that were agreed on.
    pub greeting: Greeting,
    /// Bytes received after the hello.
    pub input: Vec<u8>,
    /// The reply to the hello, which the new shard sends.
    pub output: Vec<u8>,
    /// The state of TLS, on a port that has it.
    pub sealed: Option<Box<Sealed>>,
    /// What is known of it if the kernel has its TLS.
    pub in_kernel: Option<InKernel>,
    /// The other side has said that nothing more comes.
    pub has_ended: bool,
    /// The time at which it was handed over.
    pub at: Micros,
}

/// The result of the bytes so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Not a whole hello yet.
    Wait,
    /// Challenged: another hello has to come.
    More {
        /// Bytes of the input that are done with.
        used: usize,
    },
    /// Not acceptable: close after the reply.
    Refuse,
    /// There is no place for callers of this role: close after the reply.
    NoPlace(Role),
    /// Accepted.
    Done {
        /// Bytes of the input that are done with.
        used: usize,
        /// The shard that the connection belongs to.
        shard: u16,
    },
}

impl Greeting {
    /// The greeting at a port of another service than Standin's own. The connection is for this
    /// shard.
    pub(super) fn new(service: Service, shard: u16) -> Self {
        Self { service, own_shard: shard, ..Self::default() }
    }

    /// Notes that this connection opens only to those whose certificate proves that they may be clients.
    pub(super) fn certified(self) -> Self {
        Self { is_certified: true, ..self }
    }

    /// The service of the port.
    pub(super) fn service(&self) -> Service {
        self.service
    }

    /// Whether the hello has been accepted.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.accepted.is_some()
    }

    /// The shard that the connection belongs to, once the hello has been accepted.
    #[must_use]
    pub fn shard(&self) -> Option<u16> {
        self.accepted.as_ref().map(|accepted| accepted.shard)
    }

    /// Whether the connection belongs to another shard than this one.
    pub(super) fn is_for_another(&self, shard: u16) -> bool {
        self.shard().is_some_and(|own| own != shard)
    }

    /// The caller.
    #[must_use]
    pub fn caller(&self) -> Caller {
        self.accepted.as_ref().map_or_else(Caller::default, |accepted| accepted.caller)
    }

    /// Takes the number of logins that have failed since this was last called.
    pub(super) fn take_failed_logins(&mut self) -> u32 {
        std::mem::take(&mut self.failed_logins)
    }

    /// What the caller may do: nothing, before the hello has been accepted.
    pub(super) fn grant(&self) -> Grant {
        self.accepted.as_ref().map_or_else(Grant::default, |accepted| accepted.grant.clone())
    }

    /// The kind of place that it has, once the hello has been accepted.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        self.accepted.as_ref().map(|accepted| accepted.role)
    }

    /// Looks at the input so far; replies go to `output`.
    pub fn step(&mut self, context: &ShardContext, input: &[u8], output: &mut Vec<u8>) -> Step {
        match self.service.protocol() {
            None => self.hear_hello(context, input, output),
            Some(protocol) => {
                if let Some(grant) = context.access.unnamed(protocol) {
                    return self.admit(context, protocol, (0, grant), output);
                }
                let failed = Cell::new(0);
                let admit = |name: &[u8], password: &[u8]| {
                    let grant = context.access.admit(protocol, name, password);
                    failed.set(failed.get() + u32::from(grant.is_none()));
                    grant
                };
                let asked = codec::ask(protocol, &admit, input, output);
                self.failed_logins += failed.get();
                match asked {
                    Asked::Waits => Step::Wait,
                    Asked::Refused { used } => {
                        self.refused += 1;
                        if self.refused > REFUSED_MAX { Step::Refuse } else { Step::More { used } }
                    }
                    Asked::Ended => Step::Refuse,
                    Asked::Known { used, grant } => {
                        self.admit(context, protocol, (used, grant), output)
                    }
                }
            }
        }
    }

    /// Gives a client of another service its place.
    fn admit(
        &mut self,
        context: &ShardContext,
        protocol: ServiceProtocol,
        (used, grant): (usize, Grant),
        output: &mut Vec<u8>,
    ) -> Step {
        let (role, shard) = (Role::Client, self.own_shard);
        if context.admission.admit(role).is_err() {
            output.clear();
            output.extend_from_slice(codec::no_place(protocol));
            return Step::NoPlace(role);
        }
        self.accepted = Some(Accepted { caller: Caller::default(), role, shard, grant });
        Step::Done { used, shard }
    }

    /// What a caller is told that has to go before it has said hello, as if it had: others wait.
    pub(super) fn make_room(&self, output: &mut Vec<u8>) {
        match self.service.protocol() {
            None => make_room(output),
            Some(protocol) => output.extend_from_slice(codec::no_place(protocol)),
        }
    }

    /// What a caller without TLS is told on a port that has to have it.
    pub(super) fn no_tls(&self, output: &mut Vec<u8>) {
        match self.service.protocol() {
            None => unheard(TLS_ONLY, output),
            Some(protocol) => output.extend_from_slice(codec::no_tls(protocol)),
        }
    }

    /// What a caller with TLS is told on a port that has none.
    pub(super) fn only_plain(&self, output: &mut Vec<u8>) {
        match self.service.protocol() {
            None => unheard(b"this port has no TLS", output),
            Some(protocol) => output.extend_from_slice(codec::only_plain(protocol)),
        }
    }

    fn hear_hello(&mut self, context: &ShardContext, input: &[u8], output: &mut Vec<u8>) -> Step {
        let request = match Request::parse(input, HELLO_LIMITS) {
            Ok(Some(request)) => request,
            Ok(None) => return Step::Wait,
            Err(error) => {
                let (header, status) = unreadable(input, error);
                // The limits are those of a hello: they say nothing of another request.
                let is_readable =
                    !matches!(error, FrameError::BadMagic(_) | FrameError::BadVersion(_));
                if is_readable && header.opcode != Opcode::Hello as u8 {
                    return refuse(&header, Status::Malformed, HELLO_FIRST, output);
                }
                return refuse(&header, status, &error.to_string(), output);
            }
        };
        let header = request.header;
        if header.opcode != Opcode::Hello as u8 {
            return refuse(&header, Status::Malformed, HELLO_FIRST, output);
        }
        let own_id = cluster_id(&context.cluster.name);
        let needs_proof = !(self.is_certified && is_of_clients(request.value));
        let known = if needs_proof { context.access.known() } else { Known::default() };
        let fresh = || Some(context.challenges.next());
        match self.listener.heard(request.value, known, own_id, fresh) {
            Heard::Accepted(accepted) => {
                let Hello { body: hello, role, believed } = *accepted;
                let shard = match hello.shard {
                    ANY_SHARD => context.shard,
                    shard if shard < context.shards => shard,
                    _ => {
                        let text = format!("this server has {} shards", context.shards);
                        return refuse(&header, Status::NoSuchShard, &text, output);
                    }
                };
                if let Err(most) = context.admission.admit(role) {
                    no_place(&header, most, output);
                    return Step::NoPlace(role);
                }
                let caller = Caller { is_peer: role == Role::Peer, client_id: hello.client_id };
                let grant = context.access.believed(believed);
                self.accepted = Some(Accepted { caller, role, shard, grant });
                let (server, shards) = (context.server, context.shards);
                let reply = HelloReply {
                    cluster_id: own_id,
                    server,
                    shards,
                    shard,
                    ..HelloReply::default()
                };
                let status = ResponseHeader::reply_to(&header, Status::Ok);
                Response::write(status, &reply.to_bytes(), output);
                Step::Done { used: header.frame_bytes(), shard }
            }
            Heard::Challenge(nonce) => {
                let status = ResponseHeader::reply_to(&header, Status::AuthRequired);
                Response::write(status, &nonce, output);
                Step::More { used: header.frame_bytes() }
            }
            Heard::Refused(status, error) => {
                self.failed_logins += u32::from(status == Status::AuthFailed);
                refuse(&header, status, &error.to_string(), output)
            }
        }
    }
}

/// The hint that goes with a connection's OVERLOADED: a place is free when another caller goes.
const PLACE_RETRY_AFTER_MS: u16 = 200;

fn no_place(header: &RequestHeader, most: u32, output: &mut Vec<u8>) {
    let text = format!("all {most} connections for such callers are taken");
    let reply = ResponseHeader {
        retry_after_ms: PLACE_RETRY_AFTER_MS,
        ..ResponseHeader::reply_to(header, Status::Overloaded)
    };
    Response::write(reply, text.as_bytes(), output);
}

fn make_room(output: &mut Vec<u8>) {
    let header = RequestHeader::new(Opcode::Hello, 0, 0);
    let reply = ResponseHeader {
        retry_after_ms: PLACE_RETRY_AFTER_MS,
        ..ResponseHeader::reply_to(&header, Status::Overloaded)
    };
    Response::write(reply, b"too many connections that have not said HELLO", output);
}

/// Answers what is not in the protocol of the port, as if it had been a hello.
fn unheard(text: &[u8], output: &mut Vec<u8>) {
    let header = RequestHeader::new(Opcode::Hello, 0, 0);
    Response::write(ResponseHeader::reply_to(&header, Status::Malformed), text, output);
}

fn refuse(header: &RequestHeader, status: Status, text: &str, output: &mut Vec<u8>) -> Step {
    Response::write(ResponseHeader::reply_to(header, status), text.as_bytes(), output);
    Step::Refuse
}
