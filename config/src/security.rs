//! What members, clients and users prove by.

use std::fmt;

use standin_protocol::users::{UserKey, Users};

/// `[security]`. Its `Debug` leaves out the secret and the key, so that no log can hold them.
#[derive(Clone, PartialEq, Default)]
pub struct Security {
    /// Shared secret; without it every address must be a loopback address.
    pub secret: Option<[u8; 32]>,
    /// A second one that counts as well, while one takes the place of the other.
    pub second_secret: Option<[u8; 32]>,
    /// The key for clients, in a client's file, which has no secret.
    pub client_key: Option<[u8; 32]>,
    /// The user's name and key, in the file of a client that is a user.
    pub user: Option<(String, UserKey)>,
    /// The users, of servers, the master, or a proxy.
    pub users: Option<Users>,
}

impl fmt::Debug for Security {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Security")
            .field("has_secret", &self.secret.is_some())
            .field("has_second_secret", &self.second_secret.is_some())
            .field("has_client_key", &self.client_key.is_some())
            .field("user", &self.user.as_ref().map(|(name, _)| name))
            .field("users", &self.users)
            .finish_non_exhaustive()
    }
}
