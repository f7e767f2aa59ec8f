//! Tests of what is taken over of a changed file, and what is not.

use standin_protocol::users::Rights;

use crate::database::OriginConfig;

use super::*;

fn config() -> ClusterConfig {
    let address = |port: u16| ([127, 0, 0, 1], port).into();
    let servers = [("a1", address(7_101)), ("a2", address(7_102))];
    let mut config =
        ClusterConfig::new("c", address(7_100), OriginConfig::sqlite("o")).with_group("a", servers);
    config.keyspaces = vec![KeyspaceConfig::cache(1, "one"), KeyspaceConfig::cache(2, "two")];
    config
}

#[test]
fn the_same_file_changes_nothing() {
    let reload = config().reload(&config());
    assert_eq!(reload, Reload { config: config(), changed: vec![], needs_restart: vec![] });
}

#[test]
fn lifetimes_are_taken_over_and_told() {
    let mut new = config();
    new.keyspaces[1].ttl = Some(Duration::from_secs(300));
    new.keyspaces[1].negative_ttl = Duration::from_secs(5);
    new.keyspaces[0].log_slower_than = None;
    let old = config().keyspaces[1].negative_ttl;
    let reload = config().reload(&new);
    assert_eq!(reload.config, new);
    assert_eq!(reload.needs_restart, Vec::<String>::new());
    let expected = [
        format!(
            "keyspace \"one\": log_slower_than {:?} -> none",
            config().keyspaces[0].log_slower_than.unwrap()
        ),
        "keyspace \"two\": ttl none -> 300s".to_owned(),
        format!("keyspace \"two\": negative_ttl {old:?} -> 5s"),
    ];
    assert_eq!(reload.changed, expected);
}

#[test]
fn all_else_needs_a_restart_and_lifetimes_are_taken_over_beside_it() {
    let mut new = config();
    new.keyspaces[0].ttl_jitter_percent = 50;
    new.limits.key_bytes = 7;
    new.limits.connections = 77;
    new.limits.output_timeout = Duration::from_secs(9);
    new.log_level = LogLevel::Debug;
    new.servers[0].address.set_port(7_109);
    let mut expected = config();
    expected.keyspaces[0].ttl_jitter_percent = 50;
    expected.limits.connections = 77;
    expected.limits.output_timeout = Duration::from_secs(9);
    expected.log_level = LogLevel::Debug;
    let reload = config().reload(&new);
    assert_eq!(reload.config, expected);
    assert_eq!(reload.needs_restart, ["[[group]] (server \"a1\": address)", "[limits]"]);
    let wanted = [
        "keyspace \"one\": ttl_jitter_percent 0 -> 50",
        "[limits] connections 10000 -> 77",
        "[limits] output_timeout 30s -> 9s",
        "[log] level info -> debug",
    ];
    assert_eq!(reload.changed, wanted);
}

#[test]
fn users_are_taken_over_and_the_log_names_those_that_differ() {
    let user = |name: &str, keyspace| {
        let mut rights = Rights::default();
        rights.read.set(keyspace, true);
        User { name: name.into(), verifiers: Vec::new(), rights }
    };
    let with = |users: Vec<User>| {
        let mut config = config();
        config.security.secret = Some([1; 32]);
        config.security.users = Some(Users::new(users));
        config
    };
    let old = with(vec![user("ann", 1), user("bob", 1), user("eve", 1)]);
    let new = with(vec![user("ann", 1), user("bob", 2), user("new", 1)]);
    let reload = old.reload(&new);
    assert_eq!(reload.config, new);
    assert_eq!(
        reload.changed,
        ["user \"bob\": changed", "user \"new\": new", "user \"eve\": gone"]
    );
    assert_eq!(reload.needs_restart, Vec::<String>::new());
}

