//! Patterns as Redis has them: `*`, `?`, `[abc]`, `[^a-z]` and `\` before a byte that stands for itself.
//!
//! The work is bounded by the product of the lengths of pattern and name: of several stars, only the
//! last one that was reached is ever tried at another place.

/// Whether a name matches a pattern.
pub(in crate::shard) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    // The position behind the last star in the pattern, and the end of what it has matched.
    let (mut at, mut from, mut star) = (0, 0, None);
    while from < name.len() {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            star = Some((at, from));
            continue;
        }
        match one(&pattern[at..], name[from]) {
            Some(length) => (at, from) = (at + length, from + 1),
            None => match star {
                Some((behind, end)) => {
                    star = Some((behind, end + 1));
                    (at, from) = (behind, end + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// The length of the piece at the head of a pattern that stands for one byte, if it stands for this one.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', ..] => set(pattern, byte),
        [b'\\', escaped, ..] => (escaped == byte).then_some(2),
        [plain, ..] => (plain == byte).then_some(1),
    }
}

/// As [`one`], of a set in brackets. A set that does not end goes to the end of the pattern.
fn set(pattern: &[u8], byte: u8) -> Option<usize> {
    let is_negated = pattern.get(1) == Some(&b'^');
    let mut at = if is_negated { 2 } else { 1 };
    let mut is_in = false;
    loop {
        match pattern[at..] {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', escaped, ..] => {
                is_in |= escaped == byte;
                at += 2;
            }
            [first, b'-', last, ..] => {
                // Redis compares bytes with a sign.
                let [first, last, byte] = [first, last, byte].map(u8::cast_signed);
                is_in |= (first.min(last)..=first.max(last)).contains(&byte);
                at += 3;
            }
            [plain, ..] => {
                is_in |= plain == byte;
                at += 1;
            }
        }
    }
    (is_in != is_negated).then_some(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_are_those_of_redis() {
        for (pattern, name, wanted) in [
            ("save", "save", true),
            ("sav", "save", false),
            ("saves", "save", false),
            ("*", "save", true),
            ("s*e", "save", true),
            ("*v*", "save", true),
            ("**x", "save", false),
            ("*a*e**", "save", true),
            ("?ave", "save", true),
            ("save?", "save", false),
            ("", "save", false),
            ("h[ae]llo", "hello", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h[a-c]llo", "hdllo", false),
            ("[a-", "a", true),
            ("[a-", "-", true),
            ("[abc", "c", true),
            ("[", "a", false),
            ("[^", "a", true),
            ("[]]", "]", false),
            ("[\\]]", "]", true),
            ("[^]]", "a]", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("*[0-9]", "key:7", true),
            ("*[0-9]x*", "key:7y7x7", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), wanted, "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        let pattern = "*a".repeat(500) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(1_000).as_bytes()));
    }

    /// What matches by the definition: each star is tried at each place.
    fn slowly(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], _) => name.is_empty(),
            ([b'*', rest @ ..], _) => (0..=name.len()).any(|at| slowly(rest, &name[at..])),
            (_, [byte, others @ ..]) => {
                one(pattern, *byte).is_some_and(|length| slowly(&pattern[length..], others))
            }
            (_, []) => false,
        }
    }

    proptest! {
        #[test]
        fn stars_match_as_defined(pattern in "[*?ab\\[\\]^\\\\-]{0,10}", name in "[ab*\\-\\]]{0,8}") {
            let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
            prop_assert_eq!(matches(pattern, name), slowly(pattern, name));
        }
    }
}
