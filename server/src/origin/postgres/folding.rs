//! The comparison of how the database and `key_case` map letters to lower case.

use std::sync::OnceLock;

use standin_protocol::key::KeyForm;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

/// The characters that the database maps to lower case differently from `key_case`, once the
/// database has been asked.
#[derive(Debug, Default)]
pub(in crate::origin) struct Folding(OnceLock<Vec<char>>);

impl Folding {
    /// Returns the characters, if the database has been asked.
    pub(super) fn doubtful(&self) -> Option<&[char]> {
        self.0.get().map(|doubtful| &**doubtful)
    }

    /// Whether a key contains such a character, so that the database may consider it the key of
    /// another row.
    pub(super) fn is_doubtful(&self, key: &[u8]) -> bool {
        let Some(doubtful) = self.doubtful().filter(|doubtful| !doubtful.is_empty()) else {
            return false;
        };
        std::str::from_utf8(key)
            .is_ok_and(|text| text.chars().any(|c| doubtful.binary_search(&c).is_ok()))
    }

    /// Asks the database, unless it has been asked.
    pub(super) async fn look(&self, client: &Client, form: KeyForm) -> Result<(), Error> {
        if self.0.get().is_some() {
            return Ok(());
        }
        // There are no upper-case letters beyond the second plane.
        let all: Vec<char> = ('\u{1}'..'\u{20000}').filter(|c| *c != '\n').collect();
        let one_a_line: String = all.iter().flat_map(|c| [*c, '\n']).collect();
        let ask = "SELECT lower($1 COLLATE \"default\"), lower('ΑΣ' COLLATE \"default\")";
        let asked = client.prepare_typed(ask, &[Type::TEXT]).await?;
        let row = client.query_one(&asked, &[&one_a_line]).await?;
        let (lower, word): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let mut lines = lower.split('\n');
        let mut differs = |c: char| {
            let mut mapped = lines.next().unwrap_or_default().chars();
            (mapped.next(), mapped.next()) != (Some(fold(form, c)), None)
        };
        let mut doubtful: Vec<char> = all.into_iter().filter(|c| differs(*c)).collect();
        // ICU's mapping also depends on the position in the word.
        if word.ends_with('ς') && doubtful.binary_search(&'Σ').is_err() {
            doubtful.push('Σ');
            doubtful.sort_unstable();
        }
        self.0.get_or_init(|| doubtful);
        Ok(())
    }
}

/// Returns the character in the form of the keyspace.
fn fold(form: KeyForm, c: char) -> char {
    match form {
        KeyForm::Ascii => c.to_ascii_lowercase(),
        _ => standin_protocol::key::lower(c),
    }
}
