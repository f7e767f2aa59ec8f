//! draft
use standin_model::{clock::Rates, failover::Failover, rules::*, scope::Scope, tally::Event};
use stateright::{Checker, HasDiscoveries, Model};
fn hunt_all(only: Option<String>) {
    for rule in Rule::ALL {
        if only.as_ref().is_some_and(|o| o != rule.mutant()) {
            continue;
        }
        let (mode, scope) = standin_model::suite::hunt(*rule);
        let t = std::time::Instant::now();
        let c = Failover::new(Rules::without(mode, *rule), scope, Rates::WORST)
            .checker()
            .threads(2)
            .timeout(std::time::Duration::from_secs(120))
            .finish_when(HasDiscoveries::AnyFailures)
            .spawn_bfs()
            .join();
        println!(
            "{:28} {:?} {} states, {:?}: {}",
            rule.mutant(),
            mode,
            c.unique_state_count(),
            t.elapsed(),
            if c.discoveries().is_empty() { "SURVIVES" } else { "dies" }
        );
        for (name, path) in c.discoveries() {
            println!("   {name}");
            for (_, act) in path.into_vec() {
                if let Some(act) = act {
                    println!("      {act}");
                }
            }
        }
    }
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let get = |k: &str, d: u8| {
        a.iter().find_map(|x| x.strip_prefix(&format!("{k}="))).map_or(d, |v| v.parse().unwrap())
    };
    let has = |k: &str| a.iter().any(|x| x == k);
    if has("hunt") {
        return hunt_all(a.iter().find_map(|x| x.strip_prefix("only=")).map(String::from));
    }
    let mode = if has("available") { Mode::Available } else { Mode::Strict };
    let rules = match a.iter().find_map(|x| x.strip_prefix("mutant=")) {
        Some(m) => Rules::without(mode, *Rule::ALL.iter().find(|r| r.mutant() == m).unwrap()),
        None => Rules::all(mode),
    };
    let scope = Scope {
        servers: get("servers", 2) as usize,
        lease_steps: get("steps", 1),
        writes: get("writes", 2) as usize,
        maps_max: get("maps", 13),
        crashes: get("crashes", 1),
        master_restarts: get("mr", 1),
        silences: get("silences", 2),
        leaves: get("leaves", 0),
        orphans: has("orphans"),
        delays: has("delays"),
    };
    let t = std::time::Instant::now();
    let mut m = Failover::new(rules, scope, Rates::WORST);
    m.heals = has("heals");
    let b =
        m.checker().threads(get("threads", 1) as usize).finish_when(HasDiscoveries::AnyFailures);
    macro_rules! go {
        ($c:expr) => {{
            let c = $c.join();
            println!(
                "{scope:?} {:?}\nunique {} total {} depth {} {:?}",
                rules,
                c.unique_state_count(),
                c.state_count(),
                c.max_depth(),
                t.elapsed()
            );
            for (e, n) in Event::ALL {
                println!("  {n}: {}", c.model().tally.of(*e));
            }
            for (name, path) in c.discoveries() {
                println!("VIOLATED {name}");
                let mut v = path.into_vec();
                let last = v.last().unwrap().0;
                for (s, act) in &v {
                    if let Some(act) = act {
                        println!("  {act}");
                        let _ = s;
                    }
                }
                println!("{:?}", last.servers);
                println!("{:?} {:?}", &last.maps[..last.published as usize], last.acknowledged);
                v.clear();
            }
        }};
    }
    if has("dfs") { go!(b.spawn_dfs()) } else { go!(b.spawn_bfs()) }
}
