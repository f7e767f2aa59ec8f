//! The types of parameters in PostgreSQL.

use standin_config::ColumnType;
use tokio_postgres::types::Type;

/// The type of a parameter. It is declared, not left to the server to guess, so that the form on
/// the wire is the column's; `:key::uuid` and the like convert in the statement.
pub(super) fn sql_type(column: ColumnType) -> Type {
    match column {
        ColumnType::Text => Type::TEXT,
        ColumnType::Bytes => Type::BYTEA,
        ColumnType::Integer => Type::INT8,
        ColumnType::Uuid => Type::UUID,
    }
}
