//! The form of a value as pieces: texts, and placeholders for what differs from one value to another. A user's own template
//! is read into pieces once, so that a value is made without a look at its text.
//!
//! ```text
//! {"id": {n}, "stamp": "{stamp}", "note": "{random:16}"}
//! └─text─┘ │  └───text──┘  │  └───text──┘      │      └ text
//!        number          stamp          random letters
//! ```
//! | placeholder | in the value |
//! |---|---|
//! | `{stamp}` | 32 letters: writer, key and number of the write, the value's length, and a checksum of all its bytes |
//! | `{n}`, `{n:8}` | the key's number, as in a template of keys; of eight digits at least |
//! | `{writer}`, `{sequence}` | the numbers of the run and of the key's write; with digits too |
//! | `{random:16}`, `{random}` | this many letters that follow from the stamp; as many as the size asks for |
//!
//! The checksum is over everything, so a value with a stamp is judged however the rest of it looks. A brace that begins
//! no name in small letters is a text, as those of JSON are; `{{n}` is the text `{n}`, and `{brace}` the text `{`, which a
//! placeholder may follow.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use standin_protocol::frame::VALUE_BYTES_MAX;

/// Bytes of a stamp: those of the smallest value that says what it is.
pub const VALUE_BYTES_MIN: u32 = 32;
/// The longest text of a template. An agent is sent it.
pub const TEMPLATE_BYTES_MAX: usize = 64 << 10;
/// The most digits that a number can be asked to have.
const DIGITS_MAX: u8 = 19;
/// The name of what stands for a brace.
const BRACE: &str = "brace";
/// The longest name that a message quotes.
const QUOTED_MAX: usize = 24;

/// A number of a stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    /// The key's, as in its name.
    Key,
    /// The run's.
    Writer,
    /// That of the write.
    Sequence,
}

impl Number {
    /// The most digits that it has.
    fn digits_max(self) -> u8 {
        match self {
            Self::Key => DIGITS_MAX,
            // 32 bits.
            Self::Writer | Self::Sequence => 10,
        }
    }
}

/// A part of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(Cow<'static, [u8]>),
    Stamp,
    /// A number, with this many digits at least.
    Number(Number, u8),
    /// This many bytes that look random; `None`: as many as the value's size asks for.
    Random(Option<u32>),
}

impl Piece {
    /// Bytes, at least and at most; without those that the value's size asks for.
    fn bytes(&self) -> (u64, u64) {
        match self {
            Self::Text(text) => (text.len() as u64, text.len() as u64),
            Self::Stamp => (VALUE_BYTES_MIN.into(), VALUE_BYTES_MIN.into()),
            Self::Number(number, digits) => {
                ((*digits).into(), (*digits).max(number.digits_max()).into())
            }
            Self::Random(bytes) => (bytes.unwrap_or(0).into(), bytes.unwrap_or(0).into()),
        }
    }

    /// Whether it may begin with a digit.
    fn may_begin_with_digit(&self) -> bool {
        match self {
            Self::Text(text) => text.first().is_some_and(u8::is_ascii_digit),
            Self::Stamp => false,
            Self::Number(..) | Self::Random(_) => true,
        }
    }
}

/// The place of the stamp in a value of these pieces; `None`: it is no such value, or has no stamp.
pub(crate) fn stamp_at(pieces: &[Piece], value: &[u8]) -> Option<usize> {
    let mut at = 0;
    for piece in pieces {
        let rest = value.get(at..)?;
        at += match piece {
            Piece::Stamp => return Some(at),
            Piece::Text(text) => rest.starts_with(text).then_some(text.len())?,
            Piece::Number(..) => rest.iter().take_while(|byte| byte.is_ascii_digit()).count(),
            // Templates have a stamp before what fills to a size.
            Piece::Random(bytes) => (*bytes)? as usize,
        };
    }
    None
}

