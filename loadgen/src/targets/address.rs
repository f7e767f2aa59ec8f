//! The URL of a target, as `--target` takes it.
//!
//! ```text
//! scheme://[user[:password]@]host:port[,host:port…][/database][?name=value&…]
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;

pub use super::url_error::UrlError;
use super::wire::codec::{Login, Protocol};
use super::wire::placement::{Distribution, KeyHash};
use super::wire::settings::{Ejection, Server, Settings};
use crate::placeholder::process_in;

/// The time until an ejected server is tried again, as in twemproxy.
const RETRY: Duration = Duration::from_secs(30);

/// A URL of a target. Its names are not resolved yet.
#[derive(Clone, PartialEq, Eq)]
pub struct TargetUrl {
    scheme: Scheme,
    user: Option<String>,
    password: Option<String>,
    servers: Vec<String>,
    database: u32,
    parameters: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Standin,
    Memcached,
    Redis,
    RedisCluster,
}

/// A URL's target.
#[derive(Debug, Clone)]
pub enum Resolved {
    /// A Standin cluster that can be reached at these addresses, and the number of a keyspace.
    Standin(Vec<SocketAddr>, u8),
    /// Another cache.
    Wire(Settings),
}

/// The parameters of caches; `standin` has `keyspace` alone.
const PARAMETERS: [&str; 9] = [
    "protocol",
    "distribution",
    "hash",
    "eject",
    "retry",
    "timeout",
    "reconnect",
    "connections",
    "pipeline",
];

/// Those of a cluster, which spreads keys by itself.
const CLUSTER_PARAMETERS: [&str; 5] =
    ["protocol", "timeout", "reconnect", "connections", "pipeline"];

impl FromStr for TargetUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let scheme = match scheme {
            "standin" => Scheme::Standin,
            "memcached" | "memcache" => Scheme::Memcached,
            "redis" => Scheme::Redis,
            "redis-cluster" => Scheme::RedisCluster,
            _ => return Err(UrlError::Scheme),
        };
        // A message about another part would show what it takes for one.
        let login_ends = rest.rfind('@').unwrap_or(0);
        if rest[..login_ends].contains(['/', '?']) {
            return Err(UrlError::Login(
                "user or password has a / or ?, or there is an @ behind the addresses; percent-encode it",
            ));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (rest, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match rest.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, rest),
        };
        let (user, password) = login.map(credentials).transpose()?.unwrap_or_default();
        let is_redis = matches!(scheme, Scheme::Redis | Scheme::RedisCluster);
        if login.is_some() && !is_redis {
            return Err(UrlError::Login(
                "only redis:// and redis-cluster:// take a user and a password; use --user and --password-file",
            ));
        }
        let servers: Vec<String> = hosts.split(',').map(str::to_owned).collect();
        if let Some(wrong) = servers.iter().find(|server| !is_address(server)) {
            return Err(UrlError::Address(wrong.clone()));
        }
        let database = match path {
            "" => 0,
            number => match number.parse() {
                Ok(number) if scheme == Scheme::Redis => number,
                _ => return Err(UrlError::Database(path.to_owned())),
            },
        };
        let mut parameters = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let known: &[&str] = match scheme {
                Scheme::Standin => &["keyspace"],
                Scheme::RedisCluster => &CLUSTER_PARAMETERS,
                Scheme::Memcached | Scheme::Redis => &PARAMETERS,
            };
            if !known.contains(&name) {
                let (name, known) = (name.to_owned(), known.join(", "));
                return Err(UrlError::Unknown { name, known });
            }
            if parameters.insert(name.to_owned(), value.to_owned()).is_some() {
                return Err(UrlError::Twice(name.to_owned()));
            }
        }
        let url = Self { scheme, user, password, servers, database, parameters };
        url.check()?;
        Ok(url)
    }
}

fn credentials(text: &str) -> Result<(Option<String>, Option<String>), UrlError> {
    let Some((user, password)) = text.split_once(':') else {
        return Err(UrlError::Login(
            "a user without a password; write user:password@ or :password@",
        ));
    };
    let decoded = |text: &str| {
        let text = percent_decode_str(text).decode_utf8();
        let wrong = UrlError::Login("user or password is not percent-encoded UTF-8");
        text.map(|text| text.into_owned()).map_err(|_| wrong)
    };
    let user = decoded(user)?;
    Ok((Some(user).filter(|user| !user.is_empty()), Some(decoded(password)?)))
}

