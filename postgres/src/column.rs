//! Columns in PostgreSQL's binary format, as the bytes of a text: of types whose values have one text form, or are bytes.

use std::borrow::Cow;

use tokio_postgres::types::{Kind, Type};

/// The reason why a column has no such bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ColumnError {
    /// Which text is meant is not clear.
    #[error("a column of type {0} has more than one text form")]
    Forms(Type),
    /// The database has sent something else.
    #[error("an integer of the wrong length")]
    Length,
}

/// Whether values of a column of this type have one text form, or are bytes.
#[must_use]
pub fn has_one_form(column: &Type) -> bool {
    if is_verbatim(column) || matches!(*column, Type::INT2 | Type::INT4 | Type::INT8 | Type::JSONB)
    {
        return true;
    }
    match column.kind() {
        Kind::Domain(base) => has_one_form(base),
        Kind::Enum(_) => true,
        Kind::Simple => column.name() == "citext",
        _ => false,
    }
}

/// The text of a value, or its bytes.
///
/// # Errors
/// [`ColumnError`].
pub fn text<'r>(column: &Type, raw: &'r [u8]) -> Result<Cow<'r, [u8]>, ColumnError> {
    match *column {
        _ if is_verbatim(column) => return Ok(raw.into()),
        Type::INT2 => return integer(raw, i16::from_be_bytes),
        Type::INT4 => return integer(raw, i32::from_be_bytes),
        Type::INT8 => return integer(raw, i64::from_be_bytes),
        // The value begins with a version number, which is always 1.
        Type::JSONB if raw.first() == Some(&1) => return Ok(raw[1..].into()),
        _ => {}
    }
    match column.kind() {
        Kind::Domain(base) => text(base, raw),
        Kind::Enum(_) => Ok(raw.into()),
        // The extension's type has no fixed OID.
        Kind::Simple if column.name() == "citext" => Ok(raw.into()),
        _ => Err(ColumnError::Forms(column.clone())),
    }
}

/// Whether the bytes of PostgreSQL's binary format are those of the value.
fn is_verbatim(column: &Type) -> bool {
    matches!(
        *column,
        Type::BYTEA
            | Type::TEXT
            | Type::VARCHAR
            | Type::BPCHAR
            | Type::NAME
            | Type::JSON
            | Type::XML
            | Type::UNKNOWN
    )
}

fn integer<const N: usize, T: ToString>(
    raw: &[u8],
    decode: impl Fn([u8; N]) -> T,
) -> Result<Cow<'_, [u8]>, ColumnError> {
    let bytes = raw.try_into().map_err(|_| ColumnError::Length)?;
    Ok(decode(bytes).to_string().into_bytes().into())
}