/// A mistake in a template. Places are bytes, counted from one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Nothing.
    #[error("the template is empty; write a text with {{stamp}} in it")]
    Empty,
    /// Too much text.
    #[error(
        "the template has {bytes} bytes, and {TEMPLATE_BYTES_MAX} are the most; let {{random:N}} stand for the bulk of a \
         value"
    )]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Values of it are too large.
    #[error(
        "values of the template have up to {bytes} bytes, and {VALUE_BYTES_MAX} are the most; lower the numbers of \
         {{random:N}}"
    )]
    TooLarge {
        /// The largest.
        bytes: u64,
    },
    /// A name that is none of a placeholder.
    #[error(
        "byte {at}: {{{name}}} is no placeholder; write {{stamp}}, {{n}}, {{writer}}, {{sequence}} or {{random}}, or \
         {{{{{name}}} if the text is meant"
    )]
    Unknown {
        /// Where it begins.
        at: usize,
        /// The name.
        name: String,
    },
    /// A number of digits that is none.
    #[error(
        "byte {at}: {{{name}}} has a number of digits that is none; write 1 to {DIGITS_MAX}, such as {{n:8}}"
    )]
    Digits {
        /// Where it begins.
        at: usize,
        /// The name.
        name: String,
    },
    /// A number of letters that is none.
    #[error(
        "byte {at}: {{{name}}} has a number of letters that is none; write 1 to {VALUE_BYTES_MAX}, such as {{random:16}}, \
         or {{random}} to fill to the size of --value-bytes"
    )]
    Letters {
        /// Where it begins.
        at: usize,
        /// The name.
        name: String,
    },
    /// A placeholder that a value has once.
    #[error("byte {at}: a value has one {{{name}}}; remove this one")]
    Twice {
        /// Where the second begins.
        at: usize,
        /// Its name.
        name: &'static str,
    },
    /// What fills is before the stamp, which is then at no place that is known.
    #[error("byte {at}: {{stamp}} is behind {{random}}, whose length differs; write it before")]
    StampBehindRandom {
        /// Where the stamp begins.
        at: usize,
    },
    /// A number right before a digit.
    #[error(
        "byte {at}: before {{stamp}}, a number must not be followed by what may be a digit, because its end would not be \
         known; write another character between them, or {{stamp}} before both"
    )]
    Adjacent {
        /// Where the second begins.
        at: usize,
    },
}

/// A user's own template of values.
#[derive(Clone, PartialEq, Eq)]
pub struct ValueTemplate {
    /// As it was written.
    text: Box<str>,
    pieces: Box<[Piece]>,
}

impl fmt::Debug for ValueTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ValueTemplate({:?})", self.text)
    }
}

/// As it was written.
impl fmt::Display for ValueTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for ValueTemplate {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        if text.is_empty() {
            return Err(TemplateError::Empty);
        }
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(TemplateError::TooLong { bytes: text.len() });
        }
        let pieces = pieces(text)?;
        check(&pieces)?;
        let pieces = pieces.into_iter().map(|(_, piece)| piece).collect();
        let template = Self { text: text.into(), pieces };
        let bytes = template.sum(|(_, most)| most);
        match bytes > VALUE_BYTES_MAX.into() {
            true => Err(TemplateError::TooLarge { bytes }),
            false => Ok(template),
        }
    }
}

impl ValueTemplate {
    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Bytes of a value, at least and at most; without those that fill it to a size.
    #[must_use]
    pub fn bytes(&self) -> (u32, u32) {
        let whole = |bytes| u32::try_from(bytes).unwrap_or(u32::MAX);
        (whole(self.sum(|(least, _)| least)), whole(self.sum(|(_, most)| most)))
    }

    /// Whether a value says all that it is judged by.
    #[must_use]
    pub fn has_stamp(&self) -> bool {
        self.pieces.contains(&Piece::Stamp)
    }

    /// Whether a value has the size that is asked for; otherwise it has that of its pieces.
    #[must_use]
    pub fn fills(&self) -> bool {
        self.pieces.contains(&Piece::Random(None))
    }

    /// Whether a value has letters that look random.
    #[must_use]
    pub fn has_random(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Random(_)))
    }

    fn sum(&self, of: fn((u64, u64)) -> u64) -> u64 {
        // The numbers in a text of some thousand bytes don't overflow.
        self.pieces.iter().map(|piece| of(piece.bytes())).sum()
    }
}

