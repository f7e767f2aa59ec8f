//! `cargo xtask package --try`: a machine on which the package is installed, upgraded under load, removed, installed
//! again and purged, with a master and two servers that run from the installed files by their units.
//! Each step looks at what must be there, and at what must not.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Made, Package};
use crate::machines::{Machine, Machines};
use crate::report::{Failed, Outcome, Passed, Report};
use crate::workspace::Workspace;
use crate::{machines, package};

const WITHIN: Duration = Duration::from_secs(30);

/// The cluster on the machine: a master and two servers that stand in for each other, with SQLite.
const CLUSTER: &str = r#"
[cluster]
name = "trial"
[master]
state_file = "/var/lib/standin/master.state"
[defaults]
memory = "64MiB"
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
path = "/var/lib/standin/origin.sqlite"
init = "CREATE TABLE IF NOT EXISTS items (id TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
[[keyspace]]
id = 1
name = "items"
get = "SELECT value FROM items WHERE id = :key"
put = "INSERT INTO items (id, value) VALUES (:key, :value) ON CONFLICT (id) DO UPDATE SET value = excluded.value"
"#;
/// The step that only a static program passes.
const ALONE: &str = "alone in an empty root";
/// The units that run.
const UNITS: [&str; 3] = ["standin-master", "standin-server@a1", "standin-server@a2"];
/// All is well.
const STATUS: &str = "standin status --config /etc/standin/cluster.toml";

/// Makes the package in two revisions, and tries them. Returns whether all went well.
pub(crate) fn run(workspace: &Workspace, program: Option<PathBuf>) -> Result<bool, String> {
    if !machines::are_inside() {
        return prepare(workspace, program);
    }
    let mut report = Report::new();
    let (first, second) = both(workspace, program)?;
    let machines = Machines::new(machines::base(workspace)).map_err(|failed| failed.output)?;
    let machine = machines.boot("m1", "10.0.0.1").map_err(|failed| failed.output)?;
    let mut before: Vec<String> = Vec::new();
    let mut step = |name: &str, work: &dyn Fn() -> Outcome| {
        let needs: Vec<&str> = before.iter().map(String::as_str).collect();
        report.step(name, &needs, work);
        // A program for trying may need libraries.
        if name != ALONE {
            before = vec![name.to_owned()];
        }
    };
    step("a fresh machine", &|| fresh(&machine));
    step("installed", &|| installed(&machine, &first));
    step(ALONE, &|| alone(&machine));
    step("a cluster by its units", &|| started(&machine));
    step("units keep their sandboxes", &|| confined(&machine));
    step("events are rotated", &|| rotated(&machine));
    step("an upgrade that refuses a file", &|| refused(&machine, (&first, &second)));
    step("upgraded under load", &|| upgraded(&machine, &second));
    step("removed", &|| removed(&machine));
    step("installed again", &|| again(&machine, &second));
    step("purged", &|| purged(&machine));
    Ok(report.finish(&workspace.logs()))
}

/// Makes what a trial needs, and begins it: the machines have no network, so everything that needs it is done before.
pub(crate) fn prepare(workspace: &Workspace, program: Option<PathBuf>) -> Result<bool, String> {
    let mut report = Report::new();
    for made in both_made(workspace, program)? {
        package::make(workspace, &mut report, &made)?;
    }
    report.step("machines", &[], || machines::ensure(workspace));
    if report.finish(&workspace.logs()) { Err(machines::enter()) } else { Ok(false) }
}

/// The package, and the one that an upgrade installs.
pub(crate) fn both(
    workspace: &Workspace,
    program: Option<PathBuf>,
) -> Result<(Package, Package), String> {
    let [first, second] = both_made(workspace, program)?;
    Ok((package::named(workspace, &first)?, package::named(workspace, &second)?))
}

/// What these two are made of: the second has the next revision.
fn both_made(workspace: &Workspace, program: Option<PathBuf>) -> Result<[Made; 2], String> {
    let own = package::named(workspace, &Made::default())?.version;
    let revision = Some(revision_after(&own)?);
    let first = Made { revision: None, program };
    Ok([first.clone(), Made { revision, ..first }])
}

/// The revision behind that of a version.
fn revision_after(version: &str) -> Result<u32, String> {
    let own = version.rsplit_once('-').and_then(|(_, revision)| revision.parse::<u32>().ok());
    own.map(|own| own + 1).ok_or_else(|| format!("the revision of {version} is not a number"))
}

