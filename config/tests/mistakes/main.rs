//! The messages for wrong files: a table of mistakes, each with its exact message.
//!
//! `table.txt` and `warnings.txt` hold cases: `#` names one, `@` gives the line of the
//! right file that is replaced by the text which follows, and each `>` is a message that
//! must come, in this order, and no other.

use std::fs::{Permissions, set_permissions, write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use standin_config::{ClusterConfig, KeyspaceConfig, Mistake, OriginKind, ProxyConfig};

/// A right file; each case replaces one of its lines, counted from one.
const RIGHT: &str = r#"[master]
address = "127.0.0.1:7100"
[[group]]
name = "a"
[[group.server]]
name = "a1"
address = "127.0.0.1:7101"
[[group.server]]
name = "a2"
address = "127.0.0.1:7102"
[origin]
kind = "sqlite"
path = "db.sqlite"
[[keyspace]]
id = 1
name = "items"
get = "SELECT v FROM t WHERE k = :key"
put = "UPDATE t SET v = :value WHERE k = :key"
delete = "DELETE FROM t WHERE k = :key"
"#;

/// One case of a table.
#[derive(Default)]
struct Case<'t> {
    name: &'t str,
    line: usize,
    text: Vec<&'t str>,
    wanted: Vec<&'t str>,
}

impl Case<'_> {
    fn file(&self) -> String {
        with_line(self.line, &self.text.join("\n"))
    }
}

fn cases(table: &str) -> Vec<Case<'_>> {
    let mut cases: Vec<Case<'_>> = Vec::new();
    for row in table.lines().filter(|row| !row.is_empty()) {
        if let Some(name) = row.strip_prefix("# ") {
            cases.push(Case { name, ..Case::default() });
            continue;
        }
        let case = cases.last_mut().expect("a table begins with a name");
        if let Some(line) = row.strip_prefix('@') {
            case.line = line.parse().expect("a line of the right file");
        } else if let Some(message) = row.strip_prefix("> ") {
            case.wanted.push(message);
        } else {
            case.text.push(row);
        }
    }
    cases
}

fn with_line(line: usize, text: &str) -> String {
    let lines = RIGHT.lines().enumerate();
    lines.flat_map(|(index, old)| [if index + 1 == line { text } else { old }, "\n"]).collect()
}

fn folder_of_secrets() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let digits = "0123456789abcdef".repeat(4);
    let secrets = [
        ("good.secret", format!("{digits}\n"), 0o600),
        ("short.secret", "0123".to_owned(), 0o600),
        ("strange.secret", digits.replace('f', "g"), 0o600),
        ("three.secret", format!("{digits}\n\n{digits}\n{digits}\n"), 0o600),
        ("good.users", format!("ann {digits} *=read\n"), 0o600),
        ("open.users", "default open *=read\n".to_owned(), 0o600),
        ("wrong.users", format!("ann {digits} *=read\nbob\n"), 0o600),
    ];
    for (name, text, mode) in secrets {
        let path = folder.path().join(name);
        write(&path, text).expect("the folder is ours");
        set_permissions(&path, Permissions::from_mode(mode)).expect("the file is ours");
    }
    folder
}

/// Messages without the file's name.
fn shown(mistakes: &[Mistake]) -> Vec<String> {
    mistakes.iter().map(|mistake| mistake.to_string().replacen("f:", "", 1)).collect()
}

fn said(text: &str, folder: &Path) -> Vec<String> {
    ClusterConfig::parse(text, "f", folder)
        .map_or_else(|errors| shown(&errors.mistakes), |_| Vec::new())
}

#[test]
fn the_right_file_is_right() {
    let folder = folder_of_secrets();
    let checked = ClusterConfig::check(RIGHT, "f", folder.path());
    assert_eq!(checked.warnings, []);
    assert!(checked.config.is_ok(), "{:?}", checked.config);
}

#[test]
fn each_mistake_has_its_message() {
    let folder = folder_of_secrets();
    let cases = cases(include_str!("table.txt"));
    assert!(cases.len() >= 30);
    for case in cases {
        assert!(!case.wanted.is_empty(), "{}", case.name);
        assert_eq!(said(&case.file(), folder.path()), case.wanted, "{}", case.name);
    }
}

#[test]
fn each_warning_has_its_message() {
    let folder = folder_of_secrets();
    for case in cases(include_str!("warnings.txt")) {
        let checked = ClusterConfig::check(&case.file(), "f", folder.path());
        assert!(checked.config.is_ok(), "{}: {:?}", case.name, checked.config);
        assert_eq!(shown(&checked.warnings), case.wanted, "{}", case.name);
    }
}

