//! Writing a [`ClusterConfig`] as a file that reads back as the same values.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::database::{OriginKind, PasswordSource, PostgresAccess, RootCertificates, SslMode};
use crate::digits::hex;
use crate::http::{DASHBOARD, HttpConfig, HttpKeys, METRICS};
use crate::mistake::ConfigErrors;
use crate::model::{ClusterConfig, ColumnType, IoKind, KeyspaceConfig, ServerConfig};
use crate::security::Security;
use crate::tls::{TlsCalls, TlsConfig};
use crate::toml::{Toml, quoted};
use crate::users::user_line;

/// Name of the file that [`ClusterConfig::write_into`] makes.
pub const CONFIG_FILE: &str = "cluster.toml";

/// Name of the secret's file, beside [`CONFIG_FILE`].
pub const SECRET_FILE: &str = "cluster.secret";
/// Name of the file of users beside it.
pub const USERS_FILE: &str = "cluster.users";

/// The reason why a configuration made in code was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The folder or a file in it cannot be written.
    #[error("{path}: {error}; give a path in a writable folder")]
    Io {
        /// The file that was to be written.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// There is a file already.
    #[error("{0} exists already; give another path, or --force to replace it")]
    Exists(PathBuf),
    /// The values break a rule of the file.
    #[error(transparent)]
    Rules(#[from] ConfigErrors),
    /// The values would read back as others. Servers must be sorted by group and keyspaces
    /// by id, paths UTF-8, and durations whole microseconds.
    #[error(
        "{0} would be different when read back; sort servers by group and keyspaces by id, and \
         use UTF-8 paths and durations of whole microseconds"
    )]
    Changed(&'static str),
}

impl ClusterConfig {
    /// The text of a file with these values, all of them written out.
    ///
    /// Parsed again it gives equal values if servers are sorted by group, keyspaces by id,
    /// paths are UTF-8 (others are written with replacement characters), and durations are
    /// whole microseconds. A secret is not in the text: it names [`SECRET_FILE`], which
    /// [`Self::write_into`] writes.
    #[must_use]
    pub fn to_toml(&self) -> String {
        if self.for_clients {
            return self.to_client_toml();
        }
        let mut out = Toml::default();
        out.section("[cluster]");
        out.text("name", &self.name);
        out.plain("partitions", self.partitions);
        out.text("hash", self.hash.name());
        out.text("mode", self.mode.name());
        out.text("key_separator", &self.naming.separator);
        let default = self.naming.default_keyspace.and_then(|id| {
            let keyspace = self.keyspaces.iter().find(|keyspace| keyspace.id == id)?;
            Some(keyspace.name.as_str())
        });
        out.optional_text("default_keyspace", default);

        out.section("[master]");
        out.text("address", &self.master.address.to_string());
        out.text("state_file", &self.master.state_file.to_string_lossy());
        if let Some(most) = self.master.offline_servers_max {
            out.plain("offline_servers_max", most);
        }
        out.http(METRICS, self.master.metrics.as_ref());
        out.http(DASHBOARD, self.master.dashboard.as_ref());

        for (index, name) in self.groups.iter().enumerate() {
            out.section("[[group]]");
            out.text("name", name);
            self.servers
                .iter()
                .filter(|server| usize::from(server.group) == index)
                .for_each(|server| out.server(server));
        }
        self.write_origin(&mut out);
        self.keyspaces.iter().for_each(|keyspace| out.keyspace(keyspace, &self.keyspaces));
        self.write_timings(&mut out);
        self.write_limits(&mut out);
        if self.security.secret.is_some() {
            out.section("[security]");
            out.text("secret_file", SECRET_FILE);
            out.optional_text("users_file", self.security.users.as_ref().map(|_| USERS_FILE));
        }
        out.section("[log]");
        out.text("level", self.log_level.name());
        self.write_tls(&mut out);
        out.into_text()
    }

    /// Writes [`CONFIG_FILE`] and, with a secret, [`SECRET_FILE`] (readable by this user
    /// alone) into a folder; gives the path of the former. A configuration that the roles
    /// would refuse is not written.
    ///
    /// # Errors
    /// If the folder cannot be written, a rule is broken, or the file would not read back
    /// as these values (relative paths aside, which become relative to the folder).
    pub fn write_into(&self, folder: &Path) -> Result<PathBuf, WriteError> {
        let Security { secret, second_secret, users, .. } = &self.security;
        if secret.is_some() {
            let secrets = [secret, second_secret].into_iter().flatten();
            let lines: String = secrets.map(|secret| format!("{}\n", hex(secret))).collect();
            write_secret(&folder.join(SECRET_FILE), &lines)?;
        }
        if let Some(users) = users {
            let line = |user| format!("{}\n", user_line(user, &self.keyspaces));
            let lines: String = users.iter().map(line).collect();
            write_secret(&folder.join(USERS_FILE), &lines)?;
        }
        let path = folder.join(CONFIG_FILE);
        let text = self.to_toml();
        let read = Self::parse(&text, &path.display().to_string(), folder)?;
        self.compare(read, folder)?;
        write_private(&path, &text)
            .map_err(|error| WriteError::Io { path: path.clone(), error })?;
        Ok(path)
    }

