//! Existing rows: their keys, what the database has at the beginning, and what it has at the end.

mod against;
pub(super) mod args;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use standin_config::sql::all_keys;
use standin_config::{ClusterConfig, KeyspaceConfig};
use standin_protocol::key::KeyForm;
use standin_protocol::time::Micros;

use self::args::{ExistingRows, KeySource};
use super::{Load, LoadError};
use crate::checker::{Content, RowsChecker, age_allowed};
use crate::console::Console;
use crate::database::{Call, Database, Done, KeysError, Statement};
use crate::drive::Rows;
use crate::interrupt::Interrupt;
use crate::key_list::{Collector, Demands, KeyList, KeyListError, Origin, of_line};
use crate::recorder::{Counts, Recording};
use crate::report::table::thousands;
use crate::trace::KeyRule;
use crate::workload::Keys;

/// Rows that are asked for at once when all are read.
const UNDER_WAY: usize = 64;
/// Connections that this is divided among.
const CONNECTIONS: u16 = 2;
/// The longest line of a key file.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// The database of existing rows, and the keyspace by whose statements it is asked.
pub(super) struct Place<'p> {
    pub(super) keyspace: &'p KeyspaceConfig,
    pub(super) cluster: &'p ClusterConfig,
    pub(super) database: Database,
}

impl<'p> Place<'p> {
    /// The database of a cluster file.
    pub(super) fn of_file(
        keyspace: &'p KeyspaceConfig,
        cluster: &'p ClusterConfig,
        timeout: Duration,
    ) -> Result<Self, LoadError> {
        let origin = cluster.origin.as_ref().ok_or(LoadError::RowsWithoutOrigin)?;
        let mut database = Database::new(Database::place(origin)?, keyspace)?;
        (database.connections, database.is_read_only) = (CONNECTIONS, true);
        database.timeout = timeout;
        Ok(Self { keyspace, cluster, database })
    }

    /// The keyspace's statement for the keys of all rows.
    fn statement(&self) -> Result<String, LoadError> {
        let KeyspaceConfig { name, get, .. } = self.keyspace;
        all_keys(get, self.database.dialect()).ok_or_else(|| {
            LoadError::Options(format!(
                "the keys of all rows do not follow from the `get` of keyspace {name}, which is not of the form SELECT … \
                 FROM table WHERE column = :key: use --row-query"
            ))
        })
    }
}

/// The keys of existing rows. Without a place, they are in a file, and their rows in no database that is known.
fn keys(
    (load, rows): (&Load, &ExistingRows),
    place: Option<&Place<'_>>,
    rule: KeyRule,
    interrupt: &Interrupt,
) -> Result<KeyList, LoadError> {
    let limit = place.map_or(usize::MAX, |place| place.cluster.limits.key_bytes.into());
    let why = match rule.why {
        "" => "which is longer than the cluster's limits.key_bytes: leave it out",
        why => why,
    };
    let demands = Demands {
        // What an agent says goes to its coordinator. A file that it reads, everybody may read.
        is_shown: load.place.of.is_none() || matches!(rows.source, KeySource::File(_)),
        key_type: place.map(|place| place.keyspace.key_type),
        form: place.map_or(KeyForm::Exact, |place| place.keyspace.key_form()),
        rule: KeyRule { bytes_max: rule.bytes_max.min(limit), why, ..rule },
    };
    let origin = match &rows.source {
        KeySource::Table => Origin::Table,
        KeySource::Query(_) => Origin::Query,
        KeySource::File(path) => Origin::File(path.clone()),
    };
    let sample = rows.is_sample.then_some(load.seed);
    let mut collector = Collector::new(origin, demands, rows.most, sample);
    let is_interrupted = || interrupt.is_set();
    match &rows.source {
        KeySource::File(path) => read_file(path, demands, &mut collector, &is_interrupted)?,
        KeySource::Table | KeySource::Query(_) => {
            let place = place.ok_or(LoadError::RowsWithoutOrigin)?;
            let statement = match &rows.source {
                KeySource::Query(query) => query.clone(),
                KeySource::Table | KeySource::File(_) => place.statement()?,
            };
            let needs = collector.needs();
            let take = &mut |key: Option<&[u8]>| collector.take(key);
            place.database.keys(&statement, needs, &interrupt.flag(), take)?;
        }
    }
    Ok(collector.finish().map_err(KeysError::from)?)
}

fn read_file(
    path: &Path,
    demands: Demands,
    collector: &mut Collector,
    is_interrupted: &dyn Fn() -> bool,
) -> Result<(), KeysError> {
    let failed = |error| KeyListError::File { path: path.to_owned(), error };
    let mut lines = BufReader::new(File::open(path).map_err(failed)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        if read.map_err(failed)? == 0 {
            return Ok(());
        }
        if line.len() as u64 == LINE_BYTES_MAX {
            let text = format!("a line has {LINE_BYTES_MAX} bytes or more, which no key has");
            return Err(failed(std::io::Error::other(text)).into());
        }
        if is_interrupted() {
            return Err(KeysError::Interrupted);
        }
        if !collector.take(Some(&of_line(&line, demands.key_type)))? {
            return Ok(());
        }
    }
}

