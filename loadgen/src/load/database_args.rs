//! The database of an application: alone, or behind a cache that the application fills (cache-aside).

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use standin_config::{Report, Section};

use super::words::{Unquoted, parsed_as, word};
use crate::placeholder::process_in;
use crate::targets::AsideWrites;
use crate::workload::Others;

/// Connections of a load thread by default.
const CONNECTIONS: u16 = 8;
/// The largest number of connections of a load thread.
pub(super) const CONNECTIONS_MAX: u64 = 1_024;

/// `--database` and what belongs to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct DatabaseArgs {
    /// Ask a database as an application does: alone, or, with --target, behind a cache that the application fills (cache-aside).
    /// Either a cluster file (FILE.toml), whose `[origin]` and statements of a keyspace are used; or postgres://… or sqlite, where
    /// the run makes a table of its own and drops it at the end.
    #[arg(long, value_name = "DATABASE", value_parser = Unquoted::<DatabaseName>::new(), conflicts_with = "config")]
    pub database: Option<DatabaseName>,
    /// With --database and --target: whether a write deletes the cached value or sets it, after it has written the row;
    /// delete by default.
    #[arg(long, value_enum, value_name = "HOW")]
    pub aside_writes: Option<AsideWrites>,
    /// Connections of each load thread to the database; 8 by default.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub database_connections: Option<u16>,
}

/// What `--database` names.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseName {
    /// A cluster file.
    File(PathBuf),
    /// A table of the run's own in this PostgreSQL.
    Postgres(String),
    /// A table of the run's own in a process of the scenario.
    Process(String),
    /// A file of the run's own.
    Sqlite,
}

/// Without a password.
impl fmt::Debug for DatabaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Without a password.
impl fmt::Display for DatabaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Postgres(url) => match (url.split_once("://"), url.rsplit_once('@')) {
                (Some((scheme, _)), Some((_, place))) => write!(f, "{scheme}://***@{place}"),
                _ => f.write_str(url),
            },
            Self::Process(name) => write!(f, "{{{name}}}"),
            Self::Sqlite => f.write_str("sqlite"),
        }
    }
}

/// A password there would be in reports.
fn has_password_in_query(url: &str) -> bool {
    let (_, query) = standin_postgres::split_query(url);
    let names = query.unwrap_or_default().split('&');
    names.filter_map(|pair| pair.split('=').next()).any(|name| {
        let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        name.to_ascii_lowercase().contains("password")
    })
}

impl FromStr for DatabaseName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
        match process_in(text) {
            Some(name) => Ok(Self::Process(name.to_owned())),
            _ if is_url && has_password_in_query(text) => Err(
                "write the password before the host, as in postgres://user:password@host/database, where it is not shown",
            ),
            _ if is_url => Ok(Self::Postgres(text.to_owned())),
            _ if text == "sqlite" => Ok(Self::Sqlite),
            _ if text.ends_with(".toml") => Ok(Self::File(text.into())),
            // It may have a password.
            _ => Err("write a cluster file (FILE.toml), postgres://user@host/database, or sqlite"),
        }
    }
}

/// The options that a database has limits for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beside {
    pub(super) has_config: bool,
    pub(super) has_target: bool,
    pub(super) is_standin: bool,
    pub(super) has_keyspace: bool,
    pub(super) has_trace: bool,
    /// Requests that neither read, write nor delete one row.
    pub(super) has_kinds: bool,
    pub(super) fills_misses: bool,
    pub(super) has_ttl: bool,
}

