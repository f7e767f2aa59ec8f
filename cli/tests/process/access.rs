//! `standin load` at targets with TLS and logins: real memcached, redis-server, a Redis Cluster, and Standin. Who is not
//! let in is told before the load begins, and what to do.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use standin_config::{ServiceConfig, ServiceProtocol, TlsPort};
use standin_protocol::users::{Rights, User, UserKey, Users};
use standin_testkit::{
    Authority, Child, Issued, Scratch, expire, free_ports, memcached_or_skip, redis_or_skip,
    wait_until,
};

use crate::common::{Cluster, KEYSPACE, PAIR, SECRET, WITHIN, tls};

/// An authority, what it has issued, and a password.
struct Files {
    scratch: Scratch,
    authority: Authority,
    server: Issued,
    client: Issued,
    /// Of the user `app`.
    password: PathBuf,
}

const PASSWORD: &str = "s3cret";

impl Files {
    fn new(test: &str) -> Self {
        let scratch = Scratch::new(test);
        let authority = Authority::new(scratch.path(), test);
        let server = authority.issue("server", "IP:127.0.0.1");
        let client = authority.issue("client", "DNS:client");
        let password = secret(&scratch, "password", PASSWORD);
        Self { scratch, authority, server, client, password }
    }

    fn ca(&self) -> [&str; 2] {
        ["--ca-file", text(&self.authority.root.certificate)]
    }

    fn own(&self) -> [&str; 4] {
        ["--cert-file", text(&self.client.certificate), "--key-file", text(&self.client.key)]
    }

    fn login(&self) -> [&str; 4] {
        ["--user", "app", "--password-file", text(&self.password)]
    }

