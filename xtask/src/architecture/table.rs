//! The table of docs/ARCHITECTURE.md that says which of our crates may depend on which. The
//! document is the only place where that is decided: a change there is a change of the architecture.
//!
//! ```text
//! protocol ◄── config ◄─┬─ client ◄── loadgen ◄── cli
//!                       ├─ server ◄──────────────┤
//!                       └─ master ◄──────────────┘
//! ```

/// The document with the table, relative to the checkout.
pub(super) const DOCUMENT: &str = "docs/ARCHITECTURE.md";
const HEADING: &str = "## Folders";
const NONE: &str = "–";

/// One of our crates, and those of ours that it may depend on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) package: String,
    /// The crates that the shipped code may use.
    pub(super) may_use: Vec<String>,
    /// The crates that only its tests may use, in addition.
    pub(super) tests_may_use: Vec<String>,
}

/// The rows of the table below the heading.
pub(super) fn rows(document: &str) -> Result<Vec<Row>, String> {
    let after = document.split_once(&format!("\n{HEADING}\n"));
    let section = after.ok_or_else(|| format!("{DOCUMENT} has no section {HEADING:?}"))?.1;
    let table = section.lines().skip_while(|line| !line.starts_with('|'));
    let rows: Vec<Row> = table
        .take_while(|line| line.starts_with('|'))
        // The names of the columns, and the line below them.
        .skip(2)
        .map(row)
        .collect::<Result<_, _>>()?;
    if rows.is_empty() {
        return Err(format!("{DOCUMENT} has no table below {HEADING:?}"));
    }
    Ok(rows)
}

/// A line `` | `folder/` | contents | folder, folder | folder | ``.
fn row(line: &str) -> Result<Row, String> {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let &[folder, _, may_use, tests_may_use] = cells.as_slice() else {
        return Err(format!("{DOCUMENT}: four columns are expected in {line:?}"));
    };
    let name = folder.strip_prefix('`').and_then(|rest| rest.strip_suffix("/`"));
    let name =
        name.ok_or_else(|| format!("{DOCUMENT}: the first column is `folder/`, not {folder}"))?;
    let packages = |cell: &str| -> Vec<String> {
        if cell == NONE { Vec::new() } else { cell.split(", ").map(package).collect() }
    };
    Ok(Row {
        package: package(name),
        may_use: packages(may_use),
        tests_may_use: packages(tests_may_use),
    })
}

/// The name of the package in a folder.
fn package(folder: &str) -> String {
    match folder {
        "cli" => "standin".to_owned(),
        "xtask" => folder.to_owned(),
        _ => format!("standin-{folder}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\n## Folders\n\
        | folder | contents | may depend on | its tests also on |\n\
        |---|---|---|---|\n\
        | `low/` | things | – | testkit |\n\
        | `cli/` | the program | low, config | – |\n\
        \nProse.\n| `not/` | in the table | – | – |\n";

    #[test]
    fn rows_name_packages() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let expected = [
            Row {
                package: "standin-low".into(),
                may_use: Vec::new(),
                tests_may_use: names(&["standin-testkit"]),
            },
            Row {
                package: "standin".into(),
                may_use: names(&["standin-low", "standin-config"]),
                tests_may_use: Vec::new(),
            },
        ];
        assert_eq!(rows(TEXT).unwrap(), expected);
    }

    #[test]
    fn a_document_without_the_table_is_an_error() {
        assert!(rows("\n## Words\n").unwrap_err().contains("no section"));
        assert!(rows("\n## Folders\nProse.\n").unwrap_err().contains("no table"));
    }

    #[test]
    fn a_row_of_another_shape_is_an_error() {
        let short = TEXT.replace(" | testkit |", " |");
        assert!(rows(&short).unwrap_err().contains("four columns"));
        let bare = TEXT.replace("`low/`", "low");
        assert!(rows(&bare).unwrap_err().contains("first column"));
    }
}
