//! The connection string. Errors that the driver would report at each attempt to connect are
//! reported before the first.

use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, SslMode, SslNegotiation};

use crate::origin::OriginStartError;

const EXAMPLE: &str = "write postgres://user@host:port/database";
const NO_TLS: &str =
    "there is no TLS to the origin yet; use a private network or a local proxy, and";

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
}
