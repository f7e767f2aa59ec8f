//! What a scenario names, and only the machine knows when a run begins: the numbers of processes of others, and whether
//! units of systemd are active.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use super::foreign::Foreign;
use super::holds::mistakes;
use super::script::{Deed, PidSource, Script, What, unit_commands};
use super::setting::SettingError;
use super::tool::{self, ToolError};
use crate::interrupt::Interrupt;

/// The longest wait for systemd.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// What `systemctl is-active` ends with for a unit that is not active, and for one that there is not.
const NOT_ACTIVE: [i32; 2] = [3, 4];

/// The script with processes by their numbers, and commands instead of units.
///
/// # Errors
/// [`SettingError::Foreign`].
pub(super) fn resolve(
    script: &Script,
    interrupt: Option<&Interrupt>,
) -> Result<Script, SettingError> {
    let mut script = script.clone();
    let mut units: BTreeMap<String, bool> = BTreeMap::new();
    for fault in &mut script.faults {
        let failed = |why| SettingError::Foreign { line: fault.line, why };
        match &fault.deed {
            Deed::Pid(source) => {
                let number = Foreign::number(source).map_err(failed)?;
                fault.deed = Deed::Pid(PidSource::Number(number));
            }
            Deed::Unit { unit, what } => {
                let is_active = match units.get(unit) {
                    Some(is_active) => *is_active,
                    None => is_active(unit, interrupt).map_err(failed)?,
                };
                units.insert(unit.clone(), is_active);
                let deed = of_unit(unit, *what, is_active).map_err(failed)?;
                fault.deed = deed;
            }
            _ => {}
        }
    }
    // Two names can be those of one process.
    match mistakes(&script).first() {
        None => Ok(script),
        Some((fault, why)) => {
            Err(SettingError::Foreign { line: script.faults[*fault].line, why: why.clone() })
        }
    }
}

/// At the end, a unit is as it was.
fn of_unit(unit: &str, what: What, is_active: bool) -> Result<Deed, String> {
    let (begin, undo) = unit_commands(what, unit);
    if is_active {
        return Ok(Deed::Command { begin, undo });
    }
    match what {
        What::Restart | What::Resume => {
            Ok(Deed::Command { begin, undo: unit_commands(What::Terminate, unit).0 })
        }
        What::Kill | What::Terminate | What::Pause => {
            Err(format!("the unit {unit} is not active: start it before the run"))
        }
    }
}

fn is_active(unit: &str, interrupt: Option<&Interrupt>) -> Result<bool, String> {
    let mut command = Command::new("systemctl");
    command.args(["is-active", "--quiet", unit]);
    match tool::run(command, ANSWER_WITHIN, interrupt) {
        Ok(_) => Ok(true),
        Err(ToolError::Failed { status, .. })
            if status.code().is_some_and(|code| NOT_ACTIVE.contains(&code)) =>
        {
            Ok(false)
        }
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use standin_testkit::Scratch;

    use super::super::script::FaultSpec;
    use super::*;

    fn pause(source: PidSource, at_s: u64) -> FaultSpec {
        FaultSpec {
            name: "pause".to_owned(),
            line: 7,
            at: Duration::from_secs(at_s),
            after: None,
            lasts: None,
            deed: Deed::Pid(source),
        }
    }

    #[test]
    fn a_number_and_a_file_with_it_are_one_process() {
        let scratch = Scratch::new("faults-pid");
        let file = scratch.file("pid");
        std::fs::write(&file, "4711\n").unwrap();
        let (number, file) = (PidSource::Number(4_711), PidSource::File(file));
        let script = |faults| Script { processes: Vec::new(), faults };
        let one = resolve(&script(vec![pause(file.clone(), 1)]), None).unwrap();
        assert_eq!(one.faults[0].deed, Deed::Pid(number.clone()));
        let both = script(vec![pause(number, 1), pause(file, 2)]);
        assert_eq!(mistakes(&both), [], "the file alone does not tell");
        let error = resolve(&both, None).unwrap_err().to_string();
        assert!(error.contains("line 7") && error.contains("paused already"), "{error}");
        let none = script(vec![pause(PidSource::File("/no/such".into()), 1)]);
        assert!(resolve(&none, None).unwrap_err().to_string().contains("/no/such"));
    }

    #[test]
    fn a_unit_becomes_what_it_was() {
        let undo = |what, is_active| match of_unit("u", what, is_active) {
            Ok(Deed::Command { undo, .. }) => undo.join(" "),
            other => panic!("{other:?}"),
        };
        assert_eq!(undo(What::Kill, true), "systemctl start u");
        assert_eq!(undo(What::Pause, true), "systemctl kill --signal=SIGCONT u");
        assert_eq!(undo(What::Restart, true), "");
        assert_eq!(undo(What::Restart, false), "systemctl stop u", "it was not active");
        for what in [What::Kill, What::Terminate, What::Pause] {
            let error = of_unit("u", what, false).unwrap_err();
            assert!(error.contains("u is not active"), "{error}");
        }
    }
}
