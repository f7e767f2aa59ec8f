//! PostgreSQL: a new, empty server that does not wait for its disk.

use std::ffi::OsString;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::super::child::User;
use super::super::database::Session;
use super::super::lan::Lan;
use super::super::process::Process;
use super::super::tool;
use super::{Asked, Ground, Site, StartError, user, wait};

/// Debian and its derivatives install one folder per major version here, and put only the client programs on the PATH.
const DEBIAN: &str = "/usr/lib/postgresql";
/// PostgreSQL refuses to run as root.
const USERS: [&str; 2] = ["postgres", "nobody"];

/// A running server. Its data is gone with it.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub process: Process,
    /// How a client reaches it.
    pub url: String,
    /// Outlives the process.
    pub folder: TempDir,
}

/// The URL of a server, or of a proxy before it.
#[must_use]
pub fn url(address: SocketAddr) -> String {
    format!("postgres://standin@{address}/postgres")
}

/// Makes a database and starts a server on it. The program is its `postgres`, with `initdb` beside it. Everybody may
/// connect from this machine.
///
/// # Errors
/// [`StartError`].
pub fn start(ground: &Ground<'_>, asked: Asked<'_>, site: &Site) -> Result<Server, StartError> {
    let Asked { name, arguments, ready_within, .. } = asked;
    let failed = |why: String| StartError::Refused { name: name.to_owned(), why };
    let program = match asked.program {
        Some(program) => program.to_owned(),
        None => find().map_err(failed)?,
    };
    let user = user(name, &USERS)?;
    // Not in the folder of the run, which nobody else may enter.
    let folder = tempfile::Builder::new()
        .prefix("standin-postgres-")
        .tempdir_in("/tmp")
        .map_err(StartError::system("/tmp"))?;
    if let Some(User { uid, gid }) = user {
        std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid))
            .map_err(StartError::system(folder.path().display().to_string()))?;
    }
    let data = folder.path().join("data");
    let initdb = initdb(&program.with_file_name("initdb"), &data, user);
    tool::run(initdb, ready_within, ground.interrupt).map_err(StartError::tool(name))?;
    let address = site.address();
    if !address.ip().is_loopback() {
        trust(&data.join("pg_hba.conf"), &Lan::subnet())?;
    }
    let mut all: Vec<OsString> = vec!["-D".into(), data.into()];
    all.extend(["-p".into(), address.port().to_string().into()]);
    for setting in [
        &format!("listen_addresses={}", address.ip()),
        "unix_socket_directories=",
        "fsync=off",
        "full_page_writes=off",
        // No checkpoint while something is measured.
        "checkpoint_timeout=1h",
    ] {
        all.extend(["-c".into(), setting.into()]);
    }
    all.extend_from_slice(arguments);
    let network = site.network.clone();
    let mut process = Process::start_as(user, network, name, &program, all, ground.folder)?;
    let url = url(address);
    wait(&mut process, ready_within, ground.interrupt, || Session::open(&url).is_ok())?;
    Ok(Server { process, url, folder })
}

/// Lets everybody of these addresses connect; `initdb` knows loopback alone.
fn trust(file: &Path, addresses: &str) -> Result<(), StartError> {
    let failed = StartError::system(file.display().to_string());
    let mut open = match std::fs::File::options().append(true).open(file) {
        Ok(open) => open,
        Err(error) => return Err(failed(error)),
    };
    writeln!(open, "host all all {addresses} trust").map_err(failed)
}

fn initdb(program: &Path, data: &Path, user: Option<User>) -> Command {
    let mut command = Command::new(program);
    command.arg("--pgdata").arg(data).args(["--username", "standin", "--auth", "trust"]);
    command.args(["--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"]);
    // Any other may be a folder that this user may not enter.
    command.current_dir("/");
    if let Some(User { uid, gid }) = user {
        command.uid(uid).gid(gid);
    }
    command
}

/// `postgres` in the first folder of PATH that has `initdb` too, otherwise in Debian's newest.
fn find() -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .collect();
    versions.sort_by_key(|version| std::cmp::Reverse(version.0));
    let folders = std::env::split_paths(&path).chain(versions.into_iter().map(|(_, bin)| bin));
    let has = |folder: &PathBuf, program| folder.join(program).is_file();
    let mut found = folders.filter(|folder| has(folder, "initdb") && has(folder, "postgres"));
    found.next().map(|folder| folder.join("postgres")).ok_or_else(|| {
        format!("there is no initdb and postgres in PATH or below {DEBIAN}; install PostgreSQL's server, or write `program`")
    })
}
