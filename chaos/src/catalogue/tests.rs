//! The list of faults, and what each script does and is held against.

use super::*;

#[test]
fn every_fault_has_a_name_of_its_own_that_finds_it() {
    let faults = Fault::defaults();
    for fault in &faults {
        assert_eq!(Fault::of_name(&fault.name()), Some(*fault));
        assert_eq!(faults.iter().filter(|f| f.name() == fault.name()).count(), 1);
    }
    assert_eq!(Fault::of_name("pause-0.5"), Some(Fault::Pause(Duration::from_millis(500))));
    for nonsense in ["", "pause-x", "pause--1", "flood"] {
        assert_eq!(Fault::of_name(nonsense), None, "{nonsense}");
    }
}

#[test]
fn what_is_struck_is_healed_unless_it_is_dead() {
    for fault in Fault::defaults() {
        let Script { strike, heal } = fault.script(None);
        let does = |steps: &[Step], is_striking: bool| {
            steps.iter().any(|s| matches!(s, Step::Do(action) if action.strikes() == is_striking))
        };
        assert!(does(&strike, true), "{}", fault.name());
        assert!(!does(&heal, true), "{}", fault.name());
        let ends = !matches!(fault, Fault::Kill);
        assert_eq!(does(&heal, false), ends, "{}", fault.name());
    }
}

#[test]
fn silence_is_judged_where_a_single_fault_leaves_somebody_who_may_answer() {
    let silence = |fault: Fault, mode| fault.targets(Duration::from_millis(100), mode).silence;
    let limit = Some(Duration::from_millis(300));
    for name in ["kill", "pause-30", "restart"] {
        let fault = Fault::of_name(name).unwrap();
        assert_eq!(silence(fault, Mode::Available), limit, "{name}");
        assert_eq!(silence(fault, Mode::Strict), None, "{name}");
    }
    assert_eq!(silence(Fault::DatagramLoss, Mode::Available), None);
    assert_eq!(silence(Fault::OriginDown, Mode::Available), None);
}

#[test]
fn a_length_can_be_chosen_where_a_fault_has_none() {
    let lasts = Some(Duration::from_secs(600));
    for fault in Fault::defaults() {
        let waits = fault.script(lasts).strike.contains(&Step::Wait(Duration::from_secs(600)));
        let has_own = matches!(fault, Fault::Kill | Fault::Pause(_) | Fault::Restart);
        assert_eq!(waits, !has_own, "{}", fault.name());
    }
}
