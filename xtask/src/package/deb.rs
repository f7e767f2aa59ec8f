//! The control files of the package, and dpkg-deb, which puts it together.

use std::path::Path;
use std::process::Command;

use super::layout::{CONFIGURATION, files_in, text, write};
use super::{Architecture, Made, cannot, tool};
use crate::report::{Failed, Outcome, Passed};
use crate::workspace::{Workspace, items};

/// Scripts of the package.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// What the version of a package has at its end whose program is not that of this checkout: it is older than the real
/// one, which therefore replaces it.
const TRIAL: &str = "~trial";

/// The version of the package: that of its changelog, or the same with another revision.
pub(super) fn version(workspace: &Workspace, made: &Made) -> Result<String, String> {
    let path = workspace.root().join("packaging/debian/changelog");
    let changelog =
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let metadata = workspace.metadata(&["--no-deps"])?;
    let package = items(&metadata["packages"]).iter().find(|package| package["name"] == "standin");
    let program = package.and_then(|package| package["version"].as_str()).unwrap_or("?");
    let version = newest(&changelog).ok_or_else(|| format!("{} has no version", path.display()))?;
    let (upstream, own) = version.rsplit_once('-').unwrap_or((version, "1"));
    if upstream != program {
        return Err(format!(
            "{} is about {version}, and the program's version is {program}: write its entry",
            path.display()
        ));
    }
    let revision = made.revision.map_or_else(|| own.to_owned(), |number| number.to_string());
    let trial = if made.program.is_some() { TRIAL } else { "" };
    Ok(format!("{upstream}-{revision}{trial}"))
}

/// The version of the first entry of a changelog: `name (version) …`.
fn newest(changelog: &str) -> Option<&str> {
    changelog.lines().next()?.split_once('(')?.1.split_once(')').map(|(version, _)| version)
}

/// Adds the control files to a root, and makes the package from it.
pub(super) fn build(
    workspace: &Workspace,
    architecture: &Architecture,
    version: &str,
    root: &Path,
    file: &Path,
) -> Outcome {
    let packaging = workspace.root().join("packaging/debian");
    let control = root.join("DEBIAN");
    let files = files_in(root)?;
    let mut size = 0;
    for file in &files {
        size += std::fs::metadata(file)
            .map_err(|error| cannot("read", file, &error))?
            .len()
            .div_ceil(1024);
    }
    let fields = text(&packaging.join("control"))?
        .replace("@VERSION@", version)
        .replace("@ARCHITECTURE@", architecture.debian)
        .replace("@SIZE_KIB@", &size.to_string());
    write(&control.join("control"), fields.as_bytes(), 0o644)?;
    let configuration: String = CONFIGURATION.iter().map(|path| format!("/{path}\n")).collect();
    write(&control.join("conffiles"), configuration.as_bytes(), 0o644)?;
    let mut sums = Command::new("md5sum");
    sums.current_dir(root);
    for file in files {
        let path = file.strip_prefix(root).unwrap_or(&file).to_owned();
        // Configuration is expected to change.
        if !CONFIGURATION.iter().any(|one| path == Path::new(one)) {
            sums.arg(path);
        }
    }
    write(&control.join("md5sums"), tool(workspace, &mut sums, "md5sum")?.as_bytes(), 0o644)?;
    for script in SCRIPTS {
        write(&control.join(script), text(&packaging.join(script))?.as_bytes(), 0o755)?;
    }
    let mut command = Command::new("dpkg-deb");
    // By name, because Ubuntu's default is one that older releases of Debian can't read. The last percents cost
    // minutes.
    command.args(["--root-owner-group", "-Zxz", "-z3", "--build"]).arg(root).arg(file);
    // The same files give the same package, whoever makes it.
    command.env("SOURCE_DATE_EPOCH", changed(workspace)?);
    tool(workspace, &mut command, "dpkg-deb")?;
    let bytes = std::fs::metadata(file).map_err(|error| cannot("read", file, &error))?.len();
    Ok(Passed::with_note(format!("{} MiB, {}", bytes >> 20, file.display())))
}

/// The time of the newest entry of the changelog, in seconds since 1970.
fn changed(workspace: &Workspace) -> Result<String, Failed> {
    let path = workspace.root().join("packaging/debian/changelog");
    let mut command = Command::new("dpkg-parsechangelog");
    command.args(["--show-field", "Timestamp", "--file"]).arg(path);
    Ok(tool(workspace, &mut command, "changelog")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entry_has_the_version() {
        assert_eq!(newest("standin (0.1.0-1) unstable; urgency=medium\n"), Some("0.1.0-1"));
        assert_eq!(newest("standin 0.1.0"), None);
        assert_eq!(newest(""), None);
    }
}
