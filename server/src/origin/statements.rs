//! The SQL of each keyspace in the driver's dialect.

use std::sync::{Once, OnceLock};

use standin_config::sql::{Dialect, KeyUse, Parameter, Translated, first_word, key_use, translate};
use standin_config::{AfterPut, ColumnType, KeyCase, KeyspaceConfig, OriginKind};
use standin_protocol::key::KeyForm;

use super::postgres::Folding;
use super::value::Param;
use super::{Call, Failure, Operation, OriginStartError, Stored};

/// The statements of all keyspaces, by the keyspace's id.
#[derive(Debug)]
pub(super) struct Statements {
    keyspaces: Vec<Option<Keyspace>>,
}

/// The statements and column types of one keyspace.
#[derive(Debug)]
pub(super) struct Keyspace {
    pub(super) name: String,
    pub(super) key_type: ColumnType,
    pub(super) key_case: KeyCase,
    /// The columns with which the statements compare the key, as far as their text shows it.
    key_columns: Vec<String>,
    /// Set for each statement once its key's type has been compared with the database's.
    compared: [OnceLock<()>; 3],
    /// Ensures that the warning about trailing blanks in keys is logged once.
    pub(super) blanks_told: Once,
    /// Whether the text of a statement folds the letters of the key.
    pub(super) folds_key: bool,
    /// The letters that the database folds differently.
    pub(super) folding: Folding,
    pub(super) value_type: ColumnType,
    pub(super) after_put: AfterPut,
    get: Translated,
    put: Option<Translated>,
    delete: Option<Translated>,
    /// Whether `put` and `delete` are a CALL, whose rows the database does not count.
    is_uncounted: [bool; 2],
}

/// A statement of a keyspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Verb {
    Get,
    Put,
    Delete,
}

impl Verb {
    pub(super) const ALL: [Self; 3] = [Self::Get, Self::Put, Self::Delete];

    /// Returns its key in the configuration.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::Delete => "delete",
        }
    }
}

impl From<&Operation> for Verb {
    fn from(operation: &Operation) -> Self {
        match operation {
            Operation::Get => Self::Get,
            Operation::Put { .. } => Self::Put,
            Operation::Delete => Self::Delete,
        }
    }
}

impl Statements {
    pub(super) fn translate(
        kind: &OriginKind,
        keyspaces: &[KeyspaceConfig],
    ) -> Result<Self, OriginStartError> {
        let dialect = match kind {
            OriginKind::Sqlite { .. } => Dialect::Sqlite,
            OriginKind::Postgres { .. } => Dialect::Postgres,
        };
        let mut table: Vec<Option<Keyspace>> = Vec::new();
        for config in keyspaces.iter().filter(|keyspace| !keyspace.is_cache()) {
            let one = |verb: Verb, sql: &str| {
                translate(sql, dialect).map_err(|error| OriginStartError::Statement {
                    keyspace: config.name.clone(),
                    statement: verb.name(),
                    message: error.to_string(),
                })
            };
            let is_call = |sql: &Option<String>| {
                sql.as_deref().is_some_and(|sql| first_word(sql, dialect) == "CALL")
            };
            let all = [Some(&config.get), config.put.as_ref(), config.delete.as_ref()];
            let uses: Vec<KeyUse> =
                all.into_iter().flatten().map(|sql| key_use(sql, dialect)).collect();
            let folds_key =
                |one: &KeyUse| one.merged_by.as_ref().is_some_and(|merge| merge.is_case);
            let keyspace = Keyspace {
                name: config.name.clone(),
                key_type: config.key_type,
                key_case: config.key_case,
                compared: Default::default(),
                blanks_told: Once::new(),
                folds_key: uses.iter().any(folds_key),
                key_columns: uses.into_iter().flat_map(|one| one.columns).collect(),
                folding: Folding::default(),
                value_type: config.value_type,
                after_put: config.after_put,
                get: one(Verb::Get, &config.get)?,
                put: config.put.as_deref().map(|sql| one(Verb::Put, sql)).transpose()?,
                delete: config.delete.as_deref().map(|sql| one(Verb::Delete, sql)).transpose()?,
                is_uncounted: [&config.put, &config.delete].map(is_call),
            };
            let index = usize::from(config.id);
            if table.len() <= index {
                table.resize_with(index + 1, || None);
            }
            table[index] = Some(keyspace);
        }
        Ok(Self { keyspaces: table })
    }

    /// Returns the keyspace and statement of a call.
    pub(super) fn of(&self, call: &Call) -> Result<(&Keyspace, &Translated), Failure> {
        let Some(Some(keyspace)) = self.keyspaces.get(usize::from(call.keyspace)) else {
            return Err(Failure::Rejected(format!("there is no keyspace {}", call.keyspace)));
        };
        let verb = Verb::from(&call.operation);
        match keyspace.statement(verb) {
            Some(statement) => Ok((keyspace, statement)),
            None => Err(Failure::Rejected(format!(
                "keyspace {} has no `{}` statement in the configuration",
                keyspace.name,
                verb.name()
            ))),
        }
    }

