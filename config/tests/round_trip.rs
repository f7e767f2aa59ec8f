//! Written files are read back as the same values.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use standin_config::*;
use standin_protocol::slots::KeyHash;
use standin_protocol::users::{KeyspaceSet, Rights, User, UserKey, Users};

/// A duration that the file can say and every range allows.
fn duration() -> impl Strategy<Value = Duration> {
    (1_000u64..600_000_000).prop_map(Duration::from_micros)
}

/// Any text that is not blank, quotes and control characters included.
fn text() -> impl Strategy<Value = String> {
    "\\PC{0,12}[a-z\"'\\\\#=\\[\n\r\t\u{7f}\u{1}ü\u{85}]{1,12}x"
}

fn server(index: usize, group: u16) -> impl Strategy<Value = ServerConfig> {
    let io = prop_oneof![Just(IoKind::Auto), Just(IoKind::Uring), Just(IoKind::Epoll)];
    let of_shard = SHARD_MEMORY_BYTES_MIN..=SHARD_MEMORY_BYTES_MAX;
    let sizes = (1u16..=256, 1u16..=64, of_shard, any::<bool>(), io, any::<bool>());
    sizes.prop_map(move |(shards, weight, of_shard, huge_pages, io, pinned)| ServerConfig {
        name: format!("s{index}-{weight}.x_"),
        group,
        address: SocketAddr::new(
            IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1)),
            10_000 + u16::try_from(index).expect("few"),
        ),
        shards,
        cores: if pinned { (0..usize::from(shards)).collect() } else { Vec::new() },
        weight,
        memory_bytes: (of_shard * u64::from(shards)).max(1 << 20),
        huge_pages,
        io,
        services: services(index, pinned),
        redis_node_port: None,
        metrics: (index % 2 == 1)
            .then(|| metrics(9_100 + u16::try_from(index).expect("few"), pinned)),
    })
}

/// A port for metrics or the dashboard, possibly with passwords.
fn metrics(port: u16, has_passwords: bool) -> HttpConfig {
    HttpConfig {
        address: ([127, 0, 0, 1], port).into(),
        passwords: has_passwords.then(|| PathBuf::from("passwords \"of\" Prometheus")),
    }
}

/// No, one or two services, for some servers with passwords.
fn services(index: usize, has_passwords: bool) -> Vec<ServiceConfig> {
    let port = 20_000 + 2 * u16::try_from(index).expect("few");
    let service = |(number, protocol)| ServiceConfig {
        protocol,
        address: ([127, 0, 0, 1], port + number).into(),
        passwords: has_passwords.then(|| PathBuf::from("passwords \"of\" users")),
    };
    (0..).zip(ServiceProtocol::ALL).map(service).take(index % 3).collect()
}

fn access() -> impl Strategy<Value = PostgresAccess> {
    let path = || "[^\\pC:]{1,20}x".prop_map(PathBuf::from);
    let password = prop_oneof![
        Just(PasswordSource::Usual),
        "[A-Z_]{1,9}".prop_map(PasswordSource::Environment),
        path().prop_map(PasswordSource::File),
        path().prop_map(PasswordSource::Passfile),
    ];
    let tls = prop_oneof![
        Just((None, None)),
        prop::sample::select(vec![SslMode::Disable, SslMode::Prefer, SslMode::Require])
            .prop_map(|mode| (Some(mode), None)),
        Just((Some(SslMode::VerifyFull), Some(RootCertificates::System))),
        prop::sample::select(vec![SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull])
            .prop_flat_map(move |mode| path()
                .prop_map(move |roots| { (Some(mode), Some(RootCertificates::File(roots))) })),
    ];
    let own = option::of((path(), path()))
        .prop_map(|own| own.map(|(certificate, key)| ClientCertificate { certificate, key }));
    (password, tls, own).prop_map(|(password, (sslmode, sslrootcert), client_certificate)| {
        PostgresAccess { password, sslmode, sslrootcert, client_certificate }
    })
}

