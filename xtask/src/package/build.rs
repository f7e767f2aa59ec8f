//! The program for musl: one file without an interpreter, for any distribution and for an empty image.

use std::path::PathBuf;
use std::time::Duration;

use super::cannot;
use crate::process;
use crate::report::{Failed, Outcome, Passed};
use crate::workspace::Workspace;

const LIMIT: Duration = Duration::from_secs(3_600);

/// The architecture for which the package is made: that of this machine.
#[derive(Debug)]
pub(crate) struct Architecture {
    /// By Rust's name.
    rust: &'static str,
    /// By Debian's name.
    pub(crate) debian: &'static str,
}

impl Architecture {
    pub(crate) fn of_this_machine() -> Result<Self, String> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self { rust: "x86_64", debian: "amd64" }),
            "aarch64" => Ok(Self { rust: "aarch64", debian: "arm64" }),
            other => Err(format!("there is no package for {other}; build `standin` with cargo")),
        }
    }

    /// The name of Rust's target.
    pub(crate) fn target(&self) -> String {
        format!("{}-unknown-linux-musl", self.rust)
    }

    /// The program that has been built.
    pub(crate) fn program(&self, workspace: &Workspace) -> PathBuf {
        workspace.target().join(self.target()).join("release/standin")
    }
}

/// Builds the program and looks at whether it needs anything.
pub(super) fn build(workspace: &Workspace, architecture: &Architecture) -> Outcome {
    let target = architecture.target();
    let mut command = workspace.cargo(&["build", "--release", "--locked", "--target", &target]);
    command.args(["--package", "standin"]);
    let log = workspace.logs().join("package-build.log");
    let finished = process::run_step(&mut command, &log, LIMIT)?;
    if !finished.success {
        let remedy = format!("if the target is missing: rustup target add {target}");
        return Err(Failed::new(finished.output, remedy));
    }
    let program = architecture.program(workspace);
    let bytes = std::fs::read(&program).map_err(|error| cannot("read", &program, &error))?;
    match interpreter(&bytes) {
        Ok(false) => Ok(Passed::with_note(format!("{} MiB", bytes.len() >> 20))),
        Ok(true) => Err(Failed::new(
            format!("{} has an interpreter: it is not static", program.display()),
            "see which library is linked dynamically, and why",
        )),
        Err(what) => {
            Err(Failed::new(format!("{}: {what}", program.display()), "see what was built"))
        }
    }
}

/// Whether a program for 64 bits, little endian, has to be loaded by another: the type of a program header is
/// `PT_INTERP`.
fn interpreter(elf: &[u8]) -> Result<bool, &'static str> {
    const PT_INTERP: u32 = 3;
    if elf.get(..6) != Some(b"\x7fELF\x02\x01") {
        return Err("it is no ELF file for 64 bits");
    }
    let number = |at: usize, length: usize| {
        let bytes = elf.get(at..at + length).ok_or("it ends in its headers")?;
        Ok(bytes.iter().rev().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte)))
    };
    let (table, size, count) = (number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?);
    for header in 0..count {
        if number(table + header * size, 4)? == PT_INTERP as usize {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(kinds: &[u32]) -> Vec<u8> {
        let mut elf = vec![0; 64];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[0x20] = 64;
        elf[0x36] = 56;
        elf[0x38] = kinds.len() as u8;
        for kind in kinds {
            elf.extend(kind.to_le_bytes());
            elf.extend([0; 52]);
        }
        elf
    }

    #[test]
    fn a_program_with_an_interpreter_is_not_static() {
        assert_eq!(interpreter(&elf(&[6, 3, 1])), Ok(true));
        assert_eq!(interpreter(&elf(&[1, 1])), Ok(false));
        assert!(interpreter(&elf(&[1, 1])[..70]).is_err());
        assert!(interpreter(b"#!/bin/sh").is_err());
    }

    #[test]
    fn this_test_itself_has_one_or_says_that_it_has_none() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(interpreter(&own), Ok(cfg!(not(target_feature = "crt-static"))));
    }
}
