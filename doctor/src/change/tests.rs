//! Settings are written, kept and put back, whatever happens in between.

use std::panic::{AssertUnwindSafe, catch_unwind};

use standin_testkit::Scratch;

use super::*;

const SOMAXCONN: &str = "/proc/sys/net/core/somaxconn";
const HUGE: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
const RPS: &str = "/sys/class/net/eth0/queues/rx-0/rps_cpus";
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// A host with three settings. Its files take what is written to them, as the kernel's do.
struct Tree {
    scratch: Scratch,
    root: Root,
}

impl Tree {
    fn new() -> Self {
        let scratch = Scratch::new("doctor-change");
        let root = Root::copy(scratch.path().to_owned());
        let tree = Self { scratch, root };
        tree.put(SOMAXCONN, "128\n");
        tree.put(HUGE, "always madvise [never]\n");
        tree.put(RPS, "00000000,0000000f\n");
        tree.put(BOOT, "first\n");
        tree
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.root.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn values(&self) -> [String; 3] {
        [SOMAXCONN, HUGE, RPS].map(|path| current(&self.root, path).unwrap())
    }

    fn record(&self) -> PathBuf {
        self.scratch.file("state").join("doctor.json")
    }

    fn apply(&self) -> Result<Vec<Step>, ChangeError> {
        apply_by(&self.root, &changes(), &self.record(), &mut as_the_kernel)
    }

    fn revert(&self) -> Result<Vec<Step>, ChangeError> {
        revert_by(&self.root, &self.record(), &mut as_the_kernel)
    }
}

const BEFORE: [&str; 3] = ["128", "never", "00000000,0000000f"];
const AFTER: [&str; 3] = ["4096", "madvise", "0"];

fn changes() -> Vec<Change> {
    let change = |(path, value): (&str, &str)| Change { path: path.into(), value: value.into() };
    [SOMAXCONN, HUGE, RPS].into_iter().zip(AFTER).map(change).collect()
}

/// Marks a choice among others, as the kernel does.
fn as_the_kernel(path: &Path, value: &str) -> io::Result<()> {
    if path.ends_with("transparent_hugepage/enabled") {
        let choices = ["always", "madvise", "never"].map(|choice| match choice == value {
            true => format!("[{choice}]"),
            false => choice.to_owned(),
        });
        return write(path, &choices.join(" "));
    }
    write(path, value)
}

#[test]
fn settings_are_written_and_put_back() {
    let tree = Tree::new();
    let steps = tree.apply().unwrap();
    assert!(steps.iter().all(|step| matches!(step.done, Done::Written { .. })), "{steps:?}");
    assert_eq!(tree.values(), AFTER);
    let steps = tree.revert().unwrap();
    assert!(steps.iter().all(|step| matches!(step.done, Done::Restored { .. })), "{steps:?}");
    assert_eq!(tree.values(), BEFORE);
    assert!(!tree.record().exists());
    assert!(matches!(tree.revert(), Err(ChangeError::Nothing(_))));
}

#[test]
fn the_first_old_values_are_kept() {
    let tree = Tree::new();
    tree.apply().unwrap();
    let steps = tree.apply().unwrap();
    assert!(steps.iter().all(|step| matches!(step.done, Done::AsWanted { .. })), "{steps:?}");
    // Also if there is something to write again.
    tree.put(SOMAXCONN, "512\n");
    tree.apply().unwrap();
    assert_eq!(tree.values(), AFTER);
    tree.revert().unwrap();
    assert_eq!(tree.values(), BEFORE);
}

#[test]
fn what_somebody_else_has_changed_since_is_reported_and_left_alone() {
    let tree = Tree::new();
    tree.apply().unwrap();
    tree.put(SOMAXCONN, "65535\n");
    let steps = tree.revert().unwrap();
    let changed =
        Done::ChangedSince { found: "65535".into(), written: "4096".into(), before: "128".into() };
    assert_eq!(steps.iter().find(|step| step.path == SOMAXCONN).unwrap().done, changed);
    assert_eq!(tree.values(), ["65535", BEFORE[1], BEFORE[2]]);
    // It stays in the record, and only it.
    let steps = tree.revert().unwrap();
    assert_eq!(steps, [Step { path: SOMAXCONN.into(), done: changed }]);
    // When it has its old value again, there is nothing left to do.
    tree.put(SOMAXCONN, "128\n");
    assert!(tree.revert().unwrap().iter().all(|step| step.done.is_done()));
    assert!(!tree.record().exists());
}

/// A crash at any write, of `--apply` and of `--revert`: the next `--revert` puts everything back, and
/// the next `--apply` finishes, with the first old values.
#[test]
fn a_crash_at_any_write_leaves_a_record_that_works() {
    for crash_at in 0..3 {
        for is_applied_again in [false, true] {
            let tree = Tree::new();
            crash(crash_at, |write| {
                apply_by(&tree.root, &changes(), &tree.record(), write).map(drop)
            });
            if is_applied_again {
                tree.apply().unwrap();
                assert_eq!(tree.values(), AFTER);
            }
            tree.revert().unwrap();
            assert_eq!(tree.values(), BEFORE, "{crash_at}");
        }
        let tree = Tree::new();
        tree.apply().unwrap();
        crash(crash_at, |write| revert_by(&tree.root, &tree.record(), write).map(drop));
        tree.revert().unwrap();
        assert_eq!(tree.values(), BEFORE, "{crash_at}");
        assert!(!tree.record().exists());
    }
}

/// The same if other values were written before, because the cluster file was another one.
#[test]
fn a_crash_at_any_write_of_other_values_leaves_a_record_that_works() {
    let other = |change: Change| match change.path.as_str() {
        SOMAXCONN => Change { value: "8192".into(), ..change },
        HUGE => Change { value: "always".into(), ..change },
        _ => Change { value: "3".into(), ..change },
    };
    let others: Vec<Change> = changes().into_iter().map(other).collect();
    for crash_at in 0..3 {
        let tree = Tree::new();
        tree.apply().unwrap();
        crash(crash_at, |write| apply_by(&tree.root, &others, &tree.record(), write).map(drop));
        let steps = tree.revert().unwrap();
        assert!(steps.iter().all(|step| step.done.is_done()), "{steps:?}");
        assert_eq!(tree.values(), BEFORE, "{crash_at}");
        assert!(!tree.record().exists());
    }
}

/// Ends a change in the middle: its n-th write is never made, and nothing after it happens.
fn crash(at: usize, change: impl FnOnce(Write<'_>) -> Result<(), ChangeError>) {
    let mut writes = 0;
    let mut crashing = |path: &Path, value: &str| {
        if writes == at {
            std::panic::resume_unwind(Box::new("crash"));
        }
        writes += 1;
        as_the_kernel(path, value)
    };
    assert!(catch_unwind(AssertUnwindSafe(|| change(&mut crashing))).is_err());
}

#[test]
fn a_crash_while_the_record_is_written_leaves_the_one_before() {
    let tree = Tree::new();
    tree.apply().unwrap();
    let mut new = tree.record().into_os_string();
    new.push(".new");
    std::fs::write(&new, "{\"version\": 1, \"boo").unwrap();
    tree.revert().unwrap();
    assert_eq!(tree.values(), BEFORE);
}

#[test]
fn a_setting_that_the_kernel_does_not_take_is_reported() {
    let tree = Tree::new();
    let mut deaf = |path: &Path, value: &str| match path.ends_with("somaxconn") {
        true => Ok(()),
        false => as_the_kernel(path, value),
    };
    let steps = apply_by(&tree.root, &changes(), &tree.record(), &mut deaf).unwrap();
    let Done::Failed { why } = &steps[0].done else { panic!("{steps:?}") };
    assert!(why.contains("has not taken \"4096\""), "{why}");
    let gone = [Change { path: "/proc/sys/net/core/none".into(), value: "1".into() }];
    let steps = apply(&tree.root, &gone, &tree.record()).unwrap();
    assert!(!steps[0].done.is_done(), "{steps:?}");
    tree.revert().unwrap();
    assert_eq!(tree.values(), BEFORE);
}

#[test]
fn the_record_of_an_earlier_run_of_the_kernel_is_not_put_back() {
    let tree = Tree::new();
    tree.apply().unwrap();
    // The host has restarted, and somebody has made one of the settings permanent.
    tree.put(BOOT, "second\n");
    tree.put(HUGE, "always madvise [never]\n");
    assert_eq!(tree.revert().unwrap(), []);
    assert_eq!(tree.values()[0], "4096");
    assert!(!tree.record().exists());
    // A new record begins with the values of the new run.
    tree.put(BOOT, "first\n");
    tree.put(SOMAXCONN, "128\n");
    tree.apply().unwrap();
    tree.put(BOOT, "third\n");
    tree.put(SOMAXCONN, "1024\n");
    tree.apply().unwrap();
    tree.revert().unwrap();
    assert_eq!(tree.values()[0], "1024");
}

#[test]
fn a_record_that_is_none_changes_nothing() {
    let tree = Tree::new();
    tree.apply().unwrap();
    let good = std::fs::read_to_string(tree.record()).unwrap();
    for (text, wanted) in [
        ("".to_owned(), "EOF"),
        ("{}".to_owned(), "missing field"),
        (good.replace("\"version\": 1", "\"version\": 2"), "version 2"),
        (good.replace(SOMAXCONN, "/etc/passwd"), "no setting"),
        (good.replace(SOMAXCONN, "/sys/../etc/passwd"), "no setting"),
    ] {
        std::fs::write(tree.record(), &text).unwrap();
        for ended in [tree.apply(), tree.revert()] {
            let said = ended.unwrap_err().to_string();
            assert!(said.contains(wanted) && said.contains("--state"), "{said}");
        }
        assert_eq!(std::fs::read_to_string(tree.record()).unwrap(), text);
        assert_eq!(tree.values(), AFTER);
    }
}

#[test]
fn two_processes_do_not_work_with_a_record_at_once() {
    let tree = Tree::new();
    let folder = record::folder(&tree.record()).unwrap();
    let locked = record::lock(&tree.record(), &folder).unwrap();
    assert!(matches!(tree.apply(), Err(ChangeError::Busy(_))));
    assert_eq!(tree.values(), BEFORE);
    drop(locked);
    tree.apply().unwrap();
}

#[test]
fn masks_are_compared_as_numbers() {
    for (one, other, is) in
        [("0", "00000000,00000000", true), ("f", "00000000,0000000F", true), ("f0", "f", false)]
    {
        assert_eq!(is_same(RPS, one, other), is, "{one} {other}");
    }
    assert!(!is_same(SOMAXCONN, "0", "00"));
}
