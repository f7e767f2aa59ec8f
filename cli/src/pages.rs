//! What a user of a subcommand has to know beside its options: exit codes, files and environment variables. The end of
//! `--help` and the manual page of a subcommand are both made of this table.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// A thing, and what it means.
type Entry = (&'static str, &'static str);

/// What belongs to a subcommand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    /// The subcommand; of one that has subcommands itself, with a space between.
    name: &'static str,
    /// Exit codes, beside those of [`ALWAYS`].
    exits: &'static [Entry],
    files: &'static [Entry],
    environment: &'static [Entry],
}

/// The exit codes of all subcommands.
const ALWAYS: &[Entry] = &[
    (
        "2",
        "The command line is wrong, or the command could not be carried out; standard error says why.",
    ),
    ("141", "Nobody reads standard output any more."),
];
const DONE: Entry = ("0", "It is done.");

const CLUSTER_FILE: Entry = (
    "cluster.toml",
    "The cluster file, in the working folder unless --config names another. cluster.example.toml explains all of it.",
);
const CLIENT_FILE: Entry = (
    "cluster.toml",
    "The cluster file, or a client's file that `standin client-config` has written, in the working folder unless \
     --config names another.",
);
const PGPASS: Entry = (
    "~/.pgpass",
    "PostgreSQL's passfile, if the cluster file names no password. Only its owner may read it.",
);
const RUST_LOG: Entry = (
    "RUST_LOG",
    "Which lines the log has, such as `debug` or `standin_master=debug,info`, in the place of `level` of the file.",
);
const NOTIFY: Entry = (
    "NOTIFY_SOCKET, WATCHDOG_USEC",
    "Set by systemd: it is told when the process is ready, reads its files again and stops, and that its threads turn.",
);
const PGPASSFILE: Entry =
    ("PGPASSFILE", "The path of PostgreSQL's passfile, in the place of ~/.pgpass.");

const ROLE: &[Entry] = &[
    ("0", "It was told to stop (SIGTERM, SIGINT or SIGQUIT), and has stopped in order."),
    ("3", "A thread without which it can't continue has died. This is a bug."),
    ("4", "It did not stop within `drain_timeout`."),
    (
        "128 + N",
        "Signal N came a second time, or before the file was read, and ended the process at once.",
    ),
];
const CHECKED: &[Entry] = &[
    ("0", "The file is right, and what it names can be used."),
    ("1", "There are mistakes; standard error has all of them, each with its line."),
];
const ROW: &[Entry] = &[DONE, ("1", "There is no such row, or nothing was changed.")];
const ONLY_DONE: &[Entry] = &[DONE];

const PROXY_FILE: Entry = (
    "proxy.toml",
    "The file of the proxy, which --config names. proxy.example.toml explains all of it.",
);
const LOG_FILE: Entry =
    ("LOG", "The log, if --log-file names it. SIGHUP makes the process open it anew.");