/// The pieces of a template, and where they begin in it.
fn pieces(text: &str) -> Result<Vec<(usize, Piece)>, TemplateError> {
    let mut pieces = Vec::new();
    // The text behind the last placeholder, and its place.
    let (mut literal, mut literal_at) = (Vec::new(), 1);
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let at = text.len() - rest.len() + open + 1;
        let behind = &rest[open + 1..];
        literal.extend_from_slice(&rest.as_bytes()[..open]);
        if let Some(name) = behind.strip_prefix('{').and_then(name) {
            // Its brace was doubled.
            literal.extend_from_slice(&behind.as_bytes()[..name.len() + 2]);
            rest = &behind[name.len() + 2..];
        } else if name(behind) == Some(BRACE) {
            literal.push(b'{');
            rest = &behind[BRACE.len() + 1..];
        } else if let Some(name) = name(behind) {
            if !literal.is_empty() {
                let text = std::mem::take(&mut literal);
                pieces.push((literal_at, Piece::Text(text.into())));
            }
            pieces.push((at, placeholder(at, name)?));
            rest = &behind[name.len() + 1..];
            literal_at = text.len() - rest.len() + 1;
        } else {
            literal.push(b'{');
            rest = behind;
        }
    }
    literal.extend_from_slice(rest.as_bytes());
    if !literal.is_empty() {
        pieces.push((literal_at, Piece::Text(literal.into())));
    }
    Ok(pieces)
}

/// The name between the brace before and one behind it, if it is one.
fn name(behind: &str) -> Option<&str> {
    let is_part = |one: char| one.is_ascii_lowercase() || one.is_ascii_digit() || one == ':';
    let end = behind.find(|one| !is_part(one))?;
    let is_name = behind.starts_with(|one: char| one.is_ascii_lowercase());
    (is_name && behind[end..].starts_with('}')).then(|| &behind[..end])
}

fn placeholder(at: usize, name: &str) -> Result<Piece, TemplateError> {
    let quoted = || match name.get(..QUOTED_MAX) {
        Some(begin) if begin.len() < name.len() => format!("{begin}…"),
        _ => name.to_owned(),
    };
    let (word, number) = match name.split_once(':') {
        Some((word, number)) => (word, Some(number)),
        None => (name, None),
    };
    let digits = |of: Number| match number.map_or(Ok(1), str::parse::<u8>) {
        Ok(digits @ 1..=DIGITS_MAX) => Ok(Piece::Number(of, digits)),
        _ => Err(TemplateError::Digits { at, name: quoted() }),
    };
    match (word, number) {
        ("stamp", None) => Ok(Piece::Stamp),
        ("n", _) => digits(Number::Key),
        ("writer", _) => digits(Number::Writer),
        ("sequence", _) => digits(Number::Sequence),
        ("random", None) => Ok(Piece::Random(None)),
        ("random", Some(letters)) => match letters.parse() {
            Ok(letters @ 1..=VALUE_BYTES_MAX) => Ok(Piece::Random(Some(letters))),
            _ => Err(TemplateError::Letters { at, name: quoted() }),
        },
        _ => Err(TemplateError::Unknown { at, name: quoted() }),
    }
}

