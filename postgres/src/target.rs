//! The server to connect to: the hosts of the connection string, each with its password and TLS.
//!
//! The driver would try the hosts by itself, but with one password for all. A passfile has one for each
//! host, and a Unix socket has no TLS whatever `sslmode` says.

use std::fmt;
use std::io::ErrorKind;

use standin_config::{PostgresAccess, SslMode};
use tokio_postgres::config::{self, ChannelBinding, Host, LoadBalanceHosts, SslNegotiation};
use tokio_postgres::{CancelToken, Client, Config, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{ConnectError, UrlError, with_cause};
use crate::password::{For, PasswordError, Passwords};
use crate::tls::{self, TlsError};
use crate::url::PORT;

/// The folder of PostgreSQL's socket in which a passfile calls it `localhost`.
const USUAL_SOCKET_FOLDERS: [&str; 2] = ["/tmp", "/var/run/postgresql"];

/// The reason why nobody can be connected to before anybody is asked.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The password.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// A certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A client and the bytes of its connection.
pub type Connected = (Client, Connection<Socket, Tls>);
type Tls = <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<Socket>>::Stream;

/// The connection string, and the access to its hosts.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    url: Config,
    mode: SslMode,
    access: PostgresAccess,
}

/// Without the connection string, which may have a password.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Target");
        shown.field("mode", &self.mode).field("access", &self.access).finish_non_exhaustive()
    }
}

/// What has been read for an attempt to connect.
struct Keys {
    passwords: Passwords,
    tls: MakeRustlsConnect,
}

impl Target {
    /// The target of a connection string and what it leaves out.
    ///
    /// # Errors
    /// If the two contradict each other.
    pub fn new(url: Config, access: &PostgresAccess) -> Result<Self, UrlError> {
        let mode = access.sslmode.unwrap_or(match url.get_ssl_mode() {
            config::SslMode::Disable => SslMode::Disable,
            config::SslMode::Require => SslMode::Require,
            _ => SslMode::Prefer,
        });
        // As by libpq.
        let mode = match mode {
            SslMode::Require if access.sslrootcert.is_some() => SslMode::VerifyCa,
            mode => mode,
        };
        let wrong = |text: String| Err(UrlError(text));
        if access.password != standin_config::PasswordSource::Usual && url.get_password().is_some()
        {
            return wrong(
                "it has a password, and `passfile`, `password_file` or `password_env` names another place of it; remove one"
                    .to_owned(),
            );
        }
        let has_always = !matches!(mode, SslMode::Disable | SslMode::Prefer);
        if url.get_ssl_negotiation() == SslNegotiation::Direct && !has_always {
            return wrong(format!(
                "sslnegotiation=direct begins with TLS, which sslmode {} does not need; write sslmode \
                 verify-full, or leave it out",
                mode.name()
            ));
        }
        if url.get_channel_binding() == ChannelBinding::Require && !has_always {
            return wrong(format!(
                "channel_binding=require needs TLS, which sslmode {} does not; write sslmode \
                 verify-full, or leave it out",
                mode.name()
            ));
        }
        Ok(Self { url, mode, access: access.clone() })
    }

    /// The same target, with more `options` for its sessions.
    #[must_use]
    pub fn with_options(&self, more: &str) -> Self {
        let mut target = self.clone();
        let options = format!("{} {more}", self.url.get_options().unwrap_or_default());
        target.url.options(options.trim_start());
        target
    }

    /// Reads the password and the certificates, to see that it can be done.
    ///
    /// # Errors
    /// If a file or variable can't be used.
    pub fn check(&self) -> Result<(), AccessError> {
        let keys = self.read()?;
        (0..self.hosts()).try_for_each(|at| self.place(at, &keys).map(drop))
    }

    fn read(&self) -> Result<Keys, AccessError> {
        let passwords = match self.url.get_password() {
            Some(password) => Passwords::One(Some(password.to_owned())),
            None => Passwords::read(&self.access.password)?,
        };
        Ok(Keys { passwords, tls: tls::connector(&self.access, self.mode)? })
    }

    fn hosts(&self) -> usize {
        self.url.get_hosts().len().max(self.url.get_hostaddrs().len())
    }

    /// Asks the server to end the statement that a session executes now. Nobody is told whether it does.
    ///
    /// # Errors
    /// There was no connection to ask it by.
    pub async fn cancel(&self, session: &CancelToken) -> Result<(), ConnectError> {
        let (access, mode) = (self.access.clone(), self.mode);
        let tls = in_background(move || tls::connector(&access, mode)).await?;
        let tls = tls.map_err(|error| ConnectError::Access(error.to_string()))?;
        Ok(session.cancel_query(tls).await?)
    }

