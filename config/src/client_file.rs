//! A client's file: what clients need of a cluster file, without the database and the cluster's secret.
//!
//! Applications' hosts are many, and often others administer them. Whoever reads this file there can
//! be a client of the cluster. They can't be a server or the master, nor reach the database.

use std::io;
use std::path::{Path, PathBuf};

use standin_protocol::auth::ClusterKey;

use crate::defaults::TTL_JITTER_PERCENT;
use crate::digits::hex;
use crate::model::{ClusterConfig, KeyspaceConfig, Limits, MasterConfig, ServerConfig};
use crate::security::Security;
use crate::tls::{TlsAuthorities, TlsCalls, TlsConfig};
use crate::toml::{Toml, quoted};
use crate::write::{WriteError, type_word, write_new};

impl ClusterConfig {
    /// Returns what clients need: the addresses, the way in which keys are placed, the timings and
    /// limits, and if the cluster has a secret the key that is made from it for clients. If this names a user,
    /// it is that user's file.
    #[must_use]
    pub fn client_file(&self) -> Self {
        let servers = self.servers.iter().map(|server| ServerConfig {
            shards: server.shards,
            weight: server.weight,
            memory_bytes: server.memory_bytes,
            ..ServerConfig::new(&server.name, server.group, server.address)
        });
        let keyspaces = self.keyspaces.iter().map(|keyspace| KeyspaceConfig {
            kind: keyspace.kind,
            put: keyspace.is_writable().then(String::new),
            delete: keyspace.is_deletable().then(String::new),
            also_invalidates: keyspace.also_invalidates.clone(),
            key_type: keyspace.key_type,
            key_case: keyspace.key_case,
            ttl_jitter_percent: TTL_JITTER_PERCENT,
            ..KeyspaceConfig::cache(keyspace.id, &keyspace.name)
        });
        let none = Self::new(&self.name, self.master.address, None);
        Self {
            partitions: self.partitions,
            hash: self.hash,
            mode: self.mode,
            master: MasterConfig { address: self.master.address, ..none.master },
            servers: servers.collect(),
            groups: self.groups.clone(),
            keyspaces: keyspaces.collect(),
            naming: self.naming.clone(),
            timings: self.timings.clone(),
            limits: Limits { output_bytes: None, ..self.limits.clone() },
            security: Security {
                client_key: self
                    .key_of_clients()
                    .filter(|_| self.security.user.is_none())
                    .map(|key| *key.bytes()),
                user: self.security.user.clone(),
                ..Security::default()
            },
            // Each client's own certificate is on its host.
            tls_calls: self.tls_calls.clone().map(|calls| TlsCalls { own: None, ..calls }),
            for_clients: true,
            ..none
        }
    }

    /// The key of clients whose certificate is not enough.
    fn key_of_clients(&self) -> Option<ClusterKey> {
        let is_enough = self.tls.as_ref().is_some_and(TlsConfig::lets_clients_in);
        self.client_key().filter(|_| !is_enough)
    }

