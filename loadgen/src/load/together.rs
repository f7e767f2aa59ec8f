//! `standin load --agent` and `--agents`: the options' side of [`agents`](crate::agents), which knows nothing of them.
//!
//! An agent gets the coordinator's command line and scenario. It leaves out what would write files of its machine or look
//! at its processes, and sends what its load threads send in a run with all load threads of all agents.

use std::error::Error;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use standin_config::counted;

use super::agent_args::AgentArgs;
use super::agent_bounds::{self, AgentFiles};
use super::options::LoadArgs;
use super::settings::Load;
use super::{LoadError, describe, outcome, scenario};
use crate::agents::{
    Agent, Coordinator, PlaceOfAgent, ScenarioText, Secret, Shared, WORKERS, Work,
};
use crate::console::Console;
use crate::drive::{Gate, Place};
use crate::faults::script::Script;
use crate::interrupt::Interrupt;
use crate::key_names::KeyNames;
use crate::live::Live;
use crate::report::document::Document;
use crate::report::merge::merge;
use crate::report::table::{millis, thousands};

/// The longest scenario.
const SCENARIO_BYTES_MAX: u64 = 512 << 10;

/// A command line behind `standin load`.
#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
struct Line {
    #[command(flatten)]
    args: LoadArgs,
}

/// Executes one share of a run; see [`super::run_share`].
pub(super) type RunShare = fn(&Load, &Arc<Live>, &[String], &Gate) -> Result<Document, LoadError>;

/// Runs an agent until it is interrupted.
pub(super) fn serve(
    address: &str,
    args: &LoadArgs,
    say: &dyn Fn(&str),
    run_share: RunShare,
) -> Result<ExitCode, Box<dyn Error>> {
    let interrupt = Interrupt::listen()?;
    let secret = Secret::load(args.together.agent_secret.as_deref())?;
    let files = AgentFiles::of(&args.together)?;
    agent_bounds::limit_descriptors();
    let agent = Agent::listen(address, secret, args.together.agent_insecure)?;
    say(&format!("agent listens at {}", agent.address()));
    agent.serve(&|| interrupt.is_set(), say, &|work, live, gate| {
        let share = || -> Result<Document, LoadError> {
            let mut args = arguments(work)?;
            if let Some(ScenarioText { text, name }) = &work.scenario {
                args = args.over(scenario::read_here(text, name)?);
            }
            files.confine(&mut args)?;
            let mut load = args.resolve()?;
            refuse_unshared(&load)?;
            share_out(&mut load, work)?;
            load.check_memory()?;
            agent_bounds::bound(&mut load)?;
            run_share(
                &load,
                live,
                &describe::command_line(work.arguments.iter().map(Into::into)),
                gate,
            )
        };
        share().map_err(|error| error.to_string())
    });
    Ok(ExitCode::SUCCESS)
}

/// The options that the coordinator has sent, without those that are for its own machine.
fn arguments(work: &Work) -> Result<LoadArgs, LoadError> {
    let line = Line::try_parse_from(&work.arguments).map_err(|error| {
        LoadError::Options(format!("the agent does not understand the options: {error}"))
    })?;
    Ok(LoadArgs { scenario: None, together: AgentArgs::default(), ..line.args })
}

/// Refuses what can't be divided, or belongs to one machine.
fn refuse_unshared(load: &Load) -> Result<(), LoadError> {
    let wrong = |text: &str| Err(LoadError::Options(text.to_owned()));
    if load.processes != crate::observer::usage::Chosen::default() {
        return wrong(
            "--target-pid and --target-unit are for one machine: leave them or --agents away",
        );
    }
    // An agent must not start what a coordinator tells it to.
    if load.script != Script::default() || !load.expect.is_empty() {
        return wrong(
            "[[processes]], [[faults]] and what is expected are for one machine: leave them or --agents away",
        );
    }
    // The keys of one agent's own would be those that nobody has written for another.
    if load.cold.keys > 0 && load.owns_keys() {
        return wrong(
            "--cold-reads reads keys behind all others, and with --check each agent has keys of its own: leave one of them \
             or --agents away",
        );
    }
    // The variable of an agent's machine is nobody else's business.
    if load.access.password_env.is_some() {
        return wrong(
            "--password-env is of one machine: use --password-file, or leave it or --agents away",
        );
    }
    if load.database.database.is_some() && !load.database.has_file() {
        return wrong(
            "--database makes a table of the run's own, and each agent would: use a cluster file, or leave --agents away",
        );
    }
    if load.find.is_some() {
        return wrong("--find searches with one machine: leave it or --agents away");
    }
    if load.check && load.trace.is_some() {
        return wrong(
            "--check judges keys that one agent alone writes, and a trace can't be divided: leave one away",
        );
    }
    Ok(())
}

