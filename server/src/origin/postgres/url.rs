//! The connection string. Errors that the driver would report at each attempt to connect are
//! reported before the first.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::origin::OriginStartError;

/// The port of PostgreSQL.
pub(super) const PORT: u16 = 5_432;
const EXAMPLE: &str = "write postgres://user@host:port/database";
/// The driver's names of settings of libpq that are keys of `[origin]`: it knows none of them, or not
/// all of their values.
const KEYS_OF_THE_FILE: [&str; 5] = ["sslmode", "sslrootcert", "sslcert", "sslkey", "passfile"];

/// A place where PostgreSQL is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseHost {
    /// A host name, which may be an address, and a port.
    Name(String, u16),
    /// An address that needs no resolving.
    Address(SocketAddr),
    /// A Unix socket.
    Socket(PathBuf),
}

/// Parses it.
///
/// # Errors If it can't work.
pub(super) fn read(url: &str) -> Result<Config, OriginStartError> {
    let config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        let is_about = |key: &&&str| cause.ends_with(&format!("option `{key}`"));
        OriginStartError::Url(match KEYS_OF_THE_FILE.iter().find(is_about) {
            Some(key) => format!("`{key}` is a key of [origin]; write `{key} = …` there"),
            None if cause.is_empty() => format!("{error}; {EXAMPLE}"),
            None => format!("{error}: {cause}; {EXAMPLE}"),
        })
    })?;
    match hindrance(&config) {
        Some(message) => Err(OriginStartError::Url(message)),
        None => Ok(config),
    }
}

fn hindrance(config: &Config) -> Option<String> {
    let (hosts, addresses) = (config.get_hosts().len(), config.get_hostaddrs().len());
    let count = hosts.max(addresses);
    if count == 0 {
        return Some(format!("it names no host; {EXAMPLE}"));
    }
    if hosts > 0 && addresses > 0 && hosts != addresses {
        return Some(format!("{hosts} host and {addresses} hostaddr; write one for each"));
    }
    let ports = config.get_ports().len();
    if ports > 1 && ports != count {
        return Some(format!(
            "{ports} ports for {count} hosts; write one for each, or one for all"
        ));
    }
    let is_strange = |host: &Host| matches!(host, Host::Tcp(name) if name.contains('@'));
    if config.get_hosts().iter().any(is_strange) {
        // The host would be part of a password, and be shown.
        return Some(format!("a host has `@`; write `%40` for it in a password; {EXAMPLE}"));
    }
    None
}

/// Whether it contains a password, as far as it can be parsed.
pub(in crate::origin) fn has_password(url: &str) -> bool {
    url.parse::<Config>().is_ok_and(|config| config.get_password().is_some())
}

/// The places that it names, in its order, as far as it can be parsed.
pub(in crate::origin) fn hosts(url: &str) -> Vec<DatabaseHost> {
    let Ok(config) = read(url) else { return Vec::new() };
    let (hosts, addresses, ports) =
        (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let of = |at: usize| {
        let port = ports.get(at).or(ports.first()).copied().unwrap_or(PORT);
        match (addresses.get(at), hosts.get(at)) {
            (Some(address), _) => Some(DatabaseHost::Address((*address, port).into())),
            (None, Some(Host::Tcp(name))) => Some(DatabaseHost::Name(name.clone(), port)),
            (None, Some(Host::Unix(folder))) => {
                Some(DatabaseHost::Socket(folder.join(format!(".s.PGSQL.{port}"))))
            }
            (None, None) => None,
        }
    };
    (0..hosts.len().max(addresses.len())).filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_server_could_be_reached_with_is_refused_at_once() {
        for (url, wanted) in [
            ("nonsense", "postgres://user@host"),
            ("mysql://u@h/d", "postgres://user@host"),
            ("user=u dbname=d", "names no host"),
            ("host=a,b,c port=1,2", "2 ports for 3 hosts"),
            ("host=a,b hostaddr=127.0.0.1", "2 host and 1 hostaddr"),
            ("postgres://u@h/d?sslmode=verify-full", "write `sslmode = …` there"),
            ("postgres://u@h/d?sslrootcert=ca.crt", "write `sslrootcert = …` there"),
            ("host=h user=u passfile=/p", "write `passfile = …` there"),
            ("postgres://u:pass@word@h/d", "write `%40`"),
        ] {
            let said = read(url).map(drop).map_err(|error| error.to_string()).unwrap_err();
            assert!(said.starts_with("[origin] url: ") && said.contains(wanted), "{url}: {said}");
        }
        for url in ["postgres://u@h", "host=a,b port=1", "postgresql://u@h/d?sslmode=require"] {
            assert!(read(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn the_places_of_the_server_are_those_of_the_string() {
        let name = |name: &str, port| DatabaseHost::Name(name.to_owned(), port);
        for (url, wanted) in [
            ("postgres://u:p@h/d", vec![name("h", 5_432)]),
            ("postgres://u@h,h2:5433/d", vec![name("h", 5_432), name("h2", 5_433)]),
            ("host=a,b port=7", vec![name("a", 7), name("b", 7)]),
            (
                "host=a hostaddr=127.0.0.9 port=1",
                vec![DatabaseHost::Address(([127, 0, 0, 9], 1).into())],
            ),
            (
                "host=/run/postgresql user=u",
                vec![DatabaseHost::Socket("/run/postgresql/.s.PGSQL.5432".into())],
            ),
            ("nonsense", vec![]),
        ] {
            assert_eq!(hosts(url), wanted, "{url}");
        }
    }
}
