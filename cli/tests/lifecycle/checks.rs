//! `check-config` reports the errors that a start would report, with their remedies. No process
//! starts with a file that it refuses.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use standin_config::{
    ClusterConfig, HttpConfig, IoKind, OriginConfig, ServiceConfig, ServiceProtocol,
};

use crate::common::cluster::PROGRAM;
use crate::common::{Cluster, PAIR};

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts that `check-config` and the server refuse the file in the same words.
fn assert_refused(name: &str, cluster: &Cluster, wanted: &[&str]) {
    let check = cluster.run(&["check-config"]);
    let server = cluster.run(&["server", "--name", "a1"]);
    assert_eq!(check.status.code(), Some(1), "{name}: {check:?}");
    assert_eq!(server.status.code(), Some(2), "{name}: {server:?}");
    for said in [stderr(&check), stderr(&server)] {
        for part in wanted {
            assert!(said.contains(part), "{name}: {said} does not say {part:?}");
        }
    }
}

#[test]
fn check_config_refuses_what_a_server_would_refuse_and_says_what_to_do() {
    for (name, url, wanted) in [
        ("url", "nonsense", &["postgres://user@host:port"][..]),
        ("tls", "postgres://u@127.0.0.1/d?sslmode=verify-ca", &["write `sslmode = "]),
        ("hosts", "user=u dbname=d", &["names no host", "postgres://user@host:port"]),
    ] {
        let cluster = Cluster::with(&format!("check-{name}"), PAIR, |config| {
            config.origin = Some(OriginConfig::postgres(url));
        });
        assert_refused(name, &cluster, wanted);
    }
    for (memory, shards, wanted) in [
        ("1TiB", "1", &["1TiB for 1 shards", "from 1MiB to 64GiB"]),
        ("1MiB", "256", &["1MiB for 256 shards", "from 16MiB to 16TiB"]),
    ] {
        let cluster = Cluster::new(&format!("check-{memory}"), PAIR);
        let text = std::fs::read_to_string(&cluster.config_path).expect("the file");
        let lines = text.lines().map(|line| match line.split_once(" = ") {
            Some(("memory", _)) => format!("memory = \"{memory}\"\n"),
            Some(("shards", _)) => format!("shards = {shards}\n"),
            _ => format!("{line}\n"),
        });
        std::fs::write(&cluster.config_path, lines.collect::<String>()).expect("written");
        assert_refused(memory, &cluster, wanted);
    }
}

#[test]
fn a_file_that_all_may_read_must_not_hold_a_password() {
    let password = |c: &mut ClusterConfig| {
        c.origin = Some(OriginConfig::postgres("postgres://u:secret@127.0.0.1:1/d"));
    };
    let cluster = Cluster::with("check-password", PAIR, password);
    set_permissions(&cluster.config_path, Permissions::from_mode(0o644)).expect("its mode");
    for (command, code) in
        [(&["check-config"][..], 1), (&["server", "--name", "a1"], 2), (&["master"], 2)]
    {
        let output = cluster.run(command);
        assert_eq!(output.status.code(), Some(code), "{command:?}: {output:?}");
        let said = stderr(&output);
        assert!(said.contains("mode 644") && said.contains("run `chmod 6"), "{said}");
        assert!(!said.contains("secret@"), "the password is not shown: {said}");
    }
    set_permissions(&cluster.config_path, Permissions::from_mode(0o640)).expect("its mode");
    let check = cluster.run(&["check-config"]);
    assert_eq!(check.status.code(), Some(0), "{check:?}");

    let without = Cluster::with("check-no-password", PAIR, |_| {});
    set_permissions(&without.config_path, Permissions::from_mode(0o644)).expect("its mode");
    let check = without.run(&["check-config"]);
    assert_eq!(check.status.code(), Some(0), "nothing to hide: {check:?}");
}

fn with_descriptors(cluster: &Cluster, limit: u32, arguments: &[&str]) -> Output {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit -n {limit}; exec \"$@\"")).arg("sh").arg(PROGRAM);
    command.arg(arguments[0]).arg("--config").arg(&cluster.config_path).args(&arguments[1..]);
    command.output().expect("a shell")
}

