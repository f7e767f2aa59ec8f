//! Client libraries of other languages, as programs use them: each is driven by a script of its own in
//! `testkit/languages/`, and everything that it reads is judged here.
//!
//! ```text
//! script.rs   a running script, and what it answers
//! load.rs     threads that read and write through scripts, on a fixed schedule
//! judge.rs    what a read may return after what was acknowledged; pure
//! names.rs    a host name with the addresses of several servers
//! ```
//!
//! # The lines
//! A script is started as `SCRIPT SERVICE ADDRESS,… NAME`, or as `SCRIPT version`, and says its client and the
//! version of that first. Then it reads commands, one per line, and answers each by a line of JSON:
//!
//! | command | answer |
//! |---|---|
//! | `set KEY VALUE`, `delete KEY` | `{"ok":true}` |
//! | `get KEY`, `many KEY…` | `{"values":["1",null]}`, one for each key |
//! | any of these that fails after the client's own attempts | `{"error":"…"}` |
//! | `check PREFIX` | `{"check":"…","wrong":null}` for each check, with what was wrong, then `{"done":true}` |

pub mod judge;
pub mod load;
pub mod names;
pub mod script;

use std::path::{Path, PathBuf};
use std::process::Command;

pub use load::Load;
pub use script::Script;

/// The folder of the scripts.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/languages");
/// The variable that names the Python that has the libraries.
pub const PYTHON: &str = "STANDIN_PYTHON";
/// The variable that names the folder with the libraries of Node.
pub const NODE_MODULES: &str = "STANDIN_NODE_MODULES";
/// The variable that names the folder with the compiled scripts in Go.
pub const GO_PROGRAMS: &str = "STANDIN_GO_PROGRAMS";
/// Debian's place of the library.
const SPYMEMCACHED: &str = "/usr/share/java/spymemcached.jar";

/// A language, and with it the program that runs the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// The interpreter that [`PYTHON`] names, or `python3`.
    Python,
    /// `node`, with the libraries in [`NODE_MODULES`].
    Node,
    /// `php`.
    Php,
    /// `ruby`.
    Ruby,
    /// `java`, which compiles the script as it starts.
    Java,
    /// The program in [`GO_PROGRAMS`] that has the script's name without its ending.
    Go,
}

/// The protocol that a script is told to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// memcached's, text or meta.
    Memcached,
    /// Redis', of a single server.
    Redis,
    /// Redis', of a cluster.
    RedisCluster,
}

/// A client library, or the cache of a framework.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Library {
    /// The name in tables, and for `--only`.
    pub name: &'static str,
    /// The file in `testkit/languages/`.
    pub script: &'static str,
    /// The language of the script.
    pub language: Language,
    /// What it can speak.
    pub services: &'static [Service],
    /// The text that it puts before each key.
    pub key_prefix: &'static str,
    /// What has to be installed.
    pub needs: &'static str,
}

const REDIS: &[Service] = &[Service::Redis, Service::RedisCluster];

