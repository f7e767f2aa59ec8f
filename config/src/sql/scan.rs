//! Cuts a statement into parameters, blanks and all else, by the lexical rules of
//! each database. Knows no grammar.

use super::{Dialect, Parameter, SqlError};

/// A part of a statement; in order, the parts are the whole of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'s> {
    /// `:key` or `:value`.
    Parameter(Parameter),
    /// White space or a comment.
    Blank(&'s str),
    /// Anything else, as it is.
    Code(&'s str),
    /// `;` outside of everything.
    Semicolon,
}

/// Whether a character may be part of an identifier (after its first).
pub(super) fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

fn is_word_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

/// White space of both databases.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

/// The pieces of a statement. Ends after the first error.
pub(super) struct Scanner<'s> {
    rest: &'s str,
    dialect: Dialect,
}

impl<'s> Iterator for Scanner<'s> {
    type Item = Result<Piece<'s>, SqlError>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.rest.chars().next()?;
        let piece = self.piece(first);
        if piece.is_err() {
            self.rest = "";
        }
        Some(piece)
    }
}

impl<'s> Scanner<'s> {
    pub(super) fn new(sql: &'s str, dialect: Dialect) -> Self {
        Self { rest: sql, dialect }
    }

    fn piece(&mut self, first: char) -> Result<Piece<'s>, SqlError> {
        let rest = self.rest;
        let postgres = self.dialect == Dialect::Postgres;
        match first {
            c if is_space(c) => Ok(Piece::Blank(self.take_while(is_space))),
            '-' if rest.starts_with("--") => {
                Ok(Piece::Blank(self.take(rest.find('\n').unwrap_or(rest.len()))))
            }
            '/' if rest.starts_with("/*") => {
                let end =
                    comment_end(rest, postgres).ok_or_else(|| unclosed("comment", rest, "*/"))?;
                Ok(Piece::Blank(self.take(end)))
            }
            '\'' => self.quoted("string", '\''),
            '"' => self.quoted("identifier", '"'),
            '`' if !postgres => self.quoted("identifier", '`'),
            '[' if !postgres => {
                let end = rest.find(']').ok_or_else(|| unclosed("identifier", rest, "]"))?;
                Ok(Piece::Code(self.take(end + 1)))
            }
            'e' | 'E' if postgres && rest[1..].starts_with('\'') => self.escape_string(),
            c if is_word_start(c) || c.is_ascii_digit() => {
                Ok(Piece::Code(self.take_while(is_word)))
            }
            ':' => self.colon(),
            '$' if postgres => self.dollar(),
            // In PostgreSQL these two are operators.
            '?' | '$' | '@' if !postgres => Err(SqlError::DriverParameter(with_word(rest))),
            ';' => {
                self.take(1);
                Ok(Piece::Semicolon)
            }
            other => Ok(Piece::Code(self.take(other.len_utf8()))),
        }
    }

    /// `:name`, or a `:` that begins no parameter: `::type`, `:=`, `[1:2]`.
    fn colon(&mut self) -> Result<Piece<'s>, SqlError> {
        if self.rest.starts_with("::") {
            return Ok(Piece::Code(self.take(2)));
        }
        if !self.rest[1..].starts_with(is_word_start) {
            return Ok(Piece::Code(self.take(1)));
        }
        let parameter = with_word(self.rest);
        let known = match parameter.as_str() {
            ":key" => Parameter::Key,
            ":value" => Parameter::Value,
            ":flags" => Parameter::Flags,
            _ => return Err(SqlError::UnknownParameter(parameter)),
        };
        self.take(parameter.len());
        Ok(Piece::Parameter(known))
    }

    /// PostgreSQL's `$tag$ … $tag$`; any other `$` here is a parameter or nonsense.
    fn dollar(&mut self) -> Result<Piece<'s>, SqlError> {
        let rest = self.rest;
        let is_tag = |c: char| is_word(c) && c != '$';
        let tag_length = rest[1..].find(|c| !is_tag(c)).unwrap_or(rest.len() - 1);
        let (tag, body) = rest.split_at(1 + tag_length);
        if tag[1..].starts_with(|c: char| c.is_ascii_digit()) || !body.starts_with('$') {
            return Err(SqlError::DriverParameter(with_word(rest)));
        }
        let fence = &rest[..tag.len() + 1];
        let end = rest[fence.len()..].find(fence).ok_or_else(|| unclosed("string", rest, fence))?;
        Ok(Piece::Code(self.take(fence.len() + end + fence.len())))
    }

    /// Up to the closing quote; a doubled quote is one quote inside.
    fn quoted(&mut self, what: &'static str, quote: char) -> Result<Piece<'s>, SqlError> {
        let end = quoted_end(self.rest, quote)
            .ok_or_else(|| unclosed(what, self.rest, quote.encode_utf8(&mut [0; 4])))?;
        Ok(Piece::Code(self.take(end)))
    }

    /// PostgreSQL's `E'…'`, where a backslash takes the next character with it. It goes
    /// on after white space with a line break and another quote, still with escapes.
    fn escape_string(&mut self) -> Result<Piece<'s>, SqlError> {
        let rest = self.rest;
        let mut end = 1;
        loop {
            end += escaped_end(&rest[end..]).ok_or_else(|| unclosed("string", rest, "'"))?;
            match continuation(&rest[end..]) {
                Some(gap) => end += gap,
                None => return Ok(Piece::Code(self.take(end))),
            }
        }
    }

    fn take_while(&mut self, fits: fn(char) -> bool) -> &'s str {
        self.take(self.rest.find(|c| !fits(c)).unwrap_or(self.rest.len()))
    }

    fn take(&mut self, bytes: usize) -> &'s str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }
}

/// The end of what begins with `quote`, doubled quotes passed over.
fn quoted_end(text: &str, quote: char) -> Option<usize> {
    let mut end = quote.len_utf8();
    loop {
        end += text[end..].find(quote)? + quote.len_utf8();
        if !text[end..].starts_with(quote) {
            return Some(end);
        }
        end += quote.len_utf8();
    }
}

/// Returns the end of a string in `'` with backslash escapes; compare [`quoted_end`].
fn escaped_end(text: &str) -> Option<usize> {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => {
                characters.next();
            }
            '\'' if characters.next_if(|(_, next)| *next == '\'').is_none() => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The length of the blank before the quote that continues a string, if it does: it
/// must have a line break, and may have `--` comments.
fn continuation(text: &str) -> Option<usize> {
    let mut at = 0;
    let mut broken = false;
    loop {
        let rest = &text[at..];
        let first = rest.chars().next()?;
        if is_space(first) {
            broken |= matches!(first, '\n' | '\r');
            at += 1;
        } else if rest.starts_with("--") {
            at += rest.find('\n')?;
        } else {
            return (broken && first == '\'').then_some(at);
        }
    }
}

/// The end of `/* … */`; in PostgreSQL such comments nest.
fn comment_end(text: &str, nested: bool) -> Option<usize> {
    let mut depth = 1;
    let mut at = 2;
    loop {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else if nested && rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
}

/// The first character and the word after it.
fn with_word(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().into_iter().chain(characters.take_while(|c| is_word(*c))).take(64).collect()
}

fn unclosed(what: &'static str, rest: &str, end: &str) -> SqlError {
    SqlError::Unclosed { what, start: rest.chars().take(12).collect(), end: end.to_owned() }
}
