//! Finds the programs that the checks need besides cargo and a C compiler. As root on Debian and its
//! derivatives, installs missing ones; otherwise the message says what to install.
//!
//! ```text
//! apt.rs      installing by apt-get, without leaving a database running
//! python.rs   client libraries of other protocols, for Python
//! node.rs     client libraries for Node.js
//! ruby.rs     a client library for Ruby
//! go.rs       programs with client libraries for Go
//! packages.rs what Debian packages are made and tried with
//! ```

mod apt;
mod go;
mod node;
mod packages;
mod python;
mod ruby;

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::slice::from_ref;

use standin_testkit::languages::{GO_PROGRAMS, NODE_MODULES, PYTHON, names};
use standin_testkit::{Browser, Postgres, Prometheus};

use crate::report::{Failed, Outcome, Passed};
use crate::workspace::Workspace;

pub(crate) use packages::{
    for_container, for_machines, for_package, for_virtual_machines, has_lintian,
};

/// Installs client libraries that are missing, and returns their names.
type Ensure = fn(&Workspace) -> Result<Vec<String>, Failed>;

/// One program, or what comes as one package.
#[derive(Debug)]
struct Need {
    name: &'static str,
    what_for: &'static str,
    is_there: fn() -> bool,
    /// Debian's packages.
    packages: &'static [&'static str],
}

const FOR_TESTS: &[Need] = &[
    Need {
        name: "PostgreSQL server",
        what_for: "the tests of that origin, on servers of their own",
        is_there: || Postgres::available().is_ok(),
        packages: &["postgresql"],
    },
    Need {
        name: "the sources of locales",
        what_for: "a database that speaks German",
        is_there: || std::path::Path::new("/usr/share/i18n/locales/de_DE").exists(),
        packages: &["locales"],
    },
    Need {
        name: "python3",
        what_for: "docs/client.py, the protocol document's example",
        is_there: || runs("python3", &["--version"]),
        packages: &["python3"],
    },
    Need {
        name: "python3 -m venv",
        what_for: "client libraries of memcached and Redis",
        is_there: || runs("python3", &["-c", "import ensurepip, venv"]),
        packages: &["python3-venv"],
    },
    Need {
        name: "redis-server",
        what_for: "replies that are compared with those of Redis",
        is_there: || runs("redis-server", &["--version"]),
        packages: &["redis-server"],
    },
    Need {
        name: "memcached",
        what_for: "replies that are compared with those of memcached",
        is_there: || runs("memcached", &["-V"]),
        packages: &["memcached"],
    },
    Need {
        name: "memccapable",
        what_for: "libmemcached's test of a server",
        // It has no option for its version: it says how it is used.
        is_there: || runs("memccapable", &["-V"]),
        packages: &["libmemcached-tools"],
    },
    Need {
        name: "nss_wrapper",
        what_for: "a host name with the addresses of several servers",
        is_there: names::is_available,
        packages: &["libnss-wrapper"],
    },
    Need {
        name: "prometheus and promtool",
        what_for: "the metrics, the alerts, and a Prometheus that reads both",
        is_there: || Prometheus::available().is_ok(),
        packages: &["prometheus"],
    },
    Need {
        name: "a browser without a screen",
        what_for: "the dashboard",
        is_there: || has_browser() || !is_debian(),
        packages: &[BROWSER],
    },
    Need {
        name: "openssl",
        what_for: "certificates for TLS to PostgreSQL",
        is_there: || runs("openssl", &["version"]),
        packages: &["openssl"],
    },
    Need {
        name: "tmux",
        what_for: "`standin top` in a terminal",
        is_there: || runs("tmux", &["-V"]),
        packages: &["tmux"],
    },
    Need {
        name: "ip",
        what_for: "network namespaces, which only root can have",
        is_there: || !is_root() || runs("ip", &["-V"]),
        packages: &["iproute2"],
    },
    Need {
        name: "nft",
        what_for: "links that are cut and datagrams that are lost, in these namespaces",
        is_there: || !is_root() || runs("nft", &["--version"]),
        packages: &["nftables"],
    },
];

