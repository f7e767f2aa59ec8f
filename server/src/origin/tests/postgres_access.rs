//! The password of the database's user: where it comes from, and that a new one needs no restart.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use standin_config::{OriginConfig, OriginKind, PasswordSource};
use standin_testkit::wait::poll_for;
use standin_testkit::{Postgres, Scratch, wait_until};

use super::session::Session;
use super::*;

const FIRST: &str = "first pass:word";
const SECOND: &str = "second";

fn config(url: &str, source: PasswordSource) -> OriginConfig {
    let mut config = postgres_config(url, "");
    if let OriginKind::Postgres { access, .. } = &mut config.kind {
        access.password = source;
    }
    config
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// Asserts that the database is used with this configuration.
#[track_caller]
pub(super) fn works(config: &OriginConfig) {
    let bench = Bench::start(config, &kv()).unwrap();
    wait_until(SOON, "a row to be looked for", || bench.get("k") == NOTHING);
    bench.origin.shutdown();
}

/// Asserts that calls are refused with a reason that has these parts.
#[track_caller]
pub(super) fn fails(config: &OriginConfig, parts: &[&str]) {
    let bench = Bench::start(config, &kv()).unwrap();
    let mut last = bench.get("k");
    // A busy machine may be too slow for the first attempt, which is the reason then.
    let is_reason = |outcome: &Outcome| match outcome {
        used if *used == NOTHING => panic!("it is used"),
        Outcome::Failed(Failure::Refused(why)) => parts.iter().all(|part| why.contains(part)),
        _ => false,
    };
    let found = poll_for(SOON, || {
        last = bench.get("k");
        is_reason(&last).then_some(())
    });
    assert!(found.is_some(), "{parts:?} are not in {last:?}");
    bench.origin.shutdown();
}

#[test]
fn a_password_comes_from_its_place_and_a_new_one_needs_no_restart() {
    let Some(mut postgres) = Postgres::start_or_skip("a_password_comes_from_its_place") else {
        return;
    };
    postgres.admit(&["host all all 127.0.0.1/32 scram-sha-256"]);
    let admin = Session::open_by(&postgres.socket_url());
    admin.run(POSTGRES_KV);
    let set_password = |to: &str| admin.run(&format!("ALTER USER standin PASSWORD '{to}'"));
    set_password(FIRST);
    let scratch = Scratch::new("database-password");
    let (file, passfile) = (scratch.file("password"), scratch.file("pgpass"));
    write(&file, FIRST);
    let line = |password: &str| {
        let escaped = password.replace(':', "\\:");
        format!("# comment\nother:*:*:*:wrong\n127.0.0.1:{}:*:standin:{escaped}\n", postgres.port())
    };
    write(&passfile, &line(FIRST));
    let url = postgres.url();
    let places = [PasswordSource::File(file.clone()), PasswordSource::Passfile(passfile.clone())];
    for place in places.clone() {
        works(&config(&url, place));
    }
    let in_url = url.replace("standin@", "standin:first%20pass%3Aword@");
    works(&config(&in_url, PasswordSource::Usual));

    // A connection that is up stays up; the next one has the new password.
    let bench = Bench::start(&config(&url, places[0].clone()), &kv()).unwrap();
    wait_until(SOON, "it to be up", || bench.get("k") == NOTHING);
    set_password(SECOND);
    assert_eq!(bench.get("k"), NOTHING);
    wait_until(SOON, "the old password to be refused", || {
        // Each time, because one that is being opened is not in the list at once.
        admin.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()",
        );
        matches!(bench.get("k"), Outcome::Failed(Failure::Refused(why))
            if why.contains("password authentication failed") && !why.contains(FIRST))
    });
    write(&file, SECOND);
    wait_until(SOON, "the new password to be used", || bench.get("k") == NOTHING);
    bench.origin.shutdown();

    // The passfile still has the old one.
    fails(&config(&url, places[1].clone()), &["password authentication failed"]);
    write(&passfile, &line(SECOND));
    works(&config(&url, places[1].clone()));
    write(&passfile, "");
    let started = Bench::start(&config(&url, places[1].clone()), &kv()).map(|_| ());
    let said = started.unwrap_err().to_string();
    assert!(said.contains("no line for 127.0.0.1:"), "{said}");

    std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let started = Bench::start(&config(&url, places[0].clone()), &kv()).map(|_| ());
    let said = started.unwrap_err().to_string();
    assert!(said.contains("accessible to every user") && said.contains("run `chmod 6"), "{said}");
    if std::env::var_os("PGPASSFILE").is_none() {
        let wanted = &["asks for a password", "password_file"];
        fails(&config(&url, PasswordSource::Usual), wanted);
    }
}