    /// Connects to the first host that takes the connection.
    ///
    /// # Errors
    /// The error of the last host.
    pub async fn connect(&self) -> Result<Connected, ConnectError> {
        let access = |error: AccessError| ConnectError::Access(error.to_string());
        let target = self.clone();
        let keys = in_background(move || target.read()).await?.map_err(access)?;
        let mut last = ConnectError::Unreachable("the connection string has no host".to_owned());
        for at in self.order() {
            let place = self.place(at, &keys).map_err(access)?;
            match place.connect(keys.tls.clone()).await {
                Ok(connected) => return Ok(connected),
                Err(error) => last = self.explained(&error, at),
            }
        }
        Err(last)
    }

    /// The hosts in the order in which they are tried.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.hosts()).collect();
        if self.url.get_load_balance_hosts() == LoadBalanceHosts::Random {
            for last in (1..order.len()).rev() {
                let random = getrandom::u32().unwrap_or(0) as usize;
                order.swap(last, random % (last + 1));
            }
        }
        order
    }

    /// The driver's settings for one host.
    fn place(&self, at: usize, keys: &Keys) -> Result<Config, AccessError> {
        let url = &self.url;
        let (name, address) = (url.get_hosts().get(at), url.get_hostaddrs().get(at));
        let port = url.get_ports().get(at).or(url.get_ports().first()).copied().unwrap_or(PORT);
        let mut place = Config::new();
        let mut is_socket = false;
        match (name, address) {
            (Some(Host::Tcp(name)), _) => {
                place.host(name);
            }
            (Some(Host::Unix(folder)), _) => {
                is_socket = address.is_none();
                place.host_path(folder);
            }
            // TLS wants something to call the server by.
            (None, Some(address)) => {
                place.host(address.to_string());
            }
            (None, None) => {}
        }
        if let Some(address) = address {
            place.hostaddr(*address);
        }
        place.port(port);
        place.ssl_mode(match self.mode {
            SslMode::Disable => config::SslMode::Disable,
            _ if is_socket => config::SslMode::Disable,
            SslMode::Prefer => config::SslMode::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => config::SslMode::Require,
        });
        copy_other(url, &mut place);
        let host = self.host(at);
        let host = if USUAL_SOCKET_FOLDERS.contains(&&*host) { "localhost" } else { &host };
        let wanted = For { host, port, database: url.get_dbname(), user: url.get_user() };
        if let Some(password) = keys.passwords.of(&wanted)? {
            place.password(password);
        }
        Ok(place)
    }

    /// The name of a host, as the connection string has it.
    fn host(&self, at: usize) -> String {
        match (self.url.get_hosts().get(at), self.url.get_hostaddrs().get(at)) {
            (Some(Host::Tcp(name)), _) => name.clone(),
            (Some(Host::Unix(folder)), _) => folder.display().to_string(),
            (None, Some(address)) => address.to_string(),
            (None, None) => String::new(),
        }
    }

    fn explained(&self, error: &tokio_postgres::Error, at: usize) -> ConnectError {
        if error.as_db_error().is_some() {
            return ConnectError::Refused(with_cause(error));
        }
        let host = self.host(at);
        if let Some(error) = tls_error(error) {
            return ConnectError::Tls(tls::explain(error, &host));
        }
        match with_cause(error) {
            said if said.contains("server does not support TLS") => ConnectError::Tls(format!(
                "{host} does not have it; set `ssl = on` in postgresql.conf, or write `sslmode = \
                 \"prefer\"` if nobody else has access to the network"
            )),
            said if said.contains("password missing") => ConnectError::Refused(format!(
                "{host} asks for a password, and none is given; write `password_file` in [origin], or in a \
                     URL without a cluster file `passfile=FILE` or user:password@host"
            )),
            // The reason may be lost when the server closes the connection.
            said if self.access.client_certificate.is_some() && was_cut(error) => {
                ConnectError::Tls(format!(
                    "{host} has closed the connection ({said}); if its log says that it refuses the \
                     certificate of this side, give one that its authority (ssl_ca_file) has signed, \
                     as `sslcert` and `sslkey`"
                ))
            }
            said => ConnectError::Unreachable(said),
        }
    }
}

/// Reads files beside the loop: a disk may be slow, and the calls of other connections must not wait for it.
async fn in_background<T: Send + 'static>(
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ConnectError> {
    let read = tokio::task::spawn_blocking(read).await;
    read.map_err(|error| ConnectError::Unreachable(error.to_string()))
}

/// Whether a connection that was there was closed.
fn was_cut(error: &tokio_postgres::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    let kind = cause.map(std::io::Error::kind);
    matches!(
        kind,
        Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof)
    )
}

/// The error of TLS by which the driver's error was caused.
fn tls_error(error: &tokio_postgres::Error) -> Option<&rustls::Error> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(error) = inner.and_then(|inner| inner.downcast_ref()) {
            return Some(error);
        }
        cause = error.source();
    }
    None
}

