//! The names of keys that are made up: a text with the key's number, an integer, or a UUID.

use std::fmt;
use std::str::FromStr;

use crate::rng::Random;

/// The longest key that a template may give: memcached's.
const NAME_BYTES_MAX: usize = 250;
/// The largest number of a key.
const NUMBER_MAX: u64 = i64::MAX as u64;

/// The type of the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum KeyType {
    /// A text with the key's number.
    #[default]
    Text,
    /// The key's number.
    Integer,
    /// A UUID that follows from the key's number, and looks random.
    Uuid,
}

/// A text with one place for the key's number: `user:{n}`, or `key-{n:8}` for a number of eight digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    before: String,
    digits: usize,
    after: String,
}

impl Default for Template {
    fn default() -> Self {
        Self { before: "key-".to_owned(), digits: 8, after: String::new() }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, digits, after } = self;
        match digits {
            1 => write!(f, "{before}{{n}}{after}"),
            _ => write!(f, "{before}{{n:{digits}}}{after}"),
        }
    }
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write a text with one {n}, such as user:{n}, or key-{n:8} for a number of eight digits";
        let (before, rest) = text.split_once('{').ok_or_else(wrong)?;
        let (place, after) = rest.split_once('}').ok_or_else(wrong)?;
        let digits = match place {
            "n" => Some(1),
            _ => place.strip_prefix("n:").and_then(|digits| digits.parse().ok()),
        };
        let digits: usize = digits.filter(|digits| (1..=19).contains(digits)).ok_or_else(wrong)?;
        if after.contains(['{', '}']) || before.contains('}') {
            return Err(wrong().to_owned());
        }
        // A number has 19 digits at most.
        if before.len() + 19 + after.len() > NAME_BYTES_MAX {
            return Err(format!(
                "a key would have more than {NAME_BYTES_MAX} bytes; shorten the template"
            ));
        }
        Ok(Self { before: before.to_owned(), digits, after: after.to_owned() })
    }
}

/// The mapping of a key's index to its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyNames {
    key_type: KeyType,
    template: Template,
    first: u64,
}

impl KeyNames {
    /// Names of this type; the first key has number `first`. Only texts have a template.
    #[must_use]
    pub fn new(key_type: KeyType, template: Template, first: u64) -> Self {
        Self { key_type, template, first }
    }

    /// The largest number that the first of `keys` keys may have.
    #[must_use]
    pub fn first_max(keys: u32) -> u64 {
        NUMBER_MAX - u64::from(keys)
    }

    /// The key's bytes.
    #[must_use]
    pub fn name(&self, index: u32) -> Vec<u8> {
        let number = self.first.saturating_add(index.into());
        match self.key_type {
            KeyType::Text => {
                let Template { before, digits, after } = &self.template;
                let mut name = Vec::with_capacity(before.len() + DIGITS_MAX + after.len());
                name.extend_from_slice(before.as_bytes());
                push_number(&mut name, number, *digits);
                name.extend_from_slice(after.as_bytes());
                name
            }
            KeyType::Integer => {
                let mut name = Vec::with_capacity(DIGITS_MAX);
                push_number(&mut name, number, 1);
                name
            }
            KeyType::Uuid => uuid(number).into_bytes(),
        }
    }
}

/// The most digits of a number of 64 bits.
pub(crate) const DIGITS_MAX: usize = 20;

/// Appends a number with at least this many digits. Each request has a name, and Rust's formatting takes several times
/// as long.
pub(crate) fn push_number(name: &mut Vec<u8>, mut number: u64, digits: usize) {
    let mut text = [b'0'; DIGITS_MAX];
    let mut first = DIGITS_MAX;
    while number > 0 {
        first -= 1;
        // The remainder is a digit.
        text[first] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    let first = first.min(DIGITS_MAX - digits.clamp(1, DIGITS_MAX));
    name.extend_from_slice(&text[first..]);
}

/// The digits of a number.
pub(crate) fn digits_of(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// A UUID of version 4 whose random bits follow from a number.
fn uuid(number: u64) -> String {
    let mut random = Random::new(number);
    let (high, low) = (random.bits(), random.bits());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xFFFF,
        high & 0xFFF,
        0x8000 | ((low >> 48) & 0x3FFF),
        low & 0xFFFF_FFFF_FFFF
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use standin_protocol::key::KeyForm;

    use super::*;

    #[test]
    fn numbers_are_written_as_rust_writes_them() {
        let all = (0..=64).flat_map(|bit| [(1_u128 << bit) - 1, 1 << bit]).chain([9, 10, 99, 100]);
        for number in all.filter_map(|number| u64::try_from(number).ok()) {
            for digits in [1, 2, 8, 19, 20] {
                let mut name = Vec::new();
                push_number(&mut name, number, digits);
                assert_eq!(String::from_utf8(name).unwrap(), format!("{number:0digits$}"));
            }
            assert_eq!(digits_of(number), number.to_string().len());
        }
    }

    #[test]
    fn texts_have_a_place_for_the_number() {
        let name = |template: &str, first, index| {
            let names = KeyNames::new(KeyType::Text, template.parse().unwrap(), first);
            String::from_utf8(names.name(index)).unwrap()
        };
        assert_eq!(name("user:{n}", 0, 42), "user:42");
        assert_eq!(name("k{n:4}.json", 1, 6), "k0007.json");
        assert_eq!(name("{n:2}", 0, 1_234), "1234", "digits are never cut");
        let default = KeyNames::new(KeyType::Text, Template::default(), 0);
        assert_eq!(default.name(42), crate::workload::Keys::Numbered.name(42));
        assert_eq!("key-{n:8}".parse(), Ok(Template::default()));
    }

    #[test]
    fn wrong_templates_are_refused() {
        let long = format!("{}{{n}}", "k".repeat(240));
        for text in
            ["", "key", "{n", "{}", "{x}", "{n:0}", "{n:20}", "{n}{n}", "}{n}", "{n}}", &long]
        {
            assert!(text.parse::<Template>().is_err(), "{text}");
        }
    }

    #[test]
    fn integers_begin_where_they_should() {
        let names = KeyNames::new(KeyType::Integer, Template::default(), 1);
        assert_eq!(names.name(0), b"1");
        let last =
            KeyNames::new(KeyType::Integer, Template::default(), KeyNames::first_max(u32::MAX));
        let last = String::from_utf8(last.name(u32::MAX)).unwrap();
        assert_eq!(last.parse(), Ok(i64::MAX));
    }

    #[test]
    fn uuids_are_in_their_usual_form_and_differ() {
        let names = KeyNames::new(KeyType::Uuid, Template::default(), 0);
        let all: BTreeSet<Vec<u8>> = (0..10_000).map(|index| names.name(index)).collect();
        assert_eq!(all.len(), 10_000);
        for name in all {
            let brought = KeyForm::Uuid.bring(&name).unwrap();
            assert_eq!(&*brought, &*name);
            assert_eq!(name[14], b'4', "the version");
            assert!(b"89ab".contains(&name[19]), "the variant");
        }
    }
}
