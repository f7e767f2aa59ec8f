//! Keys that somebody else has named: the rows of a table, the result of a query, or the lines of a file. They are
//! checked here, one by one, and held in memory within a bound.

use std::fmt;
use std::path::PathBuf;

use standin_config::ColumnType;
use standin_protocol::hash::key_hash;
use standin_protocol::key::{KeyForm, shown, uuid_bytes};

use crate::rng::Random;
use crate::trace::KeyRule;

/// Bytes of all keys of a run, with what is kept of each.
pub const BYTES_MAX: usize = 1 << 30;
/// The bytes of a key beside its own: its place, what the allocator adds, and what a checker keeps of its row.
const BYTES_BESIDE: usize = 64;

/// The place of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Rows of the keyspace's own table.
    Table,
    /// Rows of a query.
    Query,
    /// Lines of this file.
    File(PathBuf),
}

/// The place of one key, from one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    origin: Origin,
    number: u64,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Table => write!(f, "row {} of the keyspace's table", self.number),
            Origin::Query => write!(f, "row {} of --row-query", self.number),
            Origin::File(path) => write!(f, "line {} of {}", self.number, path.display()),
        }
    }
}

/// The reason why keys can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyListError {
    /// There is none.
    #[error("there are no keys: {0}")]
    None(&'static str),
    /// A row without a key.
    #[error("{0} has no key (NULL): leave it out with WHERE … IS NOT NULL in a --row-query")]
    Null(At),
    /// A line without a key.
    #[error("{0} is empty: each line is a key; remove it")]
    Empty(At),
    /// A key that is not of the keyspace's type.
    #[error(
        "{at} has the key {key}, which is not {wanted}: the keyspace's keys are of that type; correct it, or use \
             another --keyspace"
    )]
    Type {
        /// Where.
        at: At,
        /// The key, escaped.
        key: String,
        /// The type.
        wanted: &'static str,
    },
    /// A key that the target does not take.
    #[error("{at} has the key {key}, {why}")]
    Rule {
        /// Where.
        at: At,
        /// The key, escaped.
        key: String,
        /// What is wrong, and what to do.
        why: &'static str,
    },
    /// A key that is there twice.
    #[error("{at} has the key {key}, which was there before: each key may be there once; {hint}")]
    Twice {
        /// Where it is the second time.
        at: At,
        /// The key, escaped.
        key: String,
        /// What to do.
        hint: &'static str,
    },
    /// More keys than there is memory for.
    #[error("the keys up to {at} take {} MiB with what is kept of each, which is the limit: use --keys for fewer",
            BYTES_MAX >> 20)]
    TooMany {
        /// The first that there is no room for.
        at: At,
    },
    /// A file can't be read.
    #[error("{}: {error}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// The reason.
        error: std::io::Error,
    },
}

/// What keys must be.
#[derive(Debug, Clone, Copy)]
pub struct Demands {
    /// The type of the keyspace's keys; `None`: any bytes.
    pub key_type: Option<ColumnType>,
    /// The form in which two spellings of one key are the same.
    pub form: KeyForm,
    /// What the target takes.
    pub rule: KeyRule,
    /// Whether messages have the keys that are refused: not if somebody else reads them who may not see the rows.
    pub is_shown: bool,
}

/// The keys of a run.
#[derive(Debug)]
pub struct KeyList(Box<[Box<[u8]>]>);

impl KeyList {
    /// Their number.
    ///
    /// # Panics
    /// Never: their memory is bounded.
    #[must_use]
    pub fn len(&self) -> u32 {
        u32::try_from(self.0.len()).expect("fewer than a gigabyte")
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key at this index.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn get(&self, index: u32) -> &[u8] {
        &self.0[index as usize]
    }
}

/// Takes keys one by one.
#[derive(Debug)]
pub struct Collector {
    origin: Origin,
    demands: Demands,
    /// Keys that are kept at most.
    most: usize,
    /// With which keys of all are drawn; `None`: the first are kept.
    random: Option<Random>,
    keys: Vec<(Box<[u8]>, u64)>,
    bytes: usize,
    /// [`BYTES_MAX`].
    room: usize,
    offered: u64,
}

impl Collector {
    /// Keeps this many keys at most: the first, or with a seed some at random.
    #[must_use]
    pub fn new(origin: Origin, demands: Demands, most: Option<u32>, sample: Option<u64>) -> Self {
        let most = most.map_or(usize::MAX, |most| most as usize);
        let random = sample.map(Random::new);
        Self {
            origin,
            demands,
            most,
            random,
            keys: Vec::new(),
            bytes: 0,
            room: BYTES_MAX,
            offered: 0,
        }
    }

    /// The number of keys after which no more are needed; `None`: all are.
    #[must_use]
    pub fn needs(&self) -> Option<u64> {
        (self.random.is_none() && self.most < usize::MAX).then_some(self.most as u64)
    }

