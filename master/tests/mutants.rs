//! Tests that switch off the rules of the master one by one. The scenarios and the checks of the
//! world must notice. Run them with `cargo test --workspace --features
//! standin-sim/mutants,standin-master/mutants --test mutants`.

mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use standin_protocol::control::DatagramKind;
use standin_protocol::map::ServerState;
use standin_protocol::mutant::{self, Mutant};
use world::{Health, World};

/// Asserts that the scenario holds with the rule, and fails without it.
fn is_noticed(missing: Mutant, scenario: impl Fn()) {
    scenario();
    mutant::set(Some(missing));
    let failed = catch_unwind(AssertUnwindSafe(&scenario)).is_err();
    mutant::set(None);
    assert!(failed, "{missing}: nothing has noticed that this rule is missing");
}

#[test]
fn no_waiting() {
    is_noticed(Mutant::NoWaiting, || {
        let mut world = World::converged(&[2, 2]);
        world.run_ms(600);
        world.set(0, Health::Paused);
        world.report_by_client(0);
        world.run_ms(3_000);
    });
}

#[test]
fn forget_offline() {
    is_noticed(Mutant::ForgetOffline, || {
        let mut world = World::converged(&[2, 2]);
        world.set(0, Health::Dead);
        world.report_by_client(0);
        world.run_until("offline everywhere", World::is_converged);
        world.run_ms(600);
        let saved = world.saved.clone();
        world.restart_master(saved.as_ref());
        world.run_ms(20);
        assert_ne!(world.state(0), ServerState::Online);
    });
}

#[test]
fn no_replay_window() {
    is_noticed(Mutant::NoReplayWindow, || {
        let mut world = World::converged(&[2, 2]);
        let report = world.server_says(1, DatagramKind::Renew);
        for _ in 0..2 {
            world.reach_master(1, report.clone());
        }
        world.run_ms(2);
        assert_eq!(world.machine.counters().datagrams_dropped, 1);
    });
}

#[test]
fn probe_one_shard() {
    is_noticed(Mutant::ProbeOneShard, || {
        let mut world = World::converged(&[2, 2]);
        world.set(0, Health::Gray);
        world.report_by_client(0);
        world.run_ms(3_000);
        assert_eq!(world.state(0), ServerState::Offline);
    });
}

#[test]
fn no_resend() {
    is_noticed(Mutant::NoResend, || {
        let mut world = World::converged(&[2, 2]);
        world.set(0, Health::Dead);
        world.report_by_client(0);
        world.run_until("marked", |w| w.has("offline", 0));
        world.loss_percent = 100;
        world.run_ms(100);
        world.loss_percent = 0;
        world.run_ms(1_000);
        assert!(world.is_converged());
    });
}
