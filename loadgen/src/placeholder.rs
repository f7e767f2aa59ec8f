//! `{name}`, which stands for where a process of the scenario is.

/// The name of the process, if the text is a placeholder and nothing else.
pub(crate) fn process_in(text: &str) -> Option<&str> {
    let name = text.strip_prefix('{')?.strip_suffix('}')?;
    let is_plain = |one: char| one.is_ascii_alphanumeric() || one == '-';
    (!name.is_empty() && name.chars().all(is_plain)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_has_a_name_and_nothing_beside_it() {
        assert_eq!((process_in("{db}"), process_in("{rc-1}")), (Some("db"), Some("rc-1")));
        for other in ["db", "{}", "{db", "db}", "{db}:1", "{a b}", "{{db}}", "{a}{b}"] {
            assert_eq!(process_in(other), None, "{other}");
        }
    }
}