/// Whether the stamp of a value can be found.
fn check(pieces: &[(usize, Piece)]) -> Result<(), TemplateError> {
    for (once, name) in [(Piece::Stamp, "stamp"), (Piece::Random(None), "random")] {
        let mut all = pieces.iter().filter(|(_, piece)| *piece == once);
        if let Some((at, _)) = all.nth(1) {
            return Err(TemplateError::Twice { at: *at, name });
        }
    }
    let Some(stamp) = pieces.iter().position(|(_, piece)| *piece == Piece::Stamp) else {
        return Ok(());
    };
    let before = &pieces[..stamp];
    if before.iter().any(|(_, piece)| *piece == Piece::Random(None)) {
        return Err(TemplateError::StampBehindRandom { at: pieces[stamp].0 });
    }
    let mut pairs = before.windows(2).filter(|pair| matches!(pair[0].1, Piece::Number(..)));
    match pairs.find(|pair| pair[1].1.may_begin_with_digit()) {
        Some(pair) => Err(TemplateError::Adjacent { at: pair[1].0 }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> ValueTemplate {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn texts(text: &str) -> String {
        let template = template(text);
        let texts = template.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => String::from_utf8_lossy(text).into_owned(),
            _ => "|".to_owned(),
        });
        texts.collect()
    }

    #[test]
    fn braces_of_texts_are_texts() {
        let json = r#"{"id": {n:8}, "tags": {}, "by": "{writer}.{sequence}", "s": "{stamp}"}"#;
        assert_eq!(texts(json), r#"{"id": |, "tags": {}, "by": "|.|", "s": "|"}"#);
        assert_eq!(template(json).to_string(), json);
        for text in ["{", "{}", "{ n}", "}{", "{\"n\"}", "{N}", "{random:5", "{n", "{:5}", "é{ü}"]
        {
            assert_eq!(texts(text), text);
        }
        assert_eq!(texts("{{n} {{anything} {{{n}} {{stamp}}"), "{n} {anything} {{n}} {stamp}}");
        assert_eq!(texts("{brace}{n}} {brace}n} {{brace} {"), "{|} {n} {brace} {");
        assert_eq!(texts("{{}{{"), "{{}{{", "only a placeholder's brace is doubled");
    }

    #[test]
    fn sizes_follow_from_the_pieces() {
        let all = template("a{n}-{random:5}{stamp}");
        assert_eq!((all.bytes(), all.fills(), all.has_random()), ((40, 58), false, true));
        let filled = template("{writer:12}{sequence:3}{random}");
        assert_eq!((filled.bytes(), filled.fills()), ((15, 22), true));
        assert!(all.has_stamp() && !filled.has_stamp() && !template("text").has_random());
    }

    #[test]
    fn mistakes_are_told_with_their_place_and_what_to_write() {
        for (text, parts) in [
            ("", &["empty", "{stamp}"][..]),
            ("ab {key} c", &["byte 4", "{key} is no placeholder", "{writer}", "{{key} if"]),
            ("é{key}", &["byte 3"]),
            ("{stamp:5}", &["byte 1", "{stamp:5} is no placeholder"]),
            ("{random:0}", &["byte 1", "1 to 16777216", "{random:16}"]),
            ("{random:}", &["byte 1", "number of letters"]),
            ("x{random:99999999999999999999}", &["byte 2", "{random:99999999999999999…}"]),
            ("{n:0}", &["byte 1", "1 to 19"]),
            ("{sequence:20}", &["byte 1", "1 to 19"]),
            ("{random:16777216}x", &["16777217 bytes", "lower"]),
            ("{stamp} {stamp}", &["byte 9", "one {stamp}"]),
            ("{random}{random}", &["byte 9", "one {random}"]),
            ("{random} {stamp}", &["byte 10", "behind {random}", "before"]),
            ("{n}{sequence}{stamp}", &["byte 4", "between"]),
            ("{n}7{stamp}", &["byte 4", "between"]),
            ("{n}{random:3}{stamp}", &["byte 4", "between"]),
        ] {
            let said = text.parse::<ValueTemplate>().unwrap_err().to_string();
            assert!(parts.iter().all(|part| said.contains(part)), "{text}: {said}");
        }
        let long = "x".repeat(TEMPLATE_BYTES_MAX + 1).parse::<ValueTemplate>().unwrap_err();
        assert!(long.to_string().contains("65537 bytes"), "{long}");
        let name = format!("{{{}}}", "y".repeat(TEMPLATE_BYTES_MAX - 2));
        let said = name.parse::<ValueTemplate>().unwrap_err().to_string();
        assert!(said.len() < 250, "what is quoted is cut: {said}");
        // Behind the stamp nobody has to find an end.
        for text in ["{stamp}{n}{sequence}7", "{n}{stamp}", "{n}{sequence}", "{n}-1{stamp}"] {
            template(text);
        }
    }
}
