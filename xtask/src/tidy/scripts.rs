//! Shell scripts parse. Where shellcheck is installed, it has nothing to say either;
//! it is not required, so that the checks need nothing that a reader may lack.

use std::path::Path;
use std::process::Command;

use super::files::Source;

/// The mistakes in the scripts.
pub(super) fn mistakes(files: &[Source], root: &Path) -> Vec<String> {
    let scripts = files.iter().filter(|file| shell(file).is_some());
    let thorough = Command::new("shellcheck").arg("--version").output().is_ok();
    let mut mistakes = Vec::new();
    for script in scripts {
        let mut command = match shell(script) {
            Some(_) if thorough => Command::new("shellcheck"),
            Some(shell) => {
                let mut command = Command::new(shell);
                command.arg("-n");
                command
            }
            None => continue,
        };
        match command.arg(&script.path).current_dir(root).output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => mistakes.push(format!(
                "{}:\n{}{}",
                script.path.display(),
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )),
            Err(error) => mistakes.push(format!("{}: {error}", script.path.display())),
        }
    }
    mistakes
}

/// The shell that a script names in its first line.
fn shell(file: &Source) -> Option<&'static str> {
    let first = file.text.lines().next()?;
    if !first.starts_with("#!") {
        return None;
    }
    ["bash", "sh"].into_iter().find(|shell| {
        first.ends_with(&format!("/{shell}")) || first.ends_with(&format!(" {shell}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_known_by_its_first_line() {
        let file = |text: &str| Source { path: "run".into(), text: text.to_owned() };
        assert_eq!(shell(&file("#!/usr/bin/env bash\n")), Some("bash"));
        assert_eq!(shell(&file("#!/bin/sh\n")), Some("sh"));
        assert_eq!(shell(&file("#!/usr/bin/env python3\n")), None);
        assert_eq!(shell(&file("bash\n")), None);
    }
}
