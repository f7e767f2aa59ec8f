//! `cargo xtask operations`: follows docs/OPERATIONS.md to the letter, from the package and nothing else. A block of
//! commands says by its info string on which machines it runs: `sh on=node1,node2`, and `within=30` if it may have to
//! be repeated for so many seconds until it succeeds. Every block of shell commands must have one, so that there is
//! none that nobody has tried.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::machines::{self, Machine, Machines};
use crate::package::trial;
use crate::report::{Failed, Outcome, Passed, Report};
use crate::workspace::Workspace;

/// The document, relative to the checkout.
const DOCUMENT: &str = "docs/OPERATIONS.md";
/// The machines, and whether they get the packages.
const MACHINES: [(&str, &str, bool); 4] = [
    ("node1", "10.0.0.1", true),
    ("node2", "10.0.0.2", true),
    ("node3", "10.0.0.3", true),
    ("db", "10.0.0.10", false),
];

/// A block of commands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Block {
    /// The heading above it.
    heading: String,
    /// The line of the document in which it begins.
    line: usize,
    on: Vec<String>,
    within: Duration,
    commands: String,
}

/// Boots the machines, and follows the document. Returns whether all went well.
pub(crate) fn run(workspace: &Workspace, program: Option<PathBuf>) -> Result<bool, String> {
    let path = workspace.root().join(DOCUMENT);
    let document =
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let blocks = blocks(&document)?;
    if !machines::are_inside() {
        return trial::prepare(workspace, program);
    }
    let mut report = Report::new();
    let failed = |failed: Failed| failed.output;
    let network = Machines::new(machines::base(workspace)).map_err(failed)?;
    let mut booted = BTreeMap::new();
    for (name, address, _) in MACHINES {
        let boot = || network.boot(name, address);
        booted.insert(name.to_owned(), boot().map_err(failed)?);
    }
    report.step("machines", &[], || hand_over(workspace, program.clone(), &booted));
    let mut before = "machines".to_owned();
    for block in blocks {
        let name = format!("{}, line {}", short(&block.heading), block.line);
        report.step(&name, &[&before], || follow(&block, &booted));
        before = name;
    }
    Ok(report.finish(&workspace.logs()))
}

/// What the document says that one has: the packages on the nodes, and a way from node1 to the others by ssh.
fn hand_over(
    workspace: &Workspace,
    program: Option<PathBuf>,
    booted: &BTreeMap<String, Machine>,
) -> Outcome {
    let both = trial::both(workspace, program);
    let (first, second) = both.map_err(|error| Failed::new(error, "see why"))?;
    for (name, _, _) in MACHINES.iter().filter(|(_, _, has_package)| *has_package) {
        booted[*name].put(&first.file, "/srv/standin.deb")?;
        booted[*name].put(&second.file, "/srv/standin-new.deb")?;
    }
    let key = booted["node1"].run(
        "install -d -m 700 ~/.ssh; ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519
         echo 'StrictHostKeyChecking accept-new' > ~/.ssh/config
         cat ~/.ssh/id_ed25519.pub",
    )?;
    for machine in booted.values() {
        machine.run(&format!(
            "install -d -m 700 ~/.ssh; cat > ~/.ssh/authorized_keys << 'END'\n{key}END\n\
             systemctl is-active --quiet ssh || systemctl start ssh"
        ))?;
    }
    Ok(Passed::default())
}

fn follow(block: &Block, booted: &BTreeMap<String, Machine>) -> Outcome {
    let mut said = 0;
    for name in &block.on {
        let machine = booted.get(name).ok_or_else(|| {
            Failed::new(format!("{DOCUMENT}:{}: there is no machine {name}", block.line), "mend it")
        })?;
        said += machine.until(block.within, &block.commands)?.lines().count();
    }
    Ok(Passed::with_note(format!("on {}; {said} lines", block.on.join(", "))))
}

/// The blocks of commands of a document.
fn blocks(document: &str) -> Result<Vec<Block>, String> {
    let (mut blocks, mut heading) = (Vec::new(), String::new());
    let mut lines = document.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else {
            if let Some(text) = line.strip_prefix('#') {
                heading = text.trim_start_matches('#').trim().to_owned();
            }
            continue;
        };
        let commands: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        let Some(options) = info.strip_prefix("sh") else { continue };
        let mut block = Block {
            heading: heading.clone(),
            line: at + 1,
            on: Vec::new(),
            within: Duration::ZERO,
            commands: format!("{}\n", commands.join("\n")),
        };
        for option in options.split_whitespace() {
            match option.split_once('=') {
                Some(("on", names)) => block.on = names.split(',').map(str::to_owned).collect(),
                Some(("within", seconds)) if seconds.parse::<u64>().is_ok() => {
                    block.within = Duration::from_secs(seconds.parse().unwrap_or_default());
                }
                _ => return Err(format!("{DOCUMENT}:{}: what is {option}?", block.line)),
            }
        }
        if block.on.is_empty() {
            return Err(format!(
                "{DOCUMENT}:{}: a block of commands that says on no machine: begin it by `sh on=node1`",
                block.line
            ));
        }
        blocks.push(block);
    }
    Ok(blocks)
}

/// A heading that fits into the line of a step.
fn short(heading: &str) -> String {
    heading.chars().take(20).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn of_the_checkout() -> Vec<Block> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(DOCUMENT);
        blocks(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn each_block_of_the_document_is_for_machines_that_there_are() {
        let blocks = of_the_checkout();
        assert!(blocks.len() > 10);
        for block in blocks {
            for name in &block.on {
                let known = MACHINES.iter().any(|(machine, _, _)| machine == name);
                assert!(known, "{DOCUMENT}:{}: {name}", block.line);
            }
        }
    }

    #[test]
    fn a_block_has_its_machines_and_its_time() {
        let document = "# One\n```sh on=a,b within=30\nls\n# no heading\n```\n```text\nno\n```\n";
        let block = Block {
            heading: "One".to_owned(),
            line: 2,
            on: vec!["a".to_owned(), "b".to_owned()],
            within: Duration::from_secs(30),
            commands: "ls\n# no heading\n".to_owned(),
        };
        assert_eq!(blocks(document), Ok(vec![block]));
        assert!(blocks("```sh\nls\n```\n").is_err(), "nobody tries it");
        assert!(blocks("```sh at=a\nls\n```\n").is_err());
    }
}
