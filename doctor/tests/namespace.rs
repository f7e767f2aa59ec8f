//! Settings of the network, changed and put back in the kernel itself, in a network of the test's own.

use standin_doctor::change::{self, ChangeError, Done};
use standin_doctor::read::{Look, Root, look};
use standin_doctor::{Change, Verdict, Wanted, judge};
use standin_testkit::{Scratch, network};

const SOMAXCONN: &str = "/proc/sys/net/core/somaxconn";
const SYN: &str = "/proc/sys/net/ipv4/tcp_max_syn_backlog";
const COOKIES: &str = "/proc/sys/net/ipv4/tcp_syncookies";

fn value(path: &str) -> String {
    std::fs::read_to_string(path).expect("a setting").trim().to_owned()
}

/// What would be written here, without anything that does not belong to the namespace.
fn changes() -> Vec<Change> {
    let wanted = Wanted::defaults("a test");
    let looked = Look { root: Root::host(), process: None, cards: Vec::new(), origin: None };
    let report = judge(&look(&looked, &wanted), &wanted);
    let own = [SOMAXCONN, SYN, COOKIES];
    for finding in &report.findings {
        let is_own = finding.changes.iter().any(|change| own.contains(&change.path.as_str()));
        assert!(!is_own || finding.verdict == Verdict::Warning, "{finding:?}");
    }
    report.changes().into_iter().filter(|change| own.contains(&change.path.as_str())).collect()
}

#[test]
fn settings_of_a_network_are_changed_and_put_back() {
    if !network::of_its_own("settings_of_a_network_are_changed_and_put_back") {
        return;
    }
    let scratch = Scratch::new("doctor-namespace");
    let (root, record) = (Root::host(), scratch.file("doctor.json"));
    for (path, text) in [(SOMAXCONN, "128"), (SYN, "256"), (COOKIES, "0")] {
        std::fs::write(path, text).unwrap();
    }
    let values = || [SOMAXCONN, SYN, COOKIES].map(value);
    let planned = changes();
    assert_eq!(planned.len(), 3, "{planned:?}");
    let steps = change::apply(&root, &planned, &record).unwrap();
    assert!(steps.iter().all(|step| matches!(step.done, Done::Written { .. })), "{steps:?}");
    assert_eq!(values(), ["4096", "4096", "1"]);
    assert_eq!(changes(), []);

    // A value that the kernel refuses leaves the setting as it is.
    let wrong = [Change { path: SOMAXCONN.to_owned(), value: "many".to_owned() }];
    let other = scratch.file("other.json");
    let steps = change::apply(&root, &wrong, &other).unwrap();
    assert!(matches!(steps[0].done, Done::Failed { .. }), "{steps:?}");
    assert_eq!(value(SOMAXCONN), "4096");
    change::revert(&root, &other).unwrap();
    assert_eq!(value(SOMAXCONN), "4096");

    // Somebody else sets one of them.
    std::fs::write(SYN, "8192").unwrap();
    let steps = change::revert(&root, &record).unwrap();
    let left: Vec<&str> = steps
        .iter()
        .filter(|step| matches!(step.done, Done::ChangedSince { .. }))
        .map(|step| step.path.as_str())
        .collect();
    assert_eq!(left, [SYN]);
    assert_eq!(values(), ["128", "8192", "0"]);
    std::fs::write(SYN, "256").unwrap();
    change::revert(&root, &record).unwrap();
    assert!(matches!(change::revert(&root, &record), Err(ChangeError::Nothing(_))));

    // In another namespace, the record is not for these settings.
    change::apply(&root, &changes(), &record).unwrap();
    let moved = std::thread::spawn({
        let (root, record) = (root.clone(), record.clone());
        move || {
            // SAFETY: the call takes a number, and moves this thread alone.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
            std::fs::write(SOMAXCONN, "4096").unwrap();
            let ended = change::revert(&root, &record);
            (ended.map_err(|error| error.to_string()), value(SOMAXCONN))
        }
    });
    let (ended, there) = moved.join().unwrap();
    assert!(ended.unwrap_err().contains("another network namespace"));
    assert_eq!(there, "4096");
    change::revert(&root, &record).unwrap();
    assert_eq!(values(), ["128", "256", "0"]);
}