    /// Writes [`Self::client_file`] to a path, readable by this user alone.
    ///
    /// # Errors
    /// If there is a file already and `replace` is not set, if it can't be written, or if the file
    /// would not read back as these values.
    pub fn write_client_file(&self, path: &Path, replace: bool) -> Result<(), WriteError> {
        let mut file = self.client_file();
        if let Some(TlsCalls { authorities, .. }) = &mut file.tls_calls
            && let TlsAuthorities::File(path) = authorities
        {
            let failed = |error| WriteError::Io { path: path.clone(), error };
            *authorities = TlsAuthorities::Pem(std::fs::read_to_string(&*path).map_err(failed)?);
        }
        let text = file.to_client_toml();
        let folder = path.parent().unwrap_or(Path::new(""));
        let read = Self::parse(&text, &path.display().to_string(), folder)?;
        file.compare(read, folder)?;
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists if !replace => WriteError::Exists(path.to_owned()),
            _ => WriteError::Io { path: path.to_owned(), error },
        };
        if !replace {
            return write_new(path, &text).map_err(failed);
        }
        // Whoever reads it meanwhile gets the old file or the new one.
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}", std::process::id()));
        let beside = PathBuf::from(beside);
        let written = write_new(&beside, &text).and_then(|()| std::fs::rename(&beside, path));
        written.map_err(|error| {
            // What is left of it is of no use.
            let _ = std::fs::remove_file(&beside);
            failed(error)
        })
    }

    pub(crate) fn to_client_toml(&self) -> String {
        let mut out = Toml::default();
        out.section("[cluster]");
        out.text("name", &self.name);
        out.plain("for_clients", true);
        out.plain("partitions", self.partitions);
        out.text("hash", self.hash.name());
        out.text("mode", self.mode.name());
        out.text("key_separator", &self.naming.separator);
        let default = self.naming.default_keyspace;
        let default = self.keyspaces.iter().find(|keyspace| Some(keyspace.id) == default);
        out.optional_text("default_keyspace", default.map(|keyspace| &*keyspace.name));
        out.section("[master]");
        out.text("address", &self.master.address.to_string());
        for (index, name) in self.groups.iter().enumerate() {
            out.section("[[group]]");
            out.text("name", name);
            for server in self.servers.iter().filter(|server| usize::from(server.group) == index) {
                out.section("[[group.server]]");
                out.text("name", &server.name);
                out.text("address", &server.address.to_string());
                out.plain("shards", server.shards);
                out.plain("weight", server.weight);
                out.size("memory", server.memory_bytes);
            }
        }
        for keyspace in &self.keyspaces {
            self.write_client_keyspace(keyspace, &mut out);
        }
        self.write_timings(&mut out);
        self.write_limits(&mut out);
        if let Some((name, key)) = &self.security.user {
            out.section("[security]");
            out.text("user", name);
            out.text("user_key", &hex(key.bytes()));
        } else if let Some(key) = self.client_key() {
            out.section("[security]");
            out.text("client_key", &hex(key.bytes()));
        }
        self.write_tls_calls(&mut out);
        out.into_text()
    }

    fn write_tls_calls(&self, out: &mut Toml) {
        let Some(TlsCalls { authorities, name, own }) = &self.tls_calls else { return };
        out.section("[tls]");
        match authorities {
            TlsAuthorities::File(path) => out.text("ca_file", &path.to_string_lossy()),
            TlsAuthorities::Pem(text) => out.lines("ca", text),
        }
        out.optional_text("name", name.as_deref());
        if let Some(own) = own {
            out.text("cert_file", &own.cert_file.to_string_lossy());
            out.text("key_file", &own.key_file.to_string_lossy());
        }
    }

    fn write_client_keyspace(&self, keyspace: &KeyspaceConfig, out: &mut Toml) {
        out.section("[[keyspace]]");
        out.plain("id", keyspace.id);
        out.text("name", &keyspace.name);
        out.text("kind", keyspace.kind.name());
        let is_bound = |other: &&KeyspaceConfig| keyspace.also_invalidates.contains(&other.id);
        let others = self.keyspaces.iter().filter(is_bound);
        let others: Vec<String> = others.map(|other| quoted(&other.name)).collect();
        out.plain("also_invalidates", format_args!("[{}]", others.join(", ")));
        out.text("key", type_word(keyspace.key_type));
        out.text("key_case", keyspace.key_case.name());
        out.plain("writable", keyspace.is_writable());
        out.plain("deletable", keyspace.is_deletable());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use crate::{HttpConfig, KeyCase, Mode, OriginConfig, Timings};

    use super::*;

    /// A cluster that has everything that a client's file has not.
    fn cluster() -> ClusterConfig {
        let address = |port: u16| ([127, 0, 0, 1], port).into();
        let origin = OriginConfig::postgres("postgres://standin:pass-word@db.internal/app");
        let mut cluster = ClusterConfig::new("c", address(1), origin);
        cluster = cluster.with_group("g", [("a", address(2)), ("b", address(3))]);
        cluster.servers[0].cores = vec![0];
        let passwords = Some("metrics.passwords".into());
        cluster.servers[0].metrics = Some(HttpConfig { address: address(4), passwords });
        let rows =
            |id, name| KeyspaceConfig::new(id, name, "SELECT v FROM secret_table WHERE k = :key");
        cluster.keyspaces = vec![
            KeyspaceConfig {
                key_case: KeyCase::Unicode,
                put: Some("SELECT :key, :value".to_owned()),
                also_invalidates: vec![2],
                ..rows(1, "users")
            },
            KeyspaceConfig { key_case: KeyCase::Unicode, ..rows(2, "views") },
            KeyspaceConfig::cache(3, "sessions"),
        ];
        cluster.mode = Mode::Strict;
        cluster.naming.default_keyspace = Some(2);
        cluster.timings = Timings { attempts: 5, ..Timings::default() };
        cluster.security.secret = Some([0xAB; 32]);
        cluster
    }

    #[test]
    fn a_clients_file_has_what_clients_need_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("client.toml");
        let cluster = cluster();
        cluster.write_client_file(&path, false).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        for secret in ["pass-word", "db.internal", "secret_table", "passwords", &"ab".repeat(32)] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        let read = ClusterConfig::check_file(&path);
        assert_eq!(read.warnings, []);
        let read = read.config.unwrap();
        assert_eq!(read.topology().unwrap().id, cluster.topology().unwrap().id);
        assert_eq!(read.client_key().unwrap().bytes(), cluster.client_key().unwrap().bytes());
        assert!(read.cluster_key().is_none() && read.for_clients && read.origin.is_none());
        assert_eq!((read.mode, &read.timings), (cluster.mode, &cluster.timings));
        let may = |config: &ClusterConfig| -> Vec<(bool, bool)> {
            let keyspaces = config.keyspaces.iter();
            keyspaces.map(|one| (one.is_writable(), one.is_deletable())).collect()
        };
        assert_eq!(may(&read), may(&cluster));
        assert_eq!(read.client_file().to_toml(), text, "it can be made of itself");
    }

    #[test]
    fn a_file_is_only_replaced_when_asked_and_never_readable_by_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("client.toml");
        std::fs::write(&path, "mine").unwrap();
        let error = cluster().write_client_file(&path, false).unwrap_err();
        assert!(matches!(error, WriteError::Exists(_)), "{error}");
        assert!(error.to_string().contains("--force"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        cluster().write_client_file(&path, true).unwrap();
        assert!(ClusterConfig::load(&path).is_ok());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let said = ClusterConfig::load(&path).unwrap_err().to_string();
        assert!(said.contains("client_key") && said.contains("run `chmod 6"), "{said}");
        let none = folder.path().join("none").join("client.toml");
        let error = cluster().write_client_file(&none, true).unwrap_err();
        assert!(matches!(error, WriteError::Io { .. }), "{error}");
    }

    #[test]
    fn the_two_kinds_of_files_are_not_mixed_up() {
        let said =
            |text: &str| ClusterConfig::parse(text, "f", Path::new("")).unwrap_err().to_string();
        let text = cluster().client_file().to_toml();
        let member = said(&text.replace("for_clients = true", "for_clients = false"));
        assert!(member.contains("client_key: servers and the master have the secret"), "{member}");
        let origin = said(&format!("{text}[origin]\nkind = \"sqlite\"\npath = \"x\"\n"));
        assert!(origin.contains("a client's file has no database"), "{origin}");
        let get = said(&text.replace("writable = true", "get = \"SELECT :key\""));
        assert!(get.contains("is for servers"), "{get}");
        let wrong = said(&text.replace("client_key = \"", "client_key = \"0"));
        let key = cluster().client_key().unwrap();
        let digits = hex(key.bytes());
        assert!(wrong.contains("64 hexadecimal digits") && !wrong.contains(&digits), "{wrong}");
    }
}
