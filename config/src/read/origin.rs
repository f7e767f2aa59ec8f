//! `[origin]`: the database, its address, and the limits on its load.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use super::access;
use super::servers::Server;
use super::tuning::TimingsRead;
use crate::database::{OriginConfig, OriginKind};
use crate::defaults;
use crate::mistake::Report;
use crate::model::KeyspaceConfig;
use crate::section::{At, Section};
use crate::sql::Dialect;

/// While the kind of database is unknown, a statement that any of these takes is right.
pub(super) const ANY_DIALECT: &[Dialect] = &[Dialect::Sqlite, Dialect::Postgres];

const URL_EXAMPLE: &str = "postgres://user:password@127.0.0.1:5432/database";

/// The least that each shard has of `reads_per_second`: with fewer a read that finds nothing left
/// would have to wait for longer than clients do.
const READS_OF_A_SHARD: u64 = 8;

const SQLITE: &[Dialect] = &[Dialect::Sqlite];
const POSTGRES: &[Dialect] = &[Dialect::Postgres];

/// `[origin]`, as far as it is right.
pub(super) struct OriginRead {
    pub(super) config: Option<OriginConfig>,
    pub(super) dialects: &'static [Dialect],
    timeout: Option<At<Duration>>,
    connections: Option<At<u32>>,
    concurrency: Option<At<u32>>,
    reads_per_second: Option<At<u32>>,
    pub(super) is_present: bool,
    at: usize,
}

pub(super) fn read(
    mut section: Section<'_>,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> OriginRead {
    let kinds = [("sqlite", SQLITE), ("postgres", POSTGRES)];
    let mut dialects = ANY_DIALECT;
    let is_present = section.is_present();
    if is_present {
        match section.choice("kind", &kinds, report).optional() {
            Some(Some(found)) => dialects = found.value,
            Some(None) => section.missing("kind", "\"sqlite\"` or `kind = \"postgres\"", report),
            None => {}
        }
    }

    let init = section.text("init", "CREATE TABLE IF NOT EXISTS …", report).optional();
    let init = init.map(|init| init.map(|init| init.value.to_owned()));
    let concurrency = section.whole("concurrency", 1..=1_024, defaults::ORIGIN_CONCURRENCY, report);
    let queue = section.whole("queue", 1..=1_000_000, defaults::ORIGIN_QUEUE, report);
    let queue_bytes =
        section.size("queue_bytes", 1..=1 << 40, defaults::ORIGIN_QUEUE_BYTES, report);
    let bounds = Duration::from_millis(1)..=Duration::from_secs(600);
    let timeout = section.duration("timeout", bounds, defaults::ORIGIN_TIMEOUT, report);
    let surge_reads =
        section.whole("surge_reads", 1..=1_000_000, defaults::ORIGIN_SURGE_READS, report);

    let reads_per_second =
        section.whole_or_absent("reads_per_second", 1..=100_000_000, "20000", report).optional();

    let mut connections = None;
    let kind = match dialects {
        [Dialect::Sqlite] => read_sqlite(&mut section, init, base_dir, report),
        [Dialect::Postgres] => {
            connections =
                section.whole("connections", 1..=1_000, defaults::POSTGRES_CONNECTIONS, report);
            read_postgres(&mut section, init, connections, base_dir, report)
        }
        // If the kind is unknown, the keys of all kinds are allowed, and their values are checked.
        _ => {
            connections =
                section.whole("connections", 1..=1_000, defaults::POSTGRES_CONNECTIONS, report);
            let _ = (
                section.text("path", "origin.sqlite", report),
                section.text("url", URL_EXAMPLE, report),
                access::read(&mut section, base_dir, report),
            );
            None
        }
    };
    let at = section.at();
    section.finish(report);
    let complete = || {
        Some(OriginConfig {
            kind: kind?,
            concurrency: concurrency?.value,
            queue: queue?.value,
            queue_bytes: queue_bytes?.value,
            timeout: timeout?.value,
            surge_reads: surge_reads?.value,
            reads_per_second: reads_per_second?.map(|reads| reads.value),
        })
    };
    let config = complete();
    let reads_per_second = reads_per_second.flatten();
    OriginRead {
        config,
        dialects,
        timeout,
        connections,
        concurrency,
        reads_per_second,
        is_present,
        at,
    }
}

