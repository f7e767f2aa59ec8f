//! Values that are lists.

use std::ops::RangeInclusive;

use toml_edit::Value;

use super::{At, Section};
use crate::mistake::Report;

impl<'d> Section<'d> {
    /// A list of whole numbers; absent reads as empty.
    pub(crate) fn whole_list(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        example: &str,
        report: &mut Report<'_>,
    ) -> Option<At<Vec<usize>>> {
        let path = self.key(key);
        let Some((item, at)) = self.take(key) else {
            return Some(At { value: Vec::new(), at: self.at });
        };
        let number = |value: &Value| {
            let number = value.as_integer().and_then(|number| u64::try_from(number).ok())?;
            if range.contains(&number) { usize::try_from(number).ok() } else { None }
        };
        let list = item.as_array().and_then(|array| array.iter().map(number).collect());
        if list.is_none() {
            report.mistake(
                at,
                &path,
                format!(
                    "must be a list of whole numbers from {} to {}; write `{key} = {example}`",
                    range.start(),
                    range.end()
                ),
            );
        }
        list.map(|value| At { value, at })
    }

    /// A list of strings; absent reads as empty.
    pub fn text_list(
        &mut self,
        key: &'static str,
        example: &str,
        report: &mut Report<'_>,
    ) -> Option<At<Vec<&'d str>>> {
        let path = self.key(key);
        let Some((item, at)) = self.take(key) else {
            return Some(At { value: Vec::new(), at: self.at });
        };
        let list = item.as_array().and_then(|array| array.iter().map(Value::as_str).collect());
        if list.is_none() {
            let wrong = format!("must be a list of strings; write `{key} = {example}`");
            report.mistake(at, &path, wrong);
        }
        list.map(|value| At { value, at })
    }
}
