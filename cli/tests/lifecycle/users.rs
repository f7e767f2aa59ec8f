//! Users: what each may do by each protocol, on real servers that forward requests to each other, and what
//! SIGHUP changes for connections that are open.

use std::path::Path;

use standin_client::blocking::Client;
use standin_client::{Bootstrap, ClientConfig, ClientError};
use standin_config::{ClusterConfig, KeyspaceConfig, ServiceConfig, ServiceProtocol, user_line};
use standin_protocol::users::{Right, Rights, User, UserKey, Users};
use standin_testkit::{free_ports, wait_until};

use crate::common::caller::Caller;
use crate::common::{Cluster, KEYSPACE, PAIR, SECRET, WITHIN};

/// A keyspace without a database.
const NOTES: u8 = 2;
const KEY_REFUSED: &str =
    "-NOPERM this user has no permissions to access one of the keys used as arguments\r\n";
const COMMAND_REFUSED: &str = "-NOPERM this user has no permissions to run this command\r\n";

/// A user whose password is `pw-NAME`.
fn user(name: &str, rights: &[(u8, &[Right])]) -> User {
    let mut all = Rights::default();
    for (keyspace, rights) in rights {
        rights.iter().for_each(|right| all.of_mut(*right).set(*keyspace, true));
    }
    let key = UserKey::new(name.as_bytes(), format!("pw-{name}").as_bytes());
    User { name: name.into(), verifiers: vec![key.verifier()], rights: all }
}

fn users() -> Vec<User> {
    use Right::{Read, Write};
    let mut ops = user("ops", &[]);
    ops.rights = Rights::ALL;
    let mut guest = user("default", &[(NOTES, &[Read])]);
    guest.verifiers.clear();
    let shop = user("shop", &[(KEYSPACE, &[Read, Write])]);
    vec![shop, user("viewer", &[(KEYSPACE, &[Read])]), ops, guest]
}

/// A cluster whose server a1 speaks memcached's and Redis' protocols.
fn cluster(test: &str, users: Vec<User>) -> Cluster {
    let ports = free_ports(2);
    Cluster::with(test, PAIR, |config| {
        config.security.secret = Some(SECRET);
        config.security.users = Some(Users::new(users));
        config.keyspaces.push(KeyspaceConfig::cache(NOTES, "notes"));
        config.servers[0].shards = 2;
        let protocols = [ServiceProtocol::Memcached, ServiceProtocol::Redis];
        config.servers[0].services = protocols
            .into_iter()
            .zip(ports)
            .map(|(protocol, port)| ServiceConfig {
                protocol,
                address: ([127, 0, 0, 1], port).into(),
                passwords: None,
            })
            .collect();
    })
}

fn write_users(cluster: &Cluster, users: &[User]) {
    let line = |user| format!("{}\n", user_line(user, &cluster.config.keyspaces));
    let lines: String = users.iter().map(line).collect();
    let path = cluster.directory().join(standin_config::USERS_FILE);
    std::fs::write(path, lines).expect("the file of users");
}

fn hang_up(cluster: &mut Cluster, name: &str, then: &str) {
    let before = cluster.process(name).lines().len();
    cluster.process(name).signal(libc::SIGHUP);
    cluster.process(name).wait_for_line_after(before, then, WITHIN);
}

/// A client with the file that `standin client-config` writes for a user.
fn native(cluster: &Cluster, name: &str) -> Client {
    let path = client_file(cluster, name);
    let config = ClusterConfig::load(Path::new(&path)).expect("a client's file");
    let bootstrap = Bootstrap::Config(std::sync::Arc::clone(&cluster.topology));
    Client::new(ClientConfig::from(&config), bootstrap).expect("a client")
}

