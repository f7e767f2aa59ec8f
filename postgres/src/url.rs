//! The connection string. Errors that the driver would report at each attempt to connect are
//! reported before the first.

use std::net::SocketAddr;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use standin_config::{
    ClientCertificate, PasswordSource, PostgresAccess, RootCertificates, SslMode,
};
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::error::UrlError;

/// The port of PostgreSQL.
pub(crate) const PORT: u16 = 5_432;
/// The value of `sslrootcert` that names no file.
const SYSTEM: &str = "system";
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

/// Parses it. What `[origin]` has keys for is refused, but what the driver knows of `sslmode`.
///
/// # Errors If it can't work.
pub fn read(url: &str) -> Result<Config, UrlError> {
    let config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        let is_about = |key: &&&str| cause.ends_with(&format!("option `{key}`"));
        UrlError(match KEYS_OF_THE_FILE.iter().find(is_about) {
            Some(key) => format!("`{key}` is a key of [origin]; write `{key} = …` there"),
            None if cause.is_empty() => format!("{error}; {EXAMPLE}"),
            None => format!("{error}: {cause}; {EXAMPLE}"),
        })
    })?;
    match hindrance(&config) {
        Some(message) => Err(UrlError(message)),
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

/// Divides a URL before its parameters. A question mark before the first `@` is one of the password, as for the driver.
#[must_use]
pub fn split_query(url: &str) -> (&str, Option<&str>) {
    let login = url.find('@').unwrap_or(0);
    match url[login..].find('?') {
        Some(at) => (&url[..login + at], Some(&url[login + at + 1..])),
        None => (url, None),
    }
}

/// Takes out of a URL without a cluster file what a cluster file would say in `[origin]`: `sslmode`, `sslrootcert`,
/// `sslcert`, `sslkey` and `passfile`, as libpq has them in a URL. Returns the rest, for [`read`].
///
/// # Errors
/// If they can't be had together, or `sslmode` is none.
pub fn take_access(url: &str) -> Result<(String, PostgresAccess), UrlError> {
    let (front, Some(query)) = split_query(url) else {
        return Ok((url.to_owned(), PostgresAccess::default()));
    };
    let mut access = PostgresAccess::default();
    let (mut certificate, mut key, mut others) = (None, None, Vec::new());
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = || {
            let decoded = percent_decode_str(value).decode_utf8();
            let text = decoded.map_err(|_| UrlError(format!("{name} is not UTF-8; {EXAMPLE}")))?;
            match text.is_empty() {
                true => Err(UrlError(format!("{name} is empty; leave it out, or write its value"))),
                false => Ok(text.into_owned()),
            }
        };
        match name {
            "sslmode" => access.sslmode = Some(mode(&value()?)?),
            "sslrootcert" => {
                access.sslrootcert = Some(match value()? {
                    file if file == SYSTEM => RootCertificates::System,
                    file => RootCertificates::File(absolute(file)),
                });
            }
            "sslcert" => certificate = Some(absolute(value()?)),
            "sslkey" => key = Some(absolute(value()?)),
            "passfile" => access.password = PasswordSource::Passfile(absolute(value()?)),
            _ => others.push(pair),
        }
    }
    access.client_certificate = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(ClientCertificate { certificate, key }),
        (None, None) => None,
        _ => {
            let text = "a certificate is used with its private key; write both sslcert and sslkey";
            return Err(UrlError(text.to_owned()));
        }
    };
    if let Some((key, wrong)) = access.misfit() {
        return Err(UrlError(format!("{key} {wrong}")));
    }
    let rest = match others.is_empty() {
        true => front.to_owned(),
        false => format!("{front}?{}", others.join("&")),
    };
    Ok((rest, access))
}

/// A path that means the same wherever a cluster file with it is.
fn absolute(path: String) -> PathBuf {
    std::path::absolute(&path).unwrap_or_else(|_| path.into())
}

fn mode(word: &str) -> Result<SslMode, UrlError> {
    let found = SslMode::ALL.iter().find(|(known, _)| *known == word);
    found.map(|(_, mode)| *mode).ok_or_else(|| {
        let words: Vec<&str> = SslMode::ALL.iter().map(|(word, _)| *word).collect();
        UrlError(format!("sslmode={word} is unknown; write one of {}", words.join(", ")))
    })
}

/// Whether it contains a password, as far as it can be parsed.
#[must_use]
pub fn has_password(url: &str) -> bool {
    url.parse::<Config>().is_ok_and(|config| config.get_password().is_some())
}

/// The places that it names, in its order, as far as it can be parsed.
#[must_use]
pub fn hosts(url: &str) -> Vec<DatabaseHost> {
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
            assert!(said.contains(wanted), "{url}: {said}");
        }
        for url in ["postgres://u@h", "host=a,b port=1", "postgresql://u@h/d?sslmode=require"] {
            assert!(read(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn a_question_mark_in_a_password_begins_no_parameters() {
        let (rest, access) =
            take_access("postgres://u:wh?t&sslmode=x@h/d?sslmode=require").unwrap();
        assert_eq!(rest, "postgres://u:wh?t&sslmode=x@h/d");
        assert_eq!(access.sslmode, Some(SslMode::Require));
        let config = read(&rest).unwrap();
        assert_eq!(config.get_password(), Some(&b"wh?t&sslmode=x"[..]));
        assert_eq!(config.get_hosts(), [Host::Tcp("h".to_owned())]);
        assert_eq!(split_query("postgres://h/d?a=b"), ("postgres://h/d", Some("a=b")));
        assert_eq!(split_query("postgres://u:a?b@h"), ("postgres://u:a?b@h", None));
    }

    #[test]
    fn a_url_without_a_cluster_file_has_the_settings_of_libpq() {
        let url = "postgres://u@h/d?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.crt&connect_timeout=3&sslcert=/c&\
                   sslkey=/k&passfile=/p";
        let (rest, access) = take_access(url).unwrap();
        assert_eq!(rest, "postgres://u@h/d?connect_timeout=3");
        let expected = PostgresAccess {
            password: PasswordSource::Passfile("/p".into()),
            sslmode: Some(SslMode::VerifyFull),
            sslrootcert: Some(RootCertificates::File("/etc/ca.crt".into())),
            client_certificate: Some(ClientCertificate {
                certificate: "/c".into(),
                key: "/k".into(),
            }),
        };
        assert_eq!(access, expected);
        assert!(read(&rest).is_ok());
        for plain in ["postgres://u@h/d", "postgres://u@h/d?connect_timeout=3"] {
            assert_eq!(take_access(plain), Ok((plain.to_owned(), PostgresAccess::default())));
        }
        let system = take_access("postgres://u@h?sslmode=verify-full&sslrootcert=system").unwrap();
        assert_eq!(
            (&*system.0, system.1.sslrootcert),
            ("postgres://u@h", Some(RootCertificates::System))
        );
        for (query, wanted) in [
            ("sslmode=allow", "write one of disable, prefer, require, verify-ca, verify-full"),
            ("sslmode=verify-ca", "needs authorities"),
            ("sslrootcert=x", "another `sslmode`"),
            ("sslmode=verify-ca&sslrootcert=system", "verify-full"),
            ("sslcert=x", "write both"),
            ("sslmode=", "sslmode is empty"),
            ("sslkey=%ff&sslcert=x", "not UTF-8"),
        ] {
            let said = take_access(&format!("postgres://u:s3cret@h/d?{query}")).unwrap_err().0;
            assert!(said.contains(wanted) && !said.contains("s3cret"), "{query}: {said}");
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
