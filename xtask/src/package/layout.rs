//! The files of the package, in a folder that is like the root of a machine.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Architecture, cannot, notices, tool};
use crate::report::Failed;
use crate::workspace::Workspace;

/// Files that are copied: from the checkout, to the root.
const COPIED: &[(&str, &str)] = &[
    ("packaging/systemd/standin-master.service", "lib/systemd/system/standin-master.service"),
    ("packaging/systemd/standin-server@.service", "lib/systemd/system/standin-server@.service"),
    ("packaging/systemd/standin-proxy.service", "lib/systemd/system/standin-proxy.service"),
    ("packaging/systemd/standin.sysusers", "usr/lib/sysusers.d/standin.conf"),
    ("packaging/systemd/standin.tmpfiles", "usr/lib/tmpfiles.d/standin.conf"),
    ("packaging/debian/lintian-overrides", "usr/share/lintian/overrides/standin"),
    ("docs/OPERATIONS.md", "usr/share/doc/standin/OPERATIONS.md"),
    ("docs/METRICS.md", "usr/share/doc/standin/METRICS.md"),
    ("docs/SECURITY.md", "usr/share/doc/standin/SECURITY.md"),
    ("docs/monitoring/README.md", "usr/share/doc/standin/monitoring/README.md"),
    ("docs/monitoring/alerts.yml", "usr/share/doc/standin/monitoring/alerts.yml"),
    ("docs/monitoring/dashboard.json", "usr/share/doc/standin/monitoring/dashboard.json"),
];
/// Files of operators, in which a package that is installed over another keeps what they have changed.
pub(super) const CONFIGURATION: &[&str] = &[
    "etc/standin/cluster.example.toml",
    "etc/standin/proxy.example.toml",
    "etc/logrotate.d/standin",
];
/// Lines of the example that are for a cluster in one's own folder, and what they are on a machine: a unit can write
/// only there.
const PLACES: &[(&str, &str)] = &[
    ("#state_file = \"master.state\"", "state_file = \"/var/lib/standin/master.state\""),
    ("path = \"origin.sqlite\"", "path = \"/var/lib/standin/origin.sqlite\""),
];
/// Completions: the shell, and the place where it looks for those of packages.
const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "usr/share/bash-completion/completions/standin"),
    ("zsh", "usr/share/zsh/vendor-completions/_standin"),
    ("fish", "usr/share/fish/vendor_completions.d/standin.fish"),
];
const DOCUMENTS: &str = "usr/share/doc/standin";

/// Lays out the root, without the control files.
pub(super) fn lay_out(
    workspace: &Workspace,
    architecture: &Architecture,
    program: &Path,
    root: &Path,
) -> Result<(), Failed> {
    remove(root)?;
    write(&root.join("usr/bin/standin"), &read(program)?, 0o755)?;
    for (from, to) in COPIED {
        write(&root.join(to), &read(&workspace.root().join(from))?, 0o644)?;
    }
    let example = text(&workspace.root().join("cluster.example.toml"))?;
    write(&root.join(CONFIGURATION[0]), with_places(&example)?.as_bytes(), 0o644)?;
    let others = ["proxy.example.toml", "packaging/debian/logrotate"];
    for (from, to) in others.iter().zip(&CONFIGURATION[1..]) {
        write(&root.join(to), &read(&workspace.root().join(from))?, 0o644)?;
    }
    generated(workspace, program, root)?;
    documents(workspace, architecture, &root.join(DOCUMENTS))
}

/// What the program writes about itself.
fn generated(workspace: &Workspace, program: &Path, root: &Path) -> Result<(), Failed> {
    // Beside the root, because the program writes with the rights that the user's umask leaves.
    let pages = super::folder(workspace).join("man");
    remove(&pages)?;
    tool(workspace, Command::new(program).arg("man").arg(&pages), "man")?;
    for page in files_in(&pages)? {
        let name = page.file_name().unwrap_or_default();
        let to = root.join("usr/share/man/man1").join(name);
        write(&to, &read(&page)?, 0o644)?;
        compress(&to)?;
    }
    for (shell, place) in COMPLETIONS {
        let said = tool(workspace, Command::new(program).args(["completions", shell]), shell)?;
        write(&root.join(place), said.as_bytes(), 0o644)?;
    }
    Ok(())
}

