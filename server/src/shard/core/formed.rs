//! Requests whose keys are not in the form of their keyspace, written anew with keys that are:
//! what is placed, cached, sent on and asked of the database is one key, however it was spelled.

use standin_protocol::frame::{
    FrameError, FrameLimits, HEADER_BYTES, Opcode, Request, RequestHeader,
};
use standin_protocol::key::{KeyForm, KeyForms};

use super::empty;

/// The forms of the keys, and the requests of a wake-up that were written anew.
#[derive(Debug)]
pub(super) struct Formed {
    forms: KeyForms,
    bytes: Vec<u8>,
}

impl Formed {
    pub(super) fn new(forms: KeyForms) -> Self {
        Self { forms, bytes: Vec::new() }
    }

    /// Writes the request anew if its key is not in its form: where it lies in [`Self::bytes`],
    /// and its header. A key that has no such form stays as it is: the database will say that
    /// no row has it.
    #[inline]
    pub(super) fn form(
        &mut self,
        request: &Request<'_>,
        limits: FrameLimits,
    ) -> Result<Option<(usize, RequestHeader)>, FrameError> {
        match self.forms.of(request.header.keyspace) {
            KeyForm::Exact => Ok(None),
            form => self.bring(form, request, limits),
        }
    }

    fn bring(
        &mut self,
        form: KeyForm,
        request: &Request<'_>,
        limits: FrameLimits,
    ) -> Result<Option<(usize, RequestHeader)>, FrameError> {
        let opcode = request.header.opcode;
        // The key of a FLUSH names its partition, and no row.
        let is_row = Opcode::has_key(opcode) && opcode != Opcode::Flush as u8;
        if !is_row || form.has(request.key) {
            return Ok(None);
        }
        let Some(key) = form.bring(request.key) else { return Ok(None) };
        let limit = limits.key_bytes;
        let key_len = u16::try_from(key.len()).unwrap_or(u16::MAX);
        if key_len > limit || usize::from(key_len) != key.len() {
            let len = u32::try_from(key.len()).unwrap_or(u32::MAX);
            return Err(FrameError::KeyTooLarge { len, limit: u32::from(limit) });
        }
        let header = RequestHeader { key_len, ..request.header };
        let at = self.bytes.len();
        Request::write(header, &key, request.value, &mut self.bytes);
        Ok(Some((at, header)))
    }

    /// The key of a request that was written anew.
    pub(super) fn key(&self, at: usize, header: &RequestHeader) -> &[u8] {
        &self.bytes[at + HEADER_BYTES..][..usize::from(header.key_len)]
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

    const LIMITS: FrameLimits = FrameLimits { key_bytes: 36, value_bytes: 64 };
    const SPELLED: &[u8] = b"A0EEBC999C0B4EF8BB6D6BB9BD380A11";
    const FORM: &[u8] = b"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";

    fn formed() -> Formed {
        Formed::new([(1, KeyForm::Uuid), (2, KeyForm::Unicode)].into_iter().collect())
    }

    fn form(formed: &mut Formed, opcode: Opcode, keyspace: u8, key: &[u8]) -> Option<Vec<u8>> {
        let mut frame = Vec::new();
        let header = RequestHeader { ttl: 9, ..RequestHeader::new(opcode, keyspace, 7) };
        Request::write(header, key, b"value", &mut frame);
        let request = Request::parse(&frame, LIMITS).unwrap().unwrap();
        let (at, header) = formed.form(&request, LIMITS).unwrap()?;
        let written = Request::parse(&formed.bytes()[at..], LIMITS).unwrap().unwrap();
        assert_eq!((written.header, written.value), (header, request.value));
        assert_eq!(RequestHeader { key_len: request.header.key_len, ..header }, request.header);
        assert_eq!(formed.key(at, &header), written.key);
        Some(written.key.to_vec())
    }

    #[test]
    fn a_request_is_written_anew_only_where_its_key_is_in_another_form() {
        let mut formed = formed();
        assert_eq!(form(&mut formed, Opcode::Put, 1, SPELLED).as_deref(), Some(FORM));
        assert_eq!(form(&mut formed, Opcode::Get, 1, SPELLED).as_deref(), Some(FORM));
        let bytes = formed.bytes().len();
        assert_eq!(form(&mut formed, Opcode::Put, 1, FORM), None);
        assert_eq!(form(&mut formed, Opcode::Put, 1, b"no uuid"), None);
        assert_eq!(form(&mut formed, Opcode::Put, 0, SPELLED), None, "a keyspace without a form");
        assert_eq!(form(&mut formed, Opcode::Flush, 1, SPELLED), None, "names a partition");
        assert_eq!(formed.bytes().len(), bytes, "nothing was copied");
        formed.clear();
        assert!(formed.bytes().is_empty());
    }

    #[test]
    fn a_key_whose_form_is_over_the_limit_is_refused() {
        // Two bytes, and three in lower case.
        let key = "Ⱥ".repeat(18);
        let mut frame = Vec::new();
        Request::write(RequestHeader::new(Opcode::Get, 2, 1), key.as_bytes(), b"", &mut frame);
        let request = Request::parse(&frame, LIMITS).unwrap().unwrap();
        let too_large = FrameError::KeyTooLarge { len: 54, limit: 36 };
        assert_eq!(formed().form(&request, LIMITS), Err(too_large));
    }
}