fn is_address(text: &str) -> bool {
    if process_in(text).is_some() {
        return true;
    }
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    !host.is_empty() && !is_bare_v6 && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// The addresses of a name, of which a cache's client uses the first: IPv4 before IPv6, as most caches listen on
/// the former alone unless told otherwise, also where `localhost` means both.
fn in_order(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    addresses.sort_by_key(SocketAddr::is_ipv6);
    addresses
}

/// Without the password.
impl fmt::Debug for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// With `***` in the place of the password.
impl fmt::Display for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.name())?;
        if self.password.is_some() {
            write!(f, "{}:***@", self.user.as_deref().unwrap_or_default())?;
        }
        write!(f, "{}", self.servers.join(","))?;
        if self.database != 0 {
            write!(f, "/{}", self.database)?;
        }
        for (index, (name, value)) in self.parameters.iter().enumerate() {
            write!(f, "{}{name}={value}", if index == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Standin => "standin",
            Self::Memcached => "memcached",
            Self::Redis => "redis",
            Self::RedisCluster => "redis-cluster",
        }
    }
}

impl TargetUrl {
    /// Whether it is a Standin cluster.
    #[must_use]
    pub fn is_standin(&self) -> bool {
        self.scheme == Scheme::Standin
    }

    /// Whether it has a password.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// For each server the process for whose addresses it is a placeholder; `None`: it is an address.
    pub fn placeholders(&self) -> impl Iterator<Item = Option<&str>> {
        self.servers.iter().map(|server| process_in(server))
    }

    /// The servers as they are written.
    pub fn servers(&self) -> impl Iterator<Item = &str> {
        self.servers.iter().map(String::as_str)
    }