const PAGES: &[Page] = &[
    Page {
        name: "server",
        exits: ROLE,
        files: &[CLUSTER_FILE, PGPASS, LOG_FILE],
        environment: &[RUST_LOG, NOTIFY, PGPASSFILE],
    },
    Page {
        name: "master",
        exits: ROLE,
        files: &[
            CLUSTER_FILE,
            (
                "master.state",
                "The master's term and its last map, where `state_file` of [master] says. It may be lost: the \
                 master then learns from the servers, and takes those that were stopped in order for dead.",
            ),
            (
                "events.jsonl",
                "Each event as a line of JSON, if --events names it. SIGHUP makes the master open it anew.",
            ),
            LOG_FILE,
        ],
        environment: &[RUST_LOG, NOTIFY],
    },
    Page {
        name: "proxy",
        exits: ROLE,
        files: &[PROXY_FILE, LOG_FILE],
        environment: &[RUST_LOG, NOTIFY],
    },
    Page {
        name: "demo",
        exits: &[
            ("0", "No request has failed, and no value was stale or wrong."),
            ("1", "Some have failed, or were stale or wrong."),
        ],
        files: &[],
        environment: &[],
    },
    Page {
        name: "load",
        exits: &[
            (
                "0",
                "The run was good: no value was wrong, and what was demanded was kept. With --find: a rate was found.",
            ),
            ("1", "It was not; the report says why."),
        ],
        files: &[
            CLIENT_FILE,
            (
                "SCENARIO.toml",
                "A load with processes and faults, which --scenario names. scenario.example.toml explains all of it.",
            ),
        ],
        environment: &[(
            "NAME",
            "The password of the target, if --password-env names this variable.",
        )],
    },
    Page { name: "report", exits: ONLY_DONE, files: &[], environment: &[] },
    Page {
        name: "report compare",
        exits: &[
            ("0", "The runs were compared."),
            (
                "1",
                "They were compared, and differ in what makes figures comparable, such as the load or the machine.",
            ),
        ],
        files: &[],
        environment: &[],
    },
    Page { name: "report merge", exits: ONLY_DONE, files: &[], environment: &[] },
    Page { name: "report show", exits: ONLY_DONE, files: &[], environment: &[] },
    Page { name: "get", exits: ROW, files: &[CLIENT_FILE], environment: &[] },
    Page { name: "put", exits: ROW, files: &[CLIENT_FILE], environment: &[] },
    Page { name: "delete", exits: ROW, files: &[CLIENT_FILE], environment: &[] },
    Page { name: "invalidate", exits: ONLY_DONE, files: &[CLIENT_FILE], environment: &[] },
    Page { name: "flush", exits: ONLY_DONE, files: &[CLIENT_FILE], environment: &[] },
    Page {
        name: "status",
        exits: &[
            ("0", "All is well."),
            (
                "1",
                "Something is wrong, but every partition has a server that may write it and reaches the database.",
            ),
            ("3", "Some partitions have no such server."),
        ],
        files: &[CLUSTER_FILE],
        environment: &[],
    },
    Page {
        name: "hot",
        exits: &[("0", "All servers have answered."), ("1", "Some servers have not answered.")],
        files: &[CLUSTER_FILE],
        environment: &[],
    },
    Page { name: "top", exits: ONLY_DONE, files: &[CLUSTER_FILE], environment: &[] },
    Page {
        name: "check-config",
        exits: CHECKED,
        files: &[CLUSTER_FILE, PROXY_FILE, PGPASS],
        environment: &[PGPASSFILE],
    },
    Page { name: "client-config", exits: ONLY_DONE, files: &[CLUSTER_FILE], environment: &[] },
    Page { name: "user", exits: ONLY_DONE, files: &[], environment: &[] },
    Page {
        name: "doctor",
        exits: &[
            ("0", "Nothing is to be changed. With --apply and --revert: all is done."),
            (
                "1",
                "Something is to be changed, or could not be read. With --apply and --revert: some settings could not be \
                 written, or were changed by somebody else.",
            ),
            (
                "3",
                "Something is serious: a server could not start, or not do what the cluster file says.",
            ),
        ],
        files: &[
            (
                "/var/lib/standin/doctor.json",
                "The old values of what --apply has changed, for --revert.",
            ),
            ("/proc, /sys", "What is looked at."),
            PGPASS,
        ],
        environment: &[PGPASSFILE],
    },
    Page { name: "completions", exits: ONLY_DONE, files: &[], environment: &[] },
    Page { name: "man", exits: ONLY_DONE, files: &[], environment: &[] },
];

impl Page {
    /// The sections, each with its entries, of which there are some.
    fn sections(&self) -> impl Iterator<Item = (&'static str, Vec<Entry>)> {
        let mut exits = [self.exits, ALWAYS].concat();
        // They are numbers, but for the last one of a role.
        exits.sort_by_key(|(code, _)| code.parse().unwrap_or(u8::MAX));
        let all = [
            ("Exit status", exits),
            ("Files", self.files.to_vec()),
            ("Environment", self.environment.to_vec()),
        ];
        all.into_iter().filter(|(_, entries)| !entries.is_empty())
    }

    /// The end of the long help.
    fn help(&self) -> String {
        let mut text = String::new();
        for (title, entries) in self.sections() {
            let before = if text.is_empty() { "" } else { "\n" };
            writeln!(text, "{before}{title}:").expect("a string takes everything");
            for (what, meaning) in entries {
                writeln!(text, "  {what}\n          {meaning}").expect("a string takes everything");
            }
        }
        text
    }
}

