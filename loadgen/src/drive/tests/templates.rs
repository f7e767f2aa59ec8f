//! Values of a user's own template are judged as those of the built-in kinds are.

use super::kinds::recorded_in_form;
use super::*;

/// Of all placeholders: values of a size of their own, and ones that are filled.
const TEMPLATES: [&str; 3] = [
    r#"{"id": {n}, "by": "{writer}.{sequence}", "stamp": "{stamp}", "tags": {}, "note": "{random:24}"}"#,
    "{stamp}<html>{{n} of many letters that are the same in each value: aaaaaaaaaaaaaaaaaaaaa {sequence:6}</html>",
    "{random:7}-{n:8} {stamp}{random}",
];

fn form(text: &str) -> ValueForm {
    ValueForm::of_template(text.parse().unwrap(), None)
}

#[test]
fn values_of_a_template_are_never_accused_wrongly() {
    for speaks in Speaks::ALL {
        for text in TEMPLATES {
            let (counts, mistakes) = judged_in_form(speaks, Planted::Nothing, 2, &form(text));
            assert_eq!((counts.stale, counts.wrong, mistakes), (0, 0, 0), "{speaks:?} {text}");
            assert!(counts.checked > 3_000 && counts.hits == counts.reads, "{counts:?}");
        }
    }
}

#[test]
fn each_planted_mistake_is_found_in_values_of_a_template() {
    for speaks in Speaks::ALL {
        for text in TEMPLATES {
            let judged = |planted, seconds| judged_in_form(speaks, planted, seconds, &form(text));
            let (counts, mistakes) = judged(Planted::StaleRead(10_000), 6);
            assert_eq!((counts.stale, counts.wrong, mistakes), (1, 0, 1), "{speaks:?} {text}");
            let (counts, mistakes) = judged(Planted::LostWrite(200), 2);
            assert!(counts.stale > 0 && counts.wrong == 0 && mistakes == 1, "{speaks:?} {text}");
            for planted in [Planted::TornValue(1_000), Planted::WrongKey(1_000)] {
                let (counts, mistakes) = judged(planted, 2);
                let found = (counts.stale, counts.wrong, mistakes);
                assert_eq!(found, (0, 1, 1), "{speaks:?} {planted:?} {text}");
            }
        }
    }
}

#[test]
fn swaps_and_requests_for_several_keys_are_judged_by_a_template() {
    for speaks in Speaks::ALL {
        let (recording, _, _) = recorded_in_form(speaks, Planted::Nothing, form(TEMPLATES[0]));
        let counts = recording.counts();
        assert_eq!((counts.stale, counts.wrong), (0, 0), "{speaks:?} {counts:?}");
        assert!(counts.swaps > 250 && counts.swaps_refused > 250, "they meet: {counts:?}");
        for (planted, wrong) in
            [(Planted::ExchangedKeys(500), 2), (Planted::SwapOfOldVersion(500), 1)]
        {
            let (recording, _, mistakes) = recorded_in_form(speaks, planted, form(TEMPLATES[0]));
            let counts = recording.counts();
            assert_eq!((counts.wrong, mistakes), (wrong, 1), "{speaks:?} {planted:?}");
        }
    }
}
