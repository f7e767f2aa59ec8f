//! What a coordinator may ask of an agent: which files it reads, to whom it sends what is secret, and how much it takes.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::agent_args::AgentArgs;
use super::options::LoadArgs;
use super::settings::Load;
use crate::agents::AgentError;
use crate::schedule::phases::Rate;
use crate::targets::Target;
use crate::targets::address::TargetUrl;

/// Keys, with those of compare-and-swaps and counters. The checker keeps some bytes of each.
const KEYS_MAX: u64 = 100_000_000;
/// Requests under way of a closed loop.
const UNDER_WAY_MAX: u64 = 1 << 20;
/// Connections of all load threads to all servers.
const CONNECTIONS_MAX: u64 = 1 << 14;
/// Descriptors of an agent for all else: timers, files, coordinators.
const OTHER_DESCRIPTORS: u64 = 1 << 13;
/// The cluster file without an option for it.
const CLUSTER_FILE: &str = "cluster.toml";
/// The permission of everybody to read a file.
const OTHERS_READ: u32 = 0o004;

/// The files that an agent reads, and those to whom it sends what is in them.
#[derive(Debug)]
pub(super) struct AgentFiles {
    /// `None`: it reads none.
    folder: Option<PathBuf>,
    targets: Vec<String>,
    /// Whether queries of a coordinator are executed.
    runs_queries: bool,
}

impl AgentFiles {
    /// Finds the folder.
    ///
    /// # Errors
    /// [`AgentError::Folder`].
    pub(super) fn of(args: &AgentArgs) -> Result<Self, AgentError> {
        let found = args.agent_files.as_deref().map(|folder| {
            let failed = |error| AgentError::Folder { path: folder.to_owned(), error };
            let found = folder.canonicalize().map_err(failed)?;
            // Otherwise every file would be refused without a reason that helps.
            std::fs::read_dir(&found).map(|_| found).map_err(failed)
        });
        let (targets, runs_queries) = (args.agent_targets.clone(), args.agent_row_queries);
        Ok(Self { folder: found.transpose()?, targets, runs_queries })
    }

    /// Puts the places of the files in the folder into the options.
    ///
    /// # Errors
    /// [`AgentError::File`]: one is not there; [`AgentError::Private`], [`AgentError::Variable`], [`AgentError::Login`] and
    /// [`AgentError::Query`].
    pub(super) fn confine(&self, args: &mut LoadArgs) -> Result<(), AgentError> {
        if args.target.is_none() && args.database.database.is_none() {
            args.config.get_or_insert_with(|| CLUSTER_FILE.into());
        }
        if let Some(name) = &args.access.password_env {
            return Err(AgentError::Variable(name.clone()));
        }
        if args.rows.row_query.is_some() && !self.runs_queries {
            return Err(AgentError::Query);
        }
        if args.access.has_secret() {
            self.check_targets(args.target.as_ref())?;
        }
        let curves = args.phases.iter_mut().flat_map(|phases| &mut phases.0);
        let curves = curves.filter_map(|phase| match &mut phase.rate {
            Rate::File { path, .. } => Some(path),
            Rate::Given(_) => None,
        });
        for path in args.trace.iter_mut().chain(curves).chain(args.rows.file_mut()) {
            *path = self.find_public(path)?;
        }
        for path in args.config.iter_mut().chain(args.database.file_mut()) {
            // No password is in a file with such a name; the cluster file says where those are.
            let is_cluster_file = path.extension().is_some_and(|extension| extension == "toml");
            *path = if is_cluster_file { self.find(path) } else { self.find_public(path) }?;
        }
        for path in args.access.files_mut() {
            *path = self.find(path)?;
        }
        Ok(())
    }

    /// Whether the target may get passwords and certificates of this machine.
    fn check_targets(&self, target: Option<&TargetUrl>) -> Result<(), AgentError> {
        let mut servers = target.into_iter().flat_map(TargetUrl::servers);
        let is_known = |server: &&str| self.targets.iter().any(|known| known == server);
        match servers.find(|server| !is_known(server)) {
            Some(server) => Err(AgentError::Login(server.to_owned())),
            None => Ok(()),
        }
    }

