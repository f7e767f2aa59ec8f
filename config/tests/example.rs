//! `cluster.example.toml` is the manual: it must parse, and what it says must hold.

use std::path::{Path, PathBuf};

use standin_config::{
    ClientCertificate, ClusterConfig, HttpConfig, KernelUse, KeyspaceConfig, OriginConfig,
    OriginKind, PasswordSource, RootCertificates, ServiceConfig, ServiceProtocol, SslMode,
    TlsAuthorities, TlsCalls, TlsConfig, TlsOwn, TlsPort,
};

fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cluster.example.toml");
    std::fs::read_to_string(path).expect("the example is beside the workspace's manifest")
}

/// `#key = value` becomes `key = value`; prose has a space after its `#`.
fn uncommented(line: &str) -> &str {
    line.strip_prefix('#')
        .filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '['))
        .unwrap_or(line)
}

fn parse(text: &str) -> ClusterConfig {
    let checked = ClusterConfig::check(text, "cluster.example.toml", Path::new("/etc/standin"));
    assert_eq!(checked.warnings, []);
    checked.config.unwrap_or_else(|errors| panic!("{errors}"))
}

fn expected() -> ClusterConfig {
    let address = |port: u16| ([127, 0, 0, 1], port).into();
    let mut config = ClusterConfig::new(
        "example",
        address(7100),
        OriginConfig::sqlite("/etc/standin/origin.sqlite"),
    )
    .with_group("a", [("a1", address(7101)), ("a2", address(7102))])
    .with_group("b", [("b1", address(7103)), ("b2", address(7104))]);
    config.master.state_file = PathBuf::from("/etc/standin/master.state");
    if let Some(OriginKind::Sqlite { init, .. }) =
        config.origin.as_mut().map(|origin| &mut origin.kind)
    {
        *init = Some(
            "CREATE TABLE IF NOT EXISTS items (id TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID".to_owned(),
        );
    }
    let mut items = KeyspaceConfig::new(1, "items", "SELECT value FROM items WHERE id = :key");
    items.put = Some(
        "INSERT INTO items (id, value) VALUES (:key, :value) ON CONFLICT (id) DO UPDATE SET value = excluded.value"
            .to_owned(),
    );
    items.delete = Some("DELETE FROM items WHERE id = :key".to_owned());
    config.keyspaces.push(items);
    config
}

fn services() -> Vec<ServiceConfig> {
    let service = |protocol: ServiceProtocol| ServiceConfig {
        protocol,
        address: ([127, 0, 0, 1], protocol.usual_port()).into(),
        passwords: Some(PathBuf::from(format!("/etc/standin/{}.passwords", protocol.key()))),
    };
    ServiceProtocol::ALL.map(service).into()
}

fn metrics(port: u16) -> Option<HttpConfig> {
    let passwords = Some(PathBuf::from("/etc/standin/metrics.passwords"));
    Some(HttpConfig { address: ([127, 0, 0, 1], port).into(), passwords })
}

fn dashboard() -> Option<HttpConfig> {
    let passwords = Some(PathBuf::from("/etc/standin/dashboard.passwords"));
    Some(HttpConfig { address: ([127, 0, 0, 1], 7190).into(), passwords })
}

fn tls_calls() -> Option<TlsCalls> {
    let file = |name| Path::new("/etc/standin").join(name);
    let own = TlsOwn { cert_file: file("standin.crt"), key_file: file("standin.key") };
    let authorities = TlsAuthorities::File(file("ca.crt"));
    Some(TlsCalls { authorities, name: Some("cache.internal".to_owned()), own: Some(own) })
}

fn tls() -> Option<TlsConfig> {
    let file = |name| Path::new("/etc/standin").join(name);
    Some(TlsConfig {
        ports: TlsPort::ALL.map(|(_, port)| port).into(),
        cert_file: file("standin.crt"),
        key_file: file("standin.key"),
        client_ca_file: Some(file("clients-ca.crt")),
        kernel: KernelUse::default(),
        is_certificate_enough: false,
        ca_file: Some(file("ca.crt")),
        name: Some("cache.internal".to_owned()),
    })
}

#[test]
fn the_example_says_what_it_says() {
    assert_eq!(parse(&example()), expected());
}

