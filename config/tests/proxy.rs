//! `proxy.example.toml` is the manual of a proxy's file; and what is reported of a file that is wrong.

use std::path::{Path, PathBuf};
use std::time::Duration;

use standin_config::{CheckedProxy, IoKind, ListenAt, ProxyConfig, ServiceProtocol};

const RIGHT: &str = "[proxy]\nservers = [\"127.0.0.1:7101\"]\nredis = \"127.0.0.1:6379\"\n\
                     [[keyspace]]\nid = 1\nname = \"items\"\n";

fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proxy.example.toml");
    std::fs::read_to_string(path).expect("the example is beside the workspace's manifest")
}

/// `#key = value` becomes `key = value`; prose has a space after its `#`.
fn uncommented(line: &str) -> &str {
    line.strip_prefix('#')
        .filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
        .unwrap_or(line)
}

fn parse(text: &str) -> ProxyConfig {
    let CheckedProxy { config, warnings } =
        ProxyConfig::check(text, "proxy.toml", Path::new("/etc/standin"));
    assert_eq!(warnings, []);
    config.unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn the_example_says_what_it_says() {
    let config = parse(&example());
    assert_eq!(config.servers.len(), 2);
    let places: Vec<_> = config.services.iter().map(|s| (s.protocol, s.at.clone())).collect();
    let socket = ListenAt::Unix(PathBuf::from("/run/standin/redis.sock"));
    let tcp = ListenAt::Tcp(([127, 0, 0, 1], 11_211).into());
    assert_eq!(places, [(ServiceProtocol::Memcached, tcp), (ServiceProtocol::Redis, socket)]);
    assert_eq!((config.threads, config.io, config.socket_mode), (1, IoKind::Auto, 0o666));
    assert_eq!(config.timings.drain_timeout, Duration::from_secs(1));
    assert_eq!(config.naming.default_keyspace, Some(1));
    assert_eq!(config.keyspaces.len(), 1);
}

/// Each commented default, taken at its word, changes nothing.
#[test]
fn the_documented_defaults_are_the_defaults() {
    let text = example();
    let is_example = |line: &str| {
        ["_passwords =", "secret_file", "users_file", "#metrics ="]
            .iter()
            .any(|part| line.contains(part))
    };
    let lines = text.lines().map(|line| if is_example(line) { line } else { uncommented(line) });
    let all = lines.collect::<Vec<_>>().join("\n");
    assert_ne!(all, text);
    assert_eq!(parse(&all), parse(&text));
}

#[test]
fn a_mistake_is_reported_with_its_key_and_what_to_write() {
    const KEYSPACE: &str = "[[keyspace]]";
    let of_tls = |port: &str| {
        let files = "cert_file = \"c\"\nkey_file = \"k\"";
        format!("[proxy.tls]\nports = [\"{port}\"]\n{files}\n{KEYSPACE}")
    };
    let own = of_tls("redis");
    let at_socket = format!("/r.sock\"\n{}\n", own.trim_end_matches(KEYSPACE));
    let config = parse(&RIGHT.replace(KEYSPACE, &own));
    assert!(config.tls.is_some_and(|tls| tls.is_for(ServiceProtocol::Redis)));
    // A certificate may take the place of the clients' key.
    let remote = RIGHT.replace("127.0.0.1:7101", "10.0.0.2:7101");
    parse(&remote.replace(KEYSPACE, &format!("[tls]\nca_file = \"ca\"\n{KEYSPACE}")));
    parse(RIGHT);
    for (from, to, key, wanted) in [
        ("servers = [\"127.0.0.1:7101\"]\n", "", "proxy.servers", "127.0.0.1:7101"),
        ("servers = [\"127.0.0.1:7101\"]", "servers = []", "proxy.servers", "127.0.0.1:7101"),
        ("127.0.0.1:7101", "db.example:7101", "proxy.servers", "looked up"),
        ("127.0.0.1:7101", "10.0.0.2:7101", "proxy.servers", "client_key"),
        ("redis = \"127.0.0.1:6379\"\n", "", "proxy", "listens nowhere"),
        ("127.0.0.1:6379", "0.0.0.0:6379", "proxy.redis", "redis_passwords"),
        ("127.0.0.1:6379", "redis.sock", "proxy.redis", "127.0.0.1:6379"),
        ("redis = \"127", "socket_mode = \"0999\"\nredis = \"127", "proxy.socket_mode", "octal"),
        ("redis = \"127", "cores = [1, 2]\nredis = \"127", "proxy.cores", "one core for each"),
        ("redis = \"127", "memcached = \"127.0.0.1:6379\"\nredis = \"127", "proxy", "another"),
        ("redis = \"127", "metrics = \"127.0.0.1:6379\"\nredis = \"127", "metrics", "`redis`"),
        (KEYSPACE, &of_tls("standin"), "proxy.tls.ports", "no kind of port"),
        (KEYSPACE, &of_tls("memcached"), "proxy.tls.ports", "no port for memcached"),
        (KEYSPACE, &of_tls("http"), "proxy.tls.ports", "`metrics = "),
        ("127.0.0.1:6379\"\n", &at_socket, "proxy.tls.ports", "has no TLS"),
        ("redis = \"127", "metrics = \"10.0.0.1:1\"\nredis = \"127", "metrics", "_passwords"),
        ("redis = \"127", "metrics_passwords = \"x\"\nredis = \"127", "metrics", "no port"),
        (
            "redis = \"127",
            "default_keyspace = \"no\"\nredis = \"127",
            "default_keyspace",
            "this file",
        ),
        ("[[keyspace]]\nid = 1\nname = \"items\"\n", "", "keyspace", "[[keyspace]]"),
        ("id = 1", "id = 256", "keyspace", "255"),
        ("name = \"items\"", "name = \"items\"\nget = \"SELECT 1\"", "get", "unknown"),
        ("[proxy]", "[origin]\nkind = \"sqlite\"\n[proxy]", "origin", "remove it"),
    ] {
        let text = RIGHT.replace(from, to);
        assert_ne!(text, RIGHT, "{from}");
        let config = ProxyConfig::check(&text, "proxy.toml", Path::new("/etc/standin")).config;
        let errors = config.expect_err(to).to_string();
        assert!(errors.contains(key) && errors.contains(wanted), "{to}: {errors}");
    }
}

#[test]
fn the_path_of_a_socket_is_relative_to_the_folder_of_the_file_and_short() {
    let config = parse(&RIGHT.replace("127.0.0.1:6379", "./redis.sock"));
    let ListenAt::Unix(path) = &config.services[0].at else { panic!("{config:?}") };
    assert_eq!(path, Path::new("/etc/standin/./redis.sock"));
    let long = RIGHT.replace("127.0.0.1:6379", &format!("/{}", "x".repeat(107)));
    let config = ProxyConfig::check(&long, "proxy.toml", Path::new("/")).config;
    assert!(config.expect_err("too long").to_string().contains("107"));
}