    /// Puts addresses in the places of processes.
    ///
    /// # Errors
    /// [`UrlError::NoProcess`].
    pub fn with_processes<'a>(
        &self,
        addresses: impl Fn(&str) -> Option<&'a [SocketAddr]>,
    ) -> Result<Self, UrlError> {
        let mut servers = Vec::new();
        for server in &self.servers {
            match process_in(server) {
                None => servers.push(server.clone()),
                Some(name) => {
                    let found = addresses(name).filter(|found| !found.is_empty());
                    let found = found.ok_or_else(|| UrlError::NoProcess(name.to_owned()))?;
                    servers.extend(found.iter().map(SocketAddr::to_string));
                }
            }
        }
        Ok(Self { servers, ..self.clone() })
    }

    /// Finds the addresses of the names.
    ///
    /// # Errors
    /// [`UrlError::NoAddress`].
    pub fn resolve(&self) -> Result<Resolved, UrlError> {
        let resolve = |name: &String| {
            let failed = |error| UrlError::NoAddress { name: name.clone(), error };
            let found = name.to_socket_addrs().map_err(|error| failed(error.to_string()))?;
            let addresses = in_order(found.collect());
            match addresses.first() {
                Some(first) => Ok((Server { name: name.clone(), address: *first }, addresses)),
                None => Err(failed("no address".to_owned())),
            }
        };
        let found = self.servers.iter().map(resolve).collect::<Result<Vec<_>, UrlError>>()?;
        let (servers, addresses): (Vec<Server>, Vec<Vec<SocketAddr>>) = found.into_iter().unzip();
        if self.scheme == Scheme::Standin {
            return Ok(Resolved::Standin(addresses.concat(), self.keyspace()?));
        }
        Ok(Resolved::Wire(self.settings(servers)?))
    }

    /// Reads everything but the addresses.
    fn check(&self) -> Result<(), UrlError> {
        match self.scheme {
            Scheme::Standin => self.keyspace().map(drop),
            Scheme::Memcached | Scheme::Redis | Scheme::RedisCluster => {
                self.settings(Vec::new()).map(drop)
            }
        }
    }

    fn keyspace(&self) -> Result<u8, UrlError> {
        Ok(self
            .parameter("keyspace", "write the number of a keyspace", |text| text.parse().ok())?
            .unwrap_or(1))
    }

    fn settings(&self, servers: Vec<Server>) -> Result<Settings, UrlError> {
        let is_redis = matches!(self.scheme, Scheme::Redis | Scheme::RedisCluster);
        let expected = if is_redis { "write 2 or 3" } else { "write text or meta" };
        let protocol = self.parameter("protocol", expected, |text| match (text, is_redis) {
            ("2", true) => Some(Protocol::Resp2),
            ("3", true) => Some(Protocol::Resp3),
            ("text", false) => Some(Protocol::MemcachedText),
            ("meta", false) => Some(Protocol::MemcachedMeta),
            _ => None,
        })?;
        let default = if is_redis { Protocol::Resp2 } else { Protocol::MemcachedText };
        let usual = Settings::new(protocol.unwrap_or(default), servers);
        let distribution =
            self.parameter("distribution", "write ketama, modula or jump", |text| match text {
                "ketama" => Some(Distribution::Ketama),
                "modula" => Some(Distribution::Modula),
                "jump" => Some(Distribution::Jump),
                _ => None,
            })?;
        let distribution = distribution.unwrap_or_default();
        let hash =
            self.parameter("hash", "write md5, fnv1a_64 or one_at_a_time", |text| match text {
                "md5" => Some(KeyHash::Md5),
                "fnv1a_64" => Some(KeyHash::Fnv1a64),
                "one_at_a_time" => Some(KeyHash::OneAtATime),
                _ => None,
            })?;
        let failures = self.number("eject")?;
        let retry = self.duration("retry")?.unwrap_or(RETRY);
        let connections = self.parameter("connections", "write a number of 1 to 1024", |text| {
            text.parse().ok().filter(|count| (1..=1_024).contains(count))
        })?;
        let login = Login {
            user: self.user.clone(),
            password: self.password.clone(),
            database: self.database,
        };
        Ok(Settings {
            distribution,
            hash: hash.unwrap_or(distribution.default_hash()),
            ejection: failures.map(|failures| Ejection { failures, retry }),
            timeout: self.duration("timeout")?.unwrap_or(usual.timeout),
            reconnect: self.duration("reconnect")?.unwrap_or(usual.reconnect),
            connections: connections.unwrap_or(usual.connections),
            pipeline: self.number("pipeline")?,
            is_cluster: self.scheme == Scheme::RedisCluster,
            login,
            ..usual
        })
    }

    fn number(&self, name: &'static str) -> Result<Option<u32>, UrlError> {
        self.parameter(name, "write a number of at least 1", |text| {
            text.parse().ok().filter(|number| *number > 0)
        })
    }

    fn duration(&self, name: &'static str) -> Result<Option<Duration>, UrlError> {
        self.parameter(name, "write a time of 1ms to 1h, such as 250ms or 30s", |text| {
            let range = Duration::from_millis(1)..=Duration::from_secs(3_600);
            humantime::parse_duration(text).ok().filter(|time| range.contains(time))
        })
    }

    fn parameter<T>(
        &self,
        name: &'static str,
        expected: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, UrlError> {
        // The default applies.
        let Some(value) = self.parameters.get(name) else { return Ok(None) };
        let wrong = || UrlError::Value { name, value: value.clone(), expected };
        read(value).map(Some).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        match text.parse::<TargetUrl>().unwrap().resolve().unwrap() {
            Resolved::Wire(settings) => settings,
            Resolved::Standin(..) => panic!("{text}"),
        }
    }

    #[test]
    fn urls_are_read() {
        let usual = settings("memcached://127.0.0.1:11211");
        assert_eq!(usual, Settings::new(Protocol::MemcachedText, usual.servers.clone()));
        let all = settings(
            "memcached://127.0.0.1:1,[::1]:2?protocol=meta&distribution=modula&eject=3&retry=2s\
             &timeout=100ms&reconnect=1s&connections=4&pipeline=16",
        );
        assert_eq!(all.servers[1].address, SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 2)));
        assert_eq!(all.hash, KeyHash::OneAtATime, "as libmemcached");
        let retry = Duration::from_secs(2);
        assert_eq!(all.ejection, Some(Ejection { failures: 3, retry }));
        assert_eq!(
            (all.timeout, all.reconnect),
            (Duration::from_millis(100), Duration::from_secs(1))
        );
        assert_eq!((all.connections, all.pipeline), (4, Some(16)));
        let redis = settings("redis://me:p%40ss@127.0.0.1:6379/2?protocol=3");
        let login = Login { user: Some("me".into()), password: Some("p@ss".into()), database: 2 };
        assert_eq!((redis.protocol, redis.login), (Protocol::Resp3, login));
        let cluster = settings("redis-cluster://127.0.0.1:7000,127.0.0.1:7001?connections=2");
        assert!(cluster.is_cluster && cluster.connections == 2);
        let standin = "standin://127.0.0.1:7101?keyspace=3".parse::<TargetUrl>().unwrap();
        let Ok(Resolved::Standin(addresses, 3)) = standin.resolve() else { panic!("{standin:?}") };
        assert_eq!(addresses, [SocketAddr::from(([127, 0, 0, 1], 7_101))]);
    }

    #[test]
    fn processes_have_their_places() {
        let url: TargetUrl = "memcached://{a},10.0.0.1:5,{b-1}?eject=2".parse().unwrap();
        assert_eq!(url.placeholders().collect::<Vec<_>>(), [Some("a"), None, Some("b-1")]);
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (a, b) = ([at(1), at(2)], [at(3)]);
        let filled = url.with_processes(|name| Some(if name == "a" { &a[..] } else { &b[..] }));
        let Ok(Resolved::Wire(settings)) = filled.unwrap().resolve() else { panic!("{url:?}") };
        let names: Vec<&str> = settings.servers.iter().map(|server| &*server.name).collect();
        assert_eq!(names, ["127.0.0.1:1", "127.0.0.1:2", "10.0.0.1:5", "127.0.0.1:3"]);
        let none = url.with_processes(|_| None).unwrap_err();
        assert_eq!(none, UrlError::NoProcess("a".to_owned()));
    }

    #[test]
    fn a_name_with_addresses_of_both_kinds_means_ipv4() {
        let [v6, first, second] =
            ["[::1]:1", "127.0.0.1:1", "127.0.0.2:1"].map(|a| a.parse().unwrap());
        assert_eq!(in_order(vec![v6, first, second]), [first, second, v6]);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, what) in [
            ("127.0.0.1:11211", "memcached://"),
            ("http://a:1", "memcached://"),
            ("memcached://", "host:port"),
            ("memcached://a:1,b", "\"b\" is not host:port"),
            ("memcached://::1:1", "host:port"),
            ("memcached://a:0", "host:port"),
            ("memcached://u:p@a:1", "only redis://"),
            ("memcached://a:1/3", "only redis://"),
            ("redis://a:1/x", "number"),
            ("redis://u@a:1", ":password@"),
            ("redis://a:1?protocol=meta", "2 or 3"),
            ("redis://a:1?keyspace=1", "there are: protocol"),
            ("standin://a:1?hash=md5", "there are: keyspace"),
            ("redis-cluster://a:1?eject=1", "there are: protocol"),
            ("memcached://a:1?eject=0", "at least 1"),
            ("redis://a:1?timeout=5s&timeout=6s", "timeout is there twice"),
            ("memcached://a:1?timeout=5", "250ms"),
            ("memcached://a:1?distribution=random", "ketama"),
        ] {
            let error = text.parse::<TargetUrl>().unwrap_err().to_string();
            assert!(error.contains(what), "{text}: {error}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let url = "redis://me:secret@127.0.0.1:6379".parse::<TargetUrl>().unwrap();
        assert!(!format!("{url:?} {:?}", url.resolve()).contains("secret"));
        assert_eq!(url.to_string(), "redis://me:***@127.0.0.1:6379");
        let all = "redis-cluster://:secret@a:1,b:2?pipeline=4&timeout=1s";
        let shown = all.parse::<TargetUrl>().unwrap().to_string();
        assert_eq!(shown, "redis-cluster://:***@a:1,b:2?pipeline=4&timeout=1s");
        let other = "memcached://a:1?protocol=meta";
        assert_eq!(other.parse::<TargetUrl>().unwrap().to_string(), other);
    }
}