const FOR_BENCHES: &[Need] = &[
    Need {
        name: "memcached",
        what_for: "the figures beside Standin's",
        is_there: || runs("memcached", &["-V"]),
        packages: &["memcached"],
    },
    Need {
        name: "redis-server and redis-benchmark",
        what_for: "the figures beside Standin's",
        is_there: || {
            runs("redis-server", &["--version"]) && runs("redis-benchmark", &["--version"])
        },
        packages: &["redis-server", "redis-tools"],
    },
    Need {
        name: "memcaslap and memcslap",
        what_for: "their load on Standin and memcached",
        is_there: || runs("memcaslap", &["--version"]) && runs("memcslap", &["--version"]),
        packages: &["libmemcached-tools"],
    },
];

const FOR_CHAOS: &[Need] = &[
    Need {
        name: "PostgreSQL server",
        what_for: "the database behind the proxy",
        is_there: || Postgres::available().is_ok(),
        packages: &["postgresql"],
    },
    Need {
        name: "ip",
        what_for: "network namespaces",
        is_there: || runs("ip", &["-V"]),
        packages: &["iproute2"],
    },
    Need {
        name: "nft",
        what_for: "cutting links and losing datagrams",
        is_there: || runs("nft", &["--version"]),
        packages: &["nftables"],
    },
];

const FOR_INCIDENTS: &[Need] = &[
    Need {
        name: "PostgreSQL server",
        what_for: "the database that is locked",
        is_there: || Postgres::available().is_ok(),
        packages: &["postgresql"],
    },
    Need {
        name: "prometheus and promtool",
        what_for: "the alerts",
        is_there: || Prometheus::available().is_ok(),
        packages: &["prometheus"],
    },
    Need {
        name: "a browser without a screen",
        what_for: "the dashboard",
        is_there: has_browser,
        packages: &[BROWSER],
    },
];

const FOR_PEERS: &[Need] = &[
    Need {
        name: "PostgreSQL server",
        what_for: "Standin before PostgreSQL",
        is_there: || Postgres::available().is_ok(),
        packages: &["postgresql"],
    },
    Need {
        name: "redis-server and redis-cli",
        what_for: "Redis Cluster",
        is_there: || runs("redis-server", &["--version"]) && runs("redis-cli", &["--version"]),
        packages: &["redis-server", "redis-tools"],
    },
    Need {
        name: "memcached",
        what_for: "memcached",
        is_there: || runs("memcached", &["-V"]),
        packages: &["memcached"],
    },
    Need {
        name: "nutcracker",
        what_for: "twemproxy",
        is_there: || Command::new("nutcracker").arg("--version").output().is_ok(),
        packages: &["nutcracker"],
    },
];

const FOR_CLIENTS: &[Need] = &[
    Need {
        name: "python3 -m venv",
        what_for: "client libraries for Python",
        is_there: || runs("python3", &["-c", "import ensurepip, venv"]),
        packages: &["python3", "python3-venv"],
    },
    Need {
        name: "PHP with its extensions memcached and redis",
        what_for: "these",
        is_there: || {
            let loaded =
                "exit(extension_loaded('memcached') && extension_loaded('redis') ? 0 : 1);";
            runs("php", &["-r", loaded])
        },
        packages: &["php-cli", "php-memcached", "php-redis"],
    },
    Need {
        name: "Illuminate",
        what_for: "Laravel's cache",
        is_there: || Path::new("/usr/share/php/Illuminate/Redis/autoload.php").exists(),
        packages: &["php-illuminate-cache", "php-illuminate-redis"],
    },
    Need { name: "ruby and gem", what_for: "Dalli", is_there: ruby::is_there, packages: &["ruby"] },
    Need {
        name: "spymemcached",
        what_for: "a client library for Java",
        is_there: || Path::new("/usr/share/java/spymemcached.jar").exists(),
        packages: &["libspymemcached-java"],
    },
    Need {
        name: "java and javac",
        what_for: "the same",
        is_there: || runs("java", &["-version"]) && runs("javac", &["-version"]),
        packages: &["default-jdk-headless"],
    },
    Need {
        name: "go with gomemcache and go-redis",
        what_for: "client libraries for Go",
        is_there: go::is_there,
        packages: go::PACKAGES,
    },
    Need {
        name: "nss_wrapper",
        what_for: "a host name with the addresses of several servers",
        is_there: names::is_available,
        packages: &["libnss-wrapper"],
    },
    Need {
        name: "redis-server and redis-cli",
        what_for: "Redis Cluster",
        is_there: || runs("redis-server", &["--version"]) && runs("redis-cli", &["--version"]),
        packages: &["redis-server", "redis-tools"],
    },
    Need {
        name: "memcached",
        what_for: "the same clients beside Standin",
        is_there: || runs("memcached", &["-V"]),
        packages: &["memcached"],
    },
    Need {
        name: "nutcracker",
        what_for: "the same clients on twemproxy",
        is_there: || Command::new("nutcracker").arg("--version").output().is_ok(),
        packages: &["nutcracker"],
    },
];

