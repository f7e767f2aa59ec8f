//! Each schedule passes under a few sets of latencies. That it fails without its rules is for
//! `tests/mutants.rs`.

use standin_protocol::mutant::Mutant;

use super::{ALL, LATENCIES, named};
use crate::plan::Rule;

fn goes_well(name: &str) {
    let scenario = named(name).expect("a schedule of that name");
    for seed in 1..=LATENCIES {
        if let (outcome, Err(text)) = scenario.run(seed, None) {
            panic!("{name} with latencies {seed}: {text}\n{}", outcome.lines.join("\n"));
        }
    }
}

#[test]
fn every_mutant_has_a_schedule() {
    let has_one = |mutant| {
        let is_it = |(rule, _): &(Rule, &str)| *rule == Rule::Code(mutant);
        ALL.iter().any(|it| it.fails_without.iter().any(is_it))
    };
    for mutant in Mutant::ALL {
        assert!(has_one(*mutant), "{} is missed by no schedule", mutant.name());
    }
}

macro_rules! scenarios {
    ($($name:ident)*) => {
        #[test]
        fn every_schedule_is_tested() {
            let tested = [$(stringify!($name)),*];
            for scenario in ALL {
                assert!(tested.contains(&scenario.name), "{} has no test", scenario.name);
            }
        }

        $(mod $name {
            #[test]
            fn goes_well() {
                super::goes_well(stringify!($name));
            }
        })*
    };
}

scenarios! {
    s01_returned_home
    s01_overflowed_log
    s02_split_serving
    s02_owed_key
    s02_split_serving_mirrored
    s02_kept_while_waiting
    s03_paused_home
    s03_paused_home_shortly
    s03_left_and_back
    s04_delayed_write
    s04_stopping_owner
    s05_fill_after_invalidate
    s06_coalesced_stale_read
    s07_unknown_outcome
    s07_forgotten_unknown
    s08_second_failover
    s09_lost_announcement
    s09_reordered_announcement
    s10_master_restart
    s11_two_masters
    s12_replay
    s12_forged
    s13_gray_home
    s14_zombie_retry
    s14_stopped_server
    s14_stopped_server_shortly
    s14_write_that_waits_for_an_owner
    s14_write_that_waits_for_an_owner_available
    s14_client_has_left
    s14_time_is_up_and_a_map_is_there
    s14_write_that_waits_for_the_origin
    s14_stopped_in_the_middle
    s15_write_race
    s16_clock
    s17_return_stampede
    s17_new_process_stampede
    s18_forwarding_loop
    s19_node_loss_stampede
    s19_silent_loss_stampede
    s27_cold_start
    s27_cold_stand_in
    s22_stored_otherwise
    s23_not_stored
    s24_flushed_home
    s24_fill_after_flush
    s25_written
    s25_fill_after_write
    s25_returned_home
    s30_cache_returned_home
    s31_cache_kept_while_waiting
    s32_modified_by_two_servers
    s32_modified_twice
    s34_ended_at_once_away_from_home
    s34_ended_at_once_without_owning
    s35_write_skew
    s36_transaction_away
    s37_transaction_whole
    f01_new_incarnation_remembers_nothing
    f02_forgotten_by_all
    f03_forgotten_twice
    f04_unnamed_incarnation
    f05_written_after_handing_over
    f06_word_given_away
    f07_many_questions
    f08_read_given_up
    f09_left_long_ago
    f10_ended_before_it_told
    f11_started_again
    f12_told_and_forgotten
    f13_term_used_twice
    f14_lower_term
    f15_offline_under_a_lower_term
    f16_online_by_a_higher_term
    f17_late_first_copy
    f18_late_first_copy_of_a_row
    f19_late_first_copy_of_a_client
    f20_dead_incarnation_named
    f21_living_incarnation_unknown
    f22_late_first_copy_without_id
}