    pub(crate) fn compare(&self, read: Self, folder: &Path) -> Result<(), WriteError> {
        let mut wanted = self.clone();
        wanted.master.state_file = folder.join(&self.master.state_file);
        let files = wanted.origin.as_mut().map(|origin| origin.kind.files_mut());
        for path in files.into_iter().flatten() {
            *path = folder.join(&*path);
        }
        let services = wanted.servers.iter_mut().flat_map(|server| &mut server.services);
        for path in services.filter_map(|service| service.passwords.as_mut()) {
            *path = folder.join(&*path);
        }
        let master = &mut wanted.master;
        let of_master = [master.metrics.as_mut(), master.dashboard.as_mut()].into_iter().flatten();
        let of_servers = wanted.servers.iter_mut().filter_map(|server| server.metrics.as_mut());
        for port in of_servers.chain(of_master) {
            port.passwords = port.passwords.as_ref().map(|path| folder.join(path));
        }
        let of_calls = wanted.tls_calls.iter_mut().flat_map(TlsCalls::files_mut);
        for path in wanted.tls.iter_mut().flat_map(TlsConfig::files_mut).chain(of_calls) {
            *path = folder.join(&*path);
        }
        let parts = [
            ("the servers", wanted.servers == read.servers && wanted.groups == read.groups),
            ("the keyspaces", wanted.keyspaces == read.keyspaces),
            ("the origin", wanted.origin == read.origin),
        ];
        if let Some((what, _)) = parts.iter().find(|(_, same)| !same) {
            return Err(WriteError::Changed(what));
        }
        if wanted == read { Ok(()) } else { Err(WriteError::Changed("a path or a duration")) }
    }

    fn write_tls(&self, out: &mut Toml) {
        let Some(tls) = &self.tls else { return };
        out.section("[tls]");
        let ports: Vec<String> = tls.ports.iter().map(|port| quoted(port.name())).collect();
        out.plain("ports", format_args!("[{}]", ports.join(", ")));
        out.text("cert_file", &tls.cert_file.to_string_lossy());
        out.text("key_file", &tls.key_file.to_string_lossy());
        let client_ca_file = tls.client_ca_file.as_ref().map(|path| path.to_string_lossy());
        out.optional_text("client_ca_file", client_ca_file.as_deref());
        let ca_file = tls.ca_file.as_ref().map(|path| path.to_string_lossy());
        out.optional_text("ca_file", ca_file.as_deref());
        out.optional_text("name", tls.name.as_deref());
        out.plain("certificate_is_enough", tls.is_certificate_enough);
        out.text("kernel_tls", tls.kernel.name());
    }

    fn write_origin(&self, out: &mut Toml) {
        let Some(origin) = &self.origin else { return };
        out.section("[origin]");
        let init = match &origin.kind {
            OriginKind::Sqlite { path, init } => {
                out.text("kind", "sqlite");
                out.text("path", &path.to_string_lossy());
                init
            }
            OriginKind::Postgres { url, access, connections, init } => {
                out.text("kind", "postgres");
                out.text("url", url);
                out.access(access);
                out.plain("connections", connections);
                init
            }
        };
        out.optional_text("init", init.as_deref());
        out.plain("concurrency", origin.concurrency);
        out.plain("queue", origin.queue);
        out.size("queue_bytes", origin.queue_bytes);
        out.duration("timeout", origin.timeout);
        out.plain("surge_reads", origin.surge_reads);
        if let Some(reads) = origin.reads_per_second {
            out.plain("reads_per_second", reads);
        }
    }

    pub(crate) fn write_timings(&self, out: &mut Toml) {
        let timings = &self.timings;
        out.section("[timings]");
        out.duration("attempt_timeout", timings.attempt_timeout);
        out.plain("attempts", timings.attempts);
        out.duration("failover_hold", timings.failover_hold);
        out.duration("operation_timeout", timings.operation_timeout);
        out.duration("connect_timeout", timings.connect_timeout);
        out.duration("forward_timeout", timings.forward_timeout);
        out.duration("renew_interval", timings.renew_interval);
        out.duration("probe_timeout", timings.probe_timeout);
        out.plain("probe_attempts", timings.probe_attempts);
        out.duration("recheck_interval", timings.recheck_interval);
        out.duration("lease", timings.lease);
        out.duration("announce_resend", timings.announce_resend);
        out.duration("drain_timeout", timings.drain_timeout);
    }

