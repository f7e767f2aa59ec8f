//! Each schedule goes well, under a few sets of latencies, and goes wrong without its rule
//! under at least one.

use standin_protocol::mutant;

use super::{ALL, Rule, Scenario};
use crate::plan::Plan;
use crate::world::run;

/// Sets of latencies.
const SEEDS: u64 = 6;

fn scenario(name: &str) -> &'static Scenario {
    ALL.iter().find(|scenario| scenario.name == name).expect("a scenario of that name")
}

/// How it ends with these latencies; `missing` is the rule that is left out.
fn ends(scenario: &Scenario, seed: u64, missing: Option<Rule>) -> Result<(), String> {
    let mut plan = Plan { seed, ..(scenario.plan)() };
    match missing {
        Some(Rule::BootClock) => plan.setup.clock_stops = true,
        Some(Rule::Code(rule)) => mutant::set(Some(rule)),
        None => {}
    }
    let outcome = run(&plan, true);
    mutant::set(None);
    let result = match &outcome.violation {
        Some(violation) => Err(violation.clone()),
        None => (scenario.expect)(&outcome),
    };
    result.map_err(|text| format!("{text}\n{}", outcome.lines.join("\n")))
}

fn goes_well(name: &str) {
    let scenario = scenario(name);
    for seed in 1..=SEEDS {
        if let Err(text) = ends(scenario, seed, None) {
            panic!("{name} with latencies {seed}: {text}");
        }
    }
}

fn needs_its_rules(name: &str) {
    let scenario = scenario(name);
    for rule in scenario.fails_without {
        let noticed = (1..=SEEDS).any(|seed| ends(scenario, seed, Some(*rule)).is_err());
        assert!(noticed, "{name} goes well without {rule:?}");
    }
}

macro_rules! scenarios {
    ($($name:ident)*) => {$(
        mod $name {
            #[test]
            fn goes_well() {
                super::goes_well(stringify!($name));
            }

            #[test]
            fn needs_its_rules() {
                super::needs_its_rules(stringify!($name));
            }
        }
    )*};
}

scenarios! {
    s01_returned_home
    s02_split_serving
    s02_split_serving_mirrored
    s03_paused_home
    s03_paused_home_shortly
    s04_delayed_write
    s05_fill_after_invalidate
    s06_coalesced_stale_read
    s07_unknown_outcome
    s08_second_failover
    s09_lost_announcement
    s10_master_restart
    s11_two_masters
    s12_replay
    s13_gray_home
    s14_zombie_retry
    s15_write_race
    s16_clock
    s17_return_stampede
    s18_forwarding_loop
    s19_node_loss_stampede
}

#[test]
fn look() {
    let name = std::env::var("LOOK").unwrap_or_default();
    let rule: Option<u8> = std::env::var("MUTANT").ok().and_then(|m| m.parse().ok());
    let seed: u64 = std::env::var("SEED").ok().and_then(|m| m.parse().ok()).unwrap_or(1);
    let Some(scenario) = ALL.iter().find(|scenario| scenario.name == name) else { return };
    let plan = Plan { seed, ..(scenario.plan)() };
    mutant::set(rule.and_then(mutant::Mutant::from_wire));
    let outcome = run(&plan, true);
    mutant::set(None);
    for line in &outcome.lines {
        println!("{line}");
    }
    println!("{:?} {:?}", outcome.violation, (scenario.expect)(&outcome));
}
