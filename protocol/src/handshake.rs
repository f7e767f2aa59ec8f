//! The handshake of a connection, for the calling and the listening side: which HELLO is sent, and
//! how its answer is handled. [`crate::hello`] has the bodies.
//!
//! No IO, no frames and no random numbers: the owner of the connection frames the values that it is
//! given, and provides the nonce of a challenge.
//!
//! ```text
//! Caller                                    Listener
//! hello ────────── HELLO ─────────────────► heard ─► Accepted, Refused
//! answered ◄────── AUTH_REQUIRED, nonce ──────────── Challenge
//!    └─ Prove ──── HELLO with a proof ────► heard ─► Accepted, Refused
//! answered ◄────── OK, HelloReply ────────────────── by its owner, after Accepted
//! ```

use crate::auth::ClusterKey;
use crate::frame::Status;
use crate::hello::{Accepted, HELLO_BYTES, HelloBody, HelloError, HelloReply, Known, NONCE_BYTES};
use crate::users::UserKey;

/// What a caller proves by.
#[derive(Debug, Clone)]
pub enum Credential {
    /// The cluster's secret, or the clients' key.
    Key(ClusterKey),
    /// A user's name and key.
    User(Box<str>, UserKey),
}

/// The side that has made the connection.
#[derive(Debug, Clone)]
pub struct Caller {
    body: HelloBody,
    credential: Option<Credential>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No proof has been sent.
    Greeting,
    /// The proof has been sent.
    Proving,
    /// The listener has accepted the caller.
    Accepted,
}

/// The caller's next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Send a second HELLO with this value.
    Prove(Vec<u8>),
    /// Requests may be sent.
    Ready(HelloReply),
}

/// The reason why the caller has to close the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallerError {
    /// The cluster has a secret, and the caller has another one or none, or is none of its users.
    #[error(
        "the cluster's secret, or the user's key, is missing or wrong: is it the same on both sides?"
    )]
    AuthFailed,
    /// The listener has no room for another connection.
    #[error("no room for another connection")]
    NoRoom {
        /// The time after which the listener suggests to try again.
        retry_after_ms: u16,
    },
    /// The listener refuses the caller for another reason.
    #[error("HELLO was answered with {0}")]
    Refused(Status),
    /// The value of the OK is not a [`HelloReply`], or the value of the challenge is not a nonce.
    #[error("the answer to HELLO can't be read")]
    Unreadable,
}

impl Caller {
    /// A handshake that has not begun. A cluster with a secret asks for the credential.
    #[must_use]
    pub fn new(body: HelloBody, credential: Option<Credential>) -> Self {
        Self { body, credential, stage: Stage::Greeting }
    }

    /// The value of the first HELLO.
    #[must_use]
    pub fn hello(&self) -> [u8; HELLO_BYTES] {
        self.body.to_bytes()
    }

    /// Whether the listener has accepted the caller.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.stage == Stage::Accepted
    }

    /// Takes the answer to a HELLO.
    ///
    /// # Errors
    /// [`CallerError`]: close the connection.
    pub fn answered(
        &mut self,
        status: Status,
        retry_after_ms: u16,
        value: &[u8],
    ) -> Result<Next, CallerError> {
        match (status, self.stage) {
            (Status::Ok, Stage::Greeting | Stage::Proving) => {
                let reply = HelloReply::read(value).ok_or(CallerError::Unreadable)?;
                self.stage = Stage::Accepted;
                Ok(Next::Ready(reply))
            }
            (Status::AuthRequired, Stage::Greeting) => {
                let credential = self.credential.as_ref().ok_or(CallerError::AuthFailed)?;
                if value.len() != NONCE_BYTES {
                    return Err(CallerError::Unreadable);
                }
                self.stage = Stage::Proving;
                Ok(Next::Prove(match credential {
                    Credential::Key(key) => self.body.with_proof(key, value),
                    Credential::User(name, key) => self.body.with_user(name, key, value),
                }))
            }
            (Status::AuthRequired | Status::AuthFailed, _) => Err(CallerError::AuthFailed),
            (Status::Overloaded, _) => Err(CallerError::NoRoom { retry_after_ms }),
            (Status::Ok, Stage::Accepted) => Err(CallerError::Unreadable),
            (status, _) => Err(CallerError::Refused(status)),
        }
    }
}

/// The side that has accepted the connection.
#[derive(Debug, Clone, Default)]
pub struct Listener {
    /// The challenge, until a HELLO has answered it.
    nonce: Option<[u8; NONCE_BYTES]>,
}

/// The listener's answer to a HELLO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The caller is authenticated.
    Accepted(Box<Accepted>),
    /// Answer with AUTH_REQUIRED and this nonce; another HELLO has to follow.
    Challenge([u8; NONCE_BYTES]),
    /// Answer with this status and the error's text, and close the connection.
    Refused(Status, HelloError),
}