/// Returns the definition of the command line with the end of the long help of each subcommand.
pub(crate) fn with_help(definition: Command) -> Command {
    PAGES.iter().fold(definition, |definition, page| {
        let help = page.help();
        in_subcommand(definition, page.name, |command| command.after_long_help(help))
    })
}

/// Changes a subcommand of any depth.
///
/// # Panics
/// If there is none of this name, which is a bug: a test looks at all.
fn in_subcommand(
    definition: Command,
    name: &str,
    change: impl FnOnce(Command) -> Command,
) -> Command {
    match name.split_once(' ') {
        None => definition.mut_subcommand(name, change),
        Some((outer, inner)) => {
            definition.mut_subcommand(outer, |command| in_subcommand(command, inner, change))
        }
    }
}

/// Writes the manual pages of a command and all its subcommands into a folder.
pub(crate) fn write_manual(definition: Command, folder: &Path) -> io::Result<()> {
    let mut definition = definition.disable_help_subcommand(true);
    definition.build();
    write_pages(&definition, "", folder)
}

fn write_pages(command: &Command, name: &str, folder: &Path) -> io::Result<()> {
    for subcommand in command.get_subcommands().filter(|one| !one.is_hide_set()) {
        let name = format!("{name} {}", subcommand.get_name());
        write_pages(subcommand, name.trim_start(), folder)?;
    }
    let page = PAGES.iter().find(|page| page.name == name);
    let man = Man::new(command.clone());
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut text)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    for (title, entries) in page.into_iter().flat_map(Page::sections) {
        let mut roff = Roff::new();
        roff.control("SH", [title.to_uppercase().as_str()]);
        for (what, meaning) in entries {
            roff.control("TP", []).text([bold(what)]).text([roman(meaning)]);
        }
        roff.to_writer(&mut text)?;
    }
    if let Some(more) = command.get_after_help() {
        let mut roff = Roff::new();
        roff.control("SH", ["NOTES"]).text([roman(more.to_string())]);
        roff.to_writer(&mut text)?;
    }
    if command.get_version().is_some() {
        man.render_version_section(&mut text)?;
    }
    std::fs::write(folder.join(man.get_filename()), text)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::Cli;

    fn names(command: &Command, before: &str) -> Vec<String> {
        let own = command.get_subcommands().filter(|one| one.get_name() != "help");
        own.flat_map(|one| {
            let name = format!("{before} {}", one.get_name()).trim_start().to_owned();
            let mut all = names(one, &name);
            all.push(name);
            all
        })
        .collect()
    }

    #[test]
    fn every_subcommand_has_a_page_and_every_page_is_a_subcommands() {
        let mut of_program = names(&Cli::command(), "");
        let mut of_pages: Vec<String> = PAGES.iter().map(|page| page.name.to_owned()).collect();
        of_program.sort();
        of_pages.sort();
        assert_eq!(of_program, of_pages);
    }

    #[test]
    fn the_help_and_the_page_say_the_same() {
        let mut definition = with_help(Cli::command());
        definition.build();
        let scratch = standin_testkit::Scratch::new("pages");
        write_manual(with_help(Cli::command()), scratch.path()).unwrap();
        for page in PAGES {
            let mut command = &definition;
            for name in page.name.split(' ') {
                command = command.find_subcommand(name).unwrap();
            }
            let help = command.clone().render_long_help().to_string();
            let file = format!("standin-{}.1", page.name.replace(' ', "-"));
            let manual = std::fs::read_to_string(scratch.file(&file)).unwrap();
            // Hyphens and apostrophes are written by their names.
            let manual = manual.replace("\\-", "-").replace("\\*(Aq", "'");
            assert!(
                manual.contains(".SH \"EXIT STATUS\"") && !manual.contains("EXTRA"),
                "{manual}"
            );
            for (title, entries) in page.sections() {
                assert!(help.contains(&format!("{title}:")), "{help}");
                for (what, meaning) in entries {
                    assert!(meaning.ends_with('.'), "{meaning}");
                    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
                    for (place, text) in [("help", &help), ("page", &manual)] {
                        let is_there = words(text).contains(&words(meaning)) && text.contains(what);
                        assert!(is_there, "{place} of {}: {what}: {meaning}\n{text}", page.name);
                    }
                }
            }
        }
    }
}