fn client_file(cluster: &Cluster, name: &str) -> String {
    let path = |end: &str| {
        cluster.directory().join(format!("{name}.{end}")).to_str().expect("text").to_owned()
    };
    let (password, output) = (path("password"), path("toml"));
    std::fs::write(&password, format!("pw-{name}\n")).expect("a file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&password, mode).expect("its mode");
    let arguments = ["--user", name, "--password-file", &password, "--output", &output, "--force"];
    let written = cluster.run(&[&["client-config"][..], &arguments].concat());
    assert!(written.status.success(), "{written:?}");
    output
}

fn caller(cluster: &Cluster, protocol: ServiceProtocol) -> Caller {
    let services = &cluster.config.servers[0].services;
    let service = services.iter().find(|service| service.protocol == protocol).expect("a port");
    Caller::connect(&service.address.to_string())
}

fn redis(cluster: &Cluster, user: &str) -> Caller {
    let mut caller = caller(cluster, ServiceProtocol::Redis);
    caller.ask(&format!("AUTH {user} pw-{user}\r\n"), "+OK\r\n");
    caller
}

fn memcached(cluster: &Cluster, user: &str) -> Caller {
    let mut caller = caller(cluster, ServiceProtocol::Memcached);
    let token = format!("{user} pw-{user}");
    caller.ask(&format!("set a 0 0 {}\r\n{token}\r\n", token.len()), "STORED\r\n");
    caller
}

fn text(key: &[u8]) -> &str {
    std::str::from_utf8(key).expect("text")
}

#[test]
fn each_user_may_do_what_the_file_says_by_each_protocol_and_nothing_forbidden_is_forwarded() {
    let mut cluster = cluster("users", users());
    cluster.start();
    let (here, there) = (cluster.key_of("a1"), cluster.key_of("a2"));
    for key in [&here, &there] {
        cluster.set_row(key, b"v");
    }
    let (here, there) = (text(&here).to_owned(), text(&there).to_owned());

    // Redis: both keys are read, although a2 knows nothing of the connection; no write leaves a1.
    let mut viewer = redis(&cluster, "viewer");
    viewer.ask("ACL WHOAMI\r\n", "$6\r\nviewer\r\n");
    viewer.ask(&format!("MGET items:{here} items:{there}\r\n"), "*2\r\n$1\r\nv\r\n$1\r\nv\r\n");
    // Counters are published a few times a second.
    wait_until(WITHIN, "the read to be counted", || cluster.counter("a1", "forwarded") > 0);
    let forwarded = cluster.counter("a1", "forwarded");
    for _ in 0..20 {
        for command in ["SET", "APPEND", "SETNX", "GETSET"] {
            viewer.ask(&format!("{command} items:{there} x\r\n"), KEY_REFUSED);
        }
        viewer.ask(&format!("DEL items:{there}\r\n"), KEY_REFUSED);
        viewer.ask(&format!("INCR items:{there}\r\n"), KEY_REFUSED);
        viewer.ask("GET notes:n\r\n", KEY_REFUSED);
    }
    viewer.ask(&format!("MGET items:{here} notes:n\r\n"), KEY_REFUSED);
    viewer.ask("MULTI\r\n", "+OK\r\n");
    viewer.ask(&format!("GET items:{here}\r\nSET items:{here} x\r\n"), "+QUEUED\r\n+QUEUED\r\n");
    viewer.ask("EXEC\r\n", &format!("*2\r\n$1\r\nv\r\n{KEY_REFUSED}"));
    viewer
        .ask(&format!("WATCH notes:n\r\nWATCH items:{here}\r\n"), &format!("{KEY_REFUSED}+OK\r\n"));
    viewer.ask(
        &format!("MULTI\r\nGET items:{here}\r\nEXEC\r\n"),
        "+OK\r\n+QUEUED\r\n*1\r\n$1\r\nv\r\n",
    );
    for command in ["FLUSHALL", "INFO", "SCAN 0", "KEYS *", "DBSIZE"] {
        viewer.ask(&format!("{command}\r\n"), COMMAND_REFUSED);
    }
    viewer.ask(&format!("GET items:{there}\r\n"), "$1\r\nv\r\n");
    wait_until(WITHIN, "the last read to be counted", || {
        cluster.counter("a1", "forwarded") > forwarded
    });
    assert_eq!(cluster.counter("a1", "forwarded"), forwarded + 1, "only the read");
    assert_eq!(cluster.row(there.as_bytes()).as_deref(), Some(&b"v"[..]));

    // Without a name one is `default`; what is sent together with AUTH has the new rights already.
    let mut guest = caller(&cluster, ServiceProtocol::Redis);
    guest.ask("ACL WHOAMI\r\n", "$7\r\ndefault\r\n");
    guest.ask(&format!("GET items:{here}\r\n"), KEY_REFUSED);
    guest.ask(
        "GET notes:n\r\nAUTH shop wrong\r\nGET notes:n\r\n",
        "$-1\r\n-WRONGPASS invalid username-password pair or user is disabled.\r\n$-1\r\n",
    );
    guest.ask(
        &format!("AUTH shop pw-shop\r\nSET items:{here} w\r\nGET notes:n\r\n"),
        &format!("+OK\r\n+OK\r\n{KEY_REFUSED}"),
    );
    let mut ops = redis(&cluster, "ops");
    ops.ask("SET notes:n 1\r\nDBSIZE\r\n", "+OK\r\n:");
    ops.until("\r\n");
    ops.ask("FLUSHALL\r\n", "+OK\r\n");

    // memcached: nobody who names no user has more rights than `default`.
    let refused = "CLIENT_ERROR permission denied\r\n";
    let mut open = caller(&cluster, ServiceProtocol::Memcached);
    open.ask(&format!("get items:{here}\r\n"), refused);
    open.ask("get notes:n\r\n", "END\r\n");
    open.ask("set notes:n 0 0 1\r\nx\r\n", refused);
    open.ask("stats\r\n", refused);
    open.ask("flush_all\r\n", refused);
    open.ask("version\r\n", "VERSION ");
    open.until("\r\n");
    open.ask("mg notes:n v\r\nmn\r\n", "EN\r\nMN\r\n");

    // Standin's own protocol.
    let (mut viewer, mut shop) = (native(&cluster, "viewer"), native(&cluster, "shop"));
    let read = |client: &mut Client, key: &str| client.get(KEYSPACE, key.as_bytes());
    for key in [&here, &there] {
        assert!(read(&mut viewer, key).expect("permitted").is_some());
        shop.put(KEYSPACE, key.as_bytes(), b"s".to_vec(), 0).expect("permitted");
        let refused = viewer.put(KEYSPACE, key.as_bytes(), b"x".to_vec(), 0).unwrap_err();
        assert!(matches!(refused, ClientError::NotPermitted { .. }), "{refused}");
        assert_eq!(cluster.row(key.as_bytes()).as_deref(), Some(&b"s"[..]));
    }
    let refused = read_notes(&mut shop).unwrap_err();
    assert!(refused.to_string().contains("may not do GET in keyspace notes"), "{refused}");
    for (name, succeeds) in [("ops", true), ("viewer", false)] {
        let file = client_file(&cluster, name);
        let hot = std::process::Command::new(crate::common::cluster::PROGRAM)
            .args(["hot", "--config", &file])
            .output()
            .expect("the program runs");
        let shown = format!("{hot:?}");
        assert_eq!(hot.status.success() && !shown.contains("may not"), succeeds, "{shown}");
    }
}

fn read_notes(client: &mut Client) -> Result<(), ClientError> {
    client.get(NOTES, b"n").map(|_| ())
}

#[test]
fn sighup_takes_rights_from_open_connections_and_closes_those_of_users_who_are_gone() {
    let with_password = |users: Vec<User>| -> Vec<User> {
        users.into_iter().filter(|user| !user.verifiers.is_empty()).collect()
    };
    let mut cluster = cluster("users-reload", with_password(users()));
    cluster.start();
    let key = cluster.key_of("a1");
    cluster.set_row(&key, b"v");
    let get = format!("GET items:{}\r\n", text(&key));
    let (mut viewer, mut shop) = (redis(&cluster, "viewer"), redis(&cluster, "shop"));
    let mut shop_by_memcached = memcached(&cluster, "shop");
    let (mut native_viewer, mut native_shop) =
        (native(&cluster, "viewer"), native(&cluster, "shop"));
    for caller in [&mut viewer, &mut shop] {
        caller.ask(&get, "$1\r\nv\r\n");
    }
    for client in [&mut native_viewer, &mut native_shop] {
        assert!(client.get(KEYSPACE, &key).expect("permitted").is_some());
    }
    let mut nobody = caller(&cluster, ServiceProtocol::Redis);
    nobody.ask(&get, "-NOAUTH Authentication required.\r\n");

    // The viewer may see notes instead of items, and shop is gone.
    let mut changed = with_password(users());
    changed.retain(|user| &*user.name != "shop");
    changed[0] = user("viewer", &[(NOTES, &[Right::Read])]);
    write_users(&cluster, &changed);
    for name in ["a1", "a2", "master"] {
        hang_up(&mut cluster, name, "taken over: user \"shop\": gone");
        cluster.process(name).wait_for_line("taken over: user \"viewer\": changed", WITHIN);
    }
    shop.expect_end();
    shop_by_memcached.expect_end();
    viewer.ask(&get, KEY_REFUSED);
    viewer.ask("GET notes:n\r\n", "$-1\r\n");
    let refused = native_viewer.get(KEYSPACE, &key).unwrap_err();
    assert!(matches!(refused, ClientError::NotPermitted { .. }), "{refused}");
    assert!(read_notes(&mut native_viewer).is_ok());
    let refused = native_shop.get(KEYSPACE, &key).unwrap_err();
    assert!(matches!(refused, ClientError::AuthFailed), "{refused}");
    caller(&cluster, ServiceProtocol::Redis).ask(
        "AUTH shop pw-shop\r\n",
        "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
    );

    // The reader of a stale value is told to compute it only if it may store it.
    let [mut reader, mut ops] = ["viewer", "ops"].map(|user| memcached(&cluster, user));
    ops.ask("set notes:s 0 0 1\r\nx\r\nmd notes:s I\r\n", "STORED\r\nHD\r\n");
    reader.ask("mg notes:s v\r\nmg notes:s v\r\n", &"VA 1 X\r\nx\r\n".repeat(2));
    ops.ask("mg notes:s v\r\nmg notes:s v\r\n", "VA 1 X W\r\nx\r\nVA 1 Z X\r\nx\r\n");

    // A file with a mistake changes nothing, and shows no verifier.
    let path = cluster.directory().join(standin_config::USERS_FILE);
    let text = std::fs::read_to_string(&path).expect("the file");
    std::fs::write(&path, text.replace("notes=", "nots=")).expect("written");
    hang_up(&mut cluster, "a1", "there is no keyspace \"nots\"; write `notes`");
    cluster.process("a1").wait_for_line("was not taken over, and nothing has changed", WITHIN);
    viewer.ask("GET notes:n\r\n", "$-1\r\n");
}
