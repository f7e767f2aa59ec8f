//! The kernel's figures for a process.

use std::time::Duration;

use standin_protocol::time::Micros;
use standin_testkit::wait_until;

use crate::common::WITHIN;

/// Returns the number of open descriptors.
pub(crate) fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs").count()
}

/// Returns the processor time so far, of all threads.
fn busy(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields = stat.rsplit_once(") ").expect("a stat line").1.split(' ');
    let ticks: u64 = fields.skip(11).take(2).map(|f| f.parse::<u64>().expect("a number")).sum();
    // The kernel's USER_HZ is 100 on all Linux systems.
    Duration::from_millis(ticks * 10)
}

/// Returns the processor time that the process takes within the next second.
pub(crate) fn busy_within_a_second(pid: u32) -> Duration {
    let (start, before) = (Micros::boottime(), busy(pid));
    wait_until(WITHIN, "a second to pass", || {
        Micros::boottime().since(start) >= Duration::from_secs(1)
    });
    busy(pid) - before
}
