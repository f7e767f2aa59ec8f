//! What `standin load` measures: the cluster of a file, or the target of a URL, and what is known of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use standin_client::blocking::{Client, discover};
use standin_client::{Bootstrap, ClientConfig, Target as Party};
use standin_config::{ClusterConfig, ColumnType, KeyspaceConfig};

use super::rows::args::KeySource;
use super::rows::{self, Place};
use super::{Load, LoadError, database};
use crate::checker::{Checker, age_allowed, grace};
use crate::console::Console;
use crate::database::{CALLS_MAX, Database};
use crate::drive::{Pacing, Rows};
use crate::faults::{Places, Stage};
use crate::interrupt::Interrupt;
use crate::key_names::{KeyNames, KeyType};
use crate::origin::RunOrigin;
use crate::placeholder::process_in;
use crate::targets::address::{Resolved, TargetUrl};
use crate::targets::wire::{OPEN_BYTES_MAX, OPEN_MAX, settings::Settings};
use crate::targets::{Aside, Standin, Target};
use crate::trace::KeyRule;
use crate::value::VALUE_BYTES_MAX;
use crate::workload::Keys;

/// The longest key of memcached.
const MEMCACHED_KEY_BYTES: usize = 250;
/// The bytes of a request beside its value.
const FRAME_BYTES: usize = 512;
/// The largest value of a trace of which many are under way at once.
const TRACE_VALUE_BYTES: u32 = 1 << 20;
const MEMCACHED_KEYS: KeyRule = KeyRule {
    bytes_max: MEMCACHED_KEY_BYTES,
    is_word: true,
    why: "which memcached does not accept: its keys have 1 to 250 bytes, and no spaces or control characters; correct the \
          row or remove it",
};
/// Of rows, so that they are bounded.
const OTHER_KEYS: KeyRule = KeyRule { bytes_max: usize::MAX, is_word: false, why: "" };

/// The measured system.
pub(super) struct Subject {
    pub(super) target: Target,
    /// The names of keys, unless a trace has them.
    pub(super) keys: Keys,
    /// What is known of existing rows, if reads of them are judged.
    pub(super) rows: Option<Arc<Rows>>,
    /// The keys that it takes.
    pub(super) key_rule: KeyRule,
    /// The largest value that it takes, as far as that is known.
    pub(super) value_bytes_max: u32,
    /// The cluster file, if there is one.
    cluster: Option<ClusterConfig>,
    /// The table of the run's own, if it has made one.
    pub(super) table: Option<RunOrigin>,
}

impl Subject {
    /// Finds it, and checks that the options fit.
    pub(super) fn find(
        load: &Load,
        stage: &Stage,
        folder: &Path,
        interrupt: &Interrupt,
        console: &mut Console,
    ) -> Result<Self, LoadError> {
        let places = stage.places();
        if let Some(name) = &load.database.database {
            let find = |cluster: &ClusterConfig| keyspace(load, cluster).cloned();
            let prepared = database::prepare(load, name, folder, places, &find, interrupt)?;
            return Self::of_database(load, prepared, places, (interrupt, console));
        }
        match &load.target {
            None => {
                let file = load.config.to_str().and_then(process_in);
                let file = file.and_then(|name| places.file(name));
                Self::of_file(load, file.unwrap_or(&load.config), (interrupt, console))
            }
            Some(url) => {
                let url = url.with_processes(|name| places.addresses(name))?;
                Self::of_url(load, &url, (interrupt, console))
            }
        }
    }

    fn of_file(
        load: &Load,
        file: &Path,
        (interrupt, console): (&Interrupt, &mut Console),
    ) -> Result<Self, LoadError> {
        let cluster = ClusterConfig::load(file)?;
        let (keyspace, (keys, rows)) = {
            let keyspace = keyspace(load, &cluster)?;
            let place = (keyspace, &cluster, Database::TIMEOUT);
            (keyspace.id, keys_in(load, place, OTHER_KEYS, interrupt, console)?)
        };
        let client = ClientConfig::from(&cluster);
        let (topology, how) = discover(client.clone(), Arc::new(cluster.topology()?))
            .map_err(LoadError::system("looking for the cluster"))?;
        if let Some(how) = how {
            let file = file.display();
            console.line(&format!(
                "warning: {file} is out of date and does not describe the running cluster: {how}"
            ));
        }
        let target = Target::Standin(Box::new(Standin { topology, client, keyspace }));
        let key_rule = KeyRule {
            bytes_max: cluster.limits.key_bytes.into(),
            is_word: false,
            why: "which is longer than the cluster's limits.key_bytes: raise it",
        };
        let value_bytes_max = cluster.limits.value_bytes;
        let cluster = Some(cluster);
        Ok(Self { target, keys, rows, key_rule, value_bytes_max, cluster, table: None })
    }