#[test]
fn keyspaces_are_read_before_there_is_a_file_of_users() {
    let folder = folder_of_secrets();
    let security = "[security]\nusers_file = \"no.users\"\n";
    let open = "address = \"127.0.0.1:7102\"\nredis = \"10.0.0.1:6379\"";
    let cluster = RIGHT.replace("address = \"127.0.0.1:7102\"", open);
    let cluster = format!("{cluster}{security}secret_file = \"good.secret\"\n");
    let proxy = "[proxy]\nservers = [\"127.0.0.1:7101\"]\nredis = \"10.0.0.1:6379\"\n\
                 [[keyspace]]\nid = 1\nname = \"items\"\n";
    for (name, text) in [("cluster.toml", cluster), ("proxy.toml", format!("{proxy}{security}"))] {
        let path = folder.path().join(name);
        write(&path, text).expect("the folder is ours");
        let refused = match name {
            "cluster.toml" => ClusterConfig::load(&path).map(|_| ()),
            _ => ProxyConfig::check_file(&path).config.map(|_| ()),
        };
        let refused = refused.expect_err("there are no users").to_string();
        assert!(refused.contains("users_file") && refused.lines().count() == 1, "{refused}");
        let keyspaces = KeyspaceConfig::load_all(&path).expect("it needs no users");
        assert_eq!(keyspaces.iter().map(|one| &*one.name).collect::<Vec<_>>(), ["items"]);
    }
}

/// As many connections as keyspaces are what keeps one keyspace's locks from delaying another.
#[test]
fn fewer_connections_than_keyspaces_are_warned_of() {
    let warnings = |origin: &str| {
        let origin = format!("kind = \"postgres\"\nurl = \"postgres://\"\n{origin}");
        let another = RIGHT.split_once("[[keyspace]]").expect("it has one").1;
        let another = another.replace("id = 1", "id = 2").replace("items", "others");
        let text = with_line(12, &origin).replace("path = \"db.sqlite\"\n", "");
        let text = format!("{text}[[keyspace]]{another}");
        shown(&ClusterConfig::check(&text, "f", Path::new("")).warnings)
    };
    let wanted = "14:15: origin.connections: fewer connections than keyspaces, so a locked or slow \
                  table may delay other keyspaces; write 2 or more";
    assert_eq!(warnings("connections = 1"), [wanted]);
    let both = format!("{wanted}, and the same for `concurrency`");
    assert_eq!(warnings("connections = 1\nconcurrency = 1"), [both]);
    assert_eq!(warnings("connections = 2"), Vec::<String>::new());
}

/// No password that somebody writes in a wrong place is in a message.
#[test]
fn access_to_the_database_is_checked_without_its_files() {
    let of_postgres = |lines: &str| {
        let origin = format!("kind = \"postgres\"\nurl = \"postgres://u@h/d\"\n{lines}");
        let text = with_line(12, &origin).replace("path = \"db.sqlite\"\n", "");
        said(&text, Path::new("")).join("\n")
    };
    for (lines, wanted) in [
        (
            "password_file = \"p\"\npasswords_env = \"P\"",
            "15:1: origin.passwords_env: unknown key; write `password_env`",
        ),
        (
            "password_file = \"p\"\npassfile = \"q\"",
            "15:12: origin.passfile: `password_file` is the place of the password already; remove one",
        ),
        (
            "password_env = \"top=secret\"",
            "14:16: origin.password_env: is not the name of an environment variable; write its \
             name, such as `password_env = \"PGPASSWORD\"`, not the password",
        ),
        ("sslmode = \"allow\"", "14:11: origin.sslmode: unknown value \"allow\"; write"),
        (
            "sslmode = \"verify-full\"",
            "14:11: origin.sslmode: needs authorities to verify the server by; write `sslrootcert",
        ),
        (
            "sslmode = \"verify-ca\"\nsslrootcert = \"system\"",
            "15:15: origin.sslrootcert: the authorities of the operating system vouch for host \
             names only; write `sslmode = \"verify-full\"`",
        ),
        (
            "sslmode = \"prefer\"\nsslrootcert = \"ca.crt\"",
            "15:15: origin.sslrootcert: is not used, because without another `sslmode` any server \
             will do; write `sslmode = \"verify-full\"`",
        ),
        ("sslrootcert = \"ca.crt\"", "14:15: origin.sslrootcert: is not used"),
        (
            "sslcert = \"c.crt\"",
            "14:11: origin.sslcert: a certificate is used with its private key; write `sslkey`",
        ),
        ("sslkey = \"c.key\"", "14:10: origin.sslkey: a certificate is used with its"),
    ] {
        let said = of_postgres(lines);
        assert!(said.starts_with(wanted) && !said.contains('\n'), "{lines}: {said}");
    }
    assert_eq!(
        of_postgres("sslmode = \"require\"\nsslrootcert = \"ca.crt\"\npassfile = \"p\""),
        ""
    );
    let sqlite = with_line(13, "path = \"db.sqlite\"\npassfile = \"p\"");
    let wanted =
        "14:1: origin.passfile: belongs to `kind = \"postgres\"`; remove it, or change the kind";
    assert_eq!(said(&sqlite, Path::new("")), [wanted]);
}