fn origin() -> impl Strategy<Value = OriginConfig> {
    let path = "[^\\pC:]{1,20}x".prop_map(PathBuf::from);
    let kind = prop_oneof![
        (path, option::of(text())).prop_map(|(path, init)| OriginKind::Sqlite { path, init }),
        (text(), access(), 1u32..=1_000, option::of(text())).prop_map(
            |(url, access, connections, init)| OriginKind::Postgres {
                url,
                access,
                connections,
                init
            }
        ),
    ];
    let reads = (1u32..=1_000_000, option::of(1_000_000u32..=100_000_000));
    (kind, 1u32..=1_024, (1u32..=1_000_000, 1u64..=1 << 40), duration(), reads).prop_map(
        |(kind, concurrency, (queue, queue_bytes), timeout, (surge_reads, reads_per_second))| {
            OriginConfig {
                kind,
                concurrency,
                queue,
                queue_bytes,
                timeout,
                surge_reads,
                reads_per_second,
            }
        },
    )
}

fn keyspaces() -> impl Strategy<Value = Vec<KeyspaceConfig>> {
    let statement = |sql: &'static str| {
        // Between double quotes is any text in both databases.
        text().prop_map(move |text| format!("{sql} AS \"{}\"", text.replace('"', "\"\"")))
    };
    let key_type = prop_oneof![
        Just(ColumnType::Text),
        Just(ColumnType::Bytes),
        Just(ColumnType::Integer),
        Just(ColumnType::Uuid)
    ];
    let value_type = prop_oneof![Just(ColumnType::Text), Just(ColumnType::Bytes)];
    let keyspace = (
        statement("SELECT :key"),
        option::of(statement("SELECT :value, :key")),
        option::of(statement("SELECT :key")),
        (key_type, value_type, prop::sample::select(AfterPut::ALL.map(|(_, how)| how).to_vec())),
        (duration(), prop_oneof![Just(Duration::ZERO), duration()], 0u8..=90),
        option::of(duration()),
    )
        .prop_map(
            |(
                get,
                put,
                delete,
                (key_type, value_type, after_put),
                (ttl, negative_ttl, ttl_jitter_percent),
                log_slower_than,
            )| {
                let rest = KeyspaceConfig::new(0, "", &get);
                KeyspaceConfig {
                    put,
                    delete,
                    after_put,
                    key_type,
                    key_case: if key_type == ColumnType::Text {
                        KeyCase::Ascii
                    } else {
                        KeyCase::Exact
                    },
                    value_type,
                    ttl: Some(ttl),
                    negative_ttl,
                    ttl_jitter_percent,
                    log_slower_than,
                    ..rest
                }
            },
        );
    let cache = (option::of(duration()), 0u8..=90).prop_map(|(ttl, ttl_jitter_percent)| {
        KeyspaceConfig { ttl, ttl_jitter_percent, ..KeyspaceConfig::cache(0, "") }
    });
    let keyspace = prop_oneof![4 => keyspace, 1 => cache];
    (vec(keyspace, 1..4), 0u8..250, any::<u8>()).prop_map(|(mut keyspaces, first, bonds)| {
        for (keyspace, id) in keyspaces.iter_mut().zip(first..) {
            keyspace.id = id;
            keyspace.name = format!("k{id}");
        }
        // Only keys of one type can be the same.
        let types: Vec<_> = keyspaces.iter().map(|k| (k.id, (k.key_type, k.key_case))).collect();
        for keyspace in &mut keyspaces {
            let own = (keyspace.key_type, keyspace.key_case);
            let others = types.iter().filter(|(id, key)| {
                *id != keyspace.id && *key == own && bonds >> (id % 8) & 1 == 1
            });
            keyspace.also_invalidates = others.map(|(id, _)| *id).collect();
        }
        keyspaces
    })
}

fn timings() -> impl Strategy<Value = Timings> {
    let all = (vec(duration(), 9), 1u32..=100, 1u32..=100, duration(), duration());
    all.prop_map(|(some, attempts, probe_attempts, attempt_timeout, renew_interval)| Timings {
        attempt_timeout: attempt_timeout / 100,
        attempts,
        failover_hold: some[0],
        operation_timeout: some[1],
        connect_timeout: some[2],
        forward_timeout: some[3],
        renew_interval,
        probe_timeout: some[4],
        probe_attempts,
        recheck_interval: some[5],
        lease: some[6],
        announce_resend: some[7],
        drain_timeout: some[8],
    })
    .prop_map(|timings| Timings {
        // Whole microseconds, within the ranges, and not defeating each other.
        attempt_timeout: Duration::from_millis(1) + whole_micros(timings.attempt_timeout),
        operation_timeout: Duration::from_secs(700) + timings.operation_timeout,
        lease: timings.lease + timings.renew_interval,
        ..timings
    })
}

