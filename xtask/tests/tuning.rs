//! The script in tuning/, against a tree that stands for /proc, /sys and /run: what it shows, what it
//! changes, and that it changes nothing unasked.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use standin_testkit::Scratch;

/// A machine of 8 cores whose card `eth9` has four queues.
struct Machine {
    scratch: Scratch,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { scratch: Scratch::new("tuning") };
        machine.put("sys/devices/system/cpu/online", "0-7\n");
        machine.put("sys/class/net/eth9/device/local_cpulist", "0-3\n");
        machine.put("sys/class/net/eth9/device/numa_node", "0\n");
        machine.put("sys/class/net/br0/address", "x\n");
        let mut interrupts = "            CPU0       CPU1\n".to_owned();
        for (irq, name) in [
            (31, "eth9-TxRx-0"),
            (32, "eth9-TxRx-1"),
            (33, "eth9-TxRx-2"),
            (34, "eth9-TxRx-3"),
            (35, "eth9"),
        ] {
            interrupts.push_str(&format!(" {irq}:   5   6   PCI-MSI 12-edge   {name}\n"));
            machine.put(&format!("sys/class/net/eth9/device/msi_irqs/{irq}"), "msix\n");
            machine.put(&format!("proc/irq/{irq}/smp_affinity_list"), "0-7\n");
        }
        machine.put("proc/interrupts", &interrupts);
        std::fs::create_dir_all(machine.path("run")).expect("a folder");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.file(name)
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("not the root")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    fn run(&self, script: &str, arguments: &str) -> Output {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tuning");
        let mut command = Command::new(folder.join(script));
        command.args(arguments.split_whitespace());
        command.env("STANDIN_SYSROOT", self.scratch.path()).output().expect("a script that starts")
    }

    /// Cores of the card's five interrupts.
    fn affinities(&self) -> Vec<String> {
        let of = |irq| {
            let path = self.path(&format!("proc/irq/{irq}/smp_affinity_list"));
            std::fs::read_to_string(path).expect("a file").trim().to_owned()
        };
        (31..=35).map(of).collect()
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[track_caller]
fn assert_ends(output: &Output, code: i32, with: &str) {
    assert_eq!(output.status.code(), Some(code), "{}", text(output));
    assert!(text(output).contains(with), "no {with:?} in:\n{}", text(output));
}

#[test]
fn interrupts_are_only_shown_unless_asked_to_apply() {
    let machine = Machine::new();
    let shown = machine.run("irq-affinity.sh", "eth9");
    assert_ends(&shown, 0, "with --apply 4 of them would be");
    assert_eq!(machine.affinities(), ["0-7"; 5]);
}

#[test]
fn interrupts_of_queues_are_spread_and_put_back() {
    let machine = Machine::new();
    assert_ends(&machine.run("irq-affinity.sh", "--apply eth9"), 0, "--restore eth9");
    assert_eq!(machine.affinities(), ["0", "1", "2", "3", "0-7"]);
    assert_ends(&machine.run("irq-affinity.sh", "eth9"), 0, "all are where they should be");
    // A second change does not overwrite what was there before the first.
    let second = machine.run("irq-affinity.sh", "--cores 5,7 --apply eth9");
    assert_ends(&second, 0, "more queues than cores");
    assert_eq!(machine.affinities(), ["5", "7", "5", "7", "0-7"]);
    assert_ends(&machine.run("irq-affinity.sh", "--restore eth9"), 0, "back to cores 0-7");
    assert_eq!(machine.affinities(), ["0-7"; 5]);
    assert_ends(&machine.run("irq-affinity.sh", "--restore eth9"), 2, "nothing to restore");
}

#[test]
fn a_paravirtual_card_has_its_interrupts_one_level_up() {
    let machine = Machine::new();
    let pci = machine.path("sys/devices/pci0/0000:00:04.0");
    std::fs::create_dir_all(pci.join("virtio1")).unwrap();
    std::fs::create_dir_all(machine.path("sys/class/net/eth8")).unwrap();
    std::os::unix::fs::symlink(pci.join("virtio1"), machine.path("sys/class/net/eth8/device"))
        .unwrap();
    let mut interrupts = String::new();
    for (irq, name) in [(40, "virtio1-config"), (41, "virtio1-input.0"), (42, "virtio1-output.0")] {
        machine.put(&format!("sys/devices/pci0/0000:00:04.0/msi_irqs/{irq}"), "msix\n");
        machine.put(&format!("proc/irq/{irq}/smp_affinity_list"), "0-7\n");
        interrupts.push_str(&format!(" {irq}:   5   PCI-MSIX-0000:00:04.0 1-edge   {name}\n"));
    }
    machine.put("proc/interrupts", &interrupts);
    assert_ends(&machine.run("irq-affinity.sh", "--cores 6 eth8"), 0, "1 queues, 2 interrupts");
}

#[test]
fn a_wrong_call_changes_nothing_and_says_what_is_wrong() {
    let machine = Machine::new();
    for (arguments, message) in [
        ("--apply eth7", "there is no network card 'eth7'"),
        ("--apply br0", "not hardware"),
        ("--apply --cores 9 eth9", "core 9 is not online"),
        ("--apply --cores 3-1 eth9", "not a range of cores"),
        ("--apply --cores x eth9", "not a list of cores"),
        ("--aply eth9", "not an option"),
        ("--apply ../net/eth9", "there is no network card"),
        ("", "usage:"),
    ] {
        assert_ends(&machine.run("irq-affinity.sh", arguments), 2, message);
    }
    assert_eq!(machine.affinities(), ["0-7"; 5]);
}