/// A lack of this machine is an error if the check is for this machine, and otherwise a warning.
#[test]
fn a_lack_of_this_machine_is_an_error_only_for_its_own_server() {
    let cluster = Cluster::new("check-descriptors", PAIR);
    let server = with_descriptors(&cluster, 64, &["server", "--name", "a1"]);
    assert_eq!(server.status.code(), Some(2), "{server:?}");
    let named = with_descriptors(&cluster, 64, &["check-config", "--name", "a1"]);
    assert_eq!(named.status.code(), Some(1), "{named:?}");
    let all = with_descriptors(&cluster, 64, &["check-config"]);
    assert_eq!(all.status.code(), Some(0), "{all:?}");
    for output in [&server, &named, &all] {
        let said = stderr(output);
        assert!(said.contains("may open 64 files") && said.contains("ulimit -Hn"), "{said}");
    }
    assert!(stderr(&all).contains("warning: "), "{all:?}");
    let master = with_descriptors(&cluster, 50, &["check-config", "--master"]);
    assert_eq!(master.status.code(), Some(1), "{master:?}");
    assert!(stderr(&master).contains("a master needs"), "{master:?}");
    // Whoever asks for the files alone is not told of it.
    for role in [&["--name", "a1"][..], &["--master"]] {
        let files = [&["check-config", "--files-only"], role].concat();
        let output = with_descriptors(&cluster, 50, &files);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(stderr(&output), "", "{output:?}");
    }

    let unknown = cluster.run(&["check-config", "--name", "a9"]);
    assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");
    assert!(stderr(&unknown).contains("a1, a2"), "{unknown:?}");
}

#[test]
fn a_check_of_the_files_alone_finds_what_is_wrong_with_each_file() {
    for (name, role, key, wanted) in [
        ("metrics", &["--name", "a1"][..], "metrics", "mode 644"),
        ("service", &["--name", "a1"], "memcached", "mode 644"),
        ("other", &["--name", "a2"], "memcached", ""),
        ("state", &["--master"], "memcached", "the master could not start here"),
    ] {
        let cluster = Cluster::with(&format!("check-files-{name}"), PAIR, |_| {});
        let folder = cluster.config_path.parent().expect("a folder");
        let passwords = folder.join("passwords");
        std::fs::write(&passwords, "someone:something-long\n").expect("written");
        set_permissions(&passwords, Permissions::from_mode(0o644)).expect("its mode");
        let text = std::fs::read_to_string(&cluster.config_path).expect("the file");
        // An address that this machine has not, which is not looked at.
        let of_a1 =
            format!("name = \"a1\"\n{key} = \"192.0.2.1:1\"\n{key}_passwords = \"passwords\"\n");
        let text = text.replacen("name = \"a1\"\n", &of_a1, 1);
        assert!(text.contains(&of_a1), "{text}");
        std::fs::write(&cluster.config_path, text).expect("written");
        if name == "state" {
            let config = ClusterConfig::load(&cluster.config_path).expect("it is right");
            std::fs::write(&config.master.state_file, "no state").expect("written");
        }
        let output = cluster.run(&[&["check-config", "--files-only"], role].concat());
        let said = stderr(&output);
        let code = i32::from(!wanted.is_empty());
        assert_eq!(output.status.code(), Some(code), "{name}: {output:?}");
        assert!(said.contains(wanted) && !said.contains("192.0.2.1"), "{name}: {said}");
        assert_eq!(said.is_empty(), wanted.is_empty(), "{name}: {said}");
    }
}

#[test]
fn a_foreign_address_and_a_state_file_of_another_cluster_are_found() {
    let cluster = Cluster::with("check-address", PAIR, |c| {
        // The address is from TEST-NET-1, which no machine has.
        c.servers[0].address = ([192, 0, 2, 1], 7_101).into();
        c.security.secret = Some([7; 32]);
        c.servers[1].io = IoKind::Epoll;
    });
    let foreign = cluster.run(&["check-config", "--name", "a1"]);
    assert_eq!(foreign.status.code(), Some(1), "{foreign:?}");
    assert!(stderr(&foreign).contains("an address of this machine"), "{foreign:?}");
    let own = cluster.run(&["check-config", "--name", "a2"]);
    assert_eq!(own.status.code(), Some(0), "{own:?}");

    let mut first = Cluster::new("check-state", PAIR);
    first.start_master();
    first.terminate("master", crate::common::WITHIN);
    let text = std::fs::read_to_string(&first.config_path).expect("the file");
    let name = format!("name = \"{}\"", first.config.name);
    std::fs::write(&first.config_path, text.replacen(&name, "name = \"other\"", 1))
        .expect("written");
    let check = first.run(&["check-config", "--master"]);
    assert_eq!(check.status.code(), Some(1), "{check:?}");
    assert!(stderr(&check).contains("belongs to cluster \"check-state\""), "{check:?}");
    let master = first.run(&["master"]);
    assert_eq!(master.status.code(), Some(2), "{master:?}");
}