impl Listener {
    /// Takes the value of a HELLO. `fresh` returns an unpredictable nonce for a challenge. A caller
    /// is challenged once.
    pub fn heard(
        &mut self,
        value: &[u8],
        known: Known<'_>,
        own_cluster_id: u64,
        fresh: impl FnOnce() -> Option<[u8; NONCE_BYTES]>,
    ) -> Heard {
        // A nonce is valid for one attempt.
        let nonce = self.nonce.take();
        let error = match HelloBody::accept(value, known, nonce.as_ref(), own_cluster_id) {
            Ok(accepted) => return Heard::Accepted(Box::new(accepted)),
            Err(error) => error,
        };
        match error {
            HelloError::ProofMissing if nonce.is_none() => match fresh() {
                Some(nonce) => {
                    self.nonce = Some(nonce);
                    Heard::Challenge(nonce)
                }
                None => Heard::Refused(Status::Unavailable, HelloError::NoChallenge),
            },
            HelloError::ProofMissing | HelloError::ProofWrong | HelloError::UserWrong => {
                Heard::Refused(Status::AuthFailed, error)
            }
            _ => Heard::Refused(Status::Malformed, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hello::{Believed, Role};
    use crate::users::{Rights, User, Users};

    const CLUSTER: u64 = 7;
    const NONCE: [u8; NONCE_BYTES] = [3; NONCE_BYTES];

    fn body() -> HelloBody {
        HelloBody { client_id: 9, cluster_id: CLUSTER, shard: 1, ..HelloBody::default() }
    }

    fn key(byte: u8) -> ClusterKey {
        ClusterKey::new([byte; 32])
    }

    fn heard(listener: &mut Listener, value: &[u8], key: Option<&ClusterKey>) -> Heard {
        listener.heard(value, Known::of(key), CLUSTER, || Some(NONCE))
    }

    fn accepted(believed: Believed) -> Heard {
        Heard::Accepted(Box::new(Accepted { body: body(), role: Role::Client, believed }))
    }

    #[test]
    fn both_sides_agree_without_a_secret() {
        let (mut caller, mut listener) = (Caller::new(body(), None), Listener::default());
        assert_eq!(heard(&mut listener, &caller.hello(), None), accepted(Believed::Anyway));
        let reply = HelloReply { shards: 2, ..HelloReply::default() };
        let next = caller.answered(Status::Ok, 0, &reply.to_bytes());
        assert_eq!(next, Ok(Next::Ready(reply)));
        assert!(caller.is_ready());
        let again = caller.answered(Status::Ok, 0, &reply.to_bytes());
        assert_eq!(again, Err(CallerError::Unreadable), "nothing was asked");
    }

    #[test]
    fn both_sides_agree_with_a_secret() {
        let (mut caller, mut listener) =
            (Caller::new(body(), Some(Credential::Key(key(5)))), Listener::default());
        let own = key(5);
        let challenge = heard(&mut listener, &caller.hello(), Some(&own));
        assert_eq!(challenge, Heard::Challenge(NONCE));
        let next = caller.answered(Status::AuthRequired, 0, &NONCE);
        let Ok(Next::Prove(proof)) = next else { panic!("{next:?}") };
        assert!(!caller.is_ready());
        assert_eq!(heard(&mut listener, &proof, Some(&own)), accepted(Believed::ByKey(0)));
        let again = caller.answered(Status::AuthRequired, 0, &NONCE);
        assert_eq!(again, Err(CallerError::AuthFailed), "one proof is sent");
    }

    #[test]
    fn a_proof_counts_for_its_challenge_alone() {
        let own = key(5);
        let wrong = |key: &ClusterKey, nonce: &[u8]| {
            let mut listener = Listener::default();
            assert_eq!(
                heard(&mut listener, &body().to_bytes(), Some(&own)),
                Heard::Challenge(NONCE)
            );
            heard(&mut listener, &body().with_proof(key, nonce), Some(&own))
        };
        let refused = Heard::Refused(Status::AuthFailed, HelloError::ProofWrong);
        assert_eq!(wrong(&key(6), &NONCE), refused);
        assert_eq!(wrong(&own, &[4; NONCE_BYTES]), refused);
        let unasked = body().with_proof(&own, &NONCE);
        let challenge = heard(&mut Listener::default(), &unasked, Some(&own));
        assert_eq!(
            challenge,
            Heard::Challenge(NONCE),
            "a proof without a challenge proves nothing"
        );
    }

    #[test]
    fn a_user_is_a_client_with_the_rights_of_the_user() {
        let ann = UserKey::new(b"ann", b"password");
        let mut rights = Rights::default();
        rights.read.set(3, true);
        let user = User { name: "ann".into(), verifiers: vec![ann.verifier()], rights };
        let open = User { name: "default".into(), verifiers: Vec::new(), rights };
        let (own, users) = (key(5), Users::new(vec![user, open]));
        let known = Known { users: Some(&users), ..Known::of(Some(&own)) };
        let says = |body: HelloBody, name: &str, key: UserKey, known| {
            let mut caller = Caller::new(body, Some(Credential::User(name.into(), key)));
            let mut listener = Listener::default();
            let challenge = listener.heard(&caller.hello(), known, CLUSTER, || Some(NONCE));
            assert_eq!(challenge, Heard::Challenge(NONCE));
            let Ok(Next::Prove(value)) = caller.answered(Status::AuthRequired, 0, &NONCE) else {
                panic!("it proves")
            };
            listener.heard(&value, known, CLUSTER, || None)
        };
        let Heard::Accepted(accepted) = says(body(), "ann", ann.clone(), known) else {
            panic!("ann is known")
        };
        assert_eq!((accepted.body, accepted.role), (body(), Role::Client));
        let Believed::AsUser(proven, has) = accepted.believed else { panic!("as a user") };
        assert_eq!((&*proven.name, has), ("ann", rights));
        let observer = HelloBody { role: Role::Observer as u8, ..body() };
        assert!(matches!(says(observer, "ann", ann.clone(), known), Heard::Accepted(_)));
        let refused = Heard::Refused(Status::AuthFailed, HelloError::UserWrong);
        for role in [Role::Peer, Role::Master] {
            let member = HelloBody { role: role as u8, ..body() };
            assert_eq!(says(member, "ann", ann.clone(), known), refused, "{role:?}");
        }
        let other = UserKey::new(b"ann", b"other");
        assert_eq!(says(body(), "ann", other.clone(), known), refused);
        assert_eq!(says(body(), "eve", ann.clone(), known), refused);
        assert_eq!(says(body(), "default", other, known), refused, "there is no proof of nothing");
        let without = Known { users: None, ..known };
        assert_eq!(says(body(), "ann", ann, without), refused);
    }

    #[test]
    fn each_secret_that_counts_is_believed() {
        let (keys, body) = ([key(5), key(6)], body());
        let known = Known { keys: &keys, users: None };
        let says = |with: &ClusterKey| {
            let mut listener = Listener { nonce: Some(NONCE) };
            listener.heard(&body.with_proof(with, &NONCE), known, CLUSTER, || None)
        };
        assert_eq!(says(&key(5)), accepted(Believed::ByKey(0)));
        assert_eq!(says(&key(6).for_clients()), accepted(Believed::ByKey(1)));
        let refused = Heard::Refused(Status::AuthFailed, HelloError::ProofWrong);
        assert_eq!(says(&key(7)), refused);
    }

    #[test]
    fn a_caller_is_challenged_once() {
        let (own, mut listener) = (key(5), Listener::default());
        let hello = body().to_bytes();
        assert_eq!(heard(&mut listener, &hello, Some(&own)), Heard::Challenge(NONCE));
        let refused = Heard::Refused(Status::AuthFailed, HelloError::ProofMissing);
        assert_eq!(heard(&mut listener, &hello, Some(&own)), refused);
    }

    #[test]
    fn a_listener_without_random_numbers_refuses() {
        let own = key(5);
        let heard =
            Listener::default().heard(&body().to_bytes(), Known::of(Some(&own)), CLUSTER, || None);
        assert_eq!(heard, Heard::Refused(Status::Unavailable, HelloError::NoChallenge));
    }

    #[test]
    fn what_can_not_be_accepted_is_refused() {
        let mut listener = Listener::default();
        let other = HelloBody { cluster_id: CLUSTER + 1, ..body() };
        let refused = |error| Heard::Refused(Status::Malformed, error);
        let heard = |listener: &mut Listener, value: &[u8]| heard(listener, value, None);
        assert_eq!(heard(&mut listener, &[0; 3]), refused(HelloError::BadLength(3)));
        assert_eq!(heard(&mut listener, &other.to_bytes()), refused(HelloError::OtherCluster));
    }

    #[test]
    fn a_refused_caller_knows_why() {
        let answered = |status, value: &[u8]| {
            Caller::new(body(), None).answered(status, 30, value).expect_err("refused")
        };
        assert_eq!(answered(Status::AuthRequired, &NONCE), CallerError::AuthFailed);
        assert_eq!(answered(Status::AuthFailed, b"why"), CallerError::AuthFailed);
        assert_eq!(answered(Status::Overloaded, b""), CallerError::NoRoom { retry_after_ms: 30 });
        assert_eq!(answered(Status::NoSuchShard, b""), CallerError::Refused(Status::NoSuchShard));
        assert_eq!(answered(Status::Ok, b"short"), CallerError::Unreadable);
        let mut caller = Caller::new(body(), Some(Credential::Key(key(5))));
        let next = caller.answered(Status::AuthRequired, 0, b"short");
        assert_eq!(next, Err(CallerError::Unreadable));
    }
}
