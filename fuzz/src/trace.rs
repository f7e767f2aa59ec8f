//! Recorded traces for the load generator. The first byte chooses the format.

use std::io::Cursor;

use standin_loadgen::trace::{Mistake, Record, Records, TraceError, TraceFormat};

/// The longest row of the formats by lines; a reader of CSV may keep three times that.
const ROW_BYTES_MAX: usize = 64 << 10;

/// Any bytes give requests in a bounded form, or a mistake that says something.
pub fn trace(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else { return };
    let format = match first % 3 {
        0 => TraceFormat::Oracle,
        1 => TraceFormat::Twitter,
        _ => TraceFormat::Csv,
    };
    let mut records = match Records::of(Cursor::new(bytes.to_vec()), format) {
        Ok(records) => records,
        Err(error) => return check(&error),
    };
    let mut record = Record::room();
    let mut before = None;
    loop {
        match records.read(&mut record) {
            Ok(true) => {
                assert!(!record.key.is_empty() && record.key.len() <= 3 * ROW_BYTES_MAX);
                assert!([1, 10, 100, 1_000, 10_000, 100_000, 1_000_000].contains(&record.unit_us));
                assert!(before != Some(record.position), "each row has a place of its own");
                before = Some(record.position);
            }
            Ok(false) => return,
            Err(error) => return check(&error),
        }
    }
}

fn check(error: &TraceError) {
    assert!(!error.to_string().is_empty());
    if let TraceError::Row { mistake: Mistake::Number { text, .. }, .. } = error {
        assert!(text.len() < 300, "what is quoted is cut");
    }
}
