//! Users of a cluster: how they prove who they are, and what they may do.
//!
//! A user has a name and a password. From both a caller makes a key ([`UserKey`]), and from the key follows
//! what servers keep ([`Verifier`]). A verifier checks a password, and in the handshake a proof, but makes
//! neither: whoever has a file of verifiers can guess passwords, but not connect.
//!
//! ```text
//! key      = BLAKE3-keyed("standin: a user's name, password", name ‖ 0x00 ‖ password)
//! verifier = BLAKE3-keyed(key, 0x04)
//! proof    = key XOR BLAKE3-keyed(verifier, 0x05 ‖ nonce ‖ hello body)
//! ```

use std::fmt;

/// The longest name, in bytes.
pub const USER_NAME_BYTES_MAX: usize = 64;
/// The length of a proof.
pub const USER_PROOF_BYTES: usize = 32;
/// The user who is meant if none is named.
pub const DEFAULT_USER: &str = "default";

const KEY_OF_KEYS: &[u8; 32] = b"standin: a user's name, password";
const VERIFIER: u8 = 4;
const PROOF: u8 = 5;

fn keyed(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// Compares in constant time.
fn is_equal(one: &[u8; 32], other: &[u8; 32]) -> bool {
    blake3::Hash::from(*one) == blake3::Hash::from(*other)
}

/// What a user proves by. Whoever has it can connect as that user.
#[derive(Clone, PartialEq, Eq)]
pub struct UserKey([u8; 32]);

impl fmt::Debug for UserKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("UserKey(…)")
    }
}

impl UserKey {
    /// The key of this name and password.
    #[must_use]
    pub fn new(name: &[u8], password: &[u8]) -> Self {
        Self(keyed(KEY_OF_KEYS, &[name, &[0], password]))
    }

    /// The key with these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes of the key, for a file that nobody else may read.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns what servers keep of it.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        Verifier(keyed(&self.0, &[&[VERIFIER]]))
    }

    /// Returns the proof that answers `nonce`, for this hello body.
    #[must_use]
    pub fn proof(&self, nonce: &[u8], body: &[u8]) -> [u8; USER_PROOF_BYTES] {
        xor(&self.0, &self.verifier().mask(nonce, body))
    }
}

/// What servers keep of a user's password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Verifier([u8; 32]);

impl fmt::Debug for Verifier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Verifier(…)")
    }
}

impl Verifier {
    /// The verifier with these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether it is that of a key.
    #[must_use]
    pub fn is_of(&self, key: &UserKey) -> bool {
        is_equal(&self.0, key.verifier().bytes())
    }

    /// Whether this proof answers `nonce`, for this hello body.
    #[must_use]
    pub fn verify(&self, nonce: &[u8], body: &[u8], proof: &[u8; USER_PROOF_BYTES]) -> bool {
        self.is_of(&UserKey(xor(proof, &self.mask(nonce, body))))
    }

    fn mask(&self, nonce: &[u8], body: &[u8]) -> [u8; 32] {
        keyed(&self.0, &[&[PROOF], nonce, body])
    }
}

fn xor(one: &[u8; 32], other: &[u8; 32]) -> [u8; 32] {
    std::array::from_fn(|at| one[at] ^ other[at])
}

/// What a user may do in a keyspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// See values, and which keys there are.
    Read,
    /// Change, delete and invalidate values.
    Write,
    /// Flush. In all keyspaces: also see what the server counts, and which keys are asked for most.
    Administer,
}

impl Right {
    /// Every right.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Administer];

    /// The word for it in a file of users.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Administer => "administer",
        }
    }
}

/// Some of the 256 keyspaces, a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyspaceSet([u64; 4]);

impl KeyspaceSet {
    /// All of them, also those that do not exist yet.
    pub const ALL: Self = Self([u64::MAX; 4]);

    /// Whether a keyspace is among them.
    #[inline]
    #[must_use]
    pub fn has(&self, keyspace: u8) -> bool {
        self.0[usize::from(keyspace >> 6)] >> (keyspace & 63) & 1 != 0
    }

    /// Puts a keyspace in or takes it out.
    pub fn set(&mut self, keyspace: u8, is_in: bool) {
        let bit = 1 << (keyspace & 63);
        let word = &mut self.0[usize::from(keyspace >> 6)];
        *word = if is_in { *word | bit } else { *word & !bit };
    }
}

