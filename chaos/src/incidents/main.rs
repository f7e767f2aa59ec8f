//! Plays incidents on a real cluster, and measures how long it takes until somebody who is woken up can read what the
//! cause is: in an alert of a real Prometheus, on the master's page in a real browser, and in a line of a log. Run by
//! `cargo xtask incidents`; not shipped.
//!
//! ```text
//! options ─► main ─► cluster.rs    PostgreSQL, a master, four servers, Prometheus, a browser, a light load
//!              ├──── incident.rs   what goes wrong, how it ends, and the words that name it
//!              ├──── places.rs     the three places in which the cause is looked for
//!              └──── table.rs      the result                                            pure
//! ```
//! Everything it starts is a child process that dies with it.

mod cluster;
mod incident;
mod places;
mod table;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use standin_loadgen::interrupt::Interrupt;
use standin_protocol::time::Micros;
use standin_testkit::{Browser, Postgres, Prometheus};

use cluster::Cluster;
use incident::Incident;
use places::{PLACES, Places};
use table::Row;

/// The time within which each place has to name the cause.
const WITHIN: Duration = Duration::from_secs(30);
/// The time for which they are looked at, to say by how much one has missed.
const LOOKED_AT: Duration = Duration::from_secs(60);
/// The time within which all is well before an incident.
const WELL_WITHIN: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(50);

/// Plays incidents on a real cluster under a light load (PostgreSQL locked, a server stopped, a client that leaks
/// connections), and prints after how many seconds an alert, the dashboard and a log name the cause. The exit code is
/// 0 if each of them did within 30 s.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask incidents", max_term_width = 100)]
struct Args {
    /// Only the incidents whose names contain this text; may be given several times. See --list.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// List the incidents.
    #[arg(long)]
    list: bool,
    /// The folder with alerts.yml.
    #[arg(long, value_name = "DIR", default_value = "docs/monitoring")]
    monitoring: PathBuf,
    /// The `standin` program.
    #[arg(long, value_name = "FILE", default_value = "standin")]
    program: PathBuf,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("incidents: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether every place has named every cause in time.
fn run(args: &Args) -> Result<bool, Box<dyn Error>> {
    let is_wanted = |incident: &Incident| {
        args.only.is_empty() || args.only.iter().any(|text| incident.name().contains(text))
    };
    let incidents: Vec<Incident> = Incident::ALL.into_iter().filter(is_wanted).collect();
    if args.list {
        incidents.iter().for_each(|incident| println!("{}", incident.name()));
        return Ok(true);
    }
    if incidents.is_empty() {
        return Err("there is no such incident; --list lists them".into());
    }
    Postgres::available()?;
    Prometheus::available().map_err(|missing| format!("missing: {missing}"))?;
    let browser = Browser::available().map_err(|missing| format!("missing: {missing}"))?;
    let rules = args.monitoring.join("alerts.yml").canonicalize();
    let rules = rules.map_err(|error| {
        format!(
            "{}: {error}; --monitoring names the folder of the alerts",
            args.monitoring.display()
        )
    })?;
    let interrupt = Interrupt::listen()?;
    let postgres = Postgres::start();
    let mut cluster = Cluster::start(&args.program, &postgres, &interrupt)?;
    let prometheus = Prometheus::start(&cluster.metrics(), &rules);
    let browser = Browser::start(browser);
    browser.open(&format!("http://{}/", cluster.dashboard()), 1440, 900);
    println!(
        "a master, {} servers in 2 groups, PostgreSQL, {} requests/s; the alerts of {}",
        cluster.processes.config.servers.len(),
        cluster::RATE_PER_S,
        rules.display()
    );
    let places = Places { prometheus, browser };
    println!("{}", table::head());
    let mut rows = Vec::new();
    for incident in incidents {
        let is_well = || places.are_quiet(&cluster, &incident.names()).then_some(());
        if wait(WELL_WITHIN, &interrupt, is_well)?.is_none() {
            let said = places.say();
            return Err(format!("all is not well before {}: {said}", incident.name()).into());
        }
        let row = play(incident, &mut cluster, &places, &interrupt)?;
        println!("{}", table::line(&row, WITHIN));
        rows.push(row);
    }
    println!("{}\nThe target is {} s for each.", table::words(&rows), WITHIN.as_secs());
    Ok(rows.iter().all(|row| row.is_good(WITHIN)))
}

/// Lets an incident happen, looks at all places until each has named it, and ends it.
fn play(
    incident: Incident,
    cluster: &mut Cluster,
    places: &Places,
    interrupt: &Interrupt,
) -> Result<Row, Box<dyn Error>> {
    let logged: Vec<usize> = cluster.logs().iter().map(Vec::len).collect();
    let begin = Micros::boottime();
    let mut trouble = incident.begin(cluster)?;
    let mut found = [const { None }; PLACES.len()];
    wait(LOOKED_AT, interrupt, || {
        trouble.go_on();
        for (place, found) in PLACES.into_iter().zip(&mut found) {
            if found.is_none() {
                let words = places.words(place, &incident.names(), cluster, &logged);
                *found = words.map(|words| (Micros::boottime().since(begin), words));
            }
        }
        found.iter().all(Option::is_some).then_some(())
    })?;
    trouble.end(cluster)?;
    Ok(Row { incident: incident.name(), what: incident.what(), found })
}

/// Looks until there is something, or `within` has passed.
fn wait<T>(
    within: Duration,
    interrupt: &Interrupt,
    mut look: impl FnMut() -> Option<T>,
) -> Result<Option<T>, Box<dyn Error>> {
    let until = Micros::boottime() + within;
    loop {
        if let Some(found) = look() {
            return Ok(Some(found));
        }
        if interrupt.is_set() {
            return Err("interrupted; all processes that were started have ended".into());
        }
        if Micros::boottime() >= until {
            return Ok(None);
        }
        std::thread::park_timeout(PAUSE);
    }
}