    /// The file without links. What is elsewhere and what is not there are the same to a coordinator.
    fn find(&self, path: &Path) -> Result<PathBuf, AgentError> {
        let refused = || AgentError::File(path.to_owned());
        let folder = self.folder.as_ref().ok_or_else(refused)?;
        let found = folder.join(path).canonicalize().map_err(|_| refused())?;
        // A pipe would be waited for.
        if found.starts_with(folder) && found.is_file() { Ok(found) } else { Err(refused()) }
    }

    /// A file of which a message about a mistake in it may show a part.
    fn find_public(&self, path: &Path) -> Result<PathBuf, AgentError> {
        let found = self.find(path)?;
        let about = found.metadata().map_err(|_| AgentError::File(path.to_owned()))?;
        match about.mode() & OTHERS_READ {
            0 => Err(AgentError::Private(path.to_owned())),
            _ => Ok(found),
        }
    }
}

/// Has the kernel refuse connections beyond the bound: a Redis Cluster has nodes that nobody has named.
pub(super) fn limit_descriptors() {
    let before = getrlimit(Resource::Nofile);
    let max = CONNECTIONS_MAX + OTHER_DESCRIPTORS;
    let current = Some(before.current.map_or(max, |current| current.min(max)));
    // A lower limit is always allowed.
    let _ = setrlimit(Resource::Nofile, Rlimit { current, ..before });
}

/// Refuses a load that would take too much of the machine, and bounds its connections, of which more is known when its
/// target is found.
///
/// # Errors
/// [`AgentError::TooMuch`].
pub(super) fn bound(load: &mut Load) -> Result<(), AgentError> {
    let depth = load.closed.map_or(0, |closed| closed.depth);
    let keys_of_trace = load.trace.as_ref().filter(|_| load.fill).map_or(0, |trace| trace.keys_max);
    for (what, asked, max) in [
        ("keys", load.counts().all().into(), KEYS_MAX),
        ("keys of a trace", keys_of_trace.into(), KEYS_MAX),
        ("requests under way", clients(load) * u64::from(depth), UNDER_WAY_MAX),
    ] {
        check(what, asked, max)?;
    }
    load.connections_max = Some(CONNECTIONS_MAX);
    Ok(())
}

/// Refuses more connections than this load may make.
///
/// # Errors
/// [`AgentError::TooMuch`].
pub(super) fn check_connections(load: &Load, target: &Target) -> Result<(), AgentError> {
    let (of_client, of_thread) = target.connections();
    let of_clients = of_client.saturating_mul(clients(load));
    let asked = of_clients.saturating_add(of_thread * u64::from(load.workers));
    check("connections", asked, load.connections_max.unwrap_or(u64::MAX))
}

fn check(what: &'static str, asked: u64, max: u64) -> Result<(), AgentError> {
    match asked > max {
        true => Err(AgentError::TooMuch { what, asked, max }),
        false => Ok(()),
    }
}

