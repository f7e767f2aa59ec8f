//! Programs with client libraries for Go, compiled into a folder of their own under `target/`. The libraries are Debian's
//! packages of their sources, so that no module proxy is needed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::runs;
use crate::process::{self, Clock};
use crate::report::Failed;
use crate::workspace::Workspace;

const LIMIT: Duration = Duration::from_secs(300);
/// The folder of Debian's sources, in the layout of a GOPATH.
const SOURCES: &str = "/usr/share/gocode";
/// The scripts in `testkit/languages/` without their endings, what they import, and Debian's package of that.
const PROGRAMS: &[(&str, &str, &str)] = &[
    (
        "gomemcache_client",
        "github.com/bradfitz/gomemcache/memcache",
        "golang-github-bradfitz-gomemcache-dev",
    ),
    ("go_redis_client", "gopkg.in/redis.v5", "golang-gopkg-redis.v5-dev"),
];

/// Debian's packages.
pub(super) const PACKAGES: &[&str] =
    &["golang-go", "golang-github-bradfitz-gomemcache-dev", "golang-gopkg-redis.v5-dev"];

/// Returns the folder of the programs.
pub(super) fn programs(workspace: &Workspace) -> PathBuf {
    workspace.logs().join("go")
}

/// Returns whether Go and the libraries' sources are installed.
pub(super) fn is_there() -> bool {
    let sources = Path::new(SOURCES).join("src");
    runs("go", &["version"]) && PROGRAMS.iter().all(|(_, import, _)| sources.join(import).is_dir())
}

/// Compiles the programs. What Go has compiled before takes no time. Returns no names, because that installs nothing.
///
/// # Errors
/// With the output of go.
pub(super) fn ensure(workspace: &Workspace) -> Result<Vec<String>, Failed> {
    let folder = programs(workspace);
    for (name, _, package) in PROGRAMS {
        let mut command = Command::new("go");
        command.current_dir(workspace.root().join("testkit/languages"));
        // The C library resolves more names than Go does by itself.
        command.env("GO111MODULE", "off").env("GOPATH", SOURCES).env("CGO_ENABLED", "1");
        command.env("GOCACHE", folder.join("cache"));
        command.arg("build").arg("-o").arg(folder.join(name));
        command.args(["-ldflags", &format!("-X 'main.version={}'", version(package))]);
        command.args(["talk.go", &format!("{name}.go")]);
        let line = format!("{command:?}");
        let remedy = "fix that, or do without these libraries";
        match process::run(&mut command, &workspace.logs().join("go.log"), LIMIT, Clock::Shown) {
            Ok(finished) if finished.success => {}
            Ok(finished) => {
                return Err(Failed::new(format!("{line}\n{}", finished.output), remedy));
            }
            Err(error) => return Err(Failed::new(format!("{line}: {error}"), remedy)),
        }
    }
    Ok(Vec::new())
}

/// Returns the version of a package of Debian, without that of the packaging.
fn version(package: &str) -> String {
    let mut command = Command::new("dpkg-query");
    let output = command.args(["-W", "-f", "${Version}", package]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let text = text.ok().filter(|text| !text.is_empty());
    text.map_or_else(
        || "of unknown version".to_owned(),
        |text| text.rsplit_once('-').map_or(text.clone(), |(version, _)| version.to_owned()),
    )
}