    pub(crate) fn write_limits(&self, out: &mut Toml) {
        let limits = &self.limits;
        out.section("[limits]");
        out.plain("connections", limits.connections);
        out.plain("handshakes", limits.handshakes);
        out.size("key_bytes", limits.key_bytes.into());
        out.size("value_bytes", limits.value_bytes.into());
        out.plain("in_flight_per_connection", limits.in_flight_per_connection);
        out.plain("in_flight_per_shard", limits.in_flight_per_shard);
        out.size("output_bytes_per_connection", limits.output_bytes_per_connection.into());
        if let Some(bytes) = limits.output_bytes {
            out.size("output_bytes", bytes);
        }
        out.duration("output_timeout", limits.output_timeout);
        out.duration("handshake_timeout", limits.handshake_timeout);
    }
}

/// Writes a file that only its owner may read, because the database's URL may contain a password.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// Writes a file that is created with its mode, so that it is never accessible to others.
pub(crate) fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn write_secret(path: &Path, lines: &str) -> Result<(), WriteError> {
    let failed = |error| WriteError::Io { path: path.to_owned(), error };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    write_new(path, lines).map_err(failed)
}

impl Toml {
    fn server(&mut self, server: &ServerConfig) {
        self.section("[[group.server]]");
        self.text("name", &server.name);
        self.text("address", &server.address.to_string());
        self.plain("shards", server.shards);
        if !server.cores.is_empty() {
            self.plain("cores", format_args!("{:?}", server.cores));
        }
        self.plain("weight", server.weight);
        self.size("memory", server.memory_bytes);
        self.plain("huge_pages", server.huge_pages);
        let io = match server.io {
            IoKind::Auto => "auto",
            IoKind::Uring => "uring",
            IoKind::Epoll => "epoll",
        };
        self.text("io", io);
        for service in &server.services {
            self.text(service.protocol.key(), &service.address.to_string());
            let passwords = service.passwords.as_ref().map(|path| path.to_string_lossy());
            self.optional_text(service.protocol.passwords_key(), passwords.as_deref());
        }
        if let Some(port) = server.redis_node_port {
            self.plain("redis_node_port", port);
        }
        self.http(METRICS, server.metrics.as_ref());
    }

    fn access(&mut self, access: &PostgresAccess) {
        match &access.password {
            PasswordSource::Usual => {}
            PasswordSource::Environment(name) => self.text("password_env", name),
            PasswordSource::File(path) => self.text("password_file", &path.to_string_lossy()),
            PasswordSource::Passfile(path) => self.text("passfile", &path.to_string_lossy()),
        }
        self.optional_text("sslmode", access.sslmode.map(SslMode::name));
        match &access.sslrootcert {
            None => {}
            Some(RootCertificates::System) => self.text("sslrootcert", "system"),
            Some(RootCertificates::File(path)) => self.text("sslrootcert", &path.to_string_lossy()),
        }
        if let Some(own) = &access.client_certificate {
            self.text("sslcert", &own.certificate.to_string_lossy());
            self.text("sslkey", &own.key.to_string_lossy());
        }
    }

    fn http(&mut self, keys: HttpKeys, port: Option<&HttpConfig>) {
        // There is no port by default.
        let Some(port) = port else { return };
        self.text(keys.address, &port.address.to_string());
        let passwords = port.passwords.as_ref().map(|path| path.to_string_lossy());
        self.optional_text(keys.passwords, passwords.as_deref());
    }

    fn keyspace(&mut self, keyspace: &KeyspaceConfig, all: &[KeyspaceConfig]) {
        self.section("[[keyspace]]");
        self.plain("id", keyspace.id);
        self.text("name", &keyspace.name);
        self.text("kind", keyspace.kind.name());
        if !keyspace.is_cache() {
            self.text("get", &keyspace.get);
            self.optional_text("put", keyspace.put.as_deref());
            self.optional_text("delete", keyspace.delete.as_deref());
            self.text("after_put", keyspace.after_put.name());
            self.text("value", type_word(keyspace.value_type));
            self.duration("negative_ttl", keyspace.negative_ttl);
        }
        let others = all.iter().filter(|other| keyspace.also_invalidates.contains(&other.id));
        let others: Vec<String> = others.map(|other| quoted(&other.name)).collect();
        self.plain("also_invalidates", format_args!("[{}]", others.join(", ")));
        self.text("key", type_word(keyspace.key_type));
        self.text("key_case", keyspace.key_case.name());
        if let Some(ttl) = keyspace.ttl {
            self.duration("ttl", ttl);
        }
        self.plain("ttl_jitter_percent", keyspace.ttl_jitter_percent);
        self.duration("log_slower_than", keyspace.log_slower_than.unwrap_or_default());
    }
}

/// The word for a type in the file.
pub(crate) fn type_word(column: ColumnType) -> &'static str {
    match column {
        ColumnType::Text => "text",
        ColumnType::Bytes => "bytes",
        ColumnType::Integer => "integer",
        ColumnType::Uuid => "uuid",
    }
}