/// Copies everything that is the same for all hosts, except the password.
fn copy_other(from: &Config, to: &mut Config) {
    if let Some(user) = from.get_user() {
        to.user(user);
    }
    if let Some(name) = from.get_dbname() {
        to.dbname(name);
    }
    if let Some(options) = from.get_options() {
        to.options(options);
    }
    if let Some(name) = from.get_application_name() {
        to.application_name(name);
    }
    if let Some(timeout) = from.get_connect_timeout() {
        to.connect_timeout(*timeout);
    }
    if let Some(timeout) = from.get_tcp_user_timeout() {
        to.tcp_user_timeout(*timeout);
    }
    if let Some(interval) = from.get_keepalives_interval() {
        to.keepalives_interval(interval);
    }
    if let Some(retries) = from.get_keepalives_retries() {
        to.keepalives_retries(retries);
    }
    to.keepalives(from.get_keepalives())
        .keepalives_idle(from.get_keepalives_idle())
        .ssl_negotiation(from.get_ssl_negotiation())
        .target_session_attrs(from.get_target_session_attrs())
        .channel_binding(from.get_channel_binding())
        .load_balance_hosts(from.get_load_balance_hosts());
}

#[cfg(test)]
mod tests {
    use standin_config::{PasswordSource, RootCertificates};

    use super::*;

    fn target(url: &str, access: PostgresAccess) -> Result<Target, UrlError> {
        Target::new(url.parse().unwrap(), &access)
    }

    fn none() -> Keys {
        let access = PostgresAccess::default();
        let tls = tls::connector(&access, SslMode::Prefer).unwrap();
        Keys { passwords: Passwords::One(None), tls }
    }

    /// A setting of the driver that is not copied would be lost.
    #[test]
    fn one_host_has_the_settings_of_the_connection_string() {
        for url in [
            "postgres://u@h:5433/d?options=-c%20x%3Dy&application_name=a&connect_timeout=3&\
             tcp_user_timeout=7&keepalives=0&keepalives_idle=9&keepalives_interval=8&\
             keepalives_retries=2&target_session_attrs=read-write&channel_binding=disable&\
             load_balance_hosts=random&sslmode=prefer",
            "host=h hostaddr=127.0.0.1 port=5432 sslmode=require sslnegotiation=direct",
            "host=/run/x port=5432 user=u sslmode=disable",
        ] {
            let target = target(url, PostgresAccess::default()).unwrap();
            assert_eq!(target.place(0, &none()).unwrap(), url.parse().unwrap(), "{url}");
        }
    }

    #[test]
    fn every_host_has_its_own_password_and_a_socket_has_no_tls() {
        let url = "host=a,b,/run/x,/tmp port=1,2,3,4 user=u dbname=d sslmode=require";
        let target = target(url, PostgresAccess::default()).unwrap();
        let lines = b"a:1:d:u:pa\nb:2:d:u:pb\n/run/x:3:d:u:px\nlocalhost:4:d:u:pl".to_vec();
        let passwords = Passwords::Passfile { path: "p".into(), lines, is_usual: false };
        let keys = Keys { passwords, ..none() };
        for (at, password, mode) in [
            (0, "pa", config::SslMode::Require),
            (1, "pb", config::SslMode::Require),
            (2, "px", config::SslMode::Disable),
            (3, "pl", config::SslMode::Disable),
        ] {
            let place = target.place(at, &keys).unwrap();
            assert_eq!(place.get_password(), Some(password.as_bytes()));
            assert_eq!((place.get_ssl_mode(), place.get_hosts().len()), (mode, 1));
        }
    }

    #[test]
    fn the_key_of_the_file_comes_before_that_of_the_url() {
        let mode = |url: &str, sslmode, roots: Option<&str>| {
            let sslrootcert = roots.map(|file| RootCertificates::File(file.into()));
            target(url, PostgresAccess { sslmode, sslrootcert, ..PostgresAccess::default() })
                .map(|target| target.mode)
                .map_err(|error| error.to_string())
        };
        assert_eq!(mode("host=h", None, None), Ok(SslMode::Prefer));
        assert_eq!(mode("host=h sslmode=require", None, None), Ok(SslMode::Require));
        let full = Some(SslMode::VerifyFull);
        assert_eq!(mode("host=h sslmode=disable", full, None), Ok(SslMode::VerifyFull));
        let required = mode("host=h", Some(SslMode::Require), Some("ca.crt"));
        assert_eq!(required, Ok(SslMode::VerifyCa));
        for setting in ["channel_binding=require", "sslnegotiation=direct"] {
            let url = format!("host=h {setting}");
            let said = mode(&url, None, None).unwrap_err();
            assert!(said.contains(setting) && said.contains("verify-full"), "{said}");
            assert!(mode(&url, Some(SslMode::Require), None).is_ok());
        }
    }

    #[test]
    fn two_passwords_are_a_mistake_and_neither_is_shown() {
        let password = PasswordSource::Environment("P".to_owned());
        let access = PostgresAccess { password, ..PostgresAccess::default() };
        let said = target("postgres://u:secret@h/d", access).map(drop).unwrap_err().to_string();
        assert!(said.contains("remove one") && !said.contains("secret"), "{said}");
    }
}