    /// An application with a database, and perhaps a cache. It has no trace.
    fn of_database(
        load: &Load,
        prepared: database::Prepared,
        places: &Places,
        (interrupt, console): (&Interrupt, &mut Console),
    ) -> Result<Self, LoadError> {
        let database::Prepared { mut database, file, table } = prepared;
        database.is_read_only = load.rows.is_some();
        let cache = match &load.target {
            Some(url) => {
                let url = url.with_processes(|name| places.addresses(name))?;
                let Resolved::Wire(mut settings) = url.resolve()? else {
                    unreachable!("options refuse a database beside Standin");
                };
                load.access.give_to(&mut settings)?;
                database.timeout = settings.timeout;
                Some(settings)
            }
            None => None,
        };
        let key_rule = match &cache {
            Some(settings) if settings.protocol.is_memcached() => MEMCACHED_KEYS,
            Some(_) | None => OTHER_KEYS,
        };
        let (keys, rows) = match &file {
            Some((keyspace, cluster)) => {
                keys_in(load, (keyspace, cluster, database.timeout), key_rule, interrupt, console)?
            }
            None => (Keys::Named(names(load, load.key_type.unwrap_or_default())), None),
        };
        if let (Some(settings), Keys::Named(names)) = (&cache, &keys) {
            check_keys(settings, load, names)?;
        }
        let writes = load.database.aside_writes.unwrap_or_default();
        let target =
            Target::Database(Box::new(Aside { database, cache, writes, ttl_s: load.others.ttl_s }));
        let value_bytes_max = VALUE_BYTES_MAX;
        Ok(Self { target, keys, rows, key_rule, value_bytes_max, cluster: None, table })
    }

    fn of_url(
        load: &Load,
        url: &TargetUrl,
        (interrupt, console): (&Interrupt, &mut Console),
    ) -> Result<Self, LoadError> {
        let key_names = names(load, load.key_type.unwrap_or_default());
        let target = match url.resolve()? {
            Resolved::Standin(addresses, keyspace) => {
                let client = load.access.client()?;
                let seeds = Bootstrap::Seeds(addresses);
                let map = Client::new(client.clone(), seeds)
                    .map_err(LoadError::system("looking for the cluster"))?
                    .map(Party::Any)
                    .map_err(|error| LoadError::NoCluster(error.to_string()))?;
                let topology = Arc::clone(&map.topology);
                Target::Standin(Box::new(Standin { topology, client, keyspace }))
            }
            Resolved::Wire(mut settings) => {
                load.access.give_to(&mut settings)?;
                if load.rows.is_none() {
                    check_keys(&settings, load, &key_names)?;
                }
                Target::Wire(settings)
            }
        };
        let key_rule = match &target {
            Target::Wire(settings) if settings.protocol.is_memcached() => MEMCACHED_KEYS,
            Target::Wire(_) | Target::Standin(_) | Target::Database(_) => OTHER_KEYS,
        };
        let (keys, rows) = match &load.rows {
            Some(rows) => rows::prepare((load, rows), None, key_rule, interrupt, console)?,
            None => (Keys::Named(key_names), None),
        };
        let value_bytes_max = VALUE_BYTES_MAX;
        Ok(Self { target, keys, rows, key_rule, value_bytes_max, cluster: None, table: None })
    }

