//! Keys that are brought to the form of their keyspace, so that one key is placed, cached,
//! forwarded and requested from the database, however it was spelled.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use standin_protocol::key::{KeyForm, KeyForms};

use super::empty;
use crate::node::{Action, CommandHead};
use crate::shard::codec::Spelling;

/// A key is longer than keys may be once it is in its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("key of {len} bytes is over the limit of {limit}")]
pub(super) struct TooLarge {
    len: usize,
    limit: u16,
}

/// The forms of the keys, and the keys of a wake-up that were brought to theirs.
#[derive(Debug)]
pub(super) struct Formed {
    forms: KeyForms,
    bytes: Vec<u8>,
}

impl Formed {
    pub(super) fn new(forms: KeyForms) -> Self {
        Self { forms, bytes: Vec::new() }
    }

    /// Whether a key of this keyspace is in its form.
    #[inline]
    pub(super) fn is_in_form(&self, keyspace: u8, key: &[u8]) -> bool {
        match self.forms.of(keyspace) {
            KeyForm::Exact => true,
            form => form.has(key),
        }
    }

    /// Brings the key of a command to its form if it is not in it: where it lies in
    /// [`Self::bytes`]. A key that has no such form stays as it is: the database will say that
    /// no row has it.
    pub(super) fn form(
        &mut self,
        head: &CommandHead,
        key: &[u8],
        spelling: Spelling,
        key_bytes_max: u16,
    ) -> Result<Option<Range<usize>>, TooLarge> {
        match (self.forms.of(head.keyspace), spelling) {
            (KeyForm::Exact, Spelling::Plain) => Ok(None),
            (form, Spelling::Plain) => self.bring(form, head.action, key, key_bytes_max),
            (_, Spelling::Partition(_)) => Ok(Some(self.keep(key))),
            (form, Spelling::Base64 { prefix }) => {
                // The decoder has decoded it before.
                let key = BASE64.decode(key).unwrap_or_default();
                let key = key.get(usize::from(prefix)..).unwrap_or_default();
                if let Some(range) = self.bring(form, head.action, key, key_bytes_max)? {
                    return Ok(Some(range));
                }
                Ok(Some(self.keep(key)))
            }
        }
    }

    /// Keeps a key that does not lie in the bytes of its request.
    fn keep(&mut self, key: &[u8]) -> Range<usize> {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(key);
        from..self.bytes.len()
    }

    fn bring(
        &mut self,
        form: KeyForm,
        action: Action,
        key: &[u8],
        key_bytes_max: u16,
    ) -> Result<Option<Range<usize>>, TooLarge> {
        // The key of a FLUSH names its partition, and no row.
        let is_row = action.has_key() && action != Action::Flush;
        if !is_row || form.has(key) {
            return Ok(None);
        }
        let Some(key) = form.bring(key) else { return Ok(None) };
        if key.len() > usize::from(key_bytes_max) {
            return Err(TooLarge { len: key.len(), limit: key_bytes_max });
        }
        Ok(Some(self.keep(&key)))
    }

    /// All that was written.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Everything has been served.
    pub(super) fn clear(&mut self) {
        if !self.bytes.is_empty() {
            empty(&mut self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPELLED: &[u8] = b"A0EEBC999C0B4EF8BB6D6BB9BD380A11";
    const FORM: &[u8] = b"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";

    fn formed() -> Formed {
        Formed::new([(1, KeyForm::Uuid), (2, KeyForm::Unicode)].into_iter().collect())
    }

    fn form(formed: &mut Formed, action: Action, keyspace: u8, key: &[u8]) -> Option<Vec<u8>> {
        let range =
            formed.form(&CommandHead::new(action, keyspace), key, Spelling::Plain, 36).unwrap()?;
        Some(formed.bytes()[range].to_vec())
    }

    #[test]
    fn a_key_is_written_anew_only_where_it_is_in_another_form() {
        let mut formed = formed();
        assert_eq!(form(&mut formed, Action::Put, 1, SPELLED).as_deref(), Some(FORM));
        assert_eq!(form(&mut formed, Action::Get, 1, SPELLED).as_deref(), Some(FORM));
        let bytes = formed.bytes().len();
        assert_eq!(form(&mut formed, Action::Put, 1, FORM), None);
        assert_eq!(form(&mut formed, Action::Put, 1, b"no uuid"), None);
        assert_eq!(form(&mut formed, Action::Put, 0, SPELLED), None, "a keyspace without a form");
        assert_eq!(form(&mut formed, Action::Flush, 1, SPELLED), None, "names a partition");
        assert_eq!(formed.bytes().len(), bytes, "nothing was copied");
        formed.clear();
        assert!(formed.bytes().is_empty());
    }

    #[test]
    fn a_key_whose_form_is_over_the_limit_is_refused() {
        // Two bytes, and three in lower case.
        let key = "Ⱥ".repeat(18);
        let too_large = TooLarge { len: 54, limit: 36 };
        let get = CommandHead::new(Action::Get, 2);
        assert_eq!(formed().form(&get, key.as_bytes(), Spelling::Plain, 36), Err(too_large));
    }
}