    /// Returns the ids of the keyspaces that have writes, or of all, because each has reads.
    pub(super) fn ids(&self, with_writes: bool) -> impl Iterator<Item = u8> {
        let keyspaces = (0..=u8::MAX).zip(&self.keyspaces);
        keyspaces.filter_map(move |(id, keyspace)| {
            let keyspace = keyspace.as_ref()?;
            (!with_writes || keyspace.put.is_some() || keyspace.delete.is_some()).then_some(id)
        })
    }

    /// Whether a keyspace reads a row again in the transaction that wrote it.
    pub(super) fn any_reread(&self) -> bool {
        let mut keyspaces = self.keyspaces.iter().flatten();
        keyspaces.any(|keyspace| keyspace.put.is_some() && keyspace.reread(Verb::Put).is_some())
    }

    /// Returns all statements with the ids of their keyspaces.
    pub(super) fn all(&self) -> impl Iterator<Item = (u8, &Keyspace, Verb, &Translated)> {
        let keyspaces = (0..=u8::MAX).zip(&self.keyspaces);
        keyspaces.filter_map(|(id, keyspace)| Some((id, keyspace.as_ref()?))).flat_map(
            |(id, keyspace)| {
                Verb::ALL
                    .into_iter()
                    .filter_map(move |verb| Some((id, keyspace, verb, keyspace.statement(verb)?)))
            },
        )
    }
}

impl Keyspace {
    pub(super) fn statement(&self, verb: Verb) -> Option<&Translated> {
        match verb {
            Verb::Get => Some(&self.get),
            Verb::Put => self.put.as_ref(),
            Verb::Delete => self.delete.as_ref(),
        }
    }

    /// Returns the statement that reads a row again after a write, if one is needed.
    pub(super) fn reread(&self, verb: Verb) -> Option<&Translated> {
        (verb == Verb::Put && self.after_put == AfterPut::Reread).then_some(&self.get)
    }

    /// Whether the write itself returns the row's content.
    pub(super) fn returns_row(&self, verb: Verb) -> bool {
        verb == Verb::Put && self.after_put == AfterPut::Returning
    }

    /// Returns what is known of the row after a write without reading it.
    pub(super) fn untold(&self, verb: Verb) -> Stored {
        match self.after_put {
            AfterPut::Keep if verb == Verb::Put => Stored::Sent,
            _ => Stored::Unknown,
        }
    }

    /// Whether rows have a column for the clients' flags, which `get` returns after the value.
    pub(super) fn has_flags(&self) -> bool {
        self.put.as_ref().is_some_and(|put| put.parameters.contains(&Parameter::Flags))
    }

    /// Returns the number of columns that a statement which returns the row has.
    pub(super) fn row_columns(&self) -> usize {
        if self.has_flags() { 2 } else { 1 }
    }

    /// Whether the database counts the rows that the statement changes.
    pub(super) fn is_counted(&self, verb: Verb) -> bool {
        let [put, delete] = self.is_uncounted;
        match verb {
            Verb::Get => true,
            Verb::Put => !put,
            Verb::Delete => !delete,
        }
    }

    /// Whether different keys are different rows, according to the configuration.
    pub(super) fn has_exact_text(&self) -> bool {
        (self.key_type, self.key_case) == (ColumnType::Text, KeyCase::Exact)
    }

    /// Whether the text of a statement compares the key with a column of this name.
    pub(super) fn is_compared(&self, column: &str) -> bool {
        self.key_columns.iter().any(|name| name.eq_ignore_ascii_case(column))
    }

    /// Returns the cell that is set once the type of a statement's key has been compared with the
    /// database's.
    pub(super) fn compared(&self, verb: Verb) -> &OnceLock<()> {
        let [get, put, delete] = &self.compared;
        match verb {
            Verb::Get => get,
            Verb::Put => put,
            Verb::Delete => delete,
        }
    }

    /// Returns how letters are folded; `None` if they are not.
    pub(super) fn folded(&self) -> Option<KeyForm> {
        match self.key_case {
            KeyCase::Exact => None,
            KeyCase::Ascii => Some(KeyForm::Ascii),
            KeyCase::Unicode => Some(KeyForm::Unicode),
        }
    }

    /// Returns the type of a parameter in SQL.
    pub(super) fn type_of(&self, parameter: Parameter) -> ColumnType {
        match parameter {
            Parameter::Key => self.key_type,
            Parameter::Value => self.value_type,
            Parameter::Flags => ColumnType::Integer,
        }
    }

    /// Returns a call's value for a parameter.
    pub(super) fn param<'c>(
        &self,
        parameter: Parameter,
        call: &'c Call,
    ) -> Result<Param<'c>, Failure> {
        match (parameter, &call.operation) {
            (Parameter::Key, _) => Param::from_wire("key", self.key_type, &call.key),
            (Parameter::Value, Operation::Put { value, .. }) => {
                Param::from_wire("value", self.value_type, value)
            }
            (Parameter::Flags, Operation::Put { flags, .. }) => {
                Ok(Param::Integer(i64::from(*flags)))
            }
            (Parameter::Value | Parameter::Flags, _) => {
                let text = "only a `put` statement can have `:value` and `:flags`";
                Err(Failure::Rejected(text.to_owned()))
            }
        }
    }
}
