//! The known word nearest to a mistyped one.

/// The word in `known` that was most likely meant, if one is near enough.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    // Words of the file are short; a longer one is no typing mistake, and the
    // distance costs the product of the lengths.
    if word.len() > 64 {
        return None;
    }
    let distances = known.iter().map(|candidate| (distance(word, candidate), *candidate));
    let (edits, candidate) = distances.min_by_key(|(edits, _)| *edits)?;
    (edits <= 1 + candidate.chars().count() / 4).then_some(candidate)
}

/// Edits (insert, remove, replace, swap two neighbours; case is free) from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().flat_map(char::to_lowercase).collect();
    let to: Vec<char> = to.chars().flat_map(char::to_lowercase).collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
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
