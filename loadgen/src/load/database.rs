//! The database that `--database` names, ready to be asked.

use std::path::Path;

use standin_config::{ClusterConfig, KeyspaceConfig};

use super::database_args::DatabaseName;
use super::{Load, LoadError};
use crate::database::{Database, DatabaseError};
use crate::faults::{Places, kinds};
use crate::interrupt::Interrupt;
use crate::origin::{Rows, RunOrigin};

/// The keyspace of a table of the run's own.
const KEYSPACE: u8 = 1;

/// Finds the keyspace of a cluster file.
pub(super) type KeyspaceOf<'k> = &'k dyn Fn(&ClusterConfig) -> Result<KeyspaceConfig, LoadError>;

/// A database that is ready.
pub(super) struct Prepared {
    pub(super) database: Database,
    /// The keyspace of a cluster file, and the file.
    pub(super) file: Option<(KeyspaceConfig, ClusterConfig)>,
    /// The table of the run's own, which goes with this.
    pub(super) table: Option<RunOrigin>,
}

/// Finds the database, or makes a table in it.
pub(super) fn prepare(
    load: &Load,
    name: &DatabaseName,
    folder: &Path,
    places: &Places,
    keyspace: KeyspaceOf<'_>,
    interrupt: &Interrupt,
) -> Result<Prepared, LoadError> {
    let mut prepared = match name {
        DatabaseName::File(path) => of_file(path, keyspace)?,
        DatabaseName::Sqlite => of_own(None, folder, interrupt)?,
        DatabaseName::Postgres(url) => of_own(Some(url), folder, interrupt)?,
        DatabaseName::Process(name) => {
            let address = places.addresses(name).and_then(|addresses| addresses.first());
            let address = address.ok_or_else(|| {
                LoadError::Options(format!(
                    "--database: {{{name}}} is no process that the scenario starts"
                ))
            })?;
            of_own(Some(&kinds::postgres::url(*address)), folder, interrupt)?
        }
    };
    prepared.database.connections = load.database.connections_of_thread();
    Ok(prepared)
}

fn of_file(path: &Path, keyspace: KeyspaceOf<'_>) -> Result<Prepared, LoadError> {
    let cluster = ClusterConfig::load(path)?;
    let origin = cluster.origin.as_ref().ok_or(DatabaseError::NoOrigin)?;
    let place = Database::place(origin)?;
    let keyspace = keyspace(&cluster)?;
    let database = Database::new(place, &keyspace)?;
    Ok(Prepared { database, file: Some((keyspace, cluster)), table: None })
}