/// Checks for the programs that `cargo xtask test` needs.
pub(crate) fn for_tests(workspace: &Workspace) -> Outcome {
    let installed = components(workspace)?;
    let passed = ensure(workspace, FOR_TESTS, installed)?;
    // Python may have been installed just now.
    let mut libraries = python::ensure(workspace)?;
    if has_node() {
        libraries.extend(node::ensure(workspace)?);
    }
    if libraries.is_empty() {
        return Ok(passed);
    }
    let (before, libraries) = (passed.note, libraries.join(", "));
    let note = if before.is_empty() { "installed".to_owned() } else { before + "," };
    Ok(Passed::with_note(format!("{note} {libraries}")))
}

/// Debian's browser without a screen. Ubuntu has none that apt-get installs.
const BROWSER: &str = "chromium-headless-shell";

fn is_debian() -> bool {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    release.lines().any(|line| line == "ID=debian")
}

/// Returns whether there is a browser for the dashboard.
pub(crate) fn has_browser() -> bool {
    Browser::available().is_ok()
}

/// Returns whether libraries for Node.js can be installed.
pub(crate) fn has_node() -> bool {
    node::is_there()
}

/// Returns the variables by which a program finds the client libraries that are installed for it.
pub(crate) fn variables_of_clients(workspace: &Workspace) -> [(&'static str, OsString); 4] {
    [
        (PYTHON, python::interpreter(workspace).into()),
        (NODE_MODULES, node::modules(workspace).into()),
        (ruby::VARIABLE, ruby::gems(workspace).into()),
        (GO_PROGRAMS, go::programs(workspace).into()),
    ]
}

/// Checks for the programs that `cargo xtask bench` needs.
pub(crate) fn for_benches(workspace: &Workspace) -> Outcome {
    ensure(workspace, FOR_BENCHES, Vec::new())
}

/// Checks for the programs that `cargo xtask chaos` needs.
pub(crate) fn for_chaos(workspace: &Workspace) -> Outcome {
    ensure(workspace, FOR_CHAOS, Vec::new())
}

/// Checks for the programs that `cargo xtask incidents` needs.
pub(crate) fn for_incidents(workspace: &Workspace) -> Outcome {
    ensure(workspace, FOR_INCIDENTS, Vec::new())
}

/// Checks for the programs that `cargo xtask peers` needs.
pub(crate) fn for_peers(workspace: &Workspace) -> Outcome {
    ensure(workspace, FOR_PEERS, Vec::new())
}

/// Checks for the programs and client libraries that `cargo xtask clients` needs. What can't be installed does not
/// keep the rest from being installed.
pub(crate) fn for_clients(workspace: &Workspace) -> Outcome {
    let each = || FOR_CLIENTS.iter().map(|need| ensure(workspace, from_ref(need), Vec::new()));
    let mut failed: Vec<Failed> = match ensure(workspace, FOR_CLIENTS, Vec::new()) {
        // One package that there is none of keeps apt-get from installing any.
        Err(_) if can_install() => each().filter_map(Result::err).collect(),
        other => other.err().into_iter().collect(),
    };
    let libraries: [(fn() -> bool, Ensure); 4] = [
        (|| runs("python3", &["--version"]), python::ensure),
        (has_node, node::ensure),
        (ruby::is_there, ruby::ensure),
        (go::is_there, go::ensure),
    ];
    let ensured = libraries.into_iter().filter(|(is_there, _)| is_there());
    failed.extend(ensured.filter_map(|(_, ensure)| ensure(workspace).err()));
    if !has_node() {
        failed
            .push(Failed::new("missing: node and npm, for client libraries", "install Node.js 20"));
    }
    if failed.is_empty() {
        return Ok(Passed::default());
    }
    let join = |of: fn(&Failed) -> &str| failed.iter().map(of).collect::<Vec<_>>().join("\n");
    Err(Failed::new(join(|failed| &failed.output), join(|failed| &failed.remedy)))
}

fn ensure(workspace: &Workspace, needs: &[Need], mut installed: Vec<String>) -> Outcome {
    let missing: Vec<&Need> = needs.iter().filter(|need| !(need.is_there)()).collect();
    if !missing.is_empty() {
        let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages).copied().collect();
        if !can_install() {
            return Err(Failed::new(list(&missing), remedy(&packages)));
        }
        apt::install(&packages, &workspace.logs())?;
        let still: Vec<&Need> = missing.into_iter().filter(|need| !(need.is_there)()).collect();
        if !still.is_empty() {
            return Err(Failed::new(
                list(&still),
                format!(
                    "apt-get installed {}, but the programs are still not found; see the logs in \
                     {}",
                    packages.join(" "),
                    workspace.logs().display()
                ),
            ));
        }
        installed.extend(packages.iter().map(|&package| package.to_owned()));
    }
    Ok(Passed::with_note(if installed.is_empty() {
        String::new()
    } else {
        format!("installed {}", installed.join(", "))
    }))
}

