//! The connection string. Errors that the driver would report at each attempt to connect are
//! reported before the first.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, Host, SslMode, SslNegotiation};

use crate::origin::OriginStartError;

/// The port of PostgreSQL.
const PORT: u16 = 5_432;
const EXAMPLE: &str = "write postgres://user@host:port/database";
const NO_TLS: &str =
    "there is no TLS to the origin yet; use a private network or a local proxy, and";

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
        let cause =
            std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        OriginStartError::Url(format!("{error}{cause}; {EXAMPLE}"))
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
    if config.get_ssl_mode() == SslMode::Require {
        return Some(format!("sslmode=require cannot be met: {NO_TLS} sslmode=prefer"));
    }
    if config.get_channel_binding() == ChannelBinding::Require {
        return Some(format!("channel_binding=require cannot be met: {NO_TLS} leave it out"));
    }
    if config.get_ssl_negotiation() == SslNegotiation::Direct {
        return Some(format!("sslnegotiation=direct cannot be met: {NO_TLS} leave it out"));
    }
    None
}

/// Checks what can be checked of it without a connection.
///
/// # Errors
/// As [`read`].
pub(in crate::origin) fn check(url: &str) -> Result<(), OriginStartError> {
    read(url).map(drop)
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
            ("postgres://u@h/d?sslmode=require", "no TLS"),
            ("postgres://u@h/d?channel_binding=require", "no TLS"),
            ("postgres://u@h/d?sslnegotiation=direct", "no TLS"),
        ] {
            let said = check(url).map_err(|error| error.to_string()).unwrap_err();
            assert!(said.starts_with("[origin] url: ") && said.contains(wanted), "{url}: {said}");
        }
        for url in ["postgres://u@h", "host=a,b port=1", "postgresql://u@h/d?sslmode=disable"] {
            assert!(check(url).is_ok(), "{url}");
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
