//! The forms to which keys are brought before they are hashed, so that keys which the database
//! considers equal become one key. Otherwise two spellings of one row would be two cache entries,
//! at two servers, and a write of one would leave the other stale.
//!
//! Servers use only the form. A client that hashes the form of a key reaches the owner directly; it
//! sends the key as it was given. The map contains the forms.

use std::borrow::Cow;
use std::fmt;

use crate::codes::wire_enum;

/// The largest number of bytes of a key that [`shown`] shows.
pub const SHOWN_BYTES: usize = 64;

/// Returns a key as it is shown to people, in one line: what is not printable ASCII is escaped, and only the
/// first [`SHOWN_BYTES`] bytes are shown, with the number of all bytes behind them. `key` is the key or its
/// beginning, and `bytes` the length of the key.
#[must_use]
pub fn shown(key: &[u8], bytes: usize) -> String {
    let start = &key[..key.len().min(SHOWN_BYTES)];
    let mut text = start.escape_ascii().to_string();
    if start.len() < bytes {
        text.push_str(&format!("… ({bytes} bytes)"));
    }
    text
}

wire_enum! {
    /// The form of a keyspace's keys.
    KeyForm {
        /// Any bytes. Different keys are different rows.
        Exact = 0, "exact";
        /// Text with `A` to `Z` mapped to lower case, as SQLite's NOCASE compares it.
        Ascii = 1, "ascii";
        /// Text with each character mapped to lower case by Unicode's simple mapping, as citext
        /// compares it in most locales.
        Unicode = 2, "unicode";
        /// A UUID: 32 hexadecimal digits in lower case, with hyphens after 8, 12, 16 and 20.
        Uuid = 3, "uuid";
    }
}

impl KeyForm {
    /// Whether a key is in this form.
    #[inline]
    #[must_use]
    pub fn has(self, key: &[u8]) -> bool {
        match self {
            Self::Exact => true,
            Self::Ascii => !key.iter().any(u8::is_ascii_uppercase),
            Self::Unicode => is_lower(key),
            Self::Uuid => is_uuid(key),
        }
    }

    /// Returns the key in this form, or `None` if it has none and so can't be the key of a row.
    #[must_use]
    pub fn bring(self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        if self.has(key) {
            return Some(Cow::Borrowed(key));
        }
        match self {
            Self::Exact => Some(Cow::Borrowed(key)),
            Self::Ascii => Some(Cow::Owned(key.to_ascii_lowercase())),
            Self::Unicode => {
                let text = std::str::from_utf8(key).ok()?;
                Some(Cow::Owned(text.chars().map(lower).collect::<String>().into_bytes()))
            }
            Self::Uuid => uuid_bytes(key).map(|bytes| Cow::Owned(uuid_text(bytes).to_vec())),
        }
    }
}

/// The forms of all keyspaces.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyForms([KeyForm; 256]);

impl Default for KeyForms {
    fn default() -> Self {
        Self([KeyForm::Exact; 256])
    }
}

impl FromIterator<(u8, KeyForm)> for KeyForms {
    fn from_iter<T: IntoIterator<Item = (u8, KeyForm)>>(forms: T) -> Self {
        let mut all = Self::default();
        for (keyspace, form) in forms {
            all.0[usize::from(keyspace)] = form;
        }
        all
    }
}

impl fmt::Debug for KeyForms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.formed()).finish()
    }
}

impl KeyForms {
    /// The form of a keyspace's keys.
    #[inline]
    #[must_use]
    pub fn of(&self, keyspace: u8) -> KeyForm {
        self.0[usize::from(keyspace)]
    }

    /// Creates the forms from a map's list. `None` if a form is unknown, or the list is not in
    /// order.
    #[must_use]
    pub fn of_list(list: &[(u8, u8)]) -> Option<Self> {
        let form = |(keyspace, form): &(u8, u8)| Some((*keyspace, KeyForm::from_wire(*form)?));
        let listed: Vec<(u8, KeyForm)> = list.iter().map(form).collect::<Option<_>>()?;
        let forms: Self = listed.iter().copied().collect();
        forms.formed().eq(listed).then_some(forms)
    }

