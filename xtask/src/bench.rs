//! `cargo xtask bench`: runs the programs of the benches crate, one after the other, and shows their
//! output as it comes.

use crate::prerequisites;
use crate::workspace::Workspace;

const PACKAGE: &str = "standin-benches";

/// Runs all of them, or the one named first with the arguments that follow.
pub(crate) fn run(workspace: &Workspace, mut arguments: Vec<String>) -> Result<bool, String> {
    let metadata = workspace.metadata(&["--no-deps"])?;
    let mut names = workspace.binaries(&metadata, PACKAGE);
    if arguments.first().is_some_and(|first| !first.starts_with('-')) {
        let wanted = arguments.remove(0);
        if !names.contains(&wanted) {
            let known = names.join(", ");
            return Err(format!("there is no benchmark {wanted:?}; the benchmarks are: {known}"));
        }
        names = vec![wanted];
    } else if let Some(first) = arguments.first() {
        return Err(format!("name the benchmark that {first} is for: {}", names.join(", ")));
    }
    // These take long: a quarter of an hour, with commands of their own, or millions of requests.
    if names.len() > 1 {
        names.retain(|name| !["peers", "languages", "judge"].contains(&name.as_str()));
    }
    if names.is_empty() {
        return Err(format!("{PACKAGE} has no programs"));
    }
    // A missing program is left out of the tables, which is not a reason to stop.
    if let Err(failed) = prerequisites::for_benches(workspace) {
        println!("{}\n{}", failed.output, failed.remedy);
    }
    let mut good = true;
    for name in names {
        println!("\n== {name}");
        let mut command =
            workspace.cargo(&["run", "--release", "--quiet", "-p", PACKAGE, "--bin", &name, "--"]);
        let status = command.args(&arguments).status();
        good &= status.is_ok_and(|status| status.success());
    }
    Ok(good)
}
