//! The known word nearest to a mistyped one.

/// The word in `known` that was most likely meant, if one is near enough.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    // Words of the file are short; a longer one is no typing mistake, and the
    // distance costs the product of the lengths.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase();
    let distances = known
        .iter()
        .map(|candidate| (strsim::osa_distance(&word, &candidate.to_lowercase()), *candidate));
    let (edits, candidate) = distances.min_by_key(|(edits, _)| *edits)?;
    (edits <= 1 + candidate.chars().count() / 4).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        let known = ["name", "partitions", "attempt_timeout", "attempts", "id"];
        assert_eq!(nearest("nmae", &known), Some("name"));
        assert_eq!(nearest("Name", &known), Some("name"));
        assert_eq!(nearest("partition", &known), Some("partitions"));
        assert_eq!(nearest("attempt-timeout", &known), Some("attempt_timeout"));
        assert_eq!(nearest("color", &known), None);
        assert_eq!(nearest("", &known), None);
        assert_eq!(nearest(&"n".repeat(10_000), &known), None);
        assert_eq!(nearest("name", &[]), None);
    }
}