fn fresh(machine: &Machine) -> Outcome {
    check(machine, "no getent passwd standin; no command -v standin; systemctl is-system-running")?;
    Ok(Passed::default())
}

/// Copies a package to the machine, and installs it as an operator does.
fn install(machine: &Machine, package: &Package) -> Result<String, Failed> {
    machine.put(Path::new(&package.file), "/srv/standin.deb")?;
    machine.run("apt-get install --yes --no-install-recommends /srv/standin.deb 2>&1")
}

/// Runs commands that must all succeed. `no` is for those that must not: the shell does not end at a `!` that fails.
fn check(machine: &Machine, commands: &str) -> Result<String, Failed> {
    const NO: &str =
        "no() { if \"$@\" > /dev/null 2>&1; then echo \"unexpected: $*\" >&2; exit 1; fi; }\n";
    machine.run(&format!("{NO}{commands}"))
}

fn installed(machine: &Machine, package: &Package) -> Outcome {
    let said = install(machine, package)?;
    if said.to_lowercase().contains("warning") {
        return Err(Failed::new(said, "an installation says nothing that worries"));
    }
    check(
        machine,
        &format!(
            r#"
        test "$(dpkg-query -W -f '${{Version}}' standin)" = {version}
        dpkg --verify standin
        standin --version
        test "$(stat -c '%U:%G %a' /etc/standin)" = 'root:standin 750'
        test "$(stat -c '%U:%G %a' /var/lib/standin)" = 'standin:standin 750'
        test "$(stat -c '%U:%G %a' /var/log/standin)" = 'standin:standin 750'
        test "$(getent passwd standin | cut -d: -f7)" = /usr/sbin/nologin
        dpkg-query -W -f '${{Conffiles}}' standin | grep ' /etc/standin/cluster.example.toml ' > /dev/null
        dpkg-query -W -f '${{Conffiles}}' standin | grep ' /etc/standin/proxy.example.toml ' > /dev/null
        dpkg-query -W -f '${{Conffiles}}' standin | grep ' /etc/logrotate.d/standin ' > /dev/null
        standin check-config --config /etc/standin/cluster.example.toml
        zcat /usr/share/man/man1/standin-server.1.gz | grep 'Run a server of the cluster' > /dev/null
        bash -n /usr/share/bash-completion/completions/standin
        systemd-analyze verify --man=no standin-master.service standin-server@a1.service standin-proxy.service
        # Nothing is enabled, and nothing runs.
        no systemctl is-enabled --quiet standin-master
        no pgrep -u standin
        "#,
            version = package.version
        ),
    )?;
    Ok(Passed::with_note(package.version.clone()))
}

/// The program in a root that has nothing else, as in an image `FROM scratch`, as a user that nobody knows.
fn alone(machine: &Machine) -> Outcome {
    check(
        machine,
        r#"
        mkdir -p /srv/empty/state
        cp /usr/bin/standin /srv/empty/
        sed '/^\[master\]/a address = "127.0.0.1:7200"' > /srv/empty/cluster.toml << 'END'
[cluster]
name = "empty"
[master]
state_file = "/state/master.state"
[[group]]
name = "a"
[[group.server]]
name = "a1"
address = "127.0.0.1:7201"
[[group.server]]
name = "a2"
address = "127.0.0.1:7202"
[[keyspace]]
id = 1
name = "items"
kind = "cache"
END
        chown -R 7100:7100 /srv/empty/state
        in_it() { exec chroot --userspec=7100:7100 /srv/empty /standin "$@"; }
        (in_it master --config /cluster.toml) & master=$!
        (in_it server --config /cluster.toml --name a1) & one=$!
        (in_it server --config /cluster.toml --name a2) & two=$!
        tries=300
        until (in_it status --config /cluster.toml) > /dev/null 2>&1; do
            tries=$((tries - 1)); test $tries -gt 0; sleep 0.1
        done
        (in_it put --config /cluster.toml items alone here)
        test "$(in_it get --config /cluster.toml items alone)" = here
        kill $one $two; wait $one; wait $two
        kill $master; wait $master
        rm -r /srv/empty
        "#,
    )?;
    Ok(Passed::with_note("a master and two servers, from one file"))
}