/// All client libraries that there are scripts for.
pub const LIBRARIES: &[Library] = &[
    Library {
        name: "pymemcache",
        script: "pymemcache_client.py",
        language: Language::Python,
        services: &[Service::Memcached],
        key_prefix: "",
        needs: "pymemcache (PyPI)",
    },
    Library {
        name: "pylibmc",
        script: "pylibmc_client.py",
        language: Language::Python,
        services: &[Service::Memcached],
        key_prefix: "",
        needs: "pylibmc (PyPI)",
    },
    Library {
        name: "Django",
        script: "django_cache.py",
        language: Language::Python,
        services: &[Service::Memcached, Service::Redis],
        key_prefix: ":1:",
        needs: "Django, pymemcache and redis (PyPI)",
    },
    Library {
        name: "Django, repeating",
        script: "django_retrying.py",
        language: Language::Python,
        services: &[Service::Memcached],
        key_prefix: ":1:",
        needs: "Django and pymemcache (PyPI)",
    },
    Library {
        name: "redis-py",
        script: "redis_client.py",
        language: Language::Python,
        services: REDIS,
        key_prefix: "",
        needs: "redis (PyPI)",
    },
    Library {
        name: "ioredis",
        script: "ioredis_client.js",
        language: Language::Node,
        services: REDIS,
        key_prefix: "",
        needs: "Node.js 20, and ioredis (npm)",
    },
    Library {
        name: "node-redis",
        script: "node_redis_client.js",
        language: Language::Node,
        services: REDIS,
        key_prefix: "",
        needs: "Node.js 20, and redis (npm)",
    },
    Library {
        name: "PHP memcached",
        script: "memcached_extension.php",
        language: Language::Php,
        services: &[Service::Memcached],
        key_prefix: "",
        needs: "php-cli and php-memcached (Debian)",
    },
    Library {
        name: "PHP redis",
        script: "redis_extension.php",
        language: Language::Php,
        services: REDIS,
        key_prefix: "",
        needs: "php-cli and php-redis (Debian)",
    },
    Library {
        name: "Laravel",
        script: "laravel_cache.php",
        language: Language::Php,
        services: &[Service::Memcached, Service::Redis],
        key_prefix: "",
        needs: "php-illuminate-cache, php-illuminate-redis, php-memcached and php-redis (Debian)",
    },
    Library {
        name: "Dalli",
        script: "dalli_client.rb",
        language: Language::Ruby,
        services: &[Service::Memcached],
        key_prefix: "",
        needs: "ruby and dalli, 3.2 or newer (before that it has no meta protocol)",
    },
    Library {
        name: "spymemcached",
        script: "Spymemcached.java",
        language: Language::Java,
        services: &[Service::Memcached],
        key_prefix: "",
        needs: "Java 17 and libspymemcached-java (Debian)",
    },
    Library {
        name: "gomemcache",
        script: "gomemcache_client.go",
        language: Language::Go,
        services: &[Service::Memcached],
        key_prefix: "",
        needs: "golang-go and golang-github-bradfitz-gomemcache-dev (Debian)",
    },
    Library {
        name: "go-redis",
        script: "go_redis_client.go",
        language: Language::Go,
        services: REDIS,
        key_prefix: "",
        needs: "golang-go and golang-gopkg-redis.v5-dev (Debian)",
    },
];

impl Service {
    /// The word by which a script knows it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Memcached => "memcached",
            Self::Redis => "redis",
            Self::RedisCluster => "redis-cluster",
        }
    }
}

impl Library {
    /// Returns the library of this name.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn of(name: &str) -> &'static Self {
        let found = LIBRARIES.iter().find(|library| library.name == name);
        found.unwrap_or_else(|| panic!("no library {name}"))
    }

    /// Returns the name and the version that the script gives, or `None` if the library is not installed.
    #[must_use]
    pub fn version(&self) -> Option<(String, String)> {
        let output = self.command().arg("version").output().ok()?;
        let first = String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned();
        let said: script::Line = serde_json::from_str(&first).ok()?;
        if output.status.success() { said.client.zip(said.version) } else { None }
    }

    /// Returns the program with the script as its argument.
    fn command(&self) -> Command {
        let script = Path::new(FOLDER).join(self.script);
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let mut command = match self.language {
            Language::Python => {
                let mut command =
                    Command::new(variable(PYTHON).unwrap_or_else(|| "python3".into()));
                command.env("PYTHONDONTWRITEBYTECODE", "1");
                command
            }
            Language::Node => {
                let mut command = Command::new("node");
                command.envs(variable(NODE_MODULES).map(|folder| ("NODE_PATH", folder)));
                command
            }
            Language::Php => Command::new("php"),
            Language::Ruby => Command::new("ruby"),
            Language::Java => {
                let mut command = Command::new("java");
                // Four of them run at a time.
                command.args(["-XX:+UseSerialGC", "-Xmx128m", "-cp", SPYMEMCACHED]);
                command
            }
            Language::Go => {
                let folder = variable(GO_PROGRAMS).unwrap_or_default();
                let mut command =
                    Command::new(folder.join(Path::new(self.script).with_extension("")));
                // Its own resolver does not know the names of names.rs.
                command.env("GODEBUG", "netdns=cgo");
                return command;
            }
        };
        command.arg(script);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_library_has_its_script_and_a_name_of_its_own() {
        for library in LIBRARIES {
            assert!(Path::new(FOLDER).join(library.script).is_file(), "{}", library.script);
            assert_eq!(Library::of(library.name), library);
        }
    }
}