/// What a caller may do in which keyspaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights {
    /// For [`Right::Read`].
    pub read: KeyspaceSet,
    /// For [`Right::Write`].
    pub write: KeyspaceSet,
    /// For [`Right::Administer`].
    pub administer: KeyspaceSet,
}

impl Rights {
    /// All rights in all keyspaces.
    pub const ALL: Self =
        Self { read: KeyspaceSet::ALL, write: KeyspaceSet::ALL, administer: KeyspaceSet::ALL };

    /// The keyspaces of a right.
    #[must_use]
    pub fn of(&self, right: Right) -> &KeyspaceSet {
        match right {
            Right::Read => &self.read,
            Right::Write => &self.write,
            Right::Administer => &self.administer,
        }
    }

    /// The keyspaces of a right, to change them.
    pub fn of_mut(&mut self, right: Right) -> &mut KeyspaceSet {
        match right {
            Right::Read => &mut self.read,
            Right::Write => &mut self.write,
            Right::Administer => &mut self.administer,
        }
    }

    /// Whether it has a right in every keyspace, also in those that do not exist yet: what concerns a server
    /// as a whole needs that.
    #[must_use]
    pub fn has_everywhere(&self, right: Right) -> bool {
        *self.of(right) == KeyspaceSet::ALL
    }
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: Box<str>,
    /// By each of these the user can connect; if there are none, without a password.
    pub verifiers: Vec<Verifier>,
    /// What the user may do.
    pub rights: Rights,
}

/// What a caller was believed by: as long as it holds, the caller stays this user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The user's name.
    pub name: Box<str>,
    /// The verifier; `None` of a user without a password.
    pub verifier: Option<Verifier>,
}

/// All users, each name once, sorted by name: there may be thousands, and shards look for one of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Users(Vec<User>);

/// For callers who name no user that there is: it takes as long to refuse them.
const NOBODY: [Verifier; 1] = [Verifier([0; 32])];

