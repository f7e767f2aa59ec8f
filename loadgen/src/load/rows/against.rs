//! What options of existing rows mean for the others, and which of them can't be had together.

use super::super::options::LoadArgs;
use super::super::value_args::ValueArgs;
use super::args::{KeySource, RowsArgs};

impl RowsArgs {
    /// These options, and for each that is not given that of `below`. What can't be had with existing rows is not taken
    /// from `below`.
    pub(in super::super) fn over(self, below: &mut LoadArgs) -> Self {
        if self.chosen(None).is_some() {
            (below.fill, below.fill_misses, below.lossless) = (None, None, None);
            (below.reads, below.reads_first, below.preset) = (None, None, None);
            (below.adds, below.touches, below.deletes) = (None, None, None);
            below.cold = Default::default();
            (below.cas, below.cas_keys, below.increments, below.counters) =
                (None, None, None, None);
            (below.key_type, below.key_template, below.first_key) = (None, None, None);
            below.values = ValueArgs::default();
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
        } else if args.values.is_any() {
            Err(
                "existing rows are never written: leave --value-bytes, --value-kind, --value-template and --compressible \
                 away",
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
        } else if args.target.is_some()
            && args.database.database.is_some()
            && args.ttl.is_none_or(|seconds| seconds == 0)
        {
            Err(
                "what the cache does not have is read in the database and put into the cache, which others use: add --ttl with \
                 the seconds after which it is gone, as the application has them",
            )
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
}

#[cfg(test)]
mod tests {
    use super::super::super::options::tests::parse;
    use super::*;

    const CACHE: [&str; 2] = ["--target", "memcached://a:1"];
    const FILE: [&str; 4] = ["--database", "c.toml", "--ttl", "60"];

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
            (&[CACHE[0], CACHE[1], FILE[0], FILE[1]], "add --ttl"),
            (&[CACHE[0], CACHE[1], FILE[0], FILE[1], "--ttl", "0"], "add --ttl"),
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