/// The keys of a load with existing rows and, if reads are judged, what the database has of each.
pub(super) fn prepare(
    (load, rows): (&Load, &ExistingRows),
    place: Option<&Place<'_>>,
    rule: KeyRule,
    interrupt: &Interrupt,
    console: &mut Console,
) -> Result<(Keys, Option<Arc<Rows>>), LoadError> {
    let list = Arc::new(keys((load, rows), place, rule, interrupt)?);
    console.line(&format!("{} keys of existing rows", thousands(list.len().into())));
    let known = match load.check {
        true => {
            let place = place.ok_or(LoadError::RowsWithoutOrigin)?;
            Some(Arc::new(begin(&list, place, interrupt, console)?))
        }
        false => None,
    };
    Ok((Keys::Listed(list), known))
}

/// Reads what the database has for each key.
fn begin(
    list: &Arc<KeyList>,
    place: &Place<'_>,
    interrupt: &Interrupt,
    console: &mut Console,
) -> Result<Rows, LoadError> {
    let bound = age_allowed(place.cluster);
    let checker = RowsChecker::new(list.len(), bound);
    let mut absent = 0_u64;
    let take = &mut |row: u32, content: Content| {
        absent += u64::from(content == Content::ABSENT);
        checker.begin(row, content, Micros::boottime());
    };
    let read = read_all(list, &place.database, interrupt, console, take)?;
    if let Some(why) = read.problem {
        return Err(LoadError::Rows { unread: u64::from(list.len()) - read.rows, why });
    }
    let mut database = place.database.apart();
    console.line(&format!(
        "read {} rows in {}; {} keys have none",
        thousands(read.rows),
        database.name(),
        thousands(absent)
    ));
    database.connections = 1;
    Ok(Rows { checker, database })
}

/// Reads what the database has at the end, and counts what others have changed. Returns why some rows could not be read.
pub(super) fn end(
    keys: &Keys,
    rows: &Rows,
    recording: &mut Recording,
    interrupt: &Interrupt,
    console: &mut Console,
) -> Option<String> {
    let Keys::Listed(list) = keys else { unreachable!("existing rows have keys of their own") };
    let mut changed = 0;
    let take = &mut |row: u32, content: Content| {
        changed += u64::from(rows.checker.end(row, content));
    };
    let mut database = rows.database.clone();
    database.connections = CONNECTIONS;
    let read = match read_all(list, &database, interrupt, console, take) {
        Ok(read) => read,
        Err(error) => AllRead { rows: 0, problem: Some(error.to_string()) },
    };
    let counts = Counts { rows_read: read.rows, rows_changed: changed, ..Counts::default() };
    recording.at_end.merge(&counts);
    read.problem.map(|why| {
        format!(
            "{} of {} rows were not read at the end, so others may have changed more of them: {why}",
            thousands(u64::from(list.len()) - read.rows),
            thousands(list.len().into())
        )
    })
}

/// What came of reading all rows.
struct AllRead {
    rows: u64,
    /// Why there are not more.
    problem: Option<String>,
}

/// Reads all rows once, some at a time, until one can't be read. What is under way then is dropped.
fn read_all(
    list: &Arc<KeyList>,
    database: &Database,
    interrupt: &Interrupt,
    console: &mut Console,
    take: &mut dyn FnMut(u32, Content),
) -> Result<AllRead, LoadError> {
    let failed = LoadError::system("a descriptor for answers of the database");
    let (done, signal) =
        Done::new().and_then(|done| Ok((done.clone(), done.signal()?))).map_err(failed)?;
    let caller = database.connect(&done, &|| interrupt.is_set())?;
    let (mut next, mut under_way, mut read) = (0, 0, AllRead { rows: 0, problem: None });
    while read.problem.is_none() && (under_way > 0 || next < list.len()) {
        while under_way < UNDER_WAY && next < list.len() {
            let (ticket, key) = (u64::from(next), list.get(next).to_vec());
            let (statement, value) = (Statement::Get, Vec::new());
            // Each has its time from its turn on, however long those before it take.
            if !caller.call(Call { ticket, statement, key, value, by: None }) {
                read.problem = Some("the threads of the database have ended".to_owned());
                break;
            }
            (next, under_way) = (next + 1, under_way + 1);
        }
        // An interrupt is looked at in between.
        let wait = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        let _ = poll(&mut [PollFd::new(&signal, PollFlags::IN)], Some(&wait));
        for (ticket, ended) in done.take() {
            under_way -= 1;
            match ended {
                Ok(value) => {
                    read.rows += 1;
                    let row = u32::try_from(ticket).unwrap_or(u32::MAX);
                    take(row, Content::from(value.as_deref()));
                }
                Err(failure) => read.problem = read.problem.or(Some(failure.text)),
            }
        }
        if interrupt.is_set() {
            read.problem.get_or_insert_with(|| "interrupted".to_owned());
        }
        let text = format!("{:>11} rows read in {}", thousands(read.rows), database.name());
        console.progress(read.rows, list.len().into(), &text);
    }
    console.end_progress();
    Ok(read)
}
