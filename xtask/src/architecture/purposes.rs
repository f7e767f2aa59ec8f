//! The tables of docs/DEPENDENCIES.md: why each third-party crate that ours name is there, and which of ours
//! use it. A dependency without a row, a row without a dependency, and a wrong list of users are mistakes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::workspace::items;

/// The document with the tables, relative to the checkout.
pub(super) const DOCUMENT: &str = "docs/DEPENDENCIES.md";
/// The package that is shipped.
const SHIPPED: &str = "standin";
const SHIPPED_HEADING: &str = "## In the program";
const OTHER_HEADING: &str = "## Only in checks, benchmarks and tools";

/// The users of each dependency, as the document writes them, by the name that ours give it.
type Rows = BTreeMap<String, String>;

/// Compares the document with what our packages depend on.
pub(super) fn mistakes(ours: &[&Value], document: &str) -> Vec<String> {
    let (shipped, other) = needed(ours);
    let mut mistakes = Vec::new();
    for (heading, needed) in [(SHIPPED_HEADING, &shipped), (OTHER_HEADING, &other)] {
        match rows(document, heading) {
            Ok(found) => mistakes.extend(compare(heading, needed, &found)),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    mistakes
}

fn compare(heading: &str, needed: &Rows, found: &Rows) -> Vec<String> {
    let place = format!("{DOCUMENT}, {}", heading.trim_start_matches("## "));
    let mut mistakes = Vec::new();
    for (krate, users) in needed {
        match found.get(krate) {
            None => mistakes.push(format!("{place}: no row `{krate}` | {users} | why")),
            Some(said) if said != users => {
                mistakes.push(format!("{place}: {krate} is used by {users}, not {said}"));
            }
            Some(_) => {}
        }
    }
    let gone = found.keys().filter(|krate| !needed.contains_key(*krate));
    mistakes.extend(gone.map(|krate| format!("{place}: {krate} does not belong there")));
    mistakes
}

/// The rows that are needed: of dependencies of the shipped program, and of all others.
fn needed(ours: &[&Value]) -> (Rows, Rows) {
    let shipped = shipped(ours);
    // Whether the program has it; the crates that use it; the crates whose tests alone use it.
    let mut found: BTreeMap<String, (bool, BTreeSet<&str>, BTreeSet<&str>)> = BTreeMap::new();
    for package in ours {
        let name = package["name"].as_str().unwrap_or("?");
        let foreign = |one: &&Value| one["path"].is_null();
        for dependency in items(&package["dependencies"]).iter().filter(foreign) {
            let key = dependency["rename"].as_str().or(dependency["name"].as_str());
            let entry = found.entry(key.unwrap_or("?").to_owned()).or_default();
            let short = name.strip_prefix("standin-").unwrap_or(name);
            if dependency["kind"] == "dev" {
                entry.2.insert(short);
            } else {
                entry.0 |= shipped.contains(name);
                entry.1.insert(short);
            }
        }
    }
    let mut rows = (Rows::new(), Rows::new());
    for (krate, (is_shipped, users, in_tests)) in found {
        let mut names: Vec<String> = users.iter().map(|&name| name.to_owned()).collect();
        names.extend(in_tests.difference(&users).map(|name| format!("{name} (tests)")));
        let rows = if is_shipped { &mut rows.0 } else { &mut rows.1 };
        rows.insert(krate, names.join(", "));
    }
    rows
}

/// The names of our packages of which the shipped program is made.
fn shipped<'p>(ours: &[&'p Value]) -> BTreeSet<&'p str> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = vec![SHIPPED];
    while let Some(name) = open.pop() {
        let Some(package) = ours.iter().find(|package| package["name"] == name) else { continue };
        let Some(name) = package["name"].as_str() else { continue };
        if found.insert(name) {
            let dependencies = items(&package["dependencies"]).iter();
            let normal = dependencies.filter(|one| one["kind"] != "dev" && !one["path"].is_null());
            open.extend(normal.filter_map(|one| one["name"].as_str()));
        }
    }
    found
}

/// The rows `` | `crate` | users | why | `` below a heading.
fn rows(document: &str, heading: &str) -> Result<Rows, String> {
    let after = document.split_once(&format!("\n{heading}\n"));
    let section = after.ok_or_else(|| format!("{DOCUMENT} has no section {heading:?}"))?.1;
    let table = section.lines().skip_while(|line| !line.starts_with('|'));
    let mut rows = Rows::new();
    // The first two lines are the names of the columns, and the line below them.
    for line in table.take_while(|line| line.starts_with('|')).skip(2) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let (krate, users) = match cells.as_slice() {
            &[krate, users, why] if !why.is_empty() => (krate, users),
            _ => return Err(format!("{DOCUMENT}: crate, users and why are expected in {line:?}")),
        };
        if rows.insert(krate.trim_matches('`').to_owned(), users.to_owned()).is_some() {
            return Err(format!("{DOCUMENT}: {krate} has two rows"));
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: &str = "# Dependencies\n\n## In the program\n\n| crate | used by | why |\n|---|---|---|\n\
        | `bytes` | low | buffers |\n\n## Only in checks, benchmarks and tools\n\n\
        | crate | used by | why |\n|---|---|---|\n\
        | `tempfile` | tool, low (tests) | files of tests |\n";

    fn found(text: &str) -> Vec<String> {
        let ours = [
            json!({"name": "standin", "dependencies": [{"name": "standin-low", "path": "/low"}]}),
            json!({"name": "standin-low", "dependencies": [
                {"name": "bytes", "kind": null},
                {"name": "tempfile", "kind": "dev"},
            ]}),
            json!({"name": "standin-tool", "dependencies": [
                {"name": "temporary", "rename": "tempfile", "kind": null},
            ]}),
        ];
        mistakes(&ours.iter().collect::<Vec<_>>(), text)
    }

    #[test]
    fn a_table_that_is_true_has_no_mistakes() {
        assert_eq!(found(TEXT), Vec::<String>::new());
    }

    #[test]
    fn what_is_shipped_is_not_listed_with_the_tools() {
        let wrong =
            TEXT.replace("bytes", "X").replace("tempfile", "bytes").replace("X", "tempfile");
        let found = found(&wrong);
        assert!(
            found.iter().any(|one| one.contains("In the program: no row `bytes` | low")),
            "{found:?}"
        );
        assert!(found.iter().any(|one| one.ends_with("bytes does not belong there")), "{found:?}");
    }

    #[test]
    fn users_reasons_and_single_rows_are_demanded() {
        let users = found(&TEXT.replace("tool, low (tests)", "tool"));
        assert!(users[0].ends_with("tempfile is used by tool, low (tests), not tool"), "{users:?}");
        assert!(found(&TEXT.replace(" buffers ", " "))[0].contains("why are expected"));
        let row = "| `bytes` | low | buffers |\n";
        assert!(found(&TEXT.replace(row, &row.repeat(2)))[0].contains("two rows"));
        assert!(found("# Nothing\n")[0].contains("no section"));
    }
}
