//! Relative links of the documents lead to files, their anchors to headings, and files
//! that they name in `code` exist.

use std::path::{Component, Path, PathBuf};

use super::at;
use super::files::{SKIPPED, Source};

/// Links that lead nowhere.
pub(super) fn mistakes(files: &[Source], root: &Path) -> Vec<String> {
    let documents: Vec<&Source> = files.iter().filter(|file| file.kind() == "md").collect();
    let mut mistakes = Vec::new();
    for document in &documents {
        for (line, target) in links(&document.text) {
            if let Some(what) = judge(document, &target, &documents, root) {
                mistakes.push(at(&document.path, line, &what));
            }
        }
        for (line, path) in named_paths(&document.text, root) {
            if !root.join(&path).exists() {
                mistakes.push(at(&document.path, line, &format!("there is no {path}")));
            }
        }
    }
    mistakes
}

fn judge(document: &Source, target: &str, documents: &[&Source], root: &Path) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() {
        document.path.clone()
    } else {
        let folder = document.path.parent().unwrap_or(Path::new(""));
        normal(&folder.join(file))?
    };
    if !root.join(&path).exists() && !documents.iter().any(|other| other.path == path) {
        return Some(format!("the link to {target} leads nowhere"));
    }
    if anchor.is_empty() {
        return None;
    }
    let other = documents.iter().find(|other| other.path == path)?;
    let found = headings(&other.text).iter().any(|heading| heading == anchor);
    (!found).then(|| format!("the link to {target}: no heading there makes #{anchor}"))
}

/// Without `.` and `..`; `None` when it leaves the checkout.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => normal.push(part),
            Component::ParentDir => normal.pop().then_some(())?,
            _ => {}
        }
    }
    Some(normal)
}

/// Line and target of every `[…](target)` outside of code.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (line, text) in outside_fences(text) {
        // Even pieces between backticks are prose.
        for prose in text.split('`').step_by(2).collect::<Vec<_>>().join("``").split("](").skip(1) {
            if let Some((target, _)) = prose.split_once(')') {
                let target = target.split_whitespace().next().unwrap_or("");
                links.push((line, target.trim_matches(['<', '>']).to_owned()));
            }
        }
    }
    links
}

/// Line and text of every `folder/…` in code whose folder is one of the checkout's and is
/// not made by a build.
fn named_paths(text: &str, root: &Path) -> Vec<(usize, String)> {
    let is_path = |code: &str| {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-./".contains(letter);
        let (Some((folder, _)), true) = (code.split_once('/'), code.chars().all(plain)) else {
            return false;
        };
        let made = code.split('/').any(|part| SKIPPED.contains(&part));
        !folder.is_empty() && !folder.starts_with('.') && !made && root.join(folder).is_dir()
    };
    let mut paths = Vec::new();
    for (line, text) in outside_fences(text) {
        // Odd pieces between backticks are code.
        for code in text.split('`').skip(1).step_by(2).filter(|code| is_path(code)) {
            paths.push((line, code.to_owned()));
        }
    }
    paths
}

/// The anchors that GitHub makes of the headings.
fn headings(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    for (_, line) in outside_fences(text) {
        let Some(title) = line.trim_start_matches('#').strip_prefix(' ') else { continue };
        if !line.starts_with('#') {
            continue;
        }
        let anchor: String = title
            .trim()
            .to_lowercase()
            .chars()
            .filter(|letter| letter.is_alphanumeric() || "-_ ".contains(*letter))
            .map(|letter| if letter == ' ' { '-' } else { letter })
            .collect();
        let same = anchors.iter().filter(|other| **other == anchor).count();
        anchors.push(if same == 0 { anchor } else { format!("{anchor}-{same}") });
    }
    anchors
}

/// Numbered lines that are not between code fences.
fn outside_fences(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut inside = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        if line.trim_start().starts_with("```") {
            inside = !inside;
            return None;
        }
        (!inside).then_some((index + 1, line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let other = Source { path: "docs/B.md".into(), text: "# One two: `three`!\n".to_owned() };
        let document = Source { path: "docs/A.md".into(), text: text.to_owned() };
        mistakes(&[document, other], Path::new("/nonexistent"))
    }

    #[test]
    fn good_links_are_fine() {
        let text = "# Top\n[a](B.md) [b](./B.md#one-two-three) [c](#top) [d](https://x.org/)\n";
        assert_eq!(found(text), Vec::<String>::new());
    }

    #[test]
    fn what_leads_nowhere_is_named_with_its_line() {
        let mistakes = found("\n[a](C.md) [b](B.md#four) [c](#none)\n");
        assert_eq!(mistakes.len(), 3, "{mistakes:?}");
        assert!(mistakes[0].starts_with("docs/A.md:2:"));
    }

    #[test]
    fn files_named_in_code_must_exist() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = "`src/main.rs` `src/none.rs` `x/y` `src/ a` `target/x`\n```\n`src/no`\n```\n";
        assert_eq!(named_paths(text, root).len(), 2);
        let document = Source { path: "A.md".into(), text: text.to_owned() };
        assert_eq!(mistakes(&[document], root), ["A.md:1: there is no src/none.rs"]);
    }

    #[test]
    fn code_has_no_links() {
        assert_eq!(found("`[a](C.md)`\n```\n[a](C.md)\n```\n"), Vec::<String>::new());
    }
}