    /// Sets what reads of this system may return.
    pub(super) fn checker(&self, load: &Load, checker: Checker) -> Checker {
        let keyspace = self.target.standin().map(|standin| standin.keyspace);
        match &self.cluster {
            Some(cluster) => {
                let mut keyspaces = cluster.keyspaces.iter();
                let is_cache = keyspaces.any(|k| Some(k.id) == keyspace && k.is_cache());
                checker
                    .with_losses(is_cache && !load.lossless)
                    .with_bound(age_allowed(cluster))
                    .with_grace(grace(cluster))
            }
            // A row that was written is there.
            None if self.target.database().is_some() => checker.with_losses(false),
            // A server that was stopped may execute an old write at any time.
            None => checker.with_losses(!load.lossless),
        }
    }
}

/// The keyspace by the options.
fn keyspace<'c>(load: &Load, cluster: &'c ClusterConfig) -> Result<&'c KeyspaceConfig, LoadError> {
    let known = || cluster.keyspaces.iter().map(|k| k.name.as_str()).collect::<Vec<_>>().join(", ");
    let keyspace = match &load.keyspace {
        Some(name) => cluster.keyspace(name),
        None => cluster.keyspaces.first(),
    };
    let keyspace = keyspace.ok_or_else(|| {
        let name = load.keyspace.clone().unwrap_or_default();
        LoadError::Keyspace { name, known: known() }
    })?;
    let (reads, sizes) = (load.reads_percent, load.sizes);
    let writes = load.fill
        || load.fill_misses
        || (load.trace.is_none()
            && load.rows.is_none()
            && reads + load.others.multi_gets_percent < 100.0);
    if writes && !keyspace.is_writable() {
        let name = &keyspace.name;
        return Err(LoadError::Options(format!(
            "keyspace {name} has no `put` statement: use --reads 100 and no --fill or --fill-misses, or add one"
        )));
    }
    if load.others.deletes_percent > 0.0 && !keyspace.is_deletable() {
        let name = &keyspace.name;
        return Err(LoadError::Options(format!(
            "keyspace {name} has no `delete` statement: use no --deletes, or add one"
        )));
    }
    // Those of a trace are clamped, to what is left of their range.
    let most = match load.trace.is_none() || load.has_own_sizes() {
        true => sizes.max_bytes,
        false => sizes.min_bytes,
    };
    if load.rows.is_none() && most > cluster.limits.value_bytes {
        return Err(LoadError::Options(format!(
            "values of {} bytes (--value-bytes, or a --value-template of this length) are over the cluster's \
             limits.value_bytes of {}",
            most, cluster.limits.value_bytes
        )));
    }
    Ok(keyspace)
}

/// The keys of a load on a keyspace and, if reads of existing rows are judged, what is known of these.
fn keys_in(
    load: &Load,
    (keyspace, cluster, timeout): (&KeyspaceConfig, &ClusterConfig, Duration),
    rule: KeyRule,
    interrupt: &Interrupt,
    console: &mut Console,
) -> Result<(Keys, Option<Arc<Rows>>), LoadError> {
    let Some(rows) = &load.rows else {
        return Ok((Keys::Named(names_in(load, keyspace, cluster.limits.key_bytes)?), None));
    };
    let place = Place::of_file(keyspace, cluster, timeout);
    // A file has all that is needed, unless reads are judged.
    let place = match rows.source {
        KeySource::File(_) if !load.check => place.ok(),
        _ => Some(place?),
    };
    rows::prepare((load, rows), place.as_ref(), rule, interrupt, console)
}

fn names(load: &Load, key_type: KeyType) -> KeyNames {
    KeyNames::new(key_type, load.template.clone(), load.first_key)
}

/// The names of the keys in a keyspace, whose column takes only some.
fn names_in(
    load: &Load,
    keyspace: &KeyspaceConfig,
    key_bytes_max: u16,
) -> Result<KeyNames, LoadError> {
    let (needed, word) = match keyspace.key_type {
        ColumnType::Integer => (Some(KeyType::Integer), "integer"),
        ColumnType::Uuid => (Some(KeyType::Uuid), "uuid"),
        ColumnType::Text | ColumnType::Bytes => (None, "text"),
    };
    let key_type = load.key_type.or(needed).unwrap_or_default();
    if needed.is_some_and(|needed| needed != key_type) {
        let name = &keyspace.name;
        return Err(LoadError::Options(format!(
            "the keys of keyspace {name} are of type {word}: use --key-type {word}, and no --key-template"
        )));
    }
    let names = names(load, key_type);
    // A trace has names of its own.
    if load.trace.is_some() {
        return Ok(names);
    }
    let longest = names.name(load.counts().all() - 1).len();
    if longest > usize::from(key_bytes_max) {
        return Err(LoadError::Options(format!(
            "--key-template gives keys of {longest} bytes, over the cluster's limits.key_bytes of \
             {key_bytes_max}"
        )));
    }
    Ok(names)
}

