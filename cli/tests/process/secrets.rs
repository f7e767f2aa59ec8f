//! No output of any role or command has the cluster's secret, the clients' key or the database's password,
//! not even at the most verbose level.

use std::process::{Command, Stdio};

use standin_config::{HttpConfig, OriginConfig, OriginKind, PostgresAccess};
use standin_protocol::auth::ClusterKey;
use standin_protocol::frame::Opcode;
use standin_protocol::map::ServerState::{Offline, Online};
use standin_testkit::{Child, Postgres, free_ports};

use crate::common::cluster::PROGRAM;
use crate::common::metrics::Metrics;
use crate::common::{Cluster, PAIR, SECRET, WITHIN};

const PASSWORD: &str = "pa55w0rd-of-the-database";

/// The forms in which bytes are printed: digits, and a list of numbers.
fn forms(bytes: &[u8]) -> [String; 2] {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let numbers: Vec<String> = bytes.iter().take(8).map(u8::to_string).collect();
    [digits, numbers.join(", ")]
}

#[test]
fn no_output_shows_a_secret_even_at_the_most_verbose_level() {
    let Some(mut postgres) = Postgres::start_or_skip("no_output_shows_a_secret") else { return };
    postgres.execute(&format!("ALTER USER standin PASSWORD '{PASSWORD}'"));
    postgres.admit(&["host all all 127.0.0.1/32 scram-sha-256"]);
    let [of_metrics, proxy_port] = free_ports(2)[..] else { unreachable!() };
    let local = |port: u16| ([127, 0, 0, 1], port).into();
    let mut cluster = Cluster::with("secrets", PAIR, |config| {
        config.security.secret = Some(SECRET);
        config.origin = Some(OriginConfig {
            kind: OriginKind::Postgres {
                url: postgres.url().replace("standin@", &format!("standin:{PASSWORD}@")),
                access: PostgresAccess::default(),
                connections: 2,
                init: Some(
                    "CREATE TABLE IF NOT EXISTS items (id TEXT PRIMARY KEY, value BYTEA)"
                        .to_owned(),
                ),
            },
            ..OriginConfig::sqlite("unused")
        });
        config.servers[0].metrics =
            Some(HttpConfig { address: local(of_metrics), passwords: None });
    });
    let start = |cluster: &mut Cluster, name: &str, role: &str| {
        let mut command = cluster.role(role);
        command.env("RUST_LOG", "trace");
        cluster.spawn(name, command, Stdio::piped());
    };
    start(&mut cluster, "master", "master");
    start(&mut cluster, "a1", "server");
    start(&mut cluster, "a2", "server");
    cluster.wait_all(Online);

    let written = cluster.run(&["client-config"]);
    assert!(written.status.success(), "{written:?}");
    let client_key = *ClusterKey::new(SECRET).for_clients().bytes();
    let digits = &forms(&client_key)[0];
    let text = format!(
        "[proxy]\nservers = [\"{}\"]\nmemcached = \"127.0.0.1:{proxy_port}\"\n[[keyspace]]\nid = 1\n\
         name = \"items\"\n[security]\nclient_key = \"{digits}\"\n",
        cluster.address("a1"),
    );
    let proxy_file = cluster.directory().join("proxy.toml");
    write_private(&proxy_file, &text);
    let mut proxy = Command::new(PROGRAM);
    proxy.arg("proxy").arg("--config").arg(&proxy_file).env("RUST_LOG", "trace");
    let proxy = Child::spawn("proxy", proxy, cluster.directory());
    proxy.wait_for_line("is ready", WITHIN);

    let mut outputs: Vec<String> = Vec::new();
    for command in [
        &["check-config"][..],
        &["check-config", "--name", "a1"],
        &["status"],
        &["status", "--json"],
        &["put", "items", "k", "v"],
        &["get", "--verbose", "items", "k"],
        &["doctor", "--all"],
        &["doctor", "--json"],
    ] {
        let output = cluster.run(command);
        outputs.push(format!("{command:?}: {output:?}"));
        outputs.push(String::from_utf8_lossy(&output.stdout).into_owned());
        outputs.push(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    outputs.push(Metrics::scrape(local(of_metrics), "").expect("metrics").text);
    let mut wire = cluster.connect("a1");
    outputs.push(format!("{:?}", wire.ask(Opcode::Stats, b"", b"")));

    // What goes wrong is logged, too: a wrong password, a dead database, a dead server.
    postgres.execute("ALTER USER standin PASSWORD 'another'");
    cluster.process("a1").wait_for_line("password authentication failed", WITHIN);
    postgres.stop();
    cluster.process("a1").wait_for_line("Connection refused", WITHIN);
    cluster.kill("a2");
    cluster.wait_states(&[("a1", Online), ("a2", Offline)]);
    outputs.push(format!("{:?}", cluster.run(&["status"])));
    drop(proxy);

    let mut files = 0;
    for entry in std::fs::read_dir(cluster.directory()).expect("the cluster's folder").flatten() {
        let path = entry.path();
        let is_input = path.extension().is_some_and(|end| end == "toml" || end == "secret");
        if is_input || !path.is_file() {
            continue;
        }
        let bytes = std::fs::read(&path).expect("a file of the cluster");
        outputs.push(format!("{}: {}", path.display(), String::from_utf8_lossy(&bytes)));
        files += 1;
    }
    assert!(files >= 4, "the logs of all roles");
    assert!(outputs.iter().any(|text| text.contains("DEBUG") || text.contains("TRACE")));
    let hidden = [forms(&SECRET), forms(&client_key)].concat();
    for text in &outputs {
        for hidden in hidden.iter().map(String::as_str).chain([PASSWORD]) {
            if let Some(at) = text.find(hidden) {
                let before = &text[text.floor_char_boundary(at.saturating_sub(200))..at];
                panic!("{hidden} is shown after {before}");
            }
        }
    }
}

fn write_private(path: &std::path::Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).expect("a file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("its mode");
}
