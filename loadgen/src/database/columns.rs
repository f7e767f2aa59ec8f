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

/// The bytes of a column whose type has one form as a text, or is of bytes.
pub(super) struct Bytes(pub(super) Vec<u8>);

impl<'a> FromSql<'a> for Bytes {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        if let Kind::Domain(base) = ty.kind() {
            return Self::from_sql(base, raw);
        }
        Ok(Self(match *ty {
            // A number of its version goes before the text.
            Type::JSONB => raw.get(1..).unwrap_or_default().to_vec(),
            Type::INT2 => i16::from_be_bytes(raw.try_into()?).to_string().into_bytes(),
            Type::INT4 => i32::from_be_bytes(raw.try_into()?).to_string().into_bytes(),
            Type::INT8 => i64::from_be_bytes(raw.try_into()?).to_string().into_bytes(),
            Type::UUID => {
                let digits: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
                let form = KeyForm::Uuid.bring(digits.as_bytes());
                form.ok_or("a UUID has 16 bytes")?.into_owned()
            }
            _ => raw.to_vec(),
        }))
    }

    fn accepts(ty: &Type) -> bool {
        const VERBATIM: [Type; 8] = [
            Type::BYTEA,
            Type::TEXT,
            Type::VARCHAR,
            Type::BPCHAR,
            Type::NAME,
            Type::JSON,
            Type::XML,
            Type::UNKNOWN,
        ];
        const CONVERTED: [Type; 5] = [Type::JSONB, Type::INT2, Type::INT4, Type::INT8, Type::UUID];
        match ty.kind() {
            Kind::Domain(base) => Self::accepts(base),
            Kind::Enum(_) => true,
            // The extension's type has no fixed OID.
            _ => VERBATIM.contains(ty) || CONVERTED.contains(ty) || ty.name() == "citext",
        }
    }
}