    /// The keyspaces whose keys have a form, by rising id.
    pub fn formed(&self) -> impl Iterator<Item = (u8, KeyForm)> + '_ {
        (0u8..=u8::MAX).zip(self.0).filter(|(_, form)| *form != KeyForm::Exact)
    }

    /// Returns the bytes that are hashed for a key: its form, or the key as it is if it has none.
    #[must_use]
    pub fn hashed<'k>(&self, keyspace: u8, key: &'k [u8]) -> Cow<'k, [u8]> {
        self.of(keyspace).bring(key).unwrap_or(Cow::Borrowed(key))
    }
}

/// Maps a character to lower case by Unicode's simple mapping, which always yields one character.
#[must_use]
pub fn lower(c: char) -> char {
    let mut full = c.to_lowercase();
    match (full.next(), full.next()) {
        (Some(one), None) => one,
        // İ (U+0130) is the only character whose full mapping is longer: `i` and a combining dot.
        (Some(first), Some(_)) => first,
        (None, _) => c,
    }
}

fn is_lower(key: &[u8]) -> bool {
    if key.is_ascii() {
        return !key.iter().any(u8::is_ascii_uppercase);
    }
    std::str::from_utf8(key).is_ok_and(|text| text.chars().all(|c| lower(c) == c))
}

const UUID_BYTES: usize = 36;

/// Whether a UUID has a hyphen at this position.
fn is_hyphen(at: usize) -> bool {
    matches!(at, 8 | 13 | 18 | 23)
}

fn is_uuid(key: &[u8]) -> bool {
    let fits = |(at, byte): (usize, &u8)| match byte {
        b'0'..=b'9' | b'a'..=b'f' => !is_hyphen(at),
        _ => *byte == b'-' && is_hyphen(at),
    };
    key.len() == UUID_BYTES && key.iter().enumerate().all(fits)
}