    /// Takes the next key; `None` is a row without one. Returns whether more are needed.
    ///
    /// # Errors
    /// [`KeyListError`].
    pub fn take(&mut self, key: Option<&[u8]>) -> Result<bool, KeyListError> {
        self.offered += 1;
        let number = self.offered;
        let key = key.ok_or_else(|| KeyListError::Null(self.at(number)))?;
        let key = self.checked(key)?;
        // Each of those offered is kept with the same probability (reservoir sampling).
        let place = match &mut self.random {
            _ if self.keys.len() < self.most => self.keys.len() as u64,
            Some(random) => random.below(number),
            None => u64::MAX,
        };
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        let cost = key.len() + BYTES_BESIDE;
        if let Some(old) = self.keys.get_mut(place) {
            self.bytes = self.bytes - old.0.len() - BYTES_BESIDE + cost;
            *old = (key, number);
        } else if self.keys.len() < self.most {
            self.bytes += cost;
            self.keys.push((key, number));
        }
        if self.bytes > self.room {
            return Err(KeyListError::TooMany { at: self.at(number) });
        }
        Ok(self.random.is_some() || self.keys.len() < self.most)
    }

    /// The keys.
    ///
    /// # Errors
    /// [`KeyListError`]: there is none, or one is there twice.
    pub fn finish(self) -> Result<KeyList, KeyListError> {
        if self.keys.is_empty() {
            return Err(KeyListError::None(match self.origin {
                Origin::Table => {
                    "the keyspace's table has no rows; use another --keyspace, or fill the table"
                }
                Origin::Query => "--row-query has no rows; correct it",
                Origin::File(_) => "--row-keys has no lines; write a key into each",
            }));
        }
        let mut hashes: Vec<(u64, u32)> =
            (0..).zip(&self.keys).map(|(index, (key, _))| (key_hash(0, key), index)).collect();
        hashes.sort_unstable();
        let key = |index: u32| &self.keys[index as usize];
        for same in hashes.chunk_by(|one, other| one.0 == other.0).filter(|same| same.len() > 1) {
            let mut known = std::collections::BTreeSet::new();
            let twice = same.iter().find(|(_, index)| !known.insert(&key(*index).0));
            if let Some((_, index)) = twice {
                let (key, number) = key(*index);
                let hint = match self.origin {
                    Origin::Table => "use a --row-query with SELECT DISTINCT",
                    Origin::Query => "write SELECT DISTINCT",
                    Origin::File(_) => "remove the line (sort -u leaves each line once)",
                };
                let (at, key) = (self.at(*number), self.shown(key));
                return Err(KeyListError::Twice { at, key, hint });
            }
        }
        Ok(KeyList(self.keys.into_iter().map(|(key, _)| key).collect()))
    }

    /// A key in a message.
    fn shown(&self, key: &[u8]) -> String {
        match self.demands.is_shown {
            true => shown(key, key.len()),
            false => "(not shown)".to_owned(),
        }
    }

    fn at(&self, number: u64) -> At {
        At { origin: self.origin.clone(), number }
    }