/// Makes a load the share of an agent.
fn share_out(load: &mut Load, work: &Work) -> Result<(), LoadError> {
    let PlaceOfAgent { number, of } = work.place;
    let workers = work.workers;
    let is_right = number < of && WORKERS.contains(&workers) && of <= 1_024;
    if !is_right {
        return Err(LoadError::Options("the coordinator has sent a share that is none".to_owned()));
    }
    load.workers = workers;
    load.place = Place { first: number * workers, of: Some(of * workers) };
    // Only who writes a key can judge it. Otherwise all share all keys, so that their popularity stays what it is.
    if load.owns_keys() {
        let (keys, count) = (u64::from(load.keys), u64::from(of));
        let begin = keys * u64::from(number) / count;
        let end = keys * (u64::from(number) + 1) / count;
        // Compare-and-swaps and counters have keys behind the others; those of an agent are behind its own.
        let apart = u64::from(load.counts().all());
        let first = load.first_key.checked_add(apart * u64::from(number));
        let first = first.filter(|first| *first <= KeyNames::first_max(load.counts().all()));
        let (Some(first), true) = (first, begin < end) else {
            let text = format!(
                "{keys} keys can't be shared out among {of} agents: use more --keys, or a lower --first-key"
            );
            return Err(LoadError::Options(text));
        };
        load.first_key = first;
        load.keys = u32::try_from(end - begin).unwrap_or(u32::MAX);
    }
    // The agent's machine gets no files.
    (load.json, load.html, load.csv, load.hdr, load.hgrm) = (None, None, None, None, None);
    load.folder = None;
    Ok(())
}

/// Has agents execute a load, and merges what they have measured.
pub(super) fn coordinate(
    args: &LoadArgs,
    load: &Load,
    command: &[String],
    interrupt: &Interrupt,
    console: &mut Console,
) -> Result<Document, LoadError> {
    refuse_unshared(load)?;
    let arguments = own_arguments()?;
    let scenario = args.scenario.as_deref().map(read_scenario).transpose()?;
    let secret = Secret::load(args.together.agent_secret.as_deref())?;
    let coordinator =
        Coordinator::connect(&args.together.agents, &secret, args.together.agent_insecure)?;
    let work = |place| Work {
        arguments: arguments.clone(),
        scenario: scenario.clone(),
        workers: load.workers,
        place,
    };
    let whole = super::whole(&super::pacing(load), load.duration);
    let agents = counted(coordinator.agents(), "agent");
    let shared = coordinator.run(work, &|| interrupt.is_set(), &mut |progress| {
        let text = format!(
            "{agents}  {:>11} requests  hits {:>5.1} %  failed {}  stale {}",
            thousands(progress.ended),
            progress.hit_ratio() * 100.0,
            thousands(progress.failed),
            thousands(progress.bad)
        );
        console.progress(progress.ended, whole, &text);
    })?;
    console.end_progress();
    clocks(&shared).iter().for_each(|line| console.line(line));
    merged(load, &shared, command)
}

/// The command line of this process behind `standin load`.
fn own_arguments() -> Result<Vec<String>, LoadError> {
    let behind = std::env::args_os().skip_while(|argument| argument != "load").skip(1);
    let texts = behind.map(|argument| {
        argument.into_string().map_err(|argument| {
            LoadError::Options(format!(
                "{} is not UTF-8, and can't be sent to agents",
                argument.display()
            ))
        })
    });
    texts.collect()
}

fn read_scenario(path: &Path) -> Result<ScenarioText, LoadError> {
    let name = path.display().to_string();
    let mut text = String::new();
    // A device has no length, and may have no end.
    let read = File::open(path)
        .and_then(|file| file.take(SCENARIO_BYTES_MAX + 1).read_to_string(&mut text))
        .and_then(|length| match length as u64 > SCENARIO_BYTES_MAX {
            true => Err(std::io::Error::other("the file is too long to be sent to agents")),
            false => Ok(()),
        });
    read.map_err(LoadError::system(&name))?;
    Ok(ScenarioText { text, name })
}

fn clocks(shared: &[Shared]) -> Vec<String> {
    let lines = shared.iter().map(|share| {
        let clock = share.clock;
        format!(
            "  agent {} on {}: wall clock {:+.3} ms, boot clock {:+.3} ms, known to {} ms",
            share.agent,
            share.document.environment.host,
            clock.wall_us as f64 / 1_000.0,
            clock.boottime_us as f64 / 1_000.0,
            millis(clock.round_trip_us / 2)
        )
    });
    lines.collect()
}