fn whole_micros(duration: Duration) -> Duration {
    Duration::from_micros(u64::try_from(duration.as_micros()).expect("small"))
}

fn limits() -> impl Strategy<Value = Limits> {
    let bytes = (1u16.., 1u32..=16 << 20, 4_096u32..=1 << 30);
    let counts = (1u32..=1_000_000, 1u32..=1 << 20, 1u32..=1 << 24);
    let output = (option::of(1u64 << 20..=1 << 44), duration());
    (bytes, counts, output, duration()).prop_map(|(bytes, counts, output, handshake_timeout)| {
        Limits {
            connections: counts.0,
            handshakes: counts.0.min(65_536),
            key_bytes: bytes.0,
            value_bytes: bytes.1,
            in_flight_per_connection: counts.1,
            in_flight_per_shard: counts.2,
            output_bytes_per_connection: bytes.2,
            output_bytes: output.0,
            output_timeout: output.1,
            handshake_timeout,
        }
    })
}

fn config() -> impl Strategy<Value = ClusterConfig> {
    let servers = vec(2u16..4, 1..4).prop_flat_map(|sizes| {
        let groups: Vec<String> = (0..sizes.len()).map(|group| format!("g{group}")).collect();
        let of_group =
            (0u16..).zip(&sizes).flat_map(|(group, size)| (0..*size).map(move |_| group));
        let servers: Vec<_> =
            of_group.enumerate().map(|(index, group)| server(index, group)).collect();
        (Just(groups), servers)
    });
    let cluster =
        ("[a-zA-Z][a-zA-Z0-9._-]{0,63}", 1u32..=65_536, option::of(1u32..=2), "[^\\pC]{1,20}x");
    let cluster = (cluster, prop::sample::select(vec![Mode::Available, Mode::Strict]));
    (cluster, servers, origin(), keyspaces(), timings(), limits()).prop_map(
        |(
            ((name, partitions, offline_servers_max, state_file), mode),
            (groups, mut servers),
            origin,
            keyspaces,
            timings,
            limits,
        )| {
            // A database is needed only by keyspaces that have rows in it.
            let has_rows = keyspaces.iter().any(|keyspace| !keyspace.is_cache());
            let hash = match partitions {
                0..=16_384 if partitions % 2 == 0 => KeyHash::Crc16,
                _ => KeyHash::Xxh3,
            };
            if hash == KeyHash::Crc16 {
                // Each server has the ports of its nodes, or none has any.
                for (number, server) in (0u16..).zip(&mut servers) {
                    let services = services(2, !server.cores.is_empty());
                    server.services = if partitions % 4 == 0 { services } else { Vec::new() };
                    for (other, service) in (0..).zip(&mut server.services) {
                        service.address.set_port(20_000 + 2 * number + other);
                    }
                    let first = 30_000 + 256 * number;
                    server.redis_node_port = (!server.services.is_empty()).then_some(first);
                }
            }
            let services = || servers.iter().flat_map(|server| &server.services);
            let mut ports: Vec<TlsPort> = services().map(|one| one.protocol.into()).collect();
            ports.sort_unstable();
            ports.dedup();
            if partitions % 3 == 0 {
                // There is a dashboard.
                ports.push(TlsPort::Http);
            }
            if partitions % 7 == 0 {
                ports.insert(0, TlsPort::Standin);
            }
            let has_tls = partitions % 5 != 0 && !ports.is_empty();
            let tls = has_tls.then(|| TlsConfig {
                ports,
                cert_file: "/tls/standin.crt".into(),
                key_file: "/tls/standin.key".into(),
                client_ca_file: (partitions % 3 == 0).then(|| "/tls/clients.crt".into()),
                kernel: if partitions % 2 == 0 { KernelUse::Auto } else { KernelUse::Off },
                is_certificate_enough: partitions % 21 == 0 && partitions % 2 == 0,
                ca_file: (partitions % 7 == 0).then(|| "/tls/ca.crt".into()),
                name: (partitions % 21 == 0).then(|| "cache.internal".to_owned()),
            });
            ClusterConfig {
                name,
                partitions,
                hash,
                mode,
                master: MasterConfig {
                    address: ([127, 0, 0, 1], 7100).into(),
                    state_file: PathBuf::from(state_file),
                    offline_servers_max,
                    metrics: (partitions % 2 == 0).then(|| metrics(9_000, partitions % 4 == 0)),
                    dashboard: (partitions % 3 == 0).then(|| metrics(9_001, partitions % 6 == 0)),
                },
                servers,
                groups,
                origin: has_rows.then_some(origin),
                naming: Naming {
                    separator: [":", "::", "/"][partitions as usize % 3].to_owned(),
                    default_keyspace: keyspaces
                        .first()
                        .filter(|_| partitions > 9_999)
                        .map(|k| k.id),
                },
                keyspaces,
                timings,
                limits,
                security: Security::default(),
                tls_calls: tls_calls(tls.as_ref()),
                tls,
                log_level: LogLevel::Debug,
                for_clients: false,
            }
        },
    )
}