/// The largest number of requests under way for which each client of a closed loop has room, if this many clients are in
/// one load thread: they share its client of the database. With more, requests would be refused, and a closed loop
/// follows up each of them at once.
pub(super) fn depth_max(target: &Target, load: &Load, clients: u32) -> u32 {
    let of_cache = target.cache().map_or(usize::MAX, |_| {
        let value_bytes = match load.trace {
            Some(_) => load.sizes.max_bytes.min(TRACE_VALUE_BYTES),
            None => load.sizes.max_bytes,
        };
        let request_bytes = value_bytes as usize + FRAME_BYTES;
        (OPEN_BYTES_MAX / request_bytes).clamp(1, OPEN_MAX)
    });
    let of_database = target.database().map_or(usize::MAX, |_| {
        let clients = clients.max(1) as usize;
        (CALLS_MAX / clients).max(1)
    });
    u32::try_from(of_cache.min(of_database)).unwrap_or(u32::MAX)
}

/// Refuses a closed loop with more requests under way than there is room for.
pub(super) fn check_depth(pacing: &Pacing, target: &Target, load: &Load) -> Result<(), LoadError> {
    let Pacing::Closed { clients, depth } = *pacing else { return Ok(()) };
    let (_, threads) = load.place.of_worker(0, load.workers);
    let of_thread = clients.div_ceil(threads.max(1));
    let depth_max = depth_max(target, load, of_thread);
    if depth <= depth_max {
        return Ok(());
    }
    let why = match target.database() {
        Some(_) => format!(
            "the {of_thread} of a load thread share its room for {CALLS_MAX} calls of the database, and a cache bounds each of \
             them; use more --workers, or fewer requests of each client"
        ),
        None => "use more clients with fewer requests each, or smaller values (--value-bytes, or a shorter \
                 --value-template)"
            .to_owned(),
    };
    Err(LoadError::Options(format!(
        "--closed: each client has room for {depth_max} requests with values of this size: {why}"
    )))
}

/// Refuses to judge losses where values have lifetimes. Those of a trace are looked at when it is read.
pub(super) fn check_lossless(load: &Load) -> Result<(), LoadError> {
    if load.lossless && load.others.ttl_s > 0 {
        let text =
            "--lossless: a value whose lifetime has ended is not lost; leave it or --ttl away";
        return Err(LoadError::Options(text.to_owned()));
    }
    Ok(())
}

