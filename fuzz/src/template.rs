//! Templates of values for the load generator. Behind a byte of zero there is a value.

use standin_loadgen::value::Stamp;
use standin_loadgen::value_form::ValueForm;
use standin_loadgen::value_template::ValueTemplate;

/// Larger values are not made.
const VALUE_BYTES_MAX: u32 = 64 << 10;
/// The longest message. What it quotes is cut.
const MESSAGE_BYTES_MAX: usize = 400;

/// Any text is a template whose values can be read again, or a mistake that says something; and no bytes that a cache
/// returns for such a value break anything.
pub fn value_template(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let Ok(text) = std::str::from_utf8(&data[..end]) else { return };
    let template = match text.parse::<ValueTemplate>() {
        Ok(template) => template,
        Err(error) => {
            let said = error.to_string();
            assert!(!said.is_empty() && said.len() < MESSAGE_BYTES_MAX, "{said}");
            return;
        }
    };
    assert_eq!(template.to_string(), text);
    let (least, most) = template.bytes();
    let (has_stamp, fills) = (template.has_stamp(), template.fills());
    let form = ValueForm::of_template(template, None).numbered_from(17);
    if let Ok(stamp) = Stamp::of(data.get(end + 1..).unwrap_or_default(), &form) {
        assert!(has_stamp, "{stamp:?}");
    }
    if most > VALUE_BYTES_MAX {
        return;
    }
    let stamp = Stamp { run: 3_000_000_000, key: 42, sequence: 7 };
    let value = stamp.in_form(&form, most.saturating_add(5));
    if fills {
        assert_eq!(value.len(), most as usize + 5);
    } else {
        assert!((least as usize..=most as usize).contains(&value.len()));
    }
    assert_eq!(Stamp::of(&value, &form).ok(), has_stamp.then_some(stamp));
}