fn documents(
    workspace: &Workspace,
    architecture: &Architecture,
    folder: &Path,
) -> Result<(), Failed> {
    let packaging = workspace.root().join("packaging/debian");
    let mit = text(&workspace.root().join("LICENSE-MIT"))?;
    let copyright = text(&packaging.join("copyright"))?.replace("@MIT@", &indented(&mit));
    write(&folder.join("copyright"), copyright.as_bytes(), 0o644)?;
    let changelogs = [
        (workspace.root().join("CHANGELOG.md"), "changelog"),
        (packaging.join("changelog"), "changelog.Debian"),
    ];
    for (from, to) in changelogs {
        write(&folder.join(to), &read(&from)?, 0o644)?;
        compress(&folder.join(to))?;
    }
    let notices = notices::of_the_program(workspace, &architecture.target())?;
    write(&folder.join("third-party.txt"), notices.as_bytes(), 0o644)?;
    compress(&folder.join("third-party.txt"))
}

/// The example with the places of an installed package.
fn with_places(example: &str) -> Result<String, Failed> {
    let mut text = example.to_owned();
    for (own, installed) in PLACES {
        if text.matches(own).count() != 1 {
            return Err(Failed::new(
                format!("cluster.example.toml does not have the line {own} once"),
                "change PLACES in xtask/src/package/layout.rs with it",
            ));
        }
        text = text.replace(own, installed);
    }
    Ok(text)
}

/// A text as a paragraph of a control file: each line behind a space, empty ones as a point.
fn indented(text: &str) -> String {
    let line = |line: &str| if line.is_empty() { " .".to_owned() } else { format!(" {line}") };
    text.trim_end().lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Removes a folder, if it is there.
fn remove(folder: &Path) -> Result<(), Failed> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(cannot("remove", folder, &error))
        }
        _ => Ok(()),
    }
}

/// Replaces a file by its compressed form, as Debian's policy wants it: as small as possible, without a time.
fn compress(path: &Path) -> Result<(), Failed> {
    let status =
        Command::new("gzip").args(["-9n", "--force"]).arg(path).stdin(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            Err(Failed::new(format!("gzip {}: {status}", path.display()), "look at the disk"))
        }
        Err(error) => Err(Failed::new(format!("gzip: {error}"), "install gzip")),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failed> {
    std::fs::read(path).map_err(|error| cannot("read", path, &error))
}

/// A file of the checkout that is text.
pub(super) fn text(path: &Path) -> Result<String, Failed> {
    std::fs::read_to_string(path).map_err(|error| cannot("read", path, &error))
}

/// Writes a file, with the folders above it.
pub(super) fn write(path: &Path, contents: &[u8], mode: u32) -> Result<(), Failed> {
    let write = || {
        for folder in path.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
            if !folder.exists() {
                std::fs::create_dir(folder)?;
                std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755))?;
            }
        }
        let mut file = std::fs::File::create(path)?;
        file.set_permissions(PermissionsExt::from_mode(mode))?;
        file.write_all(contents)
    };
    write().map_err(|error| cannot("write", path, &error))
}

/// All files below a folder, in the order of their paths.
pub(super) fn files_in(folder: &Path) -> Result<Vec<PathBuf>, Failed> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).map_err(|error| cannot("read", &folder, &error))?;
        for entry in entries {
            let path = entry.map_err(|error| cannot("read", &folder, &error))?.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_has_gone_from_the_example_is_missed() {
        let example = "#state_file = \"master.state\"\npath = \"origin.sqlite\"\n";
        let placed = with_places(example).unwrap();
        assert_eq!(
            placed,
            "state_file = \"/var/lib/standin/master.state\"\npath = \"/var/lib/standin/origin.sqlite\"\n"
        );
        assert!(with_places("path = \"origin.sqlite\"\n").is_err());
    }

    #[test]
    fn a_paragraph_has_no_line_at_the_margin() {
        assert_eq!(indented("one\n\n two\n"), " one\n .\n  two");
    }
}