/// rustfmt and clippy: rustup's minimal profile leaves them out, and can add them.
fn components(workspace: &Workspace) -> Result<Vec<String>, Failed> {
    let missing: Vec<&str> = [("fmt", "rustfmt"), ("clippy", "clippy")]
        .into_iter()
        .filter(|(command, _)| !quietly(&mut workspace.cargo(&[command, "--version"])))
        .map(|(_, component)| component)
        .collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let mut rustup = Command::new("rustup");
    if quietly(rustup.args(["component", "add"]).args(&missing)) {
        return Ok(missing.into_iter().map(str::to_owned).collect());
    }
    Err(Failed::new(
        format!("missing: {}", missing.join(", ")),
        format!(
            "rustup component add {}\nor, without rustup, install them with your Rust",
            missing.join(" ")
        ),
    ))
}

fn list(missing: &[&Need]) -> String {
    let lines = missing.iter().map(|need| format!("missing: {}, for {}", need.name, need.what_for));
    lines.collect::<Vec<_>>().join("\n")
}

fn remedy(packages: &[&str]) -> String {
    format!(
        "on Debian and Ubuntu: sudo apt-get install -y {}\nelsewhere install the packages with \
         similar names; PostgreSQL's `initdb` and `postgres` must be on the PATH\n(as root on \
         Debian this step installs them itself)",
        packages.join(" ")
    )
}

fn can_install() -> bool {
    is_root() && Path::new("/usr/bin/apt-get").is_file()
}

pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    // This process's own entry belongs to its effective user.
    std::fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    quietly(Command::new(program).args(arguments))
}

fn quietly(command: &mut Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let need = &FOR_TESTS[0];
        assert!(list(&[need]).contains("PostgreSQL server"));
        assert!(remedy(need.packages).contains("apt-get install -y postgresql\n"));
    }
}