/// The connections of a pool are a rule of PostgreSQL alone, which the right file has not.
#[test]
fn more_connections_than_statements_are_warned_of() {
    let postgres = "kind = \"postgres\"\nurl = \"postgres://\"\nconnections = 17";
    let text = with_line(12, postgres).replace("path = \"db.sqlite\"\n", "");
    let checked = ClusterConfig::check(&text, "f", Path::new(""));
    assert_eq!(
        shown(&checked.warnings),
        [
            "14:15: origin.connections: more connections than reads at once (`concurrency`); write 16 \
             or fewer"
        ]
    );
    let config = checked.config.expect("a warning is no mistake");
    assert!(!format!("{config:?}").contains("postgres://"), "a password is not for logs");
}

#[test]
fn many_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let folder = folder_of_secrets();
    let wanted: Vec<&str> = include_str!("many.txt").lines().collect();
    assert_eq!(said(include_str!("many.toml"), folder.path()), wanted);
}

#[test]
fn an_empty_file_is_told_what_it_needs() {
    assert_eq!(
        said("", Path::new("")),
        [
            "1:1: group: there is no group; write `[[group]]` with a name, and two or more `[[group.server]]` under it",
            "1:1: keyspace: there is no keyspace; write `[[keyspace]]` with an id, a name, and a get statement or `kind = \"cache\"`",
        ]
    );
}

#[test]
fn only_keyspaces_with_rows_need_a_database() {
    let origin = "[origin]\nkind = \"sqlite\"\npath = \"db.sqlite\"\n";
    let rows = RIGHT.split_once("[[keyspace]]").expect("it has one").1;
    let cache = "[[keyspace]]\nid = 2\nname = \"sessions\"\nkind = \"cache\"\n";
    let without = RIGHT.replace(origin, "");
    assert_eq!(
        said(&without, Path::new("")),
        ["1:1: origin: there is no database; write `[origin]` with `kind = \"sqlite\"` and \
             `path = \"origin.sqlite\"`, or `kind = \"cache\"` for every keyspace"]
    );
    let only_cache = without.replace(&format!("[[keyspace]]{rows}"), cache);
    let checked = ClusterConfig::check(&only_cache, "f", Path::new(""));
    assert_eq!(checked.warnings, []);
    let config = checked.config.expect("it needs no database");
    assert_eq!((config.origin, config.keyspaces[0].ttl), (None, None));
    let unused = RIGHT.replace(&format!("[[keyspace]]{rows}"), cache);
    let checked = ClusterConfig::check(&unused, "f", Path::new(""));
    assert_eq!(
        shown(&checked.warnings),
        ["11:1: origin: no keyspace has rows in it; remove the section, or add a keyspace with \
             a get statement"]
    );
    assert!(checked.config.is_ok());
}

#[test]
fn the_errors_are_shown_one_per_line_with_the_file() {
    let folder = folder_of_secrets();
    let path = folder.path().join("cluster.toml");
    write(&path, with_line(15, "id = 256\nid2 = 1")).expect("the folder is ours");
    let shown = ClusterConfig::load(&path).expect_err("the id is wrong").to_string();
    let name = path.display();
    let wanted = [
        format!(
            "{name}:15:6: keyspace.id: 256 is out of range; write a whole number from 0 to 255"
        ),
        format!("{name}:16:1: keyspace.id2: unknown key; write `id`"),
    ];
    assert_eq!(shown, wanted.join("\n"));
}

#[test]
fn a_file_that_cannot_be_read_says_so() {
    let folder = folder_of_secrets();
    let path = folder.path().join("cluster.toml");
    let shown = || ClusterConfig::load(&path).expect_err("there is no file").to_string();
    let name = path.display();
    assert_eq!(
        shown(),
        format!(
            "{name}: cannot be read (No such file or directory (os error 2)); give the path of a \
             readable file, such as a copy of cluster.example.toml"
        )
    );
    write(&path, b"[cluster]\nname = \"\xff\"").expect("the folder is ours");
    assert_eq!(shown(), format!("{name}: byte 18 is not UTF-8; save the file as UTF-8"));
}

