//! The words of a line.

/// The most words that a line of a command may have.
pub(super) const TOKENS_MAX: usize = 24;

/// The words of a line, which are separated by spaces, and where they are.
#[derive(Debug)]
pub(super) struct Tokens<'a> {
    line: &'a [u8],
    at: [(u32, u32); TOKENS_MAX],
    count: usize,
}

impl<'a> Tokens<'a> {
    /// Those of a line without its end. Words beyond the most that there may be are only counted.
    pub(super) fn of(line: &'a [u8]) -> Self {
        let mut tokens = Self { line, at: [(0, 0); TOKENS_MAX], count: 0 };
        let mut at = 0;
        while at < line.len() {
            let length = memchr::memchr(b' ', &line[at..]).unwrap_or(line.len() - at);
            if length > 0 {
                if let Some(place) = tokens.at.get_mut(tokens.count) {
                    *place = (super::position(at), super::position(at + length));
                }
                tokens.count += 1;
            }
            at += length + 1;
        }
        tokens
    }

    /// The number of words.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The place of a word.
    pub(super) fn place(&self, number: usize) -> Option<(u32, u32)> {
        (number < self.count).then(|| self.at.get(number).copied()).flatten()
    }

    /// A word.
    pub(super) fn get(&self, number: usize) -> Option<&'a [u8]> {
        let (from, to) = self.place(number)?;
        Some(&self.line[from as usize..to as usize])
    }

    /// The words from one on.
    pub(super) fn from(&self, number: usize) -> impl Iterator<Item = &'a [u8]> {
        (number..self.count.min(TOKENS_MAX)).filter_map(|number| self.get(number))
    }

    /// The last word.
    pub(super) fn last(&self) -> Option<&'a [u8]> {
        self.get(self.count.checked_sub(1)?)
    }
}

/// A line without its end.
pub(super) fn trimmed(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Whether the last word of a line says that no reply is wanted.
pub(super) fn is_noreply(line: &[u8]) -> bool {
    trimmed(line).trim_ascii_end().rsplit(|byte| *byte == b' ').next() == Some(b"noreply")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_between_spaces() {
        let tokens = Tokens::of(b" set  key 0 ");
        assert_eq!(
            (tokens.len(), tokens.get(1), tokens.place(1)),
            (3, Some(&b"key"[..]), Some((6, 9)))
        );
        assert_eq!((tokens.last(), tokens.get(3)), (Some(&b"0"[..]), None));
        assert_eq!(tokens.from(1).collect::<Vec<_>>(), [&b"key"[..], b"0"]);
        assert_eq!(Tokens::of(b"").len() + Tokens::of(b"   ").len(), 0);
        let many = "a ".repeat(100);
        let tokens = Tokens::of(many.as_bytes());
        assert_eq!(
            (tokens.len(), tokens.last(), tokens.from(1).count()),
            (100, None, TOKENS_MAX - 1)
        );
    }

    #[test]
    fn noreply_is_the_last_word() {
        assert!(is_noreply(b"flush_all noreply\r\n") && is_noreply(b"flush_all 0 noreply \n"));
        assert!(!is_noreply(b"flush_all\r\n") && !is_noreply(b"noreply x\r\n"));
    }
}