fn started(machine: &Machine) -> Outcome {
    check(
        machine,
        &format!(
            "umask 027; cat > /etc/standin/cluster.toml << 'END'\n{CLUSTER}END\nchgrp standin /etc/standin/cluster.toml\n\
         systemctl enable --now --quiet {}",
            UNITS.join(" ")
        ),
    )?;
    machine.until(WITHIN, STATUS)?;
    check(
        machine,
        r#"
        cd /etc/standin
        standin put items alice one
        test "$(standin get items alice)" = one
        systemctl is-active --quiet standin-master standin-server@a1 standin-server@a2
        systemctl show -P StatusText standin-server@a1 | grep 'serving on 127.0.0.1:7101' > /dev/null
        test -s /var/lib/standin/master.state
        test -s /var/log/standin/events.jsonl
        "#,
    )?;
    Ok(Passed::default())
}

/// What the units promise holds for the processes.
fn confined(machine: &Machine) -> Outcome {
    let said = check(
        machine,
        r#"
        for unit in standin-master standin-server@a1; do
            pid=$(systemctl show -P MainPID $unit)
            test "$(stat -c %U /proc/$pid)" = standin
            grep -q '^NoNewPrivs:.*1$' /proc/$pid/status
            grep -q '^Seccomp:.*2$' /proc/$pid/status
            grep -q '^CapEff:.*0000000000000000$' /proc/$pid/status
            # The sandbox: what is not theirs can't be written.
            no nsenter --target $pid --mount --root -- touch /etc/standin/written 2> /dev/null
            no nsenter --target $pid --mount --root -- touch /usr/bin/written 2> /dev/null
            grep 'Max open files' /proc/$pid/limits | awk -v unit=$unit '{print unit ": " $4 " files"}'
        done
        test "$(systemctl show -P WatchdogUSec standin-server@a1)" = 20s
        # A server that hangs is killed by its watchdog, and comes back.
        pid=$(systemctl show -P MainPID standin-server@a2)
        kill -STOP $pid
        tries=600
        until test "$(systemctl show -P Result standin-server@a2)" = watchdog \
            || test "$(systemctl show -P NRestarts standin-server@a2)" != 0; do
            tries=$((tries - 1)); test $tries -gt 0; sleep 0.1
        done
        "#,
    )?;
    machine.until(WITHIN, STATUS)?;
    let uring = machine.run("journalctl --unit standin-server@a1 | grep -c -i epoll || true")?;
    let io = if uring.trim() == "0" { "io_uring" } else { "epoll" };
    let limits = said.trim().replace('\n', ", ");
    Ok(Passed::with_note(format!("{limits}; {io}; a stopped server was restarted by its watchdog")))
}

/// The real logrotate moves the master's events away, and the master goes on in a new file.
fn rotated(machine: &Machine) -> Outcome {
    machine.run("apt-get install --yes --no-install-recommends logrotate 2>&1")?;
    check(
        machine,
        r#"
        cd /var/log/standin
        pid=$(systemctl show -P MainPID standin-master)
        rotate() { logrotate --force --state /srv/logrotate.state /etc/logrotate.d/standin; }
        until_there() { tries=300; until "$@"; do tries=$((tries - 1)); test $tries -gt 0; sleep 0.1; done; }
        # It takes the file among the others of /etc/logrotate.d, and finds no mistake.
        logrotate --debug /etc/logrotate.conf > /srv/logrotate.said 2>&1
        grep -q 'considering log /var/log/standin/events.jsonl' /srv/logrotate.said
        no grep -i error /srv/logrotate.said
        rotate
        test -s events.jsonl.1
        until_there test -e events.jsonl
        test "$(stat -c '%U:%G %a' events.jsonl)" = 'standin:standin 600'
        # What happens now is in the new file, and only there.
        before=$(wc -l < events.jsonl.1)
        systemctl restart standin-server@a2
        until_there grep -q '"a2"' events.jsonl
        test "$(wc -l < events.jsonl.1)" = "$before"
        rotate
        test -s events.jsonl.2.gz
        zcat events.jsonl.2.gz | tail -n 1 | grep -q '^{.*}$'
        until_there test -e events.jsonl
        test "$(systemctl show -P MainPID standin-master)" = "$pid"
        # Without the master nothing fails, nor without a file.
        systemctl stop standin-master
        rotate
        rm events.jsonl*
        rotate
        systemctl start standin-master
        "#,
    )?;
    machine.until(WITHIN, STATUS)?;
    Ok(Passed::with_note("by logrotate, while the master runs, is stopped, and has no file"))
}

