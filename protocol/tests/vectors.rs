//! `docs/vectors.json` is exactly what this code produces.
//!
//! After a deliberate change of the protocol: `STANDIN_VECTORS=write cargo test -p
//! standin-protocol --test vectors`, and say in `docs/PROTOCOL.md` what changed.

mod support;
mod vector_sections;

use std::path::Path;
use std::process::{Command, Stdio};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/vectors.json");
const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/client.py");

/// Returns the document, with one vector per line so that diffs are readable.
fn document() -> String {
    let mut text = String::from("{\n");
    let about = "Test vectors of docs/PROTOCOL.md. Byte strings are hex. 64-bit numbers are \
                 strings of hex digits after 0x, as many languages' JSON numbers stop at 53 bits.";
    text +=
        &format!("\"about\": \"{about}\",\n\"protocol_version\": {}", standin_protocol::VERSION);
    for (name, vectors) in vector_sections::all() {
        let lines: Vec<String> = vectors.iter().map(|vector| format!("  {vector}")).collect();
        text += &format!(",\n\"{name}\": [\n{}\n]", lines.join(",\n"));
    }
    text + "\n}\n"
}

#[test]
fn the_published_vectors_are_what_the_code_says() {
    let document = document();
    let parsed: serde_json::Value = serde_json::from_str(&document).expect("it is JSON");
    assert_eq!(parsed["protocol_version"], 1);
    if std::env::var_os("STANDIN_VECTORS").is_some_and(|value| value == "write") {
        std::fs::write(FILE, &document).expect("docs/ can be written");
    }
    let published = std::fs::read_to_string(FILE).unwrap_or_default();
    let published: serde_json::Value = serde_json::from_str(&published)
        .expect("docs/vectors.json is JSON; the head of this file says how to write it");
    let (published, now) = (published.as_object().unwrap(), parsed.as_object().unwrap());
    for (section, now) in now {
        let published = published.get(section).unwrap_or(&serde_json::Value::Null);
        for (index, vector) in now.as_array().into_iter().flatten().enumerate() {
            assert_eq!(published.get(index), Some(vector), "{section}[{index}] differs");
        }
        assert_eq!(published, now, "section {section} differs");
    }
    assert_eq!(published.len(), now.len(), "a section too many");
}

/// The client in another language, written from the document, agrees.
#[test]
fn the_python_client_agrees() {
    let python = Command::new("python3").arg("--version").stdout(Stdio::null()).status();
    if python.is_err() {
        eprintln!("skipped: there is no python3 here");
        return;
    }
    assert!(Path::new(CLIENT).exists());
    let output = Command::new("python3").args([CLIENT, "vectors", FILE]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