/// One document of those of all agents.
fn merged(load: &Load, shared: &[Shared], command: &[String]) -> Result<Document, LoadError> {
    let documents: Vec<Document> = shared.iter().map(|share| share.document.clone()).collect();
    let mut merged = merge(&documents).map_err(|error| LoadError::Options(error.to_string()))?;
    for (part, share) in merged.parts.iter_mut().zip(shared) {
        part.agent = Some(share.agent.clone());
        part.clock = Some(share.clock);
    }
    let workers = load.workers * u32::try_from(shared.len()).unwrap_or(1);
    merged.scenario = describe::scenario(&Load { workers, ..load.clone() });
    merged.label.clone_from(&load.label);
    merged.command = command.to_vec();
    // An agent may have seen more than the counts say, such as a trace that can't be read to its end.
    merged.is_good &= outcome::is_good(&merged.total);
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::options::tests::parse;
    use super::*;
    use crate::faults::script::{Deed, FaultSpec};

    fn load(arguments: &[&str]) -> Load {
        parse(arguments).unwrap().resolve().unwrap()
    }

    fn work(number: u32, of: u32) -> Work {
        let place = PlaceOfAgent { number, of };
        Work { arguments: Vec::new(), scenario: None, workers: 2, place }
    }

    #[test]
    fn judged_keys_are_divided_and_others_are_not() {
        let mut free = 5;
        let mut keys = 0;
        for number in 0..3 {
            let options = ["--fill", "--check", "--keys", "100", "--first-key", "5", "--cas", "1"];
            let mut share = load(&options);
            share_out(&mut share, &work(number, 3)).unwrap();
            assert!(share.first_key >= free, "no key is of two agents");
            free = share.first_key + u64::from(share.counts().all());
            keys += share.keys;
            assert_eq!((share.place.first, share.place.of), (number * 2, Some(6)));
        }
        assert_eq!(keys, 100, "no key is left out");
        let mut share = load(&["--keys", "100"]);
        share_out(&mut share, &work(2, 3)).unwrap();
        assert_eq!((share.first_key, share.keys), (0, 100));
        let mut few = load(&["--fill", "--check", "--keys", "2"]);
        assert!((0..3).any(|number| share_out(&mut few.clone(), &work(number, 3)).is_err()));
        assert!(share_out(&mut few, &work(3, 3)).is_err(), "there is no fourth");
    }

    #[test]
    fn an_agent_gets_the_template_of_values() {
        let text = "{n} \n\"{stamp}\" é {random}";
        let options = vec!["--value-template".to_owned(), text.to_owned()];
        let sent = Work { arguments: options, ..work(0, 1) };
        let sent = serde_json::to_string(&sent).unwrap();
        let got = arguments(&serde_json::from_str(&sent).unwrap()).unwrap();
        assert_eq!(got.values.value_template.map(|got| got.to_string()).as_deref(), Some(text));
        let long = vec!["--value-template".to_owned(), "\u{1}".repeat(1 << 20)];
        let error = arguments(&Work { arguments: long, ..work(0, 1) }).unwrap_err().to_string();
        assert!(error.contains("65536 are the most"), "{error}");
    }

    #[test]
    fn an_agent_writes_no_files() {
        let mut share =
            load(&["--json", "/x", "--html", "/x", "--csv", "/x", "--hdr", "/x", "--hgrm", "/x"]);
        share_out(&mut share, &work(0, 1)).unwrap();
        let files = [&share.json, &share.html, &share.csv, &share.hdr, &share.hgrm];
        assert!(files.iter().all(|file| file.is_none()));
    }

    #[test]
    fn what_belongs_to_one_machine_is_refused() {
        assert!(refuse_unshared(&load(&["--target-pid", "1"])).is_err());
        let mut breaks = load(&[]);
        breaks.script.faults.push(FaultSpec {
            name: "a command".to_owned(),
            line: 1,
            at: Duration::ZERO,
            after: None,
            lasts: None,
            deed: Deed::Command { begin: vec!["true".to_owned()], undo: Vec::new() },
        });
        assert!(refuse_unshared(&breaks).is_err());
        let trace = ["--trace", "t", "--format", "oracle"];
        assert!(refuse_unshared(&load(&trace)).is_ok());
        let checked = [&trace[..], &["--fill", "--check"]].concat();
        assert!(refuse_unshared(&load(&checked)).is_err());
    }
}
