//! Parameters and columns in PostgreSQL's binary format.

use std::borrow::Cow;
use std::error::Error;

use bytes::{BufMut, Bytes, BytesMut};
use standin_postgres::ColumnError;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::origin::statements::Keyspace;
use crate::origin::value::{Param, flags_of};
use crate::origin::{Failure, RowValue};

impl ToSql for Param<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Text(text) => out.put_slice(text.as_bytes()),
            Self::Bytes(bytes) => out.put_slice(bytes),
            Self::Integer(number) => out.put_i64(*number),
            Self::Uuid(_, bytes) => out.put_slice(bytes),
        }
        Ok(IsNull::No)
    }

    /// The statement was prepared with types from the configuration, as the parameters were.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A column's bytes as received.
struct Raw<'r>(&'r [u8]);

impl<'r> FromSql<'r> for Raw<'r> {
    fn from_sql(_: &Type, raw: &'r [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Returns the content of a row: its first column, and the second if that has the flags; `None` if
/// the first is NULL.
pub(super) fn content(keyspace: &Keyspace, row: &Row) -> Result<Option<RowValue>, Failure> {
    let Some(bytes) = first_to_wire(row)? else { return Ok(None) };
    let flags = match keyspace.has_flags() {
        true => flags(row)?,
        false => 0,
    };
    Ok(Some(RowValue { bytes, flags }))
}

/// Returns the flags of a row. A row that another program has written may have none.
fn flags(row: &Row) -> Result<u32, Failure> {
    let wrong = || Failure::Rejected("the row's flags are not an integer".to_owned());
    let column = row.columns().get(1).ok_or_else(wrong)?;
    let raw = row.try_get::<_, Option<Raw<'_>>>(1).map_err(|_| wrong())?;
    let Some(Raw(raw)) = raw else { return Ok(0) };
    let text = to_wire(column.type_(), raw)?;
    let number = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
    flags_of(number.ok_or_else(wrong)?)
}

/// Whether the column's type is an integer.
pub(super) fn is_integer(column: &Type) -> bool {
    matches!(*column, Type::INT2 | Type::INT4 | Type::INT8)
}

/// Returns the first column of a row; `None` for NULL.
fn first_to_wire(row: &Row) -> Result<Option<Bytes>, Failure> {
    let Some(column) = row.columns().first() else {
        return Err(Failure::Rejected("`get` returns no column; select the value".to_owned()));
    };
    match row.try_get::<_, Option<Raw<'_>>>(0) {
        Ok(Some(raw)) => to_wire(column.type_(), raw.0).map(Some),
        Ok(None) => Ok(None),
        Err(error) => Err(Failure::Rejected(error.to_string())),
    }
}

fn to_wire(column: &Type, raw: &[u8]) -> Result<Bytes, Failure> {
    match standin_postgres::text(column, raw) {
        Ok(Cow::Borrowed(bytes)) => Ok(Bytes::copy_from_slice(bytes)),
        Ok(Cow::Owned(bytes)) => Ok(Bytes::from(bytes)),
        Err(ColumnError::Forms(of)) => Err(Failure::Rejected(format!(
            "`get` returns a column of type {of}, which has more than one text form; write \
             CAST(… AS text)"
        ))),
        Err(error) => Err(Failure::Rejected(error.to_string())),
    }
}