fn read_sqlite(
    section: &mut Section<'_>,
    init: Option<Option<String>>,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Option<OriginKind> {
    let path = section.required_text("path", "origin.sqlite", report);
    for key in ["url", "connections"].into_iter().chain(access::KEYS) {
        section.misplaced(
            key,
            "belongs to `kind = \"postgres\"`; remove it, or change the kind",
            report,
        );
    }
    let path = path?;
    if path.value == ":memory:" {
        let wrong =
            "every server would have a database of its own in memory; write the name of a file";
        report.mistake(path.at, &section.key("path"), wrong);
        return None;
    }
    Some(OriginKind::Sqlite { path: base_dir.join(path.value), init: init? })
}

fn read_postgres(
    section: &mut Section<'_>,
    init: Option<Option<String>>,
    connections: Option<At<u32>>,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Option<OriginKind> {
    let access = access::read(section, base_dir, report);
    let url = section.required_text("url", URL_EXAMPLE, report);
    section.misplaced(
        "path",
        "belongs to `kind = \"sqlite\"`; remove it, or change the kind",
        report,
    );
    Some(OriginKind::Postgres {
        url: url?.value.to_owned(),
        access: access?,
        connections: connections?.value,
        init: init?,
    })
}

/// Checks that a client's file has no database.
pub(super) fn check_of_clients(origin: Option<&OriginRead>, report: &mut Report<'_>) {
    if let Some(origin) = origin.filter(|origin| origin.is_present) {
        let wrong = "a client's file has no database; remove the section, or `for_clients = true`";
        report.mistake(origin.at, "origin", wrong);
    }
}

/// Checks the origin against the rest of the file.
pub(super) fn check(
    origin: Option<&OriginRead>,
    keyspaces: Option<&[KeyspaceConfig]>,
    servers: &[Server],
    timings: Option<&TimingsRead>,
    report: &mut Report<'_>,
) {
    let Some(origin) = origin else { return };
    let with_rows = keyspaces.map(|all| all.iter().filter(|keyspace| !keyspace.is_cache()).count());
    if !origin.is_present {
        if with_rows.is_some_and(|count| count > 0) {
            let wanted = "there is no database; write `[origin]` with `kind = \"sqlite\"` and \
                          `path = \"origin.sqlite\"`, or `kind = \"cache\"` for every keyspace";
            report.mistake(origin.at, "origin", wanted);
        }
        return;
    }
    if with_rows == Some(0) {
        let unused = "no keyspace has rows in it; remove the section, or add a keyspace with a \
                      get statement";
        report.warning(origin.at, "origin", unused);
    }
    if let (Some(timeout), Some(operation)) =
        (origin.timeout, timings.and_then(|timings| timings.operation_timeout))
        && timeout.value > operation.value
    {
        // A default stands where its section does; what was written is the place to look.
        let at = if timeout.at == origin.at { operation.at } else { timeout.at };
        report.warning(
            at,
            "origin.timeout",
            "longer than timings.operation_timeout, so a client gives up before the database has; write a shorter one",
        );
    }
    check_connections(origin, with_rows, report);
    let shards: u64 = servers.iter().filter_map(super::servers::shards_of).map(u64::from).sum();
    if let Some(reads) = origin.reads_per_second
        && u64::from(reads.value) < shards * READS_OF_A_SHARD
    {
        report.mistake(
            reads.at,
            "origin.reads_per_second",
            format!(
                "{} is too low for the cluster's {shards} shards, which share it; write {} or \
                 more, or remove it",
                reads.value,
                shards * READS_OF_A_SHARD
            ),
        );
    }
    let addresses = servers.iter().filter_map(|server| Some(server.address?.value.ip()));
    let machines: HashSet<_> = addresses.filter(|ip| !ip.to_canonical().is_loopback()).collect();
    if origin.dialects == SQLITE && machines.len() > 1 {
        report.warning(
            origin.at,
            "origin.kind",
            "an SQLite file can only be used by servers on one machine, but these have several \
             addresses; write `kind = \"postgres\"` unless all are on one machine",
        );
    }
}

/// Checks the number of connections against the reads at once, and the number of keyspaces with rows.
fn check_connections(origin: &OriginRead, keyspaces: Option<usize>, report: &mut Report<'_>) {
    let (Some(connections), Some(concurrency)) = (origin.connections, origin.concurrency) else {
        // SQLite has none, or they were wrong.
        return;
    };
    if connections.value > concurrency.value {
        report.warning(
            connections.at,
            "origin.connections",
            format!(
                "more connections than reads at once (`concurrency`); write {} or fewer",
                concurrency.value
            ),
        );
    }
    if let Some(keyspaces) = keyspaces
        && (connections.value.min(concurrency.value) as usize) < keyspaces
    {
        let too = match (concurrency.value as usize) < keyspaces {
            true => ", and the same for `concurrency`",
            false => "",
        };
        report.warning(
            connections.at,
            "origin.connections",
            format!(
                "fewer connections than keyspaces, so a locked or slow table may delay other \
                 keyspaces; write {keyspaces} or more{too}"
            ),
        );
    }
}