impl DatabaseArgs {
    /// What can't be said of one option alone.
    pub(super) fn check(&self, beside: &Beside) -> Result<(), &'static str> {
        let Self { database, aside_writes, database_connections } = self;
        match database {
            None if aside_writes.is_some() || database_connections.is_some() => {
                Err("--aside-writes and --database-connections are for a --database: add it")
            }
            None => Ok(()),
            Some(_) if beside.has_config => {
                Err("--database is asked without a Standin cluster: leave it or --config away")
            }
            Some(_) if beside.is_standin => Err(
                "Standin asks its database itself: leave --database away, or use another --target",
            ),
            Some(_) if !beside.has_target && aside_writes.is_some() => Err(
                "--aside-writes says what becomes of cached values: add a --target, or leave it away",
            ),
            Some(_) if !beside.has_target && beside.has_ttl => {
                Err("--ttl is the lifetime of cached values: add a --target, or leave it away")
            }
            Some(_) if beside.has_keyspace && !self.has_file() => Err(
                "--keyspace names one of a cluster file: use --database FILE.toml, or leave it away",
            ),
            Some(_) if beside.has_kinds => Err(
                "--database has statements that read, write and delete a row: leave --adds, --touches, \
                 --multi-gets, --cas and --increments away",
            ),
            // It may have others too.
            Some(_) if beside.has_trace => Err(
                "--database has statements that read, write and delete a row, and a trace may ask for more: leave \
                 --trace away",
            ),
            Some(_) if beside.fills_misses => {
                Err("--fill-misses is for a cache without a database: leave it or --database away")
            }
            Some(_) => Ok(()),
        }
    }

    /// What a preset may bring that a database has no statements for.
    pub(super) fn check_kinds(&self, others: &Others) -> Result<(), &'static str> {
        let Others { deletes_percent, ttl_s, .. } = *others;
        match self.database.is_some()
            && *others != (Others { deletes_percent, ttl_s, ..Others::NONE })
        {
            false => Ok(()),
            true => Err(
                "--database has statements that read, write and delete a row, and this --preset asks for more: take \
                 another",
            ),
        }
    }

    /// These options, and for each that is not given that of `below`.
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            database: self.database.or(below.database),
            aside_writes: self.aside_writes.or(below.aside_writes),
            database_connections: self.database_connections.or(below.database_connections),
        }
    }

    /// Reads `[database]`.
    pub(super) fn read(
        section: &mut Section<'_>,
        base_dir: &Path,
        report: &mut Report<'_>,
    ) -> Self {
        let name = parsed_as(section, "at", "cluster.toml", report, |_, error| error);
        let connections = 1..=CONNECTIONS_MAX;
        Self {
            database: name.map(|name| match name {
                DatabaseName::File(path) => DatabaseName::File(base_dir.join(path)),
                other => other,
            }),
            aside_writes: word(section, "writes", report),
            database_connections: section
                .whole_or_absent("connections", connections, "8", report)
                .good(),
        }
    }

    /// The file that is read.
    pub(super) fn file_mut(&mut self) -> Option<&mut PathBuf> {
        match &mut self.database {
            Some(DatabaseName::File(path)) => Some(path),
            _ => None,
        }
    }

    /// The connections of each load thread to the database.
    pub(super) fn connections_of_thread(&self) -> u16 {
        match self.database {
            Some(_) => self.database_connections.unwrap_or(CONNECTIONS),
            None => 0,
        }
    }

    /// Whether everybody can see a password in it.
    pub(super) fn has_password(&self) -> bool {
        let Some(DatabaseName::Postgres(url)) = &self.database else { return false };
        let login = url.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
        login.is_some_and(|(login, _)| login.contains(':'))
    }

    /// Whether the statements are those of a keyspace of a file.
    pub(super) fn has_file(&self) -> bool {
        matches!(self.database, Some(DatabaseName::File(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::tests::parse;
    use super::*;

    #[test]
    fn databases_have_names_that_show_no_password() {
        let shown =
            |text: &str| text.parse::<DatabaseName>().map(|name| format!("{name} {name:?}"));
        let url = "postgres://app:s3cret@db:5432/app";
        let hidden = "postgres://***@db:5432/app";
        assert_eq!(shown(url), Ok(format!("{hidden} {hidden}")));
        assert_eq!(shown("{db}"), Ok("{db} {db}".to_owned()));
        assert_eq!(shown("sqlite"), Ok("sqlite sqlite".to_owned()));
        assert_eq!("a/c.toml".parse(), Ok(DatabaseName::File("a/c.toml".into())));
        let said = shown("postgres://app@db/app?connect_timeout=3&password=s3cret").unwrap_err();
        assert!(said.contains("before the host") && !said.contains("s3cret"), "{said}");
        let url = "postgres://app:wh?tpassword=@db/app";
        assert_eq!(shown(url), Ok("postgres://***@db/app postgres://***@db/app".to_owned()));
        let file = "postgres://app@db/app?sslmode=verify-full&sslrootcert=/passwords/ca.crt";
        assert_eq!(shown(file).map(|_| ()), Ok(()), "the name of a file is no password");
        let said = shown("postgres://app@db/app?pass%77ord=s3cret").unwrap_err();
        assert!(said.contains("before the host"), "{said}");
        for wrong in ["mysql://a:s3cret@b/c", "", "{}", "cluster"] {
            let said = shown(wrong).unwrap_err();
            assert!(said.contains("FILE.toml") && !said.contains("s3cret"), "{said}");
        }
    }

    #[test]
    fn options_that_a_database_can_not_have_are_refused() {
        let cache = ["--target", "memcached://a:1"];
        let own = ["--database", "sqlite"];
        let refused = |parts: &[&[&str]], part: &str| {
            let said = parse(&parts.concat()).expect("right one by one").resolve().unwrap_err();
            assert!(said.to_string().contains(part), "{parts:?}: {said}");
        };
        refused(&[&["--aside-writes", "set"]], "add it");
        refused(&[&own, &["--aside-writes", "set"]], "add a --target");
        refused(&[&own, &["--target", "standin://a:1"]], "Standin asks its database itself");
        refused(&[&own, &["--keyspace", "items"]], "FILE.toml");
        refused(&[&own, &["--ttl", "5"]], "add a --target");
        refused(&[&own, &["--increments", "1"]], "leave --adds");
        refused(&[&own, &cache, &["--preset", "twitter-23"]], "--preset");
        refused(&[&own, &cache, &["--preset", "twitter-52"]], "--preset");
        assert!(parse(&[&own[..], &cache, &["--ttl", "5"]].concat()).unwrap().resolve().is_ok());
        refused(&[&own, &["--trace", "t", "--format", "csv"]], "leave --trace away");
        refused(&[&own, &cache, &["--fill-misses"]], "leave it or --database");
        assert!(parse(&["--database", "sqlite", "--config", "c.toml"]).is_none());
        let file = ["--database", "c.toml", "--keyspace", "items"];
        let args = parse(&[&cache[..], &file].concat()).unwrap();
        assert!(args.resolve().is_ok());
        let below = || parse(&[&cache[..], &file].concat()).unwrap();
        let over = parse(&["--config", "other.toml"]).unwrap().over(below());
        assert_eq!(over.database, DatabaseArgs::default());
        let over = parse(&["--target", "memcached://b:1"]).unwrap().over(below());
        assert_eq!(over.keyspace.as_deref(), Some("items"), "it is the database's");
        let cluster = || parse(&["--config", "c.toml", "--keyspace", "items"]).unwrap();
        let over = parse(&own).unwrap().over(cluster());
        assert_eq!((&over.config, &over.keyspace), (&None, &None));
        assert!(over.resolve().is_ok());
        let over = parse(&["--database", "d.toml"]).unwrap().over(cluster());
        assert_eq!((over.config, over.keyspace.as_deref()), (None, Some("items")));
        let standin = ["--target", "standin://a:1"];
        let over = parse(&own).unwrap().over(parse(&standin).unwrap());
        assert!(over.target.is_none() && over.resolve().is_ok());
        let over = parse(&standin).unwrap().over(below());
        assert!(over.database.database.is_none());
    }
}
