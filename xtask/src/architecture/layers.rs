//! Folders inside a crate that must not name what belongs to a layer beside them.

use std::path::Path;

use crate::tidy::files::sources_under;

/// A folder, and the words that its code must not have.
#[derive(Debug)]
struct Layer {
    folder: &'static str,
    may_not_name: &'static [&'static str],
    why: &'static str,
}

const LAYERS: &[Layer] = &[Layer {
    folder: "server/src/node",
    may_not_name: &["frame", "Opcode", "request_flags", "response_flags", "codec"],
    why: "the node takes commands and gives answers; bytes are for codecs (server/src/shard/codec/)",
}];

/// Returns the mistakes under the root of the checkout.
pub(super) fn mistakes(root: &Path) -> Vec<String> {
    let mut mistakes = Vec::new();
    for layer in LAYERS {
        let files = sources_under(&root.join(layer.folder));
        if files.is_empty() {
            mistakes.push(format!("{}: no such folder", layer.folder));
        }
        for file in files {
            for (number, word) in named(&file.text, layer.may_not_name) {
                let path = Path::new(layer.folder).join(&file.path);
                mistakes.push(format!("{}:{number}: names {word}: {}", path.display(), layer.why));
            }
        }
    }
    mistakes
}

/// The words of a list that code has as names, with the numbers of their lines. Comments may
/// speak of anything.
fn named<'a>(text: &str, words: &[&'a str]) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or("");
        let names = code.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        let names: Vec<&str> = names.collect();
        found.extend(words.iter().filter(|word| names.contains(word)).map(|word| (at + 1, *word)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_and_a_comment_or_a_part_of_a_name_is_not() {
        let text = "//! A frame.\nuse standin_protocol::frame::Status;\nlet frames = 1; // frame\n";
        assert_eq!(named(text, &["frame"]), [(2, "frame")]);
    }

    #[test]
    fn every_layer_is_a_folder_of_this_checkout() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        assert!(LAYERS.iter().all(|layer| root.join(layer.folder).is_dir()));
    }
}
