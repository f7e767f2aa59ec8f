//! `--existing-rows` and what belongs to it: keys that somebody else has named, which are read and never written.

use std::path::{Path, PathBuf};

use clap::Args;
use standin_config::{Report, Section};

use super::super::options::LoadArgs;

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

    /// These options, and for each that is not given that of `below`. What can't be had with existing rows is not taken
    /// from `below`.
    pub(in super::super) fn over(self, below: &mut LoadArgs) -> Self {
        if self.chosen(None).is_some() {
            (below.fill, below.fill_misses, below.lossless) = (None, None, None);
            (below.reads, below.reads_first, below.preset) = (None, None, None);
            (below.adds, below.touches, below.deletes) = (None, None, None);
            (below.cas, below.cas_keys, below.increments, below.counters) =
                (None, None, None, None);
            (below.key_type, below.key_template, below.first_key) = (None, None, None);
            (below.value_bytes, below.value_kind, below.compressible) = (None, None, None);
            (below.trace, below.format, below.speed, below.trace_keys) = (None, None, None, None);
            below.database.aside_writes = None;
        }
        let from = std::mem::take(&mut below.rows);
        let has_source = self.row_query.is_some() || self.row_keys.is_some();
        let from = if has_source { Self { row_query: None, row_keys: None, ..from } } else { from };
        Self {
            existing_rows: self.existing_rows.or(from.existing_rows),
            row_query: self.row_query.or(from.row_query),
            row_keys: self.row_keys.or(from.row_keys),
            sample_rows: self.sample_rows.or(from.sample_rows),
        }
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

    /// What can't be said of one option alone.
    pub(in super::super) fn check(&self, args: &LoadArgs) -> Result<(), &'static str> {
        let is_set = |flag: Option<bool>| flag == Some(true);
        let Some(rows) = self.chosen(args.keys) else {
            return match is_set(self.sample_rows) {
                true => Err(
                    "--sample-rows is for keys of existing rows: add --existing-rows, --row-query or --row-keys",
                ),
                false => Ok(()),
            };
        };
        let changes = [args.adds, args.touches, args.deletes, args.cas, args.increments];
        let has_changes = changes.into_iter().flatten().any(|percent| percent > 0.0);
        let reads = args.reads.map(|reads| reads + args.multi_gets.unwrap_or(0.0));
        let names = args.key_type.is_some() || args.key_template.is_some();
        let sizes = args.value_bytes.is_some() || args.value_kind.is_some();
        let is_file = matches!(rows.source, KeySource::File(_));
        if has_changes || reads.is_some_and(|reads| reads < 100.0) {
            Err(
                "existing rows are read and never written: leave --adds, --touches, --deletes, --cas and --increments \
                 away, and --reads, or let it and --multi-gets be 100 together",
            )
        } else if is_set(args.fill) || is_set(args.fill_misses) || is_set(args.reads_first) {
            Err(
                "existing rows are read and never written: leave --fill, --fill-misses and --reads-first away; \
                 --warm-up fills a cache by reading",
            )
        } else if args.preset.is_some() || args.trace.is_some() {
            Err(
                "existing rows have keys of their own, and are never written: leave --preset and --trace away",
            )
        } else if names || args.first_key.is_some() {
            Err(
                "existing rows have keys of their own: leave --key-type, --key-template and --first-key away",
            )
        } else if sizes || args.compressible.is_some() {
            Err(
                "existing rows are never written: leave --value-bytes, --value-kind and --compressible away",
            )
        } else if is_set(args.lossless) {
            Err(
                "of existing rows, reads that find nothing are judged without --lossless: leave it away",
            )
        } else if args.database.aside_writes.is_some() {
            Err("existing rows are never written: leave --aside-writes away")
        } else if rows.is_sample && rows.most.is_none() {
            Err("--sample-rows uses some of all keys: add --keys with their number")
        } else if args.database.database.is_some() && !args.database.has_file() {
            Err("existing rows are read by the statements of a keyspace: use --database FILE.toml")
        } else if args.target.is_some() && args.database.database.is_none() && !is_file {
            Err(
                "rows are in a database: add --database FILE.toml, or use --config for a Standin cluster, or --row-keys",
            )
        } else if args.target.is_some() && args.database.database.is_none() && is_set(args.check) {
            Err(
                "existing rows are judged by what the database has: add --database FILE.toml, or use --config for a \
                 Standin cluster, or leave --check away",
            )
        } else {
            Ok(())
        }
    }

    /// The file that is read.
    pub(in super::super) fn file_mut(&mut self) -> Option<&mut PathBuf> {
        self.row_keys.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::options::tests::parse;
    use super::*;

    const CACHE: [&str; 2] = ["--target", "memcached://a:1"];
    const FILE: [&str; 2] = ["--database", "c.toml"];

    fn resolve(parts: &[&[&str]]) -> Result<super::super::super::Load, String> {
        let args = parse(&parts.concat()).expect("right one by one");
        args.resolve().map_err(|error| error.to_string())
    }

    #[test]
    fn rows_are_read_and_nothing_else() {
        let rows = ["--existing-rows", "--check"];
        let load = resolve(&[&rows, &["--multi-gets", "20"]]).unwrap();
        assert_eq!((load.reads_percent, load.others.multi_gets_percent), (80.0, 20.0));
        assert!(load.check && !load.fill);
        let source = |more: &[&str]| resolve(&[&CACHE, &FILE, more]).unwrap().rows.unwrap();
        assert_eq!(source(&["--existing-rows"]).source, KeySource::Table);
        let query = source(&["--row-query", "select 1", "--keys", "7", "--sample-rows"]);
        assert_eq!(query.source, KeySource::Query("select 1".to_owned()));
        assert!(query.is_sample && query.most == Some(7));
        let file = resolve(&[&CACHE, &["--row-keys", "k"]]).unwrap().rows.unwrap();
        assert_eq!((file.source, file.most), (KeySource::File("k".into()), None));
        assert!(parse(&["--row-keys", "k", "--row-query", "q"]).is_none());
    }

    #[test]
    fn what_writes_or_names_keys_is_refused() {
        let rows = ["--existing-rows"];
        for (more, part) in [
            (&["--reads", "99"][..], "--reads"),
            (&["--increments", "1"], "never written"),
            (&["--fill"], "--warm-up"),
            (&["--fill-misses"], "--fill-misses"),
            (&["--preset", "ycsb-b"], "--preset"),
            (&["--trace", "t", "--format", "csv"], "--trace"),
            (&["--key-type", "uuid"], "--key-type"),
            (&["--value-bytes", "50"], "--value-bytes"),
            (&["--lossless", "--check"], "--lossless"),
            (&["--sample-rows"], "add --keys"),
            (&CACHE, "add --database FILE.toml"),
            (&["--database", "sqlite"], "use --database FILE.toml"),
            (&[CACHE[0], CACHE[1], "--row-keys", "k", "--check"], "or leave --check away"),
            (&[CACHE[0], CACHE[1], FILE[0], FILE[1], "--aside-writes", "set"], "--aside-writes"),
        ] {
            let said = resolve(&[&rows, more]).unwrap_err();
            assert!(said.contains(part), "{more:?}: {said}");
        }
        let said = resolve(&[&["--sample-rows"]]).unwrap_err();
        assert!(said.contains("add --existing-rows"), "{said}");
        let said = resolve(&[&["--check"]]).unwrap_err();
        assert!(said.contains("--existing-rows"), "{said}");
    }

    #[test]
    fn they_replace_what_a_scenario_writes() {
        let writes = ["--reads", "50", "--fill", "--check", "--value-bytes", "90", "--keys", "9"];
        let below = || parse(&writes).unwrap();
        let over = parse(&["--row-keys", "k"]).unwrap().over(below());
        let load = over.resolve().unwrap();
        assert!(load.check && load.rows.is_some_and(|rows| rows.most == Some(9)));
        let rows = parse(&["--row-query", "q", "--sample-rows"]).unwrap();
        let over = parse(&["--row-keys", "k"]).unwrap().over(rows.clone());
        assert_eq!((over.rows.row_query, over.rows.sample_rows), (None, Some(true)));
        let none = parse(&["--existing-rows=false"]).unwrap().over(rows);
        assert_eq!(none.rows.chosen(None), None);
    }
}