/// Reads a UUID in any spelling that PostgreSQL accepts: digits of either case, optional hyphens
/// after each group of four, optional braces.
#[must_use]
pub fn uuid_bytes(key: &[u8]) -> Option<[u8; 16]> {
    let mut rest = match key.strip_prefix(b"{") {
        Some(inner) => inner.strip_suffix(b"}")?,
        None => key,
    };
    let mut bytes = [0; 16];
    for (index, byte) in bytes.iter_mut().enumerate() {
        let ([high, low], after) = rest.split_first_chunk::<2>()?;
        *byte = digit(*high)? << 4 | digit(*low)?;
        rest = after;
        if index % 2 == 1 && index < 15 {
            rest = rest.strip_prefix(b"-").unwrap_or(rest);
        }
    }
    rest.is_empty().then_some(bytes)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn uuid_text(bytes: [u8; 16]) -> [u8; UUID_BYTES] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'-'; UUID_BYTES];
    let mut places = (0..UUID_BYTES).filter(|at| !is_hyphen(*at));
    for byte in bytes {
        for half in [byte >> 4, byte & 15] {
            if let Some(at) = places.next() {
                text[at] = DIGITS[usize::from(half)];
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn brought(form: KeyForm, key: &str) -> Option<String> {
        let key = form.bring(key.as_bytes())?;
        assert!(form.has(&key), "{key:?}");
        Some(String::from_utf8(key.into_owned()).unwrap())
    }

    #[test]
    fn one_uuid_has_one_form() {
        let form = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        for same in [
            form,
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
            "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
        ] {
            assert_eq!(brought(KeyForm::Uuid, same).as_deref(), Some(form), "{same}");
        }
        for none in [
            "",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a111",
            "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
            "a0-eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11-",
            "g0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            " a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ] {
            assert_eq!(brought(KeyForm::Uuid, none), None, "{none}");
        }
    }

    #[test]
    fn letters_are_folded_as_the_form_says() {
        assert_eq!(brought(KeyForm::Exact, "Ä A").as_deref(), Some("Ä A"));
        assert_eq!(brought(KeyForm::Ascii, "Ä Aß").as_deref(), Some("Ä aß"));
        assert_eq!(brought(KeyForm::Unicode, "Ä AßΣİ").as_deref(), Some("ä aßσi"));
        assert_eq!(KeyForm::Unicode.bring(&[b'A', 0xff]), None, "no text");
        assert_eq!(KeyForm::Ascii.bring(&[b'A', 0xff]).as_deref(), Some(&[b'a', 0xff][..]));
    }

    #[test]
    fn every_character_has_one_lower_form() {
        let longer: Vec<char> = ('\0'..=char::MAX).filter(|c| c.to_lowercase().len() > 1).collect();
        assert_eq!(longer, ['İ'], "the one that is mapped by hand");
        for c in '\0'..=char::MAX {
            let text = c.to_string();
            let lower = brought(KeyForm::Unicode, &text).unwrap();
            assert_eq!(brought(KeyForm::Unicode, &lower).as_deref(), Some(&*lower), "{c:?}");
        }
    }

    #[test]
    fn a_key_that_is_in_its_form_is_not_copied() {
        let keys = [
            (KeyForm::Exact, "ABC"),
            (KeyForm::Ascii, "abc-Ä"),
            (KeyForm::Unicode, "straße"),
            (KeyForm::Uuid, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ];
        for (form, key) in keys {
            assert!(matches!(form.bring(key.as_bytes()), Some(Cow::Borrowed(_))), "{form}");
        }
    }

    #[test]
    fn a_keyspace_without_a_form_takes_keys_as_they_are() {
        let forms: KeyForms = [(7, KeyForm::Ascii), (9, KeyForm::Uuid)].into_iter().collect();
        assert_eq!(&*forms.hashed(7, b"Ab"), b"ab");
        assert_eq!(&*forms.hashed(8, b"Ab"), b"Ab");
        assert_eq!(&*forms.hashed(9, b"Ab"), b"Ab", "no UUID");
        assert_eq!(format!("{forms:?}"), "{7: Ascii, 9: Uuid}");
        assert_eq!(KeyForms::of_list(&[(7, 1), (9, 3)]), Some(forms));
        for list in [&[(7, 4)][..], &[(7, 0)], &[(9, 3), (7, 1)], &[(7, 1), (7, 1)]] {
            assert_eq!(KeyForms::of_list(list), None, "{list:?}");
        }
    }

    proptest! {
        #[test]
        fn a_form_is_its_own_form(key in any::<Vec<u8>>(), text in any::<String>()) {
            for form in KeyForm::ALL {
                for key in [&key[..], text.as_bytes()] {
                    let Some(once) = form.bring(key) else { continue };
                    prop_assert!(form.has(&once));
                    prop_assert_eq!(form.bring(&once), Some(Cow::Borrowed(&*once)));
                }
            }
        }

        #[test]
        fn ascii_is_what_differs_in_a_to_z_alone(a in "[aAzZäÄ0]{0,3}", b in "[aAzZäÄ0]{0,3}") {
            let is_one = KeyForm::Ascii.bring(a.as_bytes()) == KeyForm::Ascii.bring(b.as_bytes());
            prop_assert_eq!(is_one, a.eq_ignore_ascii_case(&b));
        }

        #[test]
        fn uuids_of_the_same_bytes_have_one_form(bytes in any::<[u8; 16]>(), mask in any::<u64>()) {
            let form = uuid_text(bytes);
            let spelled: Vec<u8> = (0u32..).zip(form).filter_map(|(at, byte)| {
                let is_set = mask >> at & 1 == 1;
                match byte {
                    b'-' => (!is_set).then_some(b'-'),
                    _ if is_set => Some(byte.to_ascii_uppercase()),
                    _ => Some(byte),
                }
            }).collect();
            let brought = KeyForm::Uuid.bring(&spelled);
            prop_assert_eq!(brought.as_deref(), Some(&form[..]));
            prop_assert_eq!(uuid_bytes(&form), Some(bytes));
        }
    }
}