/// The second package over the first, when it refuses a file of one server: that one's old process goes on, and the upgrade
/// says so. What a server may read by a group that its unit adds is no reason. Then the first one is installed again.
fn refused(machine: &Machine, (first, second): (&Package, &Package)) -> Outcome {
    check(
        machine,
        r#"
        groupadd extra
        umask 027
        for name in a1 a2; do
            echo 'prometheus:long-enough-for-a-test' > /etc/standin/$name.passwords
            sed -i "/^name = \"$name\"/a metrics = \"127.0.0.1:91${name#a}0\"\nmetrics_passwords = \"$name.passwords\"" \
                /etc/standin/cluster.toml
        done
        chgrp standin /etc/standin/a1.passwords
        chgrp extra /etc/standin/a2.passwords
        mkdir -p /etc/systemd/system/standin-server@a2.service.d
        printf '[Service]\nSupplementaryGroups=extra\n' > /etc/systemd/system/standin-server@a2.service.d/groups.conf
        # Root could read the files all the same: it says what the user of the units could not.
        standin check-config --config /etc/standin/cluster.toml 2> /srv/said
        grep 'as the user standin (.*): .*a2.passwords.*Permission denied' /srv/said > /dev/null
        no grep 'as the user standin (.*): .*a1.passwords' /srv/said
        systemctl daemon-reload
        systemctl restart standin-master standin-server@a1
        systemctl restart standin-server@a2
        "#,
    )?;
    machine.until(WITHIN, STATUS)?;
    check(
        machine,
        r#"
        chmod 644 /etc/standin/a1.passwords
        for unit in standin-master standin-server@a1 standin-server@a2; do
            systemctl show -P MainPID $unit > /srv/pid.$unit
        done
        "#,
    )?;
    let said = install(machine, second)?;
    let told = "does not start with the files of standin-server@a1.service";
    let is_told = said.contains(told) && said.contains("a1.passwords") && !said.contains("@a2");
    if !is_told {
        return Err(Failed::new(said, format!("the upgrade has to say that it {told}, and why")));
    }
    machine.until(WITHIN, STATUS)?;
    check(
        machine,
        r#"
        pid() { systemctl show -P MainPID $1; }
        test "$(pid standin-server@a1)" = "$(cat /srv/pid.standin-server@a1)"
        test "$(pid standin-server@a2)" != "$(cat /srv/pid.standin-server@a2)"
        test "$(pid standin-master)" != "$(cat /srv/pid.standin-master)"
        # It runs the old program, whose file is gone, and serves.
        test "$(stat -L -c %i /proc/$(pid standin-server@a1)/exe)" != "$(stat -c %i /usr/bin/standin)"
        curl -s http://127.0.0.1:9110/metrics > /dev/null
        journalctl --no-pager | grep 'standin-server@a1.service was not restarted' > /dev/null
        # What is mended is started.
        chmod 640 /etc/standin/a1.passwords
        systemctl restart standin-server@a1
        chgrp standin /etc/standin/a2.passwords
        rm -r /etc/systemd/system/standin-server@a2.service.d
        systemctl daemon-reload
        "#,
    )?;
    machine.until(WITHIN, STATUS)?;
    machine.put(Path::new(&first.file), "/srv/standin.deb")?;
    machine.run("apt-get install --yes --allow-downgrades /srv/standin.deb 2>&1")?;
    machine.until(WITHIN, STATUS)?;
    Ok(Passed::with_note("the old process serves on, until the file is mended"))
}

