//! The file deny.toml, which says what third-party crates may be: for our own checks, which need no more than
//! `cargo metadata`, and for cargo-deny.

use std::path::Path;

use toml_edit::{DocumentMut, Item, Value};

/// The file, relative to the checkout.
pub(super) const FILE: &str = "deny.toml";

/// What the file decides, as far as our own checks go.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Decisions {
    /// The licences that a crate may have.
    pub(super) licences: Vec<String>,
    /// The versions, `name@version`, that may be there beside another one.
    pub(super) duplicates: Vec<String>,
}

impl Decisions {
    /// Reads the file under the root of the checkout.
    pub(super) fn read(root: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(root.join(FILE))
            .map_err(|error| format!("cannot read {FILE}: {error}"))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: DocumentMut = text.parse().map_err(|error| format!("{FILE}: {error}"))?;
        let licences = list(&file, "licenses", "allow")?.into_iter();
        let licences: Option<Vec<String>> =
            licences.map(|one| one.as_str().map(str::to_owned)).collect();
        let duplicates: Option<Vec<String>> =
            list(&file, "bans", "skip")?.into_iter().map(excepted).collect();
        Ok(Self {
            licences: licences.ok_or_else(|| format!("{FILE}: licenses.allow is a list of names"))?,
            duplicates: duplicates.ok_or_else(|| {
                format!(
                    "{FILE}: an entry of bans.skip is {{ crate = \"name@version\", reason = \"…\" }}"
                )
            })?,
        })
    }
}

/// The crate of an entry that has a reason.
fn excepted(entry: &Value) -> Option<String> {
    let text = |key| entry.as_inline_table()?.get(key)?.as_str();
    let reason = text("reason")?;
    let krate = text("crate").filter(|krate| krate.contains('@'))?;
    (!reason.trim().is_empty()).then(|| krate.to_owned())
}

fn list<'f>(file: &'f DocumentMut, section: &str, key: &str) -> Result<Vec<&'f Value>, String> {
    let array = file.get(section).and_then(|section| section.get(key)).and_then(Item::as_array);
    Ok(array.ok_or_else(|| format!("{FILE} has no list {section}.{key}"))?.iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: &str = "[licenses]\nallow = [\"MIT\"]\n[bans]\n\
        skip = [{ crate = \"a@1.0.0\", reason = \"b still has it\" }]\n";

    #[test]
    fn both_lists_are_read() {
        let expected =
            Decisions { licences: vec!["MIT".into()], duplicates: vec!["a@1.0.0".into()] };
        assert_eq!(Decisions::parse(FINE), Ok(expected));
    }

    #[test]
    fn an_exception_needs_a_version_and_a_reason() {
        for wrong in [
            FINE.replace("@1.0.0", ""),
            FINE.replace("b still has it", " "),
            FINE.replace(", reason = \"b still has it\"", ""),
        ] {
            assert!(Decisions::parse(&wrong).unwrap_err().contains("bans.skip"), "{wrong}");
        }
        assert!(Decisions::parse("").unwrap_err().contains("licenses.allow"));
    }
}