impl Users {
    /// These users.
    #[must_use]
    pub fn new(mut users: Vec<User>) -> Self {
        users.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Self(users)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &User> {
        self.0.iter()
    }

    /// The user of this name.
    #[must_use]
    pub fn named(&self, name: &[u8]) -> Option<&User> {
        let at = self.0.binary_search_by(|user| user.name.as_bytes().cmp(name)).ok()?;
        Some(&self.0[at])
    }

    /// The user who is meant if none is named, if that one needs no password.
    #[must_use]
    pub fn open(&self) -> Option<&User> {
        self.named(DEFAULT_USER.as_bytes()).filter(|user| user.verifiers.is_empty())
    }

    /// The user whose name and password these are.
    #[must_use]
    pub fn with_password(&self, name: &[u8], password: &[u8]) -> Option<(&User, Proven)> {
        let key = UserKey::new(name, password);
        self.believe(name, |verifier| verifier.is_of(&key))
    }

    /// The user of this name who has made this proof.
    #[must_use]
    pub fn with_proof(
        &self,
        name: &[u8],
        proof: &[u8; USER_PROOF_BYTES],
        (nonce, body): (&[u8], &[u8]),
    ) -> Option<(&User, Proven)> {
        self.believe(name, |verifier| verifier.verify(nonce, body, proof))
    }

    fn believe(
        &self,
        name: &[u8],
        is_right: impl Fn(&Verifier) -> bool,
    ) -> Option<(&User, Proven)> {
        let user = self.named(name);
        let verifiers = user.map_or(&NOBODY[..], |user| &user.verifiers);
        let found = verifiers.iter().filter(|verifier| is_right(verifier)).last().copied();
        let user = user?;
        let is_open = user.verifiers.is_empty();
        let proven = Proven { name: user.name.clone(), verifier: found };
        (is_open || found.is_some()).then_some((user, proven))
    }

    /// The rights of somebody who was believed before; `None` if that no longer holds.
    #[must_use]
    pub fn still(&self, proven: &Proven) -> Option<&Rights> {
        let user = self.named(proven.name.as_bytes())?;
        let holds = match &proven.verifier {
            Some(verifier) => user.verifiers.contains(verifier),
            None => user.verifiers.is_empty(),
        };
        holds.then_some(&user.rights)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user(name: &str, passwords: &[&str]) -> User {
        let verifier =
            |password: &&str| UserKey::new(name.as_bytes(), password.as_bytes()).verifier();
        let verifiers = passwords.iter().map(verifier).collect();
        User { name: name.into(), verifiers, rights: Rights::default() }
    }

    fn users() -> Users {
        Users::new(vec![user("ann", &["one", "two"]), user("bob", &["one"]), user("default", &[])])
    }

    #[test]
    fn a_user_is_believed_with_a_password_of_that_user_only() {
        let users = users();
        let name = |name: &[u8], password: &[u8]| {
            users.with_password(name, password).map(|(user, _)| &*user.name)
        };
        assert_eq!(name(b"ann", b"one"), Some("ann"));
        assert_eq!(name(b"ann", b"two"), Some("ann"));
        assert_eq!(name(b"bob", b"one"), Some("bob"));
        assert_eq!(name(b"default", b"whatever"), Some("default"));
        for (wrong, password) in [("bob", "two"), ("ann", ""), ("eve", "one"), ("", "one")] {
            assert_eq!(name(wrong.as_bytes(), password.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn each_of_many_users_is_found_by_name() {
        let name = |number: u32| format!("user-{}", number.wrapping_mul(2_654_435_761));
        let users = Users::new((0..1_000).map(|number| user(&name(number), &[])).collect());
        for number in 0..1_000 {
            let found = users.named(name(number).as_bytes()).map(|user| &*user.name);
            assert_eq!(found, Some(&*name(number)));
        }
        for other in ["", "user", "user-", "user-0x", "v", "\u{ff}"] {
            assert_eq!(users.named(other.as_bytes()), None, "{other}");
        }
        assert!(users.iter().is_sorted_by(|one, other| one.name < other.name));
    }

    #[test]
    fn a_proof_counts_for_its_user_challenge_and_body_alone() {
        let users = users();
        let proof = UserKey::new(b"ann", b"two").proof(b"nonce", b"body");
        let is_ann = |name: &[u8], nonce: &[u8], body: &[u8]| {
            users.with_proof(name, &proof, (nonce, body)).is_some()
        };
        assert!(is_ann(b"ann", b"nonce", b"body"));
        assert!(!is_ann(b"bob", b"nonce", b"body"));
        assert!(!is_ann(b"ann", b"other", b"body"));
        assert!(!is_ann(b"ann", b"nonce", b"other"));
        let thief = UserKey::from_bytes(*users.named(b"ann").unwrap().verifiers[1].bytes());
        let stolen = thief.proof(b"nonce", b"body");
        assert!(users.with_proof(b"ann", &stolen, (b"nonce", b"body")).is_none());
    }

    #[test]
    fn who_was_believed_stays_so_until_the_user_or_the_password_goes() {
        let before = users();
        let (_, by_one) = before.with_password(b"ann", b"one").unwrap();
        let (_, open) = before.with_password(b"default", b"").unwrap();
        let mut ann = user("ann", &["two", "one"]);
        ann.rights.read.set(7, true);
        let after = |ann: User| Users::new(vec![ann, user("default", &["now"])]);
        assert!(after(ann.clone()).still(&by_one).unwrap().read.has(7), "with the rights of now");
        assert!(after(ann.clone()).still(&open).is_none(), "it needs a password now");
        ann.verifiers.pop();
        assert!(after(ann).still(&by_one).is_none());
        assert!(Users::default().still(&by_one).is_none());
    }

    #[test]
    fn nothing_shows_a_key_or_a_verifier() {
        let key = UserKey::new(b"ann", b"one");
        assert_eq!(format!("{key:?} {:?}", key.verifier()), "UserKey(…) Verifier(…)");
    }

    proptest! {
        #[test]
        fn a_set_has_the_keyspaces_that_were_put_in(
            changes in prop::collection::vec((any::<u8>(), any::<bool>()), 0..600)
        ) {
            let (mut set, mut model) = (KeyspaceSet::default(), [false; 256]);
            for (keyspace, is_in) in changes {
                set.set(keyspace, is_in);
                model[usize::from(keyspace)] = is_in;
            }
            for keyspace in 0..=255 {
                prop_assert_eq!(set.has(keyspace), model[usize::from(keyspace)]);
            }
        }
    }
}
