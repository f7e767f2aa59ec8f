//! The schedules of docs/FAILOVER.md, by hand.

#[cfg(test)]
mod tests {
    use crate::clock::{MS, S};
    use crate::plan::{Host, script};
    use crate::world::run;

    #[test]
    fn look() {
        let plan = script(2)
            .at(0)
            .get(0, 1)
            .then(10 * MS)
            .part(Host::Client(0), Host::Server(1), 2 * S)
            .then(MS)
            .get(0, 1)
            .then(500 * MS)
            .put(0, 1)
            .then(500 * MS)
            .get(1, 1)
            .plan();
        let outcome = run(&plan, true);
        for line in outcome.lines {
            println!("{line}");
        }
        for (name, n) in outcome.counted {
            println!("{name} {n}");
        }
        println!("{:?}", outcome.violation);
    }
}
