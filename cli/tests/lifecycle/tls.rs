//! TLS for Standin's own protocol: clients, servers and the master, through the kill and the return of a server.

use std::path::Path;
use std::process::{Command, Output};

use standin_client::blocking::Client;
use standin_client::{Bootstrap, ClientConfig, ClientError};
use standin_config::{ClusterConfig, TlsAuthorities, TlsCalls, TlsPort};
use standin_protocol::map::ServerState::{Offline, Online};
use standin_testkit::{Authority, Scratch};
use standin_tls::Failure;

use crate::common::cluster::PROGRAM;
use crate::common::{Cluster, KEYSPACE, Load, SECRET, TWO_PAIRS, tls};

fn run(program: &str, arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).output().expect("the program runs")
}

/// Asserts that a client of this TLS is told this.
#[track_caller]
fn fails(cluster: &Cluster, tls: Option<TlsCalls>, is_meant: fn(&ClientError) -> bool) {
    let config = ClientConfig { tls, ..ClientConfig::from(&cluster.config) };
    let bootstrap = Bootstrap::Config(cluster.topology.clone());
    let mut client = Client::new(config, bootstrap).expect("a client");
    let error = client.get(KEYSPACE, b"k").expect_err("it is not let in");
    assert!(is_meant(&error), "{error}");
}

#[test]
fn everything_goes_on_through_a_kill_and_a_return_with_tls_and_nobody_gets_in_without() {
    let mut made = None;
    let mut cluster = Cluster::with("native_tls", TWO_PAIRS, |config| {
        config.security.secret = Some(SECRET);
        let (authority, files) = tls::switch_on(config, &[TlsPort::Standin]);
        // Members show each other the certificates by which they are called.
        let own = config.tls.as_mut().expect("it is on");
        own.client_ca_file = Some(authority.root.certificate.clone());
        tls::know(config);
        made = Some((authority, files));
    });
    let (authority, files) = made.expect("it was made");
    cluster.start();
    let load = Load::start(&cluster, 3);
    load.wait_for(300);
    cluster.kill("b1");
    cluster.wait_states(&[("b1", Offline)]);
    load.wait_for(300);
    cluster.start_server("b1");
    cluster.wait_states(&[("b1", Online)]);
    load.wait_for(300);
    load.finish().assert_clean();
    for server in ["a1", "a2", "b1", "b2"] {
        assert!(cluster.counter(server, "tls_handshakes") > 0, "{server}");
    }

    // A host that has a client's file, and a certificate of its own.
    let host = Scratch::new("native_tls_host");
    let file = host.file("client.toml");
    let path = file.to_str().expect("text");
    let written = cluster.run(&["client-config", "--output", path]);
    assert!(written.status.success(), "{written:?}");
    let own = authority.issue("client", "DNS:client");
    let mut text = std::fs::read_to_string(&file).expect("the file");
    assert!(text.contains("BEGIN CERTIFICATE"), "{text}");
    text += &format!("cert_file = {:?}\nkey_file = {:?}\n", own.certificate, own.key);
    std::fs::write(&file, text).expect("our file");
    for command in [&["put", "items", "k", "v"][..], &["get", "items", "k"], &["status"], &["hot"]]
    {
        let arguments = [&[command[0], "--config", path], &command[1..]].concat();
        let output = run(PROGRAM, &arguments, host.path());
        assert!(output.status.success(), "{command:?}: {output:?}");
    }
    let seconds =
        ["load", "--config", path, "--seconds", "1", "--rate", "100", "--keys", "20", "--fill"];
    let output = run(PROGRAM, &seconds, host.path());
    assert!(output.status.success(), "{output:?}");

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/client.py");
    let seeds = cluster.address("a1").to_string();
    let secret: String = SECRET.iter().map(|byte| format!("{byte:02x}")).collect();
    let root = authority.root.certificate.display().to_string();
    let (certificate, key) = (own.certificate.display().to_string(), own.key.display().to_string());
    let arguments = [
        script,
        "--seeds",
        &seeds,
        "--secret",
        &secret,
        "--ca",
        &root,
        "--cert",
        &certificate,
        &key,
        "--keyspace",
        "1",
        "get",
        "k",
    ];
    let output = run("python3", &arguments, host.path());
    assert!(output.status.success(), "{output:?}");

    let config = ClusterConfig::load(&file).expect("a client's file");
    let right = config.tls_calls.expect("it has TLS");
    fails(&cluster, None, |error| !matches!(error, ClientError::Tls { .. }));
    fails(&cluster, Some(TlsCalls { own: None, ..right.clone() }), |error| {
        matches!(error, ClientError::Tls { failure: Failure::Refused(_), .. })
    });
    let name = Some("another.host".to_owned());
    fails(&cluster, Some(TlsCalls { name, ..right.clone() }), |error| {
        matches!(error, ClientError::Tls { failure: Failure::Certificate(_), .. })
    });
    let other = Authority::new(files.path(), "other");
    let authorities = TlsAuthorities::File(other.root.certificate.clone());
    fails(&cluster, Some(TlsCalls { authorities, ..right }), |error| {
        matches!(error, ClientError::Tls { failure: Failure::Certificate(_), .. })
    });
}