/// The clients of the load threads of this process. Each thread has one to fill.
fn clients(load: &Load) -> u64 {
    let (first, all) = load.place.of_worker(0, load.workers);
    let workers = load.workers;
    let clients = load.closed.map_or(workers, |closed| closed.clients);
    let last_round = (clients % all).saturating_sub(first).min(workers);
    u64::from(clients / all * workers + last_round).max(workers.into())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use standin_config::KeyspaceConfig;
    use standin_testkit::Scratch;

    use super::super::options::tests::parse;
    use super::*;
    use crate::database::{Database, DatabasePlace};
    use crate::targets::address::Resolved;
    use crate::targets::{Aside, AsideWrites};

    #[test]
    fn an_agent_reads_only_what_is_under_its_folder() {
        let scratch = Scratch::new("agent-files");
        let folder = scratch.file("allowed");
        std::fs::create_dir(&folder).unwrap();
        for file in [folder.join("a"), scratch.file("b")] {
            std::fs::write(file, "x").unwrap();
        }
        std::os::unix::fs::symlink(scratch.file("b"), folder.join("link")).unwrap();
        let of = |folder: Option<&Path>, targets: &[&str]| {
            let targets = targets.iter().map(|target| (*target).to_owned()).collect();
            let agent_files = folder.map(Path::to_owned);
            let args = AgentArgs { agent_files, agent_targets: targets, ..AgentArgs::default() };
            AgentFiles::of(&args)
        };
        let files = of(Some(&folder), &["a:1"]).unwrap();
        let none = of(None, &["a:1"]).unwrap();
        let outside = scratch.file("b");
        let outside = outside.to_str().unwrap();
        let confined = |files: &AgentFiles, options: &[&str]| {
            let mut args = parse(options).unwrap();
            files.confine(&mut args).map(|()| args)
        };
        let inside = confined(&files, &["--config", "a", "--trace", "a", "--format", "oracle"]);
        let inside = inside.unwrap();
        let expected = folder.canonicalize().unwrap().join("a");
        assert_eq!(
            (inside.config.as_ref(), inside.trace.as_ref()),
            (Some(&expected), Some(&expected))
        );
        let target = ["--target", "memcached://a:1"];
        for wrong in [
            &["--config", "../b"][..],
            &["--config", outside],
            &["--config", "link"],
            &["--config", "none"],
            &["--config", "a", "--trace", "/etc/passwd", "--format", "oracle"],
            &["--config", "a", "--phases", "@../b"],
            &["--target", "redis://a:1", "--password-file", "../b"],
            &["--target", "redis://a:1", "--ca-file", outside],
            &["--database", "../c.toml"],
            &["--config", "a", "--phases", "@."],
            &["--target", "redis://a:1", "--row-keys", "../b"],
            &[],
        ] {
            let error = confined(&files, wrong).unwrap_err().to_string();
            assert!(error.contains("--agent-files"), "{wrong:?}: {error}");
            let error = confined(&none, wrong).unwrap_err();
            assert!(matches!(error, AgentError::File(_)), "{wrong:?}");
        }
        assert!(confined(&none, &target).is_ok(), "it needs no file");
        for option in ["--ca-file", "--cert-file", "--key-file", "--password-file"] {
            let error = confined(&files, &[&target[..], &[option, outside]].concat()).unwrap_err();
            assert!(matches!(error, AgentError::File(_)), "{option}");
            let inside = confined(&files, &[&target[..], &[option, "a"]].concat()).unwrap();
            let access = inside.access;
            let all = [access.ca_file, access.cert_file, access.key_file, access.password_file];
            assert!(all.contains(&Some(expected.clone())), "{option}");
        }
        let variable = confined(&files, &[&target[..], &["--password-env", "HOME"]].concat());
        assert!(matches!(variable, Err(AgentError::Variable(_))), "it is the agent's own");
        let missing = of(Some(&scratch.file("none")), &[]).unwrap_err().to_string();
        assert!(missing.contains("--agent-files"), "{missing}");
    }

    #[test]
    fn an_agent_runs_queries_only_if_it_is_told_so() {
        let scratch = Scratch::new("agent-queries");
        std::fs::write(scratch.file("c.toml"), "").unwrap();
        let folder = Some(scratch.path().canonicalize().unwrap());
        let query = ["--config", "c.toml", "--row-query", "select password from users"];
        let table = ["--config", "c.toml", "--existing-rows"];
        let confined = |runs_queries, options: &[&str]| {
            let files = AgentFiles { folder: folder.clone(), targets: Vec::new(), runs_queries };
            files.confine(&mut parse(options).unwrap()).map_err(|error| error.to_string())
        };
        let said = confined(false, &query).unwrap_err();
        assert!(said.contains("--agent-row-queries") && !said.contains("password"), "{said}");
        assert_eq!(confined(true, &query), Ok(()));
        assert_eq!(confined(false, &table), Ok(()), "the keyspace's own table");
    }

    #[test]
    fn an_agent_sends_what_is_secret_only_to_its_own_targets() {
        let scratch = Scratch::new("agent-targets");
        let folder = scratch.file("allowed");
        std::fs::create_dir(&folder).unwrap();
        for (name, mode) in
            [("secret", 0o600), ("grouped", 0o640), ("c.toml", 0o600), ("open", 0o644)]
        {
            std::fs::write(folder.join(name), "s3cret").unwrap();
            std::fs::set_permissions(folder.join(name), Permissions::from_mode(mode)).unwrap();
        }
        let files = AgentFiles {
            folder: Some(folder.canonicalize().unwrap()),
            targets: vec!["a:1".to_owned(), "[::1]:2".to_owned()],
            runs_queries: false,
        };
        let confined = |options: &[&str]| {
            files.confine(&mut parse(options).unwrap()).map_err(|error| error.to_string())
        };
        let password = ["--password-file", "secret"];
        let key = ["--ca-file", "open", "--cert-file", "open", "--key-file", "secret"];
        for login in [&password[..], &key] {
            for own in ["redis://a:1", "memcached://a:1,[::1]:2", "redis-cluster://[::1]:2"] {
                assert_eq!(confined(&[&["--target", own][..], login].concat()), Ok(()), "{own}");
            }
            for foreign in ["redis://mine:1", "redis://a:2", "redis://a:1,mine:1", "redis://A:1"] {
                let said = confined(&[&["--target", foreign][..], login].concat()).unwrap_err();
                assert!(said.contains("--agent-targets"), "{foreign}: {said}");
            }
        }
        let foreign = ["--target", "redis://mine:1"];
        assert_eq!(confined(&[&foreign[..], &["--ca-file", "open"]].concat()), Ok(()));
        // Messages about mistakes show parts of these.
        let trace = ["--format", "csv", "--trace"];
        for (options, path) in [
            (&[&foreign[..], &trace].concat()[..], "secret"),
            (&[&foreign[..], &trace].concat(), "grouped"),
            (&["--config"], "secret"),
            (&["--config", "c.toml", "--phases"], "@secret"),
        ] {
            let said = confined(&[options, &[path]].concat()).unwrap_err();
            assert!(said.contains("chmod o+r"), "{options:?} {path}: {said}");
        }
        assert_eq!(confined(&["--config", "c.toml"]), Ok(()));
        assert_eq!(confined(&[&foreign[..], &trace, &["open"]].concat()), Ok(()));
    }

    /// The load of the first of agents that have this many load threads together.
    fn bounded(options: &[&str], all: u32) -> Result<Load, AgentError> {
        let target = ["--target", "memcached://127.0.0.1:1,127.0.0.1:2?connections=1024"];
        let mut load = parse(&[&target[..], options].concat()).unwrap().resolve().unwrap();
        load.place.of = Some(all.max(load.workers));
        bound(&mut load)?;
        let url = load.target.as_ref().expect("it is given").resolve().unwrap();
        let Resolved::Wire(settings) = url else { panic!("a cache") };
        let target = match load.database.database {
            None => Target::Wire(settings),
            Some(_) => {
                let place = DatabasePlace::Sqlite(PathBuf::new());
                let keyspace = KeyspaceConfig::new(1, "k", "SELECT v FROM k WHERE id = :key");
                let mut database = Database::new(place, &keyspace).unwrap();
                database.connections = load.database.connections_of_thread();
                let cache = Some(settings);
                let writes = AsideWrites::default();
                Target::Database(Box::new(Aside { database, cache, writes, ttl_s: 0 }))
            }
        };
        check_connections(&load, &target).map(|()| load)
    }

    #[test]
    fn an_agent_takes_only_so_much() {
        let check = |options: &[&str]| bounded(options, 1);
        assert!(check(&["--workers", "8"]).is_ok());
        assert!(check(&["--workers", "1", "--closed", "8x100"]).is_ok(), "one for each client");
        assert!(bounded(&["--workers", "1", "--closed", "64x16384"], 8).is_ok(), "an eighth");
        for (options, wanted) in [
            (&["--workers", "9"][..], "16384 connections at most, and 18432"),
            (&["--workers", "8", "--database", "sqlite"], "16384 connections at most, and 16448"),
            (&["--workers", "2", "--closed", "10x1"], "16384 connections at most, and 20480"),
            (&["--workers", "1", "--closed", "10000x65536"], "requests under way"),
            (&["--workers", "1", "--keys", "4000000000"], "100000000 keys"),
            (
                &[
                    "--workers",
                    "1",
                    "--trace",
                    "t",
                    "--format",
                    "csv",
                    "--fill",
                    "--trace-keys",
                    "100000001",
                ],
                "100000000 keys of a trace",
            ),
        ] {
            let error = check(options).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
