//! Cache-aside: a read that misses asks the database and sets the cache; a write goes to the
//! database and deletes from the cache.

use super::database::Connection;
use super::{Failure, Read, Subject};

/// A cache that knows nothing of the database.
pub trait Cache: Send {
    /// Looks a key up.
    ///
    /// # Errors
    /// The node does not answer, or refuses.
    fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, Failure>;

    /// Stores a value.
    ///
    /// # Errors
    /// As above.
    fn set(&mut self, key: &str, value: &[u8]) -> Result<(), Failure>;

    /// Removes a key.
    ///
    /// # Errors
    /// As above.
    fn delete(&mut self, key: &str) -> Result<(), Failure>;
}

/// A cache-aside client: a cache and the database behind it.
pub struct Aside<C> {
    cache: C,
    database: Connection,
}

impl<C> Aside<C> {
    /// A cache and the database behind it.
    pub fn new(cache: C, database: Connection) -> Self {
        Self { cache, database }
    }
}

impl<C: Cache> Subject for Aside<C> {
    fn get(&mut self, key: &[u8]) -> Result<Read, Failure> {
        let key = std::str::from_utf8(key)?;
        if let Some(value) = self.cache.get(key)? {
            return Ok(Read { value: Some(value), is_hit: true });
        }
        let value = self.database.get(key)?;
        if let Some(value) = &value {
            // The answer has arrived. The request has not failed if it could not be cached.
            let _ = self.cache.set(key, value);
        }
        Ok(Read { value, is_hit: false })
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        let key = std::str::from_utf8(key)?;
        self.database.put(key, value)?;
        self.cache.delete(key)
    }
}