/// The TLS of members that call each other.
fn tls_calls(tls: Option<&TlsConfig>) -> Option<TlsCalls> {
    let tls = tls?;
    let (cert_file, key_file) = (tls.cert_file.clone(), tls.key_file.clone());
    Some(TlsCalls {
        authorities: TlsAuthorities::File(tls.ca_file.clone()?),
        name: tls.name.clone(),
        own: tls.client_ca_file.is_some().then_some(TlsOwn { cert_file, key_file }),
    })
}

proptest! {
    #[test]
    fn parsing_what_was_written_gives_equal_values(config in config()) {
        let text = config.to_toml();
        match ClusterConfig::parse(&text, "written", Path::new("")) {
            Ok(read) => prop_assert_eq!(read, config),
            Err(errors) => prop_assert!(false, "{}\n{}", errors, text),
        }
    }
}

fn small() -> ClusterConfig {
    let address = |port: u16| ([127, 0, 0, 1], port).into();
    let mut config =
        ClusterConfig::new("small", address(7100), OriginConfig::sqlite("/tmp/origin.sqlite"))
            .with_group("a", [("a1", address(7101)), ("a2", address(7102))]);
    config.master.state_file = PathBuf::from("/tmp/master.state");
    config.keyspaces.push(KeyspaceConfig::new(1, "items", "SELECT v FROM t WHERE k = :key"));
    config
}

#[test]
fn a_secret_goes_into_a_file_of_its_own_that_nobody_else_reads() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut config = small();
    config.security.secret =
        Some(std::array::from_fn(|index| u8::try_from(index * 8).expect("small")));
    config.security.second_secret = Some([9; 32]);
    let ann = UserKey::new(b"ann", b"password");
    let rights = Rights { write: KeyspaceSet::ALL, ..Rights::default() };
    let user = User { name: "ann".into(), verifiers: vec![ann.verifier(); 2], rights };
    config.security.users = Some(Users::new(vec![user]));
    for _ in 0..2 {
        let path = config.write_into(folder.path()).expect("the folder is ours");
        assert_eq!(ClusterConfig::load(&path), Ok(config.clone()));
    }
    for file in [SECRET_FILE, USERS_FILE] {
        let file = folder.path().join(file).metadata().expect("it was written");
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }
    // A client that is a user has neither.
    config.security.user = Some(("ann".to_owned(), ann));
    let path = folder.path().join("client.toml");
    config.write_client_file(&path, false).expect("the folder is ours");
    let read = ClusterConfig::load(&path).expect("a client's file");
    let Security { secret, second_secret, client_key, user, users } = read.security;
    assert_eq!((secret, second_secret, client_key, users), (None, None, None, None));
    assert_eq!(user, config.security.user);
}

#[test]
fn what_the_roles_would_refuse_is_not_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let written = |config: &ClusterConfig| {
        config.write_into(folder.path()).map_err(|error| error.to_string())
    };

    let mut one_server = small();
    one_server.servers.pop();
    let error = written(&one_server).expect_err("no other can stand in");
    assert!(error.contains("group \"a\" has one server"), "{error}");

    let address = |port: u16| ([127, 0, 0, 1], port).into();
    let mut mixed = small().with_group("b", [("b1", address(7103)), ("b2", address(7104))]);
    mixed.servers.swap(0, 2);
    let error = written(&mixed).expect_err("the servers are not sorted by group");
    assert!(error.starts_with("the servers would be different when read back"), "{error}");

    let mut unsorted = small();
    unsorted.keyspaces.insert(0, KeyspaceConfig::new(2, "more", "SELECT :key"));
    assert!(written(&unsorted).is_err());
    assert!(!folder.path().join(CONFIG_FILE).exists());
}