fn of_own(url: Option<&str>, folder: &Path, interrupt: &Interrupt) -> Result<Prepared, LoadError> {
    let rows = Rows { count: 0, run: 0, value_bytes: 0 };
    let table = RunOrigin::prepare(url, folder, rows, Some(interrupt))?;
    let place = Database::place(&table.config())?;
    let database = Database::new(place, &RunOrigin::keyspace(KEYSPACE))?;
    Ok(Prepared { database, file: None, table: Some(table) })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpStream;
    use std::path::PathBuf;
    use std::sync::Arc;

    use standin_config::{OriginConfig, OriginKind, RootCertificates, SslMode};
    use standin_testkit::fake_server::FakeServer;
    use standin_testkit::{Authority, Postgres, Scratch};

    use super::super::options::tests::parse;
    use super::super::run;
    use super::*;
    use crate::live::Live;
    use crate::report::document::Document;

    fn loaded(arguments: &[&str]) -> Result<Document, String> {
        let load = parse(arguments).expect("options").resolve().map_err(|e| e.to_string())?;
        run(&load, &Arc::new(Live::new(load.workers))).map_err(|error| error.to_string())
    }

    /// A cluster file with this database and keyspace, whose servers nobody asks.
    fn cluster(scratch: &Scratch, origin: OriginConfig, get: &str) -> PathBuf {
        let address = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let config = ClusterConfig::new("test", address(7_100), Some(origin));
        let mut config = config.with_group("a", [("a1", address(7_101)), ("a2", address(7_102))]);
        config.keyspaces = vec![KeyspaceConfig::new(1, "items", get)];
        let path = scratch.file("cluster.toml");
        std::fs::write(&path, config.to_toml()).unwrap();
        path
    }

    #[test]
    fn a_database_with_tls_is_loaded_by_its_url_or_its_cluster_file() {
        let Some(mut postgres) = Postgres::start_or_skip("load-tls") else { return };
        let scratch = Scratch::new("load-tls");
        let authority = Authority::new(scratch.path(), "authority");
        let other = Authority::new(scratch.path(), "other").root.certificate;
        let own = authority.issue("client", "DNS:client");
        let root = &authority.root.certificate;
        postgres.set_tls(&authority.issue("server", "DNS:localhost"), root);
        postgres.admit(&["hostssl all all 127.0.0.1/32 trust clientcert=verify-ca"]);
        let at = format!("postgres://standin@localhost:{}/postgres", postgres.port());
        let url = |roots: &Path, more: &str| {
            format!("{at}?sslmode=verify-full&sslrootcert={}{more}", roots.display())
        };
        let (certificate, key) = (own.certificate.display(), own.key.display());
        let with_own = url(root, &format!("&sslcert={certificate}&sslkey={key}"));
        let small = ["--workers", "1", "--keys", "50", "--seconds", "1", "--rate", "200"];
        let load =
            |url: &str| loaded(&[&["--database", url, "--fill", "--check"][..], &small].concat());
        let document = load(&with_own).unwrap();
        assert!(document.is_good && document.total.counts.checked > 0);
        let said = load(&url(&other, "")).map(drop).unwrap_err();
        assert!(said.contains("write the file of its authority as `sslrootcert`"), "{said}");
        let said = load(&url(root, "")).map(drop).unwrap_err();
        assert!(said.contains("client certificate"), "{said}");
        let said = load(&format!("{at}?sslmode=verify-full")).map(drop).unwrap_err();
        assert!(said.contains("sslmode needs authorities"), "{said}");

        // Rows that are there, by a file with the same settings.
        postgres.admit(&["hostssl all all 127.0.0.1/32 trust"]);
        let mut origin = OriginConfig::postgres(&at);
        if let OriginKind::Postgres { access, .. } = &mut origin.kind {
            access.sslmode = Some(SslMode::VerifyFull);
            access.sslrootcert = Some(RootCertificates::File(root.clone()));
        }
        let get = "SELECT datname::text FROM pg_database WHERE datname = :key";
        let file = cluster(&scratch, origin, get);
        let file = file.to_str().unwrap();
        let rows = ["--database", file, "--row-query", "select datname::text from pg_database"];
        let document = loaded(&[&rows[..], &["--check"], &small[4..]].concat()).unwrap();
        assert!(document.is_good && document.total.counts.rows_read >= 3);
    }

    #[test]
    fn rows_that_are_asked_for_again_behind_the_run_are_no_part_of_it() {
        let scratch = Scratch::new("load-tail");
        let database = scratch.file("t.sqlite");
        let own = rusqlite::Connection::open(&database).unwrap();
        own.execute_batch(
            "CREATE TABLE items (id TEXT PRIMARY KEY, value TEXT);
             WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 150)
             INSERT INTO items SELECT 'k' || x, 'new' FROM c",
        )
        .unwrap();
        let server = FakeServer::memcached();
        let mut stream = TcpStream::connect(server.address()).unwrap();
        let mut sets = String::new();
        (1..=150).for_each(|number| write!(sets, "set k{number} 0 0 3\r\nold\r\n").unwrap());
        stream.write_all(sets.as_bytes()).unwrap();
        let stored = BufReader::new(stream).lines().map_while(Result::ok).take(150);
        assert!(stored.into_iter().all(|line| line == "STORED"));
        // Each read of a row takes some tens of milliseconds.
        let get = "SELECT value FROM items WHERE id = :key AND (WITH RECURSIVE \
                   c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 150000) SELECT max(x) FROM c) > 0";
        let file = cluster(&scratch, OriginConfig::sqlite(&database), get);
        let (file, url) = (file.to_str().unwrap(), server.url());
        let document = loaded(&[
            "--target",
            &url,
            "--database",
            file,
            "--row-query",
            "SELECT id FROM items",
            "--ttl",
            "60",
            "--check",
            "--workers",
            "1",
            "--closed",
            "1x1",
            "--popularity",
            "uniform",
            "--seconds",
            "1",
            "--warm-up",
            "1",
        ])
        .unwrap();
        let counts = &document.total.counts;
        assert!(!document.is_good && counts.stale > 0, "{counts:?}");
        assert!(counts.unjudged > 0, "not all were asked for: {counts:?}");
        assert_eq!(counts.stale + counts.unjudged, counts.reads, "{counts:?}");
        // Three seconds went by behind it.
        assert!(document.total.seconds < 2.5, "{}", document.total.seconds);
    }
}
