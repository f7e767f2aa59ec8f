//! `cargo xtask package`: the static program, and the Debian package that has it.
//!
//! ```text
//! build.rs     the program for musl, which needs no other library
//! layout.rs    the files of the package, in a folder that is like the root of a machine
//! notices.rs   the licences of all that is in the program
//! deb.rs       control files, and dpkg-deb
//! trial.rs     tries it: `cargo xtask package --try`
//! ```
//! The package is made by dpkg-deb from a folder, without debhelper or cargo-deb: nothing is built by the package's
//! own rules, there are two dozen files, and what they are is in one table.

mod build;
mod deb;
mod layout;
mod notices;
pub(crate) mod trial;

use std::path::PathBuf;
use std::time::Duration;

use crate::prerequisites;
use crate::process;
use crate::report::{Failed, Outcome, Passed, Report};
use crate::workspace::Workspace;

pub(crate) use build::Architecture;

/// A limit for programs that hang; each takes seconds.
const LIMIT: Duration = Duration::from_secs(300);

/// A package that has been made.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) file: PathBuf,
    pub(crate) version: String,
}

/// What a package is made of, unless it is the usual.
#[derive(Debug, Clone, Default)]
pub(crate) struct Made {
    /// Debian's revision, instead of that of its changelog.
    pub(crate) revision: Option<u32>,
    /// A program that has been built already, which may be one for trying and not static.
    pub(crate) program: Option<PathBuf>,
}

/// Makes the package. Returns whether all went well.
pub(crate) fn run(workspace: &Workspace, made: &Made) -> Result<bool, String> {
    let mut report = Report::new();
    make(workspace, &mut report, made)?;
    Ok(report.finish(&workspace.logs()))
}

/// The steps that make the package, and `lintian` where it is installed.
pub(crate) fn make(
    workspace: &Workspace,
    report: &mut Report,
    made: &Made,
) -> Result<Package, String> {
    let architecture = Architecture::of_this_machine()?;
    let Package { file, version } = named(workspace, made)?;
    let name = format!("package {version}");
    let program = match &made.program {
        Some(program) => program.clone(),
        None => {
            build(workspace, report, &architecture);
            architecture.program(workspace)
        }
    };
    let needs: &[&str] = if made.program.is_none() { &["static program"] } else { &[] };
    report.step(&name, needs, || {
        let root = folder(workspace).join("root");
        layout::lay_out(workspace, &architecture, &program, &root)?;
        deb::build(workspace, &architecture, &version, &root, &file)
    });
    // Others are for trying: their changelog says nothing of another revision, and their program may be any.
    if made.program.is_none() && made.revision.is_none() {
        report.step("lintian", &[&name], || lintian(workspace, &file));
    }
    Ok(Package { file, version })
}

/// The steps that build the static program; the last one is `static program`.
pub(crate) fn build(workspace: &Workspace, report: &mut Report, architecture: &Architecture) {
    report.step("prerequisites", &[], || prerequisites::for_package(workspace));
    let build = || build::build(workspace, architecture);
    report.step("static program", &["prerequisites"], build);
}

/// The package's version and place, whether or not it has been made.
pub(crate) fn named(workspace: &Workspace, made: &Made) -> Result<Package, String> {
    let architecture = Architecture::of_this_machine()?;
    let version = deb::version(workspace, made)?;
    let file = folder(workspace).join(format!("standin_{version}_{}.deb", architecture.debian));
    Ok(Package { file, version })
}

/// The folder of all that is made here.
pub(crate) fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target().join("package")
}

fn lintian(workspace: &Workspace, file: &std::path::Path) -> Outcome {
    if !prerequisites::has_lintian() {
        return Ok(Passed::with_note("not checked: lintian is not installed"));
    }
    let mut command = std::process::Command::new("lintian");
    // What is overridden is not shown: it would count as a failure (2.116).
    command.args(["--profile", "debian", "--display-info", "--pedantic"]);
    // It warns that it should not be root, which is not about the package.
    command.args(["--allow-root", "--fail-on", "error,warning,info,pedantic"]).arg(file);
    let finished = process::run_step(&mut command, &workspace.logs().join("lintian.log"), LIMIT)?;
    match finished.success {
        true => {
            Ok(Passed::with_note("nothing but what packaging/debian/lintian-overrides explains"))
        }
        false => Err(Failed::new(
            finished.output,
            "mend it, or explain it in packaging/debian/lintian-overrides",
        )),
    }
}

/// Runs a tool of the packaging to its end.
fn tool(
    workspace: &Workspace,
    command: &mut std::process::Command,
    log: &str,
) -> Result<String, Failed> {
    let log = workspace.logs().join(format!("package-{log}.log"));
    let finished = process::run_step(command, &log, LIMIT)?;
    match finished.success {
        true => Ok(finished.output),
        false => Err(Failed::new(format!("{command:?}\n{}", finished.output), "see what it says")),
    }
}

/// A failure to read or write a file.
fn cannot(what: &str, path: &std::path::Path, error: &std::io::Error) -> Failed {
    Failed::new(
        format!("cannot {what} {}: {error}", path.display()),
        "look at the disk and its rights",
    )
}