    /// The key as it is sent.
    fn checked(&self, key: &[u8]) -> Result<Box<[u8]>, KeyListError> {
        let Demands { key_type, form, rule, .. } = self.demands;
        let at = || self.at(self.offered);
        let key_shown = || self.shown(key);
        if key.is_empty() && matches!(self.origin, Origin::File(_)) {
            return Err(KeyListError::Empty(at()));
        }
        let wanted = match key_type {
            Some(ColumnType::Integer) if !is_integer(key) => Some("a whole number of 64 bits"),
            Some(ColumnType::Uuid) if uuid_bytes(key).is_none() => Some("a UUID"),
            Some(ColumnType::Text) if std::str::from_utf8(key).is_err() => Some("a text in UTF-8"),
            _ => None,
        };
        if let Some(wanted) = wanted {
            return Err(KeyListError::Type { at: at(), key: key_shown(), wanted });
        }
        if !rule.takes(key) {
            return Err(KeyListError::Rule { at: at(), key: key_shown(), why: rule.why });
        }
        Ok(form.bring(key).unwrap_or(key.into()).into_owned().into_boxed_slice())
    }
}

/// Whether this is a whole number as the database prints it.
fn is_integer(key: &[u8]) -> bool {
    let number = std::str::from_utf8(key).ok().and_then(|text| text.parse::<i64>().ok());
    number.is_some_and(|number| number.to_string().as_bytes() == key)
}

/// The key in a line: of bytes, a line such as `\x00ff` has hexadecimal digits, as PostgreSQL prints them.
#[must_use]
pub fn of_line(line: &[u8], key_type: Option<ColumnType>) -> std::borrow::Cow<'_, [u8]> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let digits = line.strip_prefix(b"\\x").filter(|_| key_type == Some(ColumnType::Bytes));
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes = digits.filter(|digits| digits.len() % 2 == 0).and_then(|digits| {
        let pairs = digits.chunks_exact(2);
        pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect::<Option<Vec<u8>>>()
    });
    bytes.map_or(line.into(), Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Demands = Demands {
        key_type: None,
        form: KeyForm::Exact,
        rule: KeyRule { bytes_max: 8, is_word: false, why: "which is too long; shorten it" },
        is_shown: true,
    };
    const LONG: KeyRule = KeyRule { bytes_max: 64, ..ANY.rule };
    const WORD: KeyRule = KeyRule { is_word: true, ..ANY.rule };

    fn list(keys: &[&str], demands: Demands) -> Result<Vec<String>, String> {
        let mut collector = Collector::new(Origin::File("k".into()), demands, None, None);
        let taken = keys.iter().try_for_each(|key| collector.take(Some(key.as_bytes())).map(drop));
        let list = taken.and_then(|()| collector.finish()).map_err(|error| error.to_string())?;
        let names = (0..list.len()).map(|index| String::from_utf8(list.get(index).into()).unwrap());
        Ok(names.collect())
    }

    #[test]
    fn keys_are_of_their_type_and_form_and_there_once() {
        assert_eq!(list(&["b", "a"], ANY).unwrap(), ["b", "a"]);
        let of = |key_type, form| Demands { key_type: Some(key_type), form, rule: LONG, ..ANY };
        let integer = of(ColumnType::Integer, KeyForm::Exact);
        assert_eq!(list(&["-7", "0"], integer).unwrap(), ["-7", "0"]);
        let uuid = of(ColumnType::Uuid, KeyForm::Uuid);
        let upper = "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11";
        assert_eq!(list(&[upper], uuid).unwrap(), [upper.to_ascii_lowercase()]);
        let folded = of(ColumnType::Text, KeyForm::Ascii);
        for (keys, demands, part) in [
            (&["1", "07"][..], integer, "line 2 of k has the key 07, which is not a whole number"),
            (&["x"], uuid, "not a UUID"),
            (&["a", "b", "a"], ANY, "line 3 of k has the key a, which was there before"),
            (&["Ab", "aB"], folded, "line 2"),
            (
                &["123456789"],
                ANY,
                "line 1 of k has the key 123456789, which is too long; shorten it",
            ),
            (&["a", ""], ANY, "line 2 of k is empty"),
            (&["a b"], Demands { rule: WORD, ..ANY }, "has the key a b"),
            (&[], ANY, "write a key into each"),
        ] {
            let said = list(keys, demands).unwrap_err();
            assert!(said.contains(part), "{keys:?}: {said}");
        }
        let hidden = Demands { is_shown: false, ..integer };
        for keys in [&["s3cret"][..], &["7", "7"]] {
            let said = list(keys, hidden).unwrap_err();
            assert!(said.contains("has the key (not shown)") && !said.contains("s3cret"), "{said}");
        }
        let mut rows = Collector::new(Origin::Query, ANY, None, None);
        assert!(rows.take(Some(b"")).unwrap(), "a row may have an empty key");
        let mut words = Collector::new(Origin::Query, Demands { rule: WORD, ..ANY }, None, None);
        assert!(words.take(Some(b"")).is_err(), "but no word is empty");
        let said = rows.take(None).unwrap_err().to_string();
        assert!(said.contains("row 2 of --row-query has no key (NULL)"), "{said}");
    }

    #[test]
    fn the_first_are_kept_or_some_of_all() {
        let numbers: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
        let taken = |sample| {
            let mut collector = Collector::new(Origin::Table, ANY, Some(100), sample);
            let offered =
                numbers.iter().take_while(|key| collector.take(Some(key.as_bytes())).unwrap());
            let offered = offered.count() + 1;
            let list = collector.finish().unwrap();
            let keys: Vec<u32> = (0..list.len())
                .map(|index| std::str::from_utf8(list.get(index)).unwrap().parse().unwrap())
                .collect();
            (offered, keys)
        };
        assert_eq!(taken(None), (100, (0..100).collect()), "no more are asked for");
        let (offered, keys) = taken(Some(3));
        assert_eq!((offered, keys.len()), (1_001, 100));
        let mean = keys.iter().sum::<u32>() / 100;
        // The standard deviation of the mean of 100 is 27.
        assert!((350..650).contains(&mean), "{mean}");
        assert_eq!(taken(Some(3)).1, keys, "the seed says which");
        assert_ne!(taken(Some(4)).1, keys);
    }

    #[test]
    fn memory_is_bounded() {
        let mut collector = Collector::new(Origin::Query, ANY, None, None);
        collector.room = 3 * (BYTES_BESIDE + 1);
        assert!(["a", "b", "c"].iter().all(|key| collector.take(Some(key.as_bytes())).is_ok()));
        let error = collector.take(Some(b"d")).unwrap_err();
        assert!(matches!(error, KeyListError::TooMany { .. }), "{error}");
        assert!(error.to_string().contains("1024 MiB"), "{error}");
    }

    #[test]
    fn a_line_of_bytes_may_be_hexadecimal() {
        let bytes = Some(ColumnType::Bytes);
        assert_eq!(*of_line(b"\\x00fF\r\n", bytes), [0, 255]);
        assert_eq!(*of_line(b"\\x00f\n", bytes), *b"\\x00f", "half a byte is none");
        assert_eq!(*of_line(b"\\x00ff", None), *b"\\x00ff");
        assert_eq!(*of_line(b"a b\n", bytes), *b"a b");
    }
}