/// The second package over the first, while clients read and write: nothing of theirs fails, the master goes on from
/// its state, and the operator's changes stay.
fn upgraded(machine: &Machine, package: &Package) -> Outcome {
    let said = check(
        machine,
        r#"
        cd /etc/standin
        echo '# Changed by an operator.' >> cluster.example.toml
        epoch() { standin status --json | sed -n 's/.*"epoch": *"\([0-9.]*\)".*/\1/p' | head -n 1; }
        epoch > /srv/epoch.before
        systemctl show -P MainPID standin-master standin-server@a1 standin-server@a2 > /srv/pids.before
        # One client that writes and reads what it has written, until it is told to stop.
        ( n=0; failed=0
          while ! test -e /srv/stop; do
              n=$((n + 1))
              standin put items "key-$n" "$n" > /dev/null 2>> /srv/failures || failed=$((failed + 1))
              test "$(standin get items "key-$n" 2>> /srv/failures)" = "$n" || failed=$((failed + 1))
          done
          echo "$n $failed" > /srv/counted ) > /dev/null 2>&1 &
        "#,
    )?;
    drop(said);
    install(machine, package)?;
    machine.until(WITHIN, STATUS)?;
    let said = check(
        machine,
        &format!(
            r#"
        touch /srv/stop
        until test -s /srv/counted; do sleep 0.1; done
        read -r n failed < /srv/counted
        echo "$((2 * n)) requests of clients meanwhile, $failed failed"
        if test "$failed" != 0; then cat /srv/failures; exit 1; fi
        test "$n" -gt 3
        test "$(dpkg-query -W -f '${{Version}}' standin)" = {version}
        cd /etc/standin
        tail -n 1 cluster.example.toml | grep operator > /dev/null
        for unit in standin-master standin-server@a1 standin-server@a2; do
            systemctl is-active --quiet $unit
            pid=$(systemctl show -P MainPID $unit)
            no grep -qx $pid /srv/pids.before
            # It runs the new file.
            test "$(stat -L -c %i /proc/$pid/exe)" = "$(stat -c %i /usr/bin/standin)"
        done
        test "$(standin get items alice)" = one
        journalctl --unit standin-master --output cat | grep -i state | tail -n 1 >&2
        after=$(standin status --json | sed -n 's/.*"epoch": *"\([0-9.]*\)".*/\1/p' | head -n 1)
        before=$(cat /srv/epoch.before)
        echo "epoch $before, then $after"
        test "$(printf '%s\n%s\n' "$before" "$after" | sort -V | tail -n 1)" = "$after"
        test "$before" != "$after"
        "#,
            version = package.version
        ),
    )?;
    Ok(Passed::with_note(said.trim().replace('\n', "; ")))
}

/// The package is gone, and what operators have is there.
fn removed(machine: &Machine) -> Outcome {
    check(
        machine,
        r#"
        apt-get remove --yes standin 2>&1
        no pgrep -u standin
        no test -e /usr/bin/standin
        no systemctl cat standin-master 2> /dev/null
        no test -e /usr/share/man/man1/standin.1.gz
        test -s /var/lib/standin/master.state
        test -s /var/lib/standin/origin.sqlite
        test -s /var/log/standin/events.jsonl
        test -s /etc/standin/cluster.toml
        tail -n 1 /etc/standin/cluster.example.toml | grep operator > /dev/null
        "#,
    )?;
    Ok(Passed::with_note("configuration, state and logs are kept"))
}

/// Installed over what a removed one has left, the cluster is what it was.
fn again(machine: &Machine, package: &Package) -> Outcome {
    install(machine, package)?;
    machine.run(&format!("systemctl start {}", UNITS.join(" ")))?;
    machine.until(WITHIN, STATUS)?;
    check(
        machine,
        "cd /etc/standin; test \"$(standin get items alice)\" = one; standin put items alice two",
    )?;
    Ok(Passed::default())
}

/// Nothing is left but the user and the database.
fn purged(machine: &Machine) -> Outcome {
    let said = check(
        machine,
        r#"
        apt-get purge --yes standin 2>&1
        no pgrep -u standin
        getent passwd standin > /dev/null
        find / -xdev \( -path /proc -o -path /sys -o -path /root -o -path /srv -o -path /var/log/journal \) -prune \
            -o -name '*standin*' -print | grep -v -e '^/etc/standin-base$' -e '^/var/lib/standin$' > /srv/left || true
        if test -s /srv/left; then cat /srv/left >&2; exit 1; fi
        test -s /var/lib/standin/origin.sqlite
        no test -e /var/lib/standin/master.state
        systemctl is-system-running || systemctl --failed >&2
        "#,
    )?;
    drop(said);
    Ok(Passed::with_note("nothing is left but the user and the database"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_of_an_upgrade_has_a_higher_revision() {
        assert_eq!(revision_after("0.1.0-1"), Ok(2));
        assert!(revision_after("0.1.0").is_err());
    }
}
