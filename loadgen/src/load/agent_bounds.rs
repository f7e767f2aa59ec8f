//! What a coordinator may ask of an agent: which files it reads, and how much it takes.

use std::path::{Path, PathBuf};

use super::options::{Closed, LoadArgs};
use super::settings::Load;
use crate::agents::AgentError;
use crate::schedule::phases::Rate;

/// Keys, with those of compare-and-swaps and counters. The checker keeps some bytes of each.
const KEYS_MAX: u64 = 100_000_000;
/// Requests under way of a closed loop.
const UNDER_WAY_MAX: u64 = 1 << 20;
/// Connections of all load threads to all servers that the URL names.
const CONNECTIONS_MAX: u64 = 1 << 14;
/// The cluster file without an option for it.
const CLUSTER_FILE: &str = "cluster.toml";

/// The folder of the files that an agent reads; without one, it reads none.
#[derive(Debug)]
pub(super) struct AgentFiles(Option<PathBuf>);

impl AgentFiles {
    /// Finds the folder.
    ///
    /// # Errors
    /// [`AgentError::Folder`].
    pub(super) fn of(folder: Option<&Path>) -> Result<Self, AgentError> {
        let found = folder.map(|folder| {
            let failed = |error| AgentError::Folder { path: folder.to_owned(), error };
            let found = folder.canonicalize().map_err(failed)?;
            // Otherwise every file would be refused without a reason that helps.
            std::fs::read_dir(&found).map(|_| found).map_err(failed)
        });
        Ok(Self(found.transpose()?))
    }

    /// Puts the places of the files in the folder into the options.
    ///
    /// # Errors
    /// [`AgentError::File`]: one is not there; [`AgentError::Variable`].
    pub(super) fn confine(&self, args: &mut LoadArgs) -> Result<(), AgentError> {
        if args.target.is_none() && args.database.database.is_none() {
            args.config.get_or_insert_with(|| CLUSTER_FILE.into());
        }
        let curves = args.phases.iter_mut().flat_map(|phases| &mut phases.0);
        let curves = curves.filter_map(|phase| match &mut phase.rate {
            Rate::File { path, .. } => Some(path),
            Rate::Given(_) => None,
        });
        if let Some(name) = &args.access.password_env {
            return Err(AgentError::Variable(name.clone()));
        }
        let database = args.database.file_mut();
        let access = args.access.files_mut();
        let files = args.config.iter_mut().chain(&mut args.trace).chain(curves);
        let mut files = files.chain(access).chain(database);
        files.try_for_each(|path| {
            *path = self.find(path)?;
            Ok(())
        })
    }

    /// The file without links. What is elsewhere and what is not there are the same to a coordinator.
    fn find(&self, path: &Path) -> Result<PathBuf, AgentError> {
        let refused = || AgentError::File(path.to_owned());
        let folder = self.0.as_ref().ok_or_else(refused)?;
        let found = folder.join(path).canonicalize().map_err(|_| refused())?;
        if found.starts_with(folder) { Ok(found) } else { Err(refused()) }
    }
}

/// Refuses a load that would take too much of the machine.
///
/// # Errors
/// [`AgentError::TooMuch`].
pub(super) fn check(load: &Load) -> Result<(), AgentError> {
    let Closed { clients, depth } = load.closed.unwrap_or(Closed { clients: 0, depth: 0 });
    let connections = load.target.as_ref().map_or(0, |url| url.connections_of_thread());
    let connections = connections.saturating_add(load.database.connections_of_thread().into());
    let keys_of_trace = load.trace.as_ref().filter(|_| load.fill).map_or(0, |trace| trace.keys_max);
    for (what, asked, max) in [
        ("keys", load.counts().all().into(), KEYS_MAX),
        ("keys of a trace", keys_of_trace.into(), KEYS_MAX),
        ("requests under way", u64::from(clients) * u64::from(depth), UNDER_WAY_MAX),
        ("connections", connections.saturating_mul(load.workers.into()), CONNECTIONS_MAX),
    ] {
        if asked > max {
            return Err(AgentError::TooMuch { what, asked, max });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use standin_testkit::Scratch;

    use super::super::options::tests::parse;
    use super::*;

    #[test]
    fn an_agent_reads_only_what_is_under_its_folder() {
        let scratch = Scratch::new("agent-files");
        let folder = scratch.file("allowed");
        std::fs::create_dir(&folder).unwrap();
        for file in [folder.join("a"), scratch.file("b")] {
            std::fs::write(file, "x").unwrap();
        }
        std::os::unix::fs::symlink(scratch.file("b"), folder.join("link")).unwrap();
        let files = AgentFiles::of(Some(&folder)).unwrap();
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
            &[],
        ] {
            let error = confined(&files, wrong).unwrap_err().to_string();
            assert!(error.contains("--agent-files"), "{wrong:?}: {error}");
            let error = confined(&AgentFiles::of(None).unwrap(), wrong).unwrap_err();
            assert!(matches!(error, AgentError::File(_)), "{wrong:?}");
        }
        assert!(confined(&AgentFiles::of(None).unwrap(), &target).is_ok(), "it needs no file");
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
        let missing = AgentFiles::of(Some(&scratch.file("none"))).unwrap_err().to_string();
        assert!(missing.contains("--agent-files"), "{missing}");
    }

    #[test]
    fn an_agent_takes_only_so_much() {
        let check = |options: &[&str]| {
            let target = ["--target", "memcached://a:1,b:2?connections=1024"];
            check(&parse(&[&target[..], options].concat()).unwrap().resolve().unwrap())
        };
        assert!(check(&["--workers", "8"]).is_ok());
        for (options, wanted) in [
            (&["--workers", "9"][..], "16384 connections at most, and 18432"),
            (&["--workers", "8", "--database", "sqlite"], "16384 connections at most, and 16448"),
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
