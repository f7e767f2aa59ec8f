//! `cargo xtask container`: the image of packaging/container, built by buildah without a daemon, and a cluster of
//! containers from it. They share this machine's network, as `docker run --network host` does; their processes are in
//! a namespace of their own, so that none stays behind.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use standin_testkit::free_ports;

use crate::package::{self, Architecture};
use crate::report::{Failed, Outcome, Passed, Report};
use crate::workspace::Workspace;
use crate::{prerequisites, process};

const LIMIT: Duration = Duration::from_secs(300);
const IMAGE: &str = "localhost/standin-check";
/// The user of the recipe.
const USER: &str = "7100:7100";

/// Builds the image of the static program, or of one that has been built already, and tries it. Returns whether all
/// went well.
pub(crate) fn run(workspace: &Workspace, program: Option<PathBuf>) -> Result<bool, String> {
    let mut report = Report::new();
    let architecture = Architecture::of_this_machine()?;
    report.step("buildah", &[], || prerequisites::for_container(workspace));
    let (program, mut needs) = match program {
        Some(program) => (program, vec!["buildah"]),
        None => {
            package::build(workspace, &mut report, &architecture);
            (architecture.program(workspace), vec!["buildah", "static program"])
        }
    };
    let folder = package::folder(workspace).join("container");
    report.step("image", &needs, || image(workspace, &folder, &program));
    needs.push("image");
    report.step("what is in the image", &needs, || contents(workspace, &folder));
    report.step("a cluster from the image", &needs, || cluster(workspace, &folder));
    Ok(report.finish(&workspace.logs()))
}

/// Builds it as packaging/README.md says, from a folder with nothing but the program.
fn image(workspace: &Workspace, folder: &Path, program: &Path) -> Outcome {
    let recipe = workspace.root().join("packaging/container/Containerfile");
    let commands = format!(
        "rm -rf context store run
         mkdir -p context
         install -m 755 '{}' context/standin
         $BUILDAH bud --isolation chroot --file '{}' --tag {IMAGE} context",
        program.display(),
        recipe.display()
    );
    shell(workspace, folder, "container-image", &commands)?;
    Ok(Passed::default())
}

/// What the recipe promises: one file, a user that is nobody's, and volumes that belong to it.
fn contents(workspace: &Workspace, folder: &Path) -> Outcome {
    let commands = format!(
        r#"
        config() {{ $BUILDAH inspect --type image --format "{{{{$1}}}}" {IMAGE}; }}
        test "$(config .OCIv1.Config.User)" = {USER}
        test "$(config .OCIv1.Config.Entrypoint)" = '[/standin]'
        test "$(config .OCIv1.Config.Cmd)" = '[--help]'
        test "$(config .OCIv1.Config.StopSignal)" = SIGTERM
        test "$(config .OCIv1.Config.WorkingDir)" = /state
        test "$(config .OCIv1.Config.Volumes)" = 'map[/config:{{}} /state:{{}}]'
        $BUILDAH from --pull-never --name look {IMAGE} > from
        root=$($BUILDAH mount look)
        test "$(find "$root" ! -type d)" = "$root/standin"
        test "$(stat -c '%a' "$root/standin")" = 755
        test "$(stat -c '%u:%g' "$root/state")" = {USER}
        $BUILDAH umount look > from
        # It needs nothing that is not there.
        $BUILDAH run --isolation chroot look -- /standin --version
        $BUILDAH run --isolation chroot look -- /standin --help | grep -q 'Run a server of the cluster'
        "#
    );
    let said = shell(workspace, folder, "container-contents", &commands)?;
    Ok(Passed::with_note(said.trim().to_owned()))
}

/// A master and two servers, each in a container, with the volumes that the README mounts; SIGTERM ends each in order.
fn cluster(workspace: &Workspace, folder: &Path) -> Outcome {
    let ports = free_ports(3);
    let commands = format!(
        r#"
        rm -rf config state
        mkdir config state
        chown {USER} state
        cat > config/cluster.toml << 'END'
[cluster]
name = "image"
[master]
address = "127.0.0.1:{}"
state_file = "/state/master.state"
[defaults]
memory = "16MiB"
[[group]]
name = "a"
[[group.server]]
name = "a1"
address = "127.0.0.1:{}"
[[group.server]]
name = "a2"
address = "127.0.0.1:{}"
[[keyspace]]
id = 1
name = "items"
kind = "cache"
END
        for name in master a1 a2 client; do
            $BUILDAH from --pull-never --name $name {IMAGE} > from
            # Otherwise buildah mounts a folder of its own over the one that is given.
            $BUILDAH config --volume /config- --volume /state- $name
        done
        in_it() {{
            name=$1; shift
            exec $BUILDAH run --isolation chroot --volume "$PWD/config:/config:ro" --volume "$PWD/state:/state" \
                $name -- /standin "$@" --config /config/cluster.toml
        }}
        (in_it master master) & master=$!
        (in_it a1 server --name a1) & one=$!
        (in_it a2 server --name a2) & two=$!
        tries=100
        until (in_it client status) > said 2>&1; do
            tries=$((tries - 1))
            if test $tries = 0; then cat said; exit 1; fi
            sleep 0.2
        done
        (in_it client put items alone here)
        test "$(in_it client get items alone)" = here
        # Nobody else's processes are seen here.
        pkill --signal TERM --full '^/standin server'
        wait $one
        wait $two
        pkill --signal TERM --full '^/standin master'
        wait $master
        test "$(stat -c '%u:%g' state/master.state)" = {USER}
        "#,
        ports[0], ports[1], ports[2]
    );
    shell(workspace, folder, "container-cluster", &commands)?;
    Ok(Passed::with_note("a master and two servers, which SIGTERM ends in order"))
}

/// Runs commands in a folder, all of which must succeed, in namespaces for processes and mounts.
fn shell(
    workspace: &Workspace,
    folder: &Path,
    log: &str,
    commands: &str,
) -> Result<String, Failed> {
    std::fs::create_dir_all(folder).map_err(|error| Failed::of_file(folder, &error))?;
    let mut command = Command::new("unshare");
    command.args(["--pid", "--mount", "--fork", "--kill-child", "--mount-proc", "sh", "-ec"]);
    command.arg(commands).current_dir(folder);
    // Folders of its own, and the driver that needs nothing of the kernel.
    let store = folder.display();
    let buildah =
        format!("buildah --storage-driver vfs --root {store}/store --runroot {store}/run");
    command.env("BUILDAH", buildah);
    let finished =
        process::run_step(&mut command, &workspace.logs().join(format!("{log}.log")), LIMIT)?;
    match finished.success {
        true => Ok(finished.output),
        false => Err(Failed::new(
            finished.output,
            "see packaging/container/Containerfile, and `buildah bud` by hand",
        )),
    }
}
