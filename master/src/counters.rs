//! Counters of the master, for STATS.

use standin_protocol::body::Counter;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// What the master has done since its start.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Counters { $($(#[$doc])* pub $name: u64,)+ }

        impl Counters {
            /// All counters by name.
            #[must_use]
            pub fn list(&self) -> Vec<Counter> {
                vec![$(Counter { name: stringify!($name).to_owned(), value: self.$name },)+]
            }
        }
    };
}

counters! {
    /// Datagrams of the cluster, before they are judged.
    datagrams_received,
    /// Datagrams seen before, of ended incarnations, or about servers that don't exist.
    datagrams_dropped,
    /// Of these, datagrams that did not come from the address of the server that they name.
    datagrams_distrusted,
    /// Notices that a server may be offline.
    reports,
    /// Those of reporters that accuse most of a group, about servers contacted just before.
    reports_discounted,
    /// Probes of all shards of a server.
    probes,
    /// Probes that a shard left unanswered.
    probes_failed,
    /// Servers that were asked to probe another.
    probes_asked,
    /// Probes that only others of the group got an answer to.
    probes_relayed,
    /// Servers that did not answer and might still hold a lease.
    waitings,
    /// Leases of such servers that ran out.
    leases_over,
    /// Servers marked offline by verdict.
    verdicts_offline,
    /// Verdicts that the cap, or a lack of history, held back.
    verdicts_withheld,
    /// Servers that said that they stop.
    leavings,
    /// Servers that came back.
    returns,
    /// Epochs published.
    epochs,
    /// Announcements sent, repeats included.
    announcements,
    /// Complaints that announcements were not acknowledged.
    announcements_overdue,
    /// Acknowledgements that were news.
    acks,
    /// States that were taken over from a server.
    adoptions,
    /// Failed attempts to write the state file.
    saves_failed,
}