/// With a secret other addresses are right, but still not one that nobody can reach.
#[test]
fn a_secret_opens_the_cluster() {
    let folder = folder_of_secrets();
    let beyond = |address: &str| {
        let text = with_line(10, &format!("address = \"{address}\""));
        format!("[security]\nsecret_file = \"good.secret\"\n{text}")
    };
    assert_eq!(said(&beyond("10.0.0.2:7102"), folder.path()), [""; 0]);
    assert_eq!(
        said(&beyond("0.0.0.0:7102"), folder.path()),
        ["12:11: group.server.address: other machines cannot connect to 0.0.0.0; write this \
             machine's own address"]
    );
    let config =
        ClusterConfig::parse(&beyond("10.0.0.2:7102"), "f", folder.path()).expect("it is right");
    let mut secret = [0; 32];
    secret
        .chunks_exact_mut(8)
        .for_each(|part| part.copy_from_slice(&[0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]));
    assert_eq!(config.security.secret, Some(secret));
    assert!(!format!("{config:?}").contains("35, 69"), "a secret is not for logs");
}

/// Users are as good as passwords at ports that others reach, unless one is whoever says nothing.
#[test]
fn users_open_a_port_to_others() {
    let folder = folder_of_secrets();
    let beyond = |users: &str| {
        let text = with_line(10, "address = \"10.0.0.2:7102\"\nredis = \"10.0.0.2:6379\"");
        format!("[security]\nsecret_file = \"good.secret\"\n{users}\n{text}")
    };
    assert_eq!(said(&beyond("users_file = \"good.users\""), folder.path()), [""; 0]);
    let none = said(&beyond(""), folder.path()).concat();
    assert!(none.contains("group.server.redis") && none.contains("redis_passwords"), "{none}");
    let open = said(&beyond("users_file = \"open.users\""), folder.path()).concat();
    assert!(open.contains("in the file of users `default` is `open`"), "{open}");
}

/// Whoever reads the secret may be a server, and whoever writes the file of users may be any user.
#[test]
fn secrets_that_others_may_read_or_change_are_refused() {
    let folder = folder_of_secrets();
    let files = "[security]\nsecret_file = \"good.secret\"\nusers_file = \"good.users\"\n";
    let text = format!("{files}{RIGHT}");
    for name in ["good.secret", "good.users"] {
        let path = folder.path().join(name);
        for mode in [0o644, 0o604, 0o660, 0o622] {
            set_permissions(&path, Permissions::from_mode(mode)).expect("the file is ours");
            let seen = said(&text, folder.path()).concat();
            assert!(seen.contains(&format!("(mode {mode:o}); run `chmod 6")), "{mode:o}: {seen}");
        }
        for mode in [0o640, 0o600] {
            set_permissions(&path, Permissions::from_mode(mode)).expect("the file is ours");
            assert_eq!(said(&text, folder.path()), [""; 0], "{mode:o}");
        }
    }
}

/// Whoever may write the file says who the master is and what is sent to the database.
#[test]
fn a_file_that_others_may_write_is_refused_with_what_to_do() {
    let folder = folder_of_secrets();
    let path = folder.path().join("cluster.toml");
    write(&path, RIGHT).expect("the folder is ours");
    for (mode, is_right) in [(0o644, true), (0o604, true), (0o646, false), (0o666, false)] {
        set_permissions(&path, Permissions::from_mode(mode)).expect("the file is ours");
        let loaded = ClusterConfig::load(&path).map_err(|error| error.to_string());
        assert_eq!(loaded.is_ok(), is_right, "{mode:o}");
        if let Err(said) = loaded {
            assert!(said.contains("written by every user of this machine"), "{said}");
            assert!(said.contains("run `chmod go-w`"), "{said}");
        }
    }
}

#[test]
fn relative_paths_are_relative_to_the_file() {
    let folder = folder_of_secrets();
    let path = folder.path().join("cluster.toml");
    write(&path, RIGHT).expect("the folder is ours");
    let config = ClusterConfig::load(&path).expect("it is right");
    assert_eq!(config.master.state_file, folder.path().join("master.state"));
    let OriginKind::Sqlite { path, .. } = config.origin.unwrap().kind else {
        panic!("it is SQLite")
    };
    assert_eq!(path, folder.path().join("db.sqlite"));
}
