//! The types of parameters in PostgreSQL.

use standin_config::ColumnType;
use tokio_postgres::types::Type;

/// Returns the type of a parameter. It is declared, not inferred by the server, so that the
/// parameter is sent in the column's format. `:key::uuid` and the like convert in the statement.
pub(super) fn sql_type(column: ColumnType) -> Type {
    match column {
        ColumnType::Text => Type::TEXT,
        ColumnType::Bytes => Type::BYTEA,
        ColumnType::Integer => Type::INT8,
        ColumnType::Uuid => Type::UUID,
    }
}
