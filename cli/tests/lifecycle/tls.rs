//! TLS for Standin's own protocol: clients, servers and the master, through the kill and the return of a server.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output};

use standin_client::blocking::Client;
use standin_client::{Bootstrap, ClientConfig, ClientError};
use standin_config::{
    ClusterConfig, HttpConfig, ServiceConfig, ServiceProtocol, TlsAuthorities, TlsCalls, TlsOwn,
    TlsPort,
};
use standin_protocol::frame::{Opcode, Request, RequestHeader, Response, Status};
use standin_protocol::hello::{HelloBody, Role, TLS_ONLY};
use standin_testkit::{Authority, Scratch, free_ports, wait_until};
use standin_tls::Failure;

use crate::common::cluster::PROGRAM;
use crate::common::{Cluster, KEYSPACE, Load, SECRET, TWO_PAIRS, WITHIN, tls};

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
        let (authority, files) = tls::switch_on(config, &[TlsPort::Standin, TlsPort::Http]);
        // Members show each other the certificates by which they are called.
        let own = config.tls.as_mut().expect("it is on");
        own.client_ca_file = Some(authority.root.certificate.clone());
        own.is_certificate_enough = true;
        let ports: Vec<SocketAddr> =
            free_ports(3).into_iter().map(|port| ([127, 0, 0, 1], port).into()).collect();
        let http = |address| Some(HttpConfig { address, passwords: None });
        (config.master.dashboard, config.servers[0].metrics) = (http(ports[0]), http(ports[1]));
        // Without TLS, as a port that it is not switched on for.
        config.servers[1].services.push(ServiceConfig {
            protocol: ServiceProtocol::Redis,
            address: ports[2],
            passwords: None,
        });
        config.naming.default_keyspace = Some(KEYSPACE);
        tls::know(config);
        made = Some((authority, files));
    });
    let (authority, files) = made.expect("it was made");
    cluster.start();
    let load = Load::start(&cluster, 3);
    load.through_kill_and_return(&mut cluster, "b1", 300);
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
    assert!(text.contains("BEGIN CERTIFICATE") && !text.contains("client_key"), "{text}");
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
    let root = authority.root.certificate.display().to_string();
    let (certificate, key) = (own.certificate.display().to_string(), own.key.display().to_string());
    let arguments = [
        script,
        "--seeds",
        &seeds,
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
    fails(&cluster, None, |error| {
        matches!(error, ClientError::Tls { failure: Failure::Wanted, .. })
    });
    fails(&cluster, Some(TlsCalls { own: None, ..right.clone() }), |error| {
        matches!(error, ClientError::Tls { failure: Failure::Refused(_), .. })
    });
    let name = Some("another.host".to_owned());
    fails(&cluster, Some(TlsCalls { name, ..right.clone() }), |error| {
        matches!(error, ClientError::Tls { failure: Failure::Certificate(_), .. })
    });
    let other = Authority::new(files.path(), "other");
    let authorities = TlsAuthorities::File(other.root.certificate.clone());
    fails(&cluster, Some(TlsCalls { authorities, ..right.clone() }), |error| {
        matches!(error, ClientError::Tls { failure: Failure::Certificate(_), .. })
    });
    // A certificate makes nobody a member.
    for (role, answer) in [
        (Role::Client, Status::Ok),
        (Role::Observer, Status::Ok),
        (Role::Peer, Status::AuthRequired),
        (Role::Master, Status::AuthRequired),
    ] {
        for address in [cluster.address("a1"), cluster.config.master.address] {
            let hello = HelloBody { role: role as u8, ..HelloBody::default() };
            let mut request = Vec::new();
            let header = RequestHeader::new(Opcode::Hello, 0, 0);
            Request::write(header, &[], &hello.to_bytes(), &mut request);
            let mut stream = tls::Stream::open(address, &right).expect("it connects");
            let said = stream.exchange(&request, b"s").expect("it answers");
            let reply = Response::parse(&said).expect("a frame").expect("all of it");
            assert_eq!(reply.status, answer, "{role:?}");
        }
    }

    // The pages, whose figures come from the servers by TLS.
    let dashboard = cluster.config.master.dashboard.as_ref().expect("it has one").address;
    wait_until(WITHIN, "all servers on the dashboard", || {
        https(dashboard, &right, "/state.json").matches("\"state\":\"online\"").count() == 4
    });
    let metrics = cluster.config.servers[0].metrics.as_ref().expect("it has one").address;
    let shown = https(metrics, &right, "/metrics");
    assert!(shown.contains("standin_tls_handshakes_total"));
    for what in ["ports", "http", "calls"] {
        let expires = "standin_tls_certificate_expires_timestamp_seconds{use=";
        for whose in ["own", "authorities"] {
            let line = format!("{expires}\"{what}\",whose=\"{whose}\"}} ");
            assert!(shown.contains(&line), "{line}: {shown}");
        }
    }

    // What is not as the port wants it is named in the log.
    let tell_plain = "it does not speak TLS";
    for name in ["a1", "master"] {
        let address =
            if name == "master" { cluster.config.master.address } else { cluster.address(name) };
        let said = plain(address, b"s no TLS");
        assert!(said.windows(TLS_ONLY.len()).any(|part| part == TLS_ONLY), "{name}");
        cluster.process(name).wait_for_line(tell_plain, WITHIN);
    }
    assert!(plain(dashboard, b"GET / HTTP/1.1\r\n\r\n").starts_with(b"HTTP/1.1 400 "));
    cluster.process("master").wait_for_line("callers of `dashboard` because of TLS", WITHIN);
    let redis = cluster.service("a2");
    let mut caller = tls::Stream::open(redis, &right).expect("it connects");
    let error = caller.exchange(b"PING\r\n", b"").expect_err("it has no TLS");
    assert!(error.to_string().contains("does not speak TLS"), "{error}");
    cluster.process("a2").wait_for_line("it speaks TLS, and this port has none", WITHIN);

    // The master has other certificates after SIGHUP.
    let renewed = Authority::new(host.path(), "renewed");
    let issued = renewed.issue("server", "IP:127.0.0.1");
    let own = renewed.issue("client", "DNS:client");
    let others = TlsCalls {
        authorities: TlsAuthorities::File(renewed.root.certificate.clone()),
        own: Some(TlsOwn { cert_file: own.certificate, key_file: own.key }),
        ..right
    };
    let master = cluster.config.master.address;
    let opens = || {
        let mut stream = tls::Stream::open(master, &others).expect("it connects");
        stream.exchange(b"s no frame", b"").is_ok()
    };
    assert!(!opens(), "the authority is not known yet");
    for (from, to) in [
        (&renewed.root.certificate, "root.crt"),
        (&issued.certificate, "server.crt"),
        (&issued.key, "server.key"),
    ] {
        std::fs::copy(from, files.file(to)).expect("our file");
    }
    cluster.process("master").signal(libc::SIGHUP);
    wait_until(WITHIN, "the master's new certificate", opens);
}

/// What a port says to these bytes, without TLS.
fn plain(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).expect("a port");
    socket.set_read_timeout(Some(WITHIN)).expect("a socket");
    socket.write_all(bytes).expect("it reads");
    let mut said = Vec::new();
    // The kernel resets a connection with bytes that were not read.
    let _ = socket.read_to_end(&mut said);
    said
}

fn https(address: SocketAddr, calls: &TlsCalls, path: &str) -> String {
    let mut stream = tls::Stream::open(address, calls).expect("it connects");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let said = stream.exchange(request.as_bytes(), b"").expect("it answers");
    String::from_utf8(said).expect("text")
}