#[test]
fn users_are_not_taken_over_if_their_rights_would_be_for_other_keyspaces() {
    let with = |keyspace, names: [(u8, &str); 2], secret| {
        let mut rights = Rights::default();
        rights.read.set(keyspace, true);
        let users = Users::new(vec![User { name: "ann".into(), verifiers: vec![], rights }]);
        let mut config = config();
        config.security.secret = secret;
        config.security.users = Some(users);
        config.keyspaces =
            names.map(|(id, name)| KeyspaceConfig::cache(id, name)).into_iter().collect();
        config
    };
    let some = Some([1; 32]);
    let old = with(1, [(1, "one"), (2, "two")], some);
    for (names, is_taken) in [
        ([(1, "one"), (2, "two")], true),
        ([(2, "two"), (3, "three")], false),
        ([(1, "two"), (2, "one")], false),
        ([(1, "one"), (2, "secrets")], false),
        ([(1, "one"), (3, "two")], false),
    ] {
        let new = with(2, names, some);
        for reload in [old.reload(&new), old.reload_of_master(&new)] {
            let users = if is_taken { &new } else { &old }.security.users.clone();
            assert_eq!(reload.config.security.users, users, "{names:?}");
            assert_eq!(reload.changed.is_empty(), !is_taken, "{names:?}");
            let is_told = reload.needs_restart.contains(&"[security]".to_owned());
            assert_eq!(is_told, !is_taken, "{names:?}");
        }
    }
    let mut open = old.clone();
    open.security.users = None;
    let reload = old.reload(&open);
    let [gone, all] = &*reload.changed else { panic!("two lines") };
    assert!(gone.ends_with(": gone") && all.contains("everybody has all rights"), "{all}");
    let without = with(1, [(1, "one"), (2, "two")], None);
    let reload = without.reload(&with(2, [(1, "one"), (2, "two")], some));
    assert_eq!(reload.config, without, "every caller may say that it is a server");
    assert_eq!(reload.needs_restart, ["[security]"]);
}

#[test]
fn secrets_are_taken_over_if_the_one_in_use_counts_before_and_after() {
    let reload = |old: (u8, u8), new: (u8, u8)| {
        let with = |(secret, second)| {
            let mut config = config();
            let some = |byte: u8| (byte > 0).then_some([byte; 32]);
            config.security.secret = some(secret);
            config.security.second_secret = some(second);
            config
        };
        let reload = with(old).reload(&with(new));
        let is_taken = reload.config == with(new);
        assert_eq!(reload.needs_restart.is_empty(), is_taken);
        assert_eq!(reload.changed.is_empty(), !is_taken || old == new);
        is_taken
    };
    for (old, new) in [((1, 0), (1, 2)), ((1, 2), (2, 1)), ((2, 1), (2, 0)), ((1, 2), (1, 0))] {
        assert!(reload(old, new), "{old:?} {new:?}");
    }
    for (old, new) in [
        ((1, 0), (2, 0)),
        ((1, 0), (2, 1)),
        ((1, 2), (2, 0)),
        ((1, 2), (2, 3)),
        ((0, 0), (1, 0)),
        ((1, 0), (0, 0)),
    ] {
        assert!(!reload(old, new), "{old:?} {new:?}");
    }
}

#[test]
fn what_differs_of_a_group_is_named() {
    let mut new = config();
    new.servers[0].memory_bytes += 1;
    new.servers[0].metrics =
        Some(HttpConfig { address: ([127, 0, 0, 1], 9_101).into(), passwords: None });
    new.servers[1].name = "a3".to_owned();
    let [told] = &*config().reload(&new).needs_restart else { panic!("the groups alone") };
    let servers = "server \"a1\": memory, metrics; server \"a2\": gone; server \"a3\": new";
    assert_eq!(told, &format!("[[group]] ({servers})"));
}

#[test]
fn a_keyspace_more_or_less_needs_a_restart() {
    let mut new = config();
    new.keyspaces.pop();
    new.keyspaces[0].ttl = Some(Duration::from_secs(1));
    let reload = config().reload(&new);
    assert_eq!(reload.config.keyspaces[0].ttl, Some(Duration::from_secs(1)));
    assert_eq!(reload.config.keyspaces.len(), 2);
    assert_eq!(reload.needs_restart, ["[[keyspace]]"]);
}