    fn all(&self) -> Vec<&str> {
        [&self.ca()[..], &self.own(), &self.login()].concat()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

fn secret(scratch: &Scratch, name: &str, password: &str) -> PathBuf {
    let path = scratch.file(name);
    std::fs::write(&path, format!("{password}\n")).expect("our file");
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("our file");
    path
}

/// Runs a short load. Returns its exit code and all that it has said.
fn load(target: &str, more: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_standin"));
    command.args(["load", "--target", target, "--keys", "50", "--fill", "--check", "--lossless"]);
    command.args(["--seconds", "1", "--rate", "200", "--workers", "1"]).args(more);
    let output = command.output().expect("the program can be run");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains(PASSWORD), "{said}");
    (output.status.code(), said.into_owned())
}

#[track_caller]
fn is_good(target: &str, more: &[&str]) -> String {
    let (code, said) = load(target, more);
    assert_eq!(code, Some(0), "{target} {more:?}: {said}");
    said
}

/// Runs a load that is good. Returns its results.
#[track_caller]
fn figures(files: &Files, target: &str) -> String {
    let json = files.scratch.file("result.json");
    is_good(target, &[&files.all()[..], &["--json", text(&json)]].concat());
    std::fs::read_to_string(json).expect("the results")
}

/// Asserts that no load begins, and that its message has these parts.
#[track_caller]
fn is_refused(target: &str, more: &[&str], parts: &[&str]) {
    let (code, said) = load(target, more);
    assert_eq!(code, Some(2), "{target} {more:?}: {said}");
    for part in parts {
        assert!(said.contains(part), "{target} {more:?}: no {part:?} in: {said}");
    }
}

fn memcached(test: &str, files: &Files, certificate: &Issued, port: u16) -> Option<Child> {
    let users = secret(&files.scratch, "memcached.users", &format!("app:{PASSWORD}"));
    let options = [
        format!("ssl_chain_cert={}", text(&certificate.certificate)),
        format!("ssl_key={}", text(&certificate.key)),
        format!("ssl_ca_cert={}", text(&files.authority.root.certificate)),
        "ssl_verify_mode=2".to_owned(),
    ];
    let mut more = vec!["-Z", "-Y", text(&users)];
    more.extend(options.iter().flat_map(|option| ["-o", option]));
    memcached_or_skip(test, &files.scratch, port, &more).map(|(child, _)| child)
}

#[test]
fn memcached_is_measured_with_tls_and_a_login_or_the_load_says_what_is_missing() {
    let test = "memcached_is_measured_with_tls_and_a_login_or_the_load_says_what_is_missing";
    let files = Files::new("access-memcached");
    let ports = free_ports(2);
    let Some(_right) = memcached(test, &files, &files.server, ports[0]) else { return };
    let old = files.authority.issue("old", "IP:127.0.0.1");
    expire(&files.authority, &old);
    let _old = memcached(test, &files, &old, ports[1]);
    let url = format!("memcached://127.0.0.1:{}", ports[0]);
    for protocol in ["text", "meta"] {
        let target = format!("{url}?protocol={protocol}&connections=2");
        // It is asked for them by another connection.
        assert!(figures(&files, &target).contains("limit_maxbytes"));
    }
    let host = ["--server-name", "127.0.0.1"];
    is_good(&url, &[&files.all()[..], &host].concat());

    let (ca, own, login) = (files.ca(), files.own(), files.login());
    let stranger = Authority::new(files.scratch.path(), "stranger");
    let wrong_ca = ["--ca-file", text(&stranger.root.certificate)];
    is_refused(&url, &[&wrong_ca[..], &own, &login].concat(), &["UnknownIssuer", "--ca-file"]);
    is_refused(&url, &[&ca[..], &login].concat(), &["--cert-file"]);
    is_refused(&url, &[&files.all()[..], &["--server-name", "other"]].concat(), &["--server-name"]);
    let wrong = secret(&files.scratch, "wrong", "n0ne");
    let wrong = ["--user", "app", "--password-file", text(&wrong)];
    is_refused(&url, &[&ca[..], &own, &wrong].concat(), &["authentication failure", "--user"]);
    let target = format!("memcached://127.0.0.1:{}", ports[1]);
    is_refused(&target, &files.all(), &["expired", "must not have expired"]);
}

fn redis(test: &str, files: &Files, port: u16, more: &[&str]) -> Option<Child> {
    let own = port.to_string();
    let mut all = vec!["--port", "0", "--tls-port", &own];
    all.extend(["--tls-cert-file", text(&files.server.certificate)]);
    all.extend(["--tls-key-file", text(&files.server.key)]);
    all.extend(["--tls-ca-cert-file", text(&files.authority.root.certificate)]);
    all.extend(more);
    redis_or_skip(test, &files.scratch, port, &all).map(|(child, _)| child)
}

#[test]
fn redis_is_measured_with_tls_and_a_user_or_the_load_says_what_is_missing() {
    let test = "redis_is_measured_with_tls_and_a_user_or_the_load_says_what_is_missing";
    let files = Files::new("access-redis");
    let port = free_ports(1)[0];
    let password = format!(">{PASSWORD}");
    let acl = ["--user", "app", "on", &password, "~*", "+@all", "--user", "default", "off"];
    let Some(_redis) = redis(test, &files, port, &acl) else { return };
    let target = format!("redis://127.0.0.1:{port}");
    for protocol in ["2", "3"] {
        let target = format!("{target}/1?protocol={protocol}");
        assert!(figures(&files, &target).contains("used_memory"));
    }
    let (ca, own, login) = (files.ca(), files.own(), files.login());
    is_refused(&target, &[&ca[..], &login].concat(), &["--cert-file"]);
    is_refused(&target, &[&ca[..], &own].concat(), &["refuses the login", "NOAUTH", "--user"]);
    let wrong = secret(&files.scratch, "wrong", "n0ne");
    let wrong = ["--user", "app", "--password-file", text(&wrong)];
    is_refused(&target, &[&ca[..], &own, &wrong].concat(), &["WRONGPASS", "--user"]);
    // A password in a URL works, and is warned of.
    let url = format!("redis://app:{PASSWORD}@127.0.0.1:{port}");
    let said = is_good(&url, &[&ca[..], &own].concat());
    assert!(said.contains("warning") && said.contains("--password-file"), "{said}");
    // Without TLS nothing is answered.
    let (code, said) = load(&target, &login);
    assert_ne!(code, Some(0), "{said}");
}

fn redis_cli(files: &Files) -> Command {
    let mut command = Command::new("redis-cli");
    command.args(["--tls", "--cacert", text(&files.authority.root.certificate)]);
    command.args(["--cert", text(&files.client.certificate), "--key", text(&files.client.key)]);
    command.args(["-a", PASSWORD]);
    command
}

#[test]
fn a_redis_cluster_is_measured_with_tls_and_a_password() {
    let test = "a_redis_cluster_is_measured_with_tls_and_a_password";
    let files = Files::new("access-cluster");
    let (ports, buses) = (free_ports(3), free_ports(3));
    let mut more = vec!["--cluster-enabled", "yes", "--tls-cluster", "yes"];
    more.extend(["--tls-replication", "yes", "--requirepass", PASSWORD, "--masterauth", PASSWORD]);
    let start = |(port, bus): (&u16, &u16)| {
        let bus = bus.to_string();
        redis(test, &files, *port, &[&more[..], &["--cluster-port", &bus]].concat())
    };
    let nodes: Option<Vec<Child>> = ports.iter().zip(&buses).map(start).collect();
    let Some(nodes) = nodes else { return };
    let mut create = redis_cli(&files);
    create.args(["--cluster", "create", "--cluster-yes"]);
    create.args(ports.iter().map(|port| format!("127.0.0.1:{port}")));
    let made = create.output().expect("redis-cli");
    assert!(made.status.success(), "{made:?}");
    wait_until(WITHIN, "the nodes to agree", || {
        ports.iter().all(|port| {
            let mut ask = redis_cli(&files);
            let said = ask.args(["-p", &port.to_string(), "cluster", "info"]).output();
            String::from_utf8_lossy(&said.expect("redis-cli").stdout).contains("cluster_state:ok")
        })
    });
    let password = ["--password-file", text(&files.password)];
    let all = [&files.ca()[..], &files.own(), &password].concat();
    let target = format!("redis-cluster://127.0.0.1:{}", ports[1]);
    is_good(&target, &all);
    is_refused(&target, &files.ca(), &["--cert-file"]);
    drop(nodes);
}

#[test]
fn standin_is_measured_by_its_address_with_tls_and_a_user_or_a_certificate() {
    let files = Files::new("access-standin");
    let key = UserKey::new(b"app", PASSWORD.as_bytes());
    let app = User { name: "app".into(), verifiers: vec![key.verifier()], rights: Rights::ALL };
    let port = free_ports(1)[0];
    let mut made = None;
    let mut cluster = Cluster::with("access-native", PAIR, |config| {
        config.security.secret = Some(SECRET);
        config.security.users = Some(Users::new(vec![app]));
        config.naming.default_keyspace = Some(KEYSPACE);
        config.servers[0].services.push(ServiceConfig {
            protocol: ServiceProtocol::Memcached,
            address: ([127, 0, 0, 1], port).into(),
            passwords: None,
        });
        made = Some(tls::switch_on(config, &[TlsPort::Standin, TlsPort::Memcached]));
    });
    let (authority, _folder) = made.expect("it was made");
    cluster.start();
    let target = format!("standin://{}", cluster.address("a1"));
    let ca = ["--ca-file", text(&authority.root.certificate)];
    is_good(&target, &[&ca[..], &files.login()].concat());
    // The same user at its port for memcached.
    let memcached = format!("memcached://127.0.0.1:{port}");
    is_good(&memcached, &[&ca[..], &files.login()].concat());
    is_refused(&target, &[&files.ca()[..], &files.login()].concat(), &["is not trusted"]);
    is_refused(&target, &files.login(), &["it takes TLS only"]);
    is_refused(&target, &ca, &["--user"]);
    let wrong = secret(&files.scratch, "wrong", "n0ne");
    let wrong = ["--user", "app", "--password-file", text(&wrong)];
    is_refused(&target, &[&ca[..], &wrong].concat(), &["--user"]);
    drop(cluster);

    // A cluster where a certificate is enough.
    let mut made = None;
    let mut cluster = Cluster::with("access-certificate", PAIR, |config| {
        config.security.secret = Some(SECRET);
        let (authority, folder) = tls::switch_on(config, &[TlsPort::Standin]);
        let own = config.tls.as_mut().expect("it is on");
        own.client_ca_file = Some(authority.root.certificate.clone());
        own.is_certificate_enough = true;
        tls::know(config);
        made = Some((authority, folder));
    });
    let (authority, _folder) = made.expect("it was made");
    cluster.start();
    let target = format!("standin://{}", cluster.address("a1"));
    let ca = ["--ca-file", text(&authority.root.certificate)];
    let own = authority.issue("client", "DNS:client");
    let own = ["--cert-file", text(&own.certificate), "--key-file", text(&own.key)];
    is_good(&target, &[&ca[..], &own].concat());
    is_refused(&target, &ca, &["has to have a certificate"]);
}
