//! Parameters of statements to PostgreSQL, and columns of what it returns, as bytes.

use std::error::Error;

use bytes::BytesMut;
use standin_protocol::key::KeyForm;
use tokio_postgres::types::{Format, FromSql, IsNull, Kind, ToSql, Type};

/// Bytes for a column of any type: those of a `bytea` as they are, and otherwise a text that the database reads.
#[derive(Debug)]
pub(super) struct Text<'a>(pub(super) &'a [u8]);

impl ToSql for Text<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.to_sql(ty, out)
    }

    fn encode_format(&self, ty: &Type) -> Format {
        match *ty {
            Type::BYTEA => Format::Binary,
            _ => Format::Text,
        }
    }
}

/// The bytes of a column whose type has one form as a text, or is of bytes; of UUIDs, the usual form.
pub(super) struct Bytes(pub(super) Vec<u8>);

impl<'a> FromSql<'a> for Bytes {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        if let Kind::Domain(base) = ty.kind() {
            return Self::from_sql(base, raw);
        }
        if *ty != Type::UUID {
            return Ok(Self(standin_postgres::text(ty, raw)?.into_owned()));
        }
        let digits: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
        let form = KeyForm::Uuid.bring(digits.as_bytes());
        Ok(Self(form.ok_or("a UUID has 16 bytes")?.into_owned()))
    }

    fn accepts(ty: &Type) -> bool {
        match ty.kind() {
            Kind::Domain(base) => Self::accepts(base),
            _ => *ty == Type::UUID || standin_postgres::has_one_form(ty),
        }
    }
}