/// memcached has no quoting: a key with a space would be two.
fn check_keys(settings: &Settings, load: &Load, names: &KeyNames) -> Result<(), LoadError> {
    // Those of a trace are looked at when it is read.
    if !settings.protocol.is_memcached() || load.trace.is_some() {
        return Ok(());
    }
    // All names that are made have the same characters beside the number, and are short enough.
    let key = names.name(0);
    if !key.is_empty() && MEMCACHED_KEYS.takes(&key) {
        return Ok(());
    }
    Err(LoadError::Options(format!(
        "the load has a key that memcached does not accept, {:?}; memcached's keys have 1 to \
         {MEMCACHED_KEY_BYTES} bytes, and no spaces or control characters",
        key.escape_ascii().to_string()
    )))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::LoadArgs;
    use super::*;
    use crate::database::{Database, DatabasePlace};
    use crate::request::ValueSizes;
    use crate::targets::AsideWrites;
    use crate::targets::wire::codec::Protocol;
    use crate::workload::Others;

    fn load() -> Load {
        LoadArgs::default().resolve().unwrap()
    }

    #[test]
    fn keys_are_of_the_type_of_the_keyspace() {
        let keyspace =
            |key_type| KeyspaceConfig { key_type, ..KeyspaceConfig::cache(1, "numbers") };
        let name =
            |load: &Load, key_type| names_in(load, &keyspace(key_type), 64).map(|n| n.name(7));
        assert_eq!(name(&load(), ColumnType::Integer).unwrap(), b"7");
        assert_eq!(name(&load(), ColumnType::Text).unwrap(), b"key-00000007");
        assert_eq!(name(&load(), ColumnType::Uuid).unwrap().len(), 36);
        let uuids = Load { key_type: Some(KeyType::Uuid), ..load() };
        assert!(name(&uuids, ColumnType::Text).is_ok(), "a text may be a UUID");
        let error = name(&uuids, ColumnType::Integer).unwrap_err().to_string();
        assert!(error.contains("numbers") && error.contains("--key-type integer"), "{error}");
        let template = format!("{}{{n}}", "k".repeat(64)).parse().unwrap();
        let error = name(&Load { template, ..load() }, ColumnType::Text).unwrap_err().to_string();
        assert!(error.contains("limits.key_bytes"), "{error}");
    }

    #[test]
    fn memcached_gets_no_key_with_a_space() {
        let check = |template: &str, protocol| {
            let names = KeyNames::new(KeyType::Text, template.parse().unwrap(), 0);
            check_keys(&Settings::new(protocol, Vec::new()), &load(), &names)
        };
        assert!(check("a {n}", Protocol::MemcachedText).is_err());
        assert!(check("a {n}", Protocol::Resp2).is_ok());
        assert!(check("a-{n}", Protocol::MemcachedMeta).is_ok());
    }

    #[test]
    fn a_closed_loop_has_no_more_under_way_than_its_clients_have_room_for() {
        let settings = Settings::new(Protocol::MemcachedText, Vec::new());
        let target = Target::Wire(settings.clone());
        let of_size = |bytes| Load { sizes: ValueSizes::fixed(bytes), ..load() };
        let megabyte = depth_max(&target, &of_size(1 << 20), 9);
        assert!((200..256).contains(&megabyte));
        assert_eq!(
            depth_max(&target, &of_size(u32::MAX), 9),
            1,
            "a single request is always taken"
        );
        let check = |target: &Target, bytes, workers, clients, depth| {
            let load = Load { workers, ..of_size(bytes) };
            let checked = check_depth(&Pacing::Closed { clients, depth }, target, &load);
            checked.map_err(|error| error.to_string())
        };
        assert!(check(&target, 1 << 20, 2, 9, megabyte).is_ok());
        assert!(check(&target, 1 << 20, 2, 9, megabyte + 1).unwrap_err().contains("more clients"));
        let place = DatabasePlace::Sqlite(PathBuf::new());
        let keyspace = KeyspaceConfig::new(1, "k", "SELECT v FROM k WHERE id = :key");
        let database = Database::new(place, &keyspace).unwrap();
        let aside = |cache| {
            let (database, writes) = (database.clone(), AsideWrites::default());
            Target::Database(Box::new(Aside { database, cache, writes, ttl_s: 0 }))
        };
        let (alone, cached) = (aside(None), aside(Some(settings)));
        assert!(check(&alone, 1 << 20, 2, 2, 65_536).is_ok(), "each has a database of its own");
        let said = check(&alone, 1 << 20, 2, 8, 65_536).unwrap_err();
        assert!(said.contains("16384") && said.contains("--workers"), "{said}");
        assert!(check(&alone, 1 << 20, 8, 8, 65_536).is_ok());
        assert!(check(&alone, 1 << 20, 1, 10_000, 6).is_ok());
        let said = check(&cached, 1 << 20, 2, 2, megabyte + 1).unwrap_err();
        assert!(said.contains(&format!("room for {megabyte} requests")), "{said}");
    }

    #[test]
    fn what_has_lifetimes_can_not_be_lossless() {
        let load = |lossless| Load { lossless, ..load() };
        assert!(check_lossless(&load(true)).is_ok());
        let others = Others { ttl_s: 1, ..Others::NONE };
        assert!(check_lossless(&Load { others, ..load(true) }).is_err());
        assert!(check_lossless(&Load { others, ..load(false) }).is_ok());
    }
}
