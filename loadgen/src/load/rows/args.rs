//! `--existing-rows` and what belongs to it: keys that somebody else has named, which are read and never written.

use std::path::{Path, PathBuf};

use clap::Args;
use standin_config::{Report, Section};

/// Where the keys of existing rows come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct RowsArgs {
    /// Read the rows of the keyspace's table, and write nothing: of the cluster file of --config, or of --database FILE.toml. --keys
    /// is then the largest number of keys; by default all are used. With --check, reads are judged by what the database
    /// has.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub existing_rows: Option<bool>,
    /// As --existing-rows, with the keys that this query returns instead of all of the table, such as "select id from
    /// items where …".
    #[arg(long, value_name = "SQL", conflicts_with = "row_keys")]
    pub row_query: Option<String>,
    /// As --existing-rows, with the keys in this file, one in each line. Without --check, no database is needed.
    #[arg(long, value_name = "FILE")]
    pub row_keys: Option<PathBuf>,
    /// With these and --keys: use some of all keys, at random, instead of the first.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub sample_rows: Option<bool>,
}

/// Keys that are read and never written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExistingRows {
    /// Where they come from.
    pub source: KeySource,
    /// The largest number of them.
    pub most: Option<u32>,
    /// Whether some of all are used instead of the first.
    pub is_sample: bool,
}

/// Where keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// The keyspace's table.
    Table,
    /// A query.
    Query(String),
    /// A file.
    File(PathBuf),
}

impl RowsArgs {
    /// What is asked for, if anything is.
    pub(in super::super) fn chosen(&self, most: Option<u32>) -> Option<ExistingRows> {
        let source = match (&self.row_query, &self.row_keys) {
            _ if self.existing_rows == Some(false) => return None,
            (Some(query), _) => KeySource::Query(query.clone()),
            (None, Some(path)) => KeySource::File(path.clone()),
            (None, None) if self.existing_rows == Some(true) => KeySource::Table,
            (None, None) => return None,
        };
        Some(ExistingRows { source, most, is_sample: self.sample_rows == Some(true) })
    }

    /// Reads the keys of `[keys]` that belong to this.
    pub(in super::super) fn read(
        section: &mut Section<'_>,
        base_dir: &Path,
        report: &mut Report<'_>,
    ) -> Self {
        let existing_rows = section.boolean("existing_rows", report).good();
        let row_query = section.text("row_query", "select id from items", report).good();
        let row_keys = section.text("row_keys", "keys.txt", report).good();
        if row_query.is_some() {
            section.misplaced(
                "row_keys",
                "is instead of a query; remove it, or `row_query`",
                report,
            );
        }
        Self {
            existing_rows,
            row_query: row_query.map(str::to_owned),
            row_keys: row_keys.map(|path| base_dir.join(path)),
            sample_rows: section.boolean("sample_rows", report).good(),
        }
    }

    /// The file that is read.
    pub(in super::super) fn file_mut(&mut self) -> Option<&mut PathBuf> {
        self.row_keys.as_mut()
    }
}
