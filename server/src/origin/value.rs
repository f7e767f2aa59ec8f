//! The conversion of keys and values to columns of the database.

use standin_config::ColumnType;
use standin_protocol::key::uuid_bytes;

use super::Failure;

/// A statement's parameter, checked against its column type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Param<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
    Integer(i64),
    /// The text, and the bytes that it stands for.
    Uuid(&'a str, [u8; 16]),
}

impl<'a> Param<'a> {
    /// Checks and converts a parameter. An integer must have the form in which it is printed: `07`
    /// and `7` are two keys to the cache, but would be one row, and one of the two copies would
    /// become stale.
    pub(super) fn from_wire(
        what: &str,
        column: ColumnType,
        wire: &'a [u8],
    ) -> Result<Self, Failure> {
        match column {
            ColumnType::Bytes => Ok(Self::Bytes(wire)),
            ColumnType::Text => std::str::from_utf8(wire)
                .map(Self::Text)
                .map_err(|_| Failure::Rejected(format!("the {what} is not UTF-8, and its column is text"))),
            ColumnType::Uuid => uuid(wire)
                .ok_or_else(|| Failure::Rejected(format!("the {what} is not a UUID, and its column is one"))),
            ColumnType::Integer => canonical_integer(wire).map(Self::Integer).ok_or_else(|| {
                Failure::Rejected(format!(
                    "the {what} is not a 64-bit integer in plain decimal, and its column is an integer"
                ))
            }),
        }
    }
}

/// Converts the number in the column for the clients' flags.
pub(super) fn flags_of(number: i64) -> Result<u32, Failure> {
    u32::try_from(number).map_err(|_| {
        Failure::Rejected(format!("the row's flags are {number}, which is not a number of 32 bits"))
    })
}

fn uuid(wire: &[u8]) -> Option<Param<'_>> {
    Some(Param::Uuid(std::str::from_utf8(wire).ok()?, uuid_bytes(wire)?))
}

fn canonical_integer(wire: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(wire).ok()?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits.starts_with(|first: char| matches!(first, '1'..='9')) || text == "0";
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integer(wire: &str) -> Option<i64> {
        match Param::from_wire("key", ColumnType::Integer, wire.as_bytes()) {
            Ok(Param::Integer(number)) => Some(number),
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        }
    }

    #[test]
    fn an_integer_has_one_form() {
        for good in [0, 7, -7, 10, i64::MAX, i64::MIN] {
            assert_eq!(integer(&good.to_string()), Some(good));
        }
        for bad in
            ["", "-", "+7", "07", "-0", "00", "7 ", " 7", "7.0", "9223372036854775808", "x", "٣"]
        {
            assert_eq!(integer(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn text_is_utf8_and_bytes_are_anything() {
        assert_eq!(Param::from_wire("key", ColumnType::Text, "é".as_bytes()), Ok(Param::Text("é")));
        assert!(Param::from_wire("key", ColumnType::Text, &[0xff]).is_err());
        assert_eq!(Param::from_wire("key", ColumnType::Bytes, &[0xff]), Ok(Param::Bytes(&[0xff])));
    }
}
