//! Shell completions and manual pages, for every subcommand of the program.

use std::process::{Command, Output};

use standin_testkit::Scratch;

use crate::common::cluster::PROGRAM;

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().expect("it runs")
}

/// The subcommands that `standin --help` lists.
fn subcommands() -> Vec<String> {
    let help = String::from_utf8(run(&["--help"]).stdout).expect("UTF-8");
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names =
        list.take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next());
    let names: Vec<String> = names.filter(|name| *name != "help").map(str::to_owned).collect();
    assert!(names.len() >= 15, "{names:?}");
    names
}

#[test]
fn completions_know_every_subcommand() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert!(output.status.success(), "{output:?}");
        let script = String::from_utf8(output.stdout).expect("UTF-8");
        for name in subcommands() {
            assert!(script.contains(&name), "{shell} does not know {name}");
        }
    }
    let unknown = run(&["completions", "ksh"]);
    assert_eq!(unknown.status.code(), Some(2));
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(said.contains("bash"), "it says which there are: {said}");
}

#[test]
fn every_subcommand_has_a_manual_page() {
    let scratch = Scratch::new("man");
    let folder = scratch.file("man1");
    let output = run(&["man", folder.to_str().expect("UTF-8")]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    for name in subcommands() {
        let page = std::fs::read_to_string(folder.join(format!("standin-{name}.1")));
        let page = page.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(page.contains(".SH SYNOPSIS") && page.contains(&name), "{page}");
        assert!(page.contains(".SH \"EXIT STATUS\""), "{page}");
    }
    let file = scratch.file("file");
    std::fs::write(&file, "").expect("the folder is ours");
    let refused = run(&["man", file.to_str().expect("UTF-8")]);
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("give a folder that can be written to"), "{said}");
}