#[test]
fn a_port_of_metrics_that_can_not_work_is_refused_by_the_check_and_by_the_start() {
    let cluster = Cluster::with("check-metrics", PAIR, |config| {
        let passwords = Some("missing.passwords".into());
        let address = ([127, 0, 0, 1], standin_testkit::free_ports(1)[0]).into();
        config.servers[0].metrics = Some(HttpConfig { address, passwords });
        // An address of TEST-NET-1, which no machine has.
        let (address, passwords) = (([192, 0, 2, 1], 9_100).into(), Some("other".into()));
        config.master.metrics = Some(HttpConfig { address, passwords });
    });
    let other = cluster.directory().join("other");
    std::fs::write(&other, "ann:secret\n").expect("written");
    set_permissions(&other, Permissions::from_mode(0o640)).expect("its mode");
    for (check, start, wanted) in [
        (
            &["check-config", "--name", "a1"][..],
            &["server", "--name", "a1"][..],
            &["missing.passwords", "user:password"][..],
        ),
        (&["check-config", "--master"], &["master"], &["192.0.2.1:9100", "`metrics` must be"]),
    ] {
        for (command, code) in [(check, 1), (start, 2)] {
            let output = cluster.run(command);
            assert_eq!(output.status.code(), Some(code), "{command:?}: {output:?}");
            for part in wanted {
                assert!(stderr(&output).contains(part), "{command:?}: {}", stderr(&output));
            }
        }
    }
}

/// Whoever may write such a file may add a user who has all rights.
#[test]
fn password_files_that_others_may_read_or_change_are_refused_by_the_check_and_by_the_start() {
    let cluster = Cluster::with("check-passwords", PAIR, |config| {
        let http = |passwords: &str, port| {
            let address = ([127, 0, 0, 1], port).into();
            Some(HttpConfig { address, passwords: Some(passwords.into()) })
        };
        let ports = standin_testkit::free_ports(3);
        config.servers[0].metrics = http("metrics", ports[0]);
        config.master.dashboard = http("dashboard", ports[1]);
        let address = ([127, 0, 0, 1], ports[2]).into();
        let passwords = Some("redis".into());
        let protocol = ServiceProtocol::Redis;
        config.servers[1].services = vec![ServiceConfig { protocol, address, passwords }];
    });
    let set_mode = |file: &str, mode| {
        let path = cluster.directory().join(file);
        std::fs::write(&path, "ann:secret\n").expect("written");
        set_permissions(&path, Permissions::from_mode(mode)).expect("its mode");
    };
    for file in ["metrics", "dashboard", "redis"] {
        set_mode(file, 0o640);
    }
    let check = cluster.run(&["check-config"]);
    assert_eq!(check.status.code(), Some(0), "{check:?}");
    assert!(!stderr(&check).contains("chmod"), "{check:?}");
    for (file, check, start) in [
        ("metrics", &["check-config", "--name", "a1"][..], &["server", "--name", "a1"][..]),
        ("dashboard", &["check-config", "--master"], &["master"]),
        ("redis", &["check-config", "--name", "a2"], &["server", "--name", "a2"]),
    ] {
        for mode in [0o644, 0o660] {
            set_mode(file, mode);
            for (command, code) in [(check, 1), (start, 2)] {
                let output = cluster.run(command);
                assert_eq!(output.status.code(), Some(code), "{command:?}: {output:?}");
                let wanted = format!("(mode {mode:o}); run `chmod 6");
                assert!(stderr(&output).contains(&wanted), "{command:?}: {}", stderr(&output));
            }
        }
        set_mode(file, 0o600);
    }
}