/// Each commented default, taken at its word, changes nothing.
#[test]
fn the_documented_defaults_are_the_defaults() {
    let without_postgres = example().replace(&postgres_section(), "");
    let text: String = without_postgres
        .lines()
        .filter(|line| !line.starts_with("#secret_file") && !line.starts_with("#users_file"))
        .flat_map(|line| [uncommented(line), "\n"])
        .collect();
    assert!(
        text.lines().filter(|line| !line.starts_with('#') && line.contains(" = ")).count() > 50,
        "{text}"
    );
    let mut wanted = expected();
    wanted.master.offline_servers_max = Some(2);
    wanted.limits.output_bytes = Some(64 << 20);
    wanted.naming.default_keyspace = Some(1);
    wanted.servers[0].services = services();
    (wanted.master.metrics, wanted.servers[0].metrics) = (metrics(9_100), metrics(9_101));
    wanted.master.dashboard = dashboard();
    (wanted.tls, wanted.tls_calls) = (tls(), tls_calls());
    // An example: there is no limit by default.
    wanted.origin.as_mut().expect("it has a database").reads_per_second = Some(20_000);
    assert_eq!(parse(&text), wanted);
}

/// A key that the manual leaves out would be in a full file and not in the example.
#[test]
fn every_key_is_in_the_manual() {
    let mut full = expected();
    full.security.secret = Some([7; 32]);
    full.security.users = Some(standin_protocol::users::Users::default());
    full.master.offline_servers_max = Some(2);
    full.limits.output_bytes = Some(64 << 20);
    full.servers[0].cores = vec![0];
    full.servers[0].services = services();
    (full.master.metrics, full.servers[0].metrics) = (metrics(9_100), metrics(9_101));
    full.master.dashboard = dashboard();
    full.tls = tls();
    full.naming.default_keyspace = Some(1);
    let mut postgres = full.clone();
    postgres.origin = Some(with_access(PasswordSource::File("p".into())));
    let (mut environment, mut passfile) = (postgres.clone(), postgres.clone());
    environment.origin = Some(with_access(PasswordSource::Environment("P".to_owned())));
    passfile.origin = Some(with_access(PasswordSource::Passfile("p".into())));
    let example = example();
    // Alternatives are indented.
    let key = |line| Some(uncommented(line).trim_start_matches("#   ").split_once(" = ")?.0);
    let documented: Vec<&str> = example.lines().filter_map(key).collect();
    for text in [full, postgres, environment, passfile].map(|config| config.to_toml()) {
        for key in text.lines().filter_map(|line| Some(line.split_once(" = ")?.0)) {
            assert!(documented.contains(&key), "{key} is not in the manual");
        }
    }
}

/// A database with all keys of access that go together.
fn with_access(password: PasswordSource) -> OriginConfig {
    let mut origin = OriginConfig::postgres("postgres://standin@127.0.0.1:5432/app");
    let OriginKind::Postgres { access, .. } = &mut origin.kind else { unreachable!() };
    access.password = password;
    access.sslmode = Some(SslMode::VerifyFull);
    access.sslrootcert = Some(RootCertificates::File("/etc/standin/root.crt".into()));
    let file = |name| Path::new("/etc/standin").join(name);
    let (certificate, key) = (file("standin.crt"), file("standin.key"));
    access.client_certificate = Some(ClientCertificate { certificate, key });
    origin
}

#[test]
fn the_postgres_variant_parses_in_place_of_sqlite() {
    let example = example();
    let section = postgres_section();
    let sqlite_from = example.find("[origin]\n").expect("the example has an origin");
    let sqlite_to =
        example.find("# PostgreSQL, or a database").expect("the example has a PostgreSQL variant");
    let variant: String = section.lines().flat_map(|line| [uncommented(line), "\n"]).collect();
    let text = example.replace(&section, "").replace(&example[sqlite_from..sqlite_to], &variant);
    let config = parse(&text);
    let mut wanted = with_access(PasswordSource::File("/etc/standin/database.password".into()));
    if let OriginKind::Postgres { init, .. } = &mut wanted.kind {
        *init = Some(
            "CREATE TABLE IF NOT EXISTS items (id TEXT PRIMARY KEY, value BYTEA NOT NULL)"
                .to_owned(),
        );
    }
    assert_eq!(config.origin, Some(wanted));
}

fn postgres_section() -> String {
    let example = example();
    let from = example.find("#[origin]\n").expect("the example has a PostgreSQL variant");
    let length = example[from..].find("\n\n").expect("a blank line ends it");
    example[from..from + length + 1].to_owned()
}
