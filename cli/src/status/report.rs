//! Finds what is wrong with a cluster from its map and its members' counters. Pure.

use std::time::SystemTime;

use standin_client::ClientError;
use standin_protocol::body::StatsReply;
use standin_protocol::map::{ClusterMap, MapEpoch, NO_SERVER, ServerState, Topology};

use super::figures::{Outage, failures, figure, lock_wait, most_connected};

/// The severity of a finding. [`Severity::code`] is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// All is well.
    Ok,
    /// Something is wrong, but every partition has a server that may write it and reaches the
    /// database.
    Warning,
    /// Some partitions have no such server, or none that answers.
    Critical,
}

impl Severity {
    /// The exit code; 2 is left for the case that nobody could be asked, as in all commands.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 3,
        }
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// One sentence about what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    pub(crate) text: String,
}

/// The answer of a party to a question, or the reason why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard<T> {
    /// The answer.
    Answer(T),
    /// It is there, but can't answer yet.
    NotReady,
    /// It is there, but has no room for another connection.
    Busy,
    /// It could not be asked, for this reason.
    Failed(ClientError),
}

impl<T> Heard<T> {
    /// Whether the party is there.
    pub(crate) fn is_alive(&self) -> bool {
        !matches!(self, Self::Failed(_))
    }

    pub(crate) fn answer(&self) -> Option<&T> {
        match self {
            Self::Answer(answer) => Some(answer),
            Self::NotReady | Self::Busy | Self::Failed(_) => None,
        }
    }
}

impl<T> From<ClientError> for Heard<T> {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::NotReady(_) => Self::NotReady,
            ClientError::Overloaded { .. } => Self::Busy,
            error => Self::Failed(error),
        }
    }
}

impl<T> From<Result<T, ClientError>> for Heard<T> {
    fn from(result: Result<T, ClientError>) -> Self {
        result.map_or_else(Self::from, Self::Answer)
    }
}

/// The answers of the master and the servers.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    /// The cluster's topology; the cluster file's, if nobody has a map.
    pub(crate) topology: &'a Topology,
    /// The newest map; `None`: nobody has one.
    pub(crate) map: Option<&'a ClusterMap>,
    pub(crate) master: Heard<()>,
    /// The statistics by server.
    pub(crate) stats: &'a [Heard<StatsReply>],
    /// The wall-clock time.
    pub(crate) now: SystemTime,
}

impl Report<'_> {
    /// Returns all findings, the worst first.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.of_the_master().into_iter().collect();
        for id in (0u16..).take(self.topology.servers.len()) {
            self.of_a_server(id, &mut findings);
        }
        self.of_unowned_partitions(&mut findings);
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        findings
    }

    fn of_the_master(&self) -> Option<Finding> {
        let address = self.topology.master;
        let text = match &self.master {
            Heard::Answer(()) => return None,
            Heard::NotReady => format!(
                "the master ({address}) is learning the servers' states after its start; until it \
                 has, it replaces no failed server"
            ),
            Heard::Busy => format!("the master ({address}) is busy: it has no room for a question"),
            Heard::Failed(ClientError::NoAnswer(_)) => format!(
                "the master ({address}) does not answer; without it no failed server is replaced. \
                 Is it running, and reachable from here?"
            ),
            Heard::Failed(error) => format!("the master ({address}) can't be asked: {error}"),
        };
        Some(Finding { severity: Severity::Warning, text })
    }

    fn of_a_server(&self, id: u16, findings: &mut Vec<Finding>) {
        let mut find = |severity, text| findings.push(Finding { severity, text });
        let at = usize::from(id);
        let info = &self.topology.servers[at];
        let (name, address, owned) = (&info.name, info.address, self.owned(id));
        // A server that owns nothing leaves no partition unserved.
        let is_owner = owned > 0 || self.map.is_none();
        let severity = if is_owner { Severity::Critical } else { Severity::Warning };
        let status = self.map.map(|map| map.statuses()[at]);
        if let Some(status) = status.filter(|status| status.state != ServerState::Online) {
            let text = format!("{name} is {} since epoch {}", status.state, status.since);
            find(Severity::Warning, text);
        }
        let stats = match &self.stats[at] {
            Heard::Answer(stats) => stats,
            // The map says it already.
            Heard::Failed(_) if status.is_some_and(|status| !status.state.answers()) => return,
            Heard::Failed(ClientError::NoAnswer(_)) => {
                let text = format!(
                    "{name} does not answer and owns {owned} partitions; is it running, and is \
                     {address} reachable from here?"
                );
                return find(severity, text);
            }
            Heard::Failed(error) => {
                let text = format!("{name} owns {owned} partitions and can't be asked: {error}");
                return find(severity, text);
            }
            Heard::Busy | Heard::NotReady => {
                let text = format!(
                    "{name} is busy: all its connections for observers, such as `standin status`, \
                     are in use; its counters are not shown"
                );
                return find(Severity::Warning, text);
            }
        };
        if let Some(outage) = Outage::of(stats) {
            let (since, lasts) = (outage.since(self.now), outage.lasts());
            let why = match &*outage.reason {
                "" => String::new(),
                reason => format!(": {reason}"),
            };
            let text = format!("{name} has not reached the database since {since} ({lasts}){why}");
            find(severity, text);
        }
        if let Some((lasts_ms, holder)) = lock_wait(stats) {
            let seconds = lasts_ms / 1_000;
            let text = format!(
                "calls of {name} to the database have been waiting for {seconds} s for a lock: {holder}"
            );
            find(Severity::Warning, text);
        }
        if let Some((address, connections, most)) = most_connected(stats) {
            let text = format!(
                "few connections to {name} are left: {address} has {connections}, of the {most} that all clients may \
                 have; look for those that it leaves open, or raise `connections` in [limits] (and `ulimit -n`)"
            );
            find(Severity::Warning, text);
        }
        // Older servers do not publish it.
        if owned > 0 && figure(stats, "is_leased") == Some(0) && stats.counter("is_orphan") == 0 {
            let text = format!(
                "{name} owns {owned} partitions and has no lease for them: nothing of them is \
                 cached, reads go to the database, and writes wait and are refused; is the master \
                 running, and do UDP datagrams pass between it and {name}?"
            );
            find(severity, text);
        }
        for (count, text) in failures(stats) {
            find(Severity::Warning, format!("{name} has {}", text.replacen("{}", &count, 1)));
        }
        let epoch = MapEpoch::from_u64(stats.map_epoch);
        if epoch == MapEpoch::default() {
            let text = format!(
                "{name} has no map yet: it caches nothing, and writes to it wait and are refused; \
                 is the master running, and do UDP datagrams pass between it and {name}?"
            );
            find(severity, text);
        } else if let Some(newest) = self.map.map(|map| map.epoch).filter(|newest| epoch < *newest)
        {
            let text = format!("{name} has applied epoch {epoch}, but the newest is {newest}");
            find(Severity::Warning, text);
        }
    }

    fn of_unowned_partitions(&self, findings: &mut Vec<Finding>) {
        // Without a map, each server has a finding of its own.
        let Some(map) = self.map else { return };
        let partitions = 0..map.topology.partitions;
        let is_unowned = |p: &u32| map.ownership(*p).owner == NO_SERVER;
        let answers = |server: &u16| self.stats[usize::from(*server)].is_alive();
        let (read, dead): (Vec<u32>, Vec<u32>) = partitions
            .filter(is_unowned)
            .partition(|partition| map.topology.rank(*partition).iter().any(answers));
        let is_strict = self.answers().any(|stats| stats.counter("is_strict") > 0);
        let is_alive = |id: u16| self.stats.get(usize::from(id)).is_some_and(Heard::is_alive);
        // Those that the next server serves until the lease of the silent one has expired.
        let is_bridged = |partition: &u32| {
            let mut rank = map.topology.rank(*partition).iter().map(|id| map.state(*id));
            let first = rank.find(|state| *state != ServerState::Offline);
            let is_waiting = first == Some(ServerState::Waiting);
            !is_strict && is_waiting && is_alive(map.ownership(*partition).stand_in)
        };
        let (bridged, read): (Vec<u32>, Vec<u32>) = read.into_iter().partition(is_bridged);
        let mut find = |severity, count: usize, what: &str| {
            if count > 0 {
                findings.push(Finding { severity, text: format!("{count} partitions {what}") });
            }
        };
        let (warning, critical) = (Severity::Warning, Severity::Critical);
        find(
            warning,
            bridged.len(),
            "have no owner until the lease of a silent server has expired; the next server of \
             their group reads and writes for it",
        );
        find(
            critical,
            read.len(),
            "have no owner now: reads of them go to the database, writes wait",
        );
        find(critical, dead.len(), "are not served at all: no server of their group answers");
    }

    /// The number of database reads in the last ten seconds, by all servers that answer.
    pub(crate) fn origin_reads_10s(&self) -> u64 {
        self.answers().map(|stats| stats.counter("origin_reads_10s")).sum()
    }

    /// The limit of database reads per second, or `None` if there is none.
    pub(crate) fn reads_per_second(&self) -> Option<u64> {
        let of = |stats: &StatsReply| stats.counter("reads_per_second");
        self.answers().map(of).max().filter(|reads| *reads > 0)
    }

    fn answers(&self) -> impl Iterator<Item = &StatsReply> {
        self.stats.iter().filter_map(Heard::answer)
    }

    /// The worst of [`Self::findings`].
    pub(crate) fn severity(&self) -> Severity {
        self.findings().first().map_or(Severity::Ok, |finding| finding.severity)
    }

    /// The number of partitions that a server owns.
    pub(crate) fn owned(&self, server: u16) -> usize {
        let Some(map) = self.map else { return 0 };
        (0..map.topology.partitions).filter(|p| map.ownership(*p).owner == server).count()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use standin_protocol::body::Counter;
    use standin_protocol::map::{ServerInfo, ServerStatus, Topology};

    use super::*;

    const EPOCH: MapEpoch = MapEpoch { term: 1, counter: 7 };

    fn map(states: [ServerState; 2]) -> ClusterMap {
        let server = |name: &str, port| ServerInfo {
            name: name.to_owned(),
            group: 0,
            weight: 1,
            shards: 1,
            address: ([127, 0, 0, 1], port).into(),
        };
        let servers = vec![server("a1", 1), server("a2", 2)];
        let master = ([127, 0, 0, 1], 9).into();
        let topology = Topology::new("test".to_owned(), master, servers, 16).expect("sound");
        let statuses = states.map(|state| ServerStatus { state, since: EPOCH, boot_id: 1 });
        ClusterMap::new(Arc::new(topology), EPOCH, statuses.to_vec())
    }

    fn stats(epoch: MapEpoch, counters: &[(&str, u64)]) -> Heard<StatsReply> {
        let counter =
            |(name, value): &(&str, u64)| Counter { name: (*name).to_owned(), value: *value };
        let counters = counters.iter().map(counter).collect();
        Heard::Answer(StatsReply { map_epoch: epoch.to_u64(), counters, ..StatsReply::default() })
    }

    const UP: Heard<()> = Heard::Answer(());

    fn silent<T>() -> Heard<T> {
        Heard::Failed(ClientError::NoAnswer("a1 does not answer; is it".to_owned()))
    }

    fn judge(
        map: &ClusterMap,
        master: Heard<()>,
        stats: &[Heard<StatsReply>],
    ) -> (Severity, String) {
        judge_by(&map.topology, Some(map), master, stats)
    }

    fn judge_by(
        topology: &Topology,
        map: Option<&ClusterMap>,
        master: Heard<()>,
        stats: &[Heard<StatsReply>],
    ) -> (Severity, String) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let report = Report { topology, map, master, stats, now };
        let texts: Vec<String> = report.findings().into_iter().map(|f| f.text).collect();
        (report.severity(), texts.join("\n"))
    }

    #[test]
    fn each_fault_has_its_sentence_and_the_worst_one_decides() {
        use ServerState::{Offline, Online, Returning};
        let (well, up, gone) = (map([Online; 2]), stats(EPOCH, &[]), silent());
        let both = [up.clone(), up.clone()];
        assert_eq!(judge(&well, UP, &both), (Severity::Ok, String::new()));
        let old = stats(MapEpoch { term: 1, counter: 6 }, &[]);
        let down = stats(EPOCH, &[("origin_down_ms{reason=\"refused: \"}", 72_345)]);
        let full = stats(EPOCH, &[("clients_refused", 9), ("clients_refused_10s", 3)]);
        let was_full = stats(EPOCH, &[("clients_refused", 9), ("connections_refused_10s", 1)]);
        assert_eq!(judge(&well, UP, &[was_full, up.clone()]).0, Severity::Ok);
        let check = |map, master, stats: [&Heard<StatsReply>; 2], severity, text| {
            let (found, texts) = judge(map, master, &stats.map(Clone::clone));
            assert_eq!(found, severity, "{text}: {texts}");
            assert!(texts.contains(text), "{text}: {texts}");
        };
        let (warning, critical) = (Severity::Warning, Severity::Critical);
        check(&well, silent(), [&up, &up], warning, "the master (127.0.0.1:9) does not answer");
        let one_offline = map([Offline, Online]);
        check(&one_offline, UP, [&gone, &up], warning, "a1 is offline since epoch 1.7");
        check(&well, UP, [&gone, &up], critical, "a1 does not answer");
        let no_map = stats(MapEpoch::default(), &[]);
        check(&well, UP, [&up, &no_map], critical, "a2 has no map");
        check(&well, UP, [&old, &up], warning, "a1 has applied epoch 1.6");
        let no_lease = stats(EPOCH, &[("is_leased", 0), ("is_orphan", 0)]);
        let orphan = stats(EPOCH, &[("is_leased", 0), ("is_orphan", 1)]);
        let leased = stats(EPOCH, &[("is_leased", 1), ("is_orphan", 0)]);
        assert_eq!(judge(&well, UP, &[orphan, leased]).0, Severity::Ok);
        check(&well, UP, [&no_lease, &up], critical, "a1 owns 8 partitions and has no lease");
        let text = "a1 has not reached the database since 2001-09-09T01:45:27Z (1m 12s): refused:";
        check(&well, UP, [&down, &up], critical, text);
        check(&one_offline, UP, [&down, &up], warning, text);
        let locked = stats(EPOCH, &[("origin_lock_wait_ms{holder=\"table items, …\"}", 12_345)]);
        let text = "a1 to the database have been waiting for 12 s for a lock: table items, …";
        check(&well, UP, [&locked, &up], warning, text);
        check(&well, UP, [&full, &up], warning, "a1 has refused 3 connections of clients");
        let counters =
            [("caller_connections{address=\"10.0.0.7\"}", 700), ("connections_max", 1_000)];
        let leaking = stats(EPOCH, &counters);
        let text = "few connections to a1 are left: 10.0.0.7 has 700, of the 1000 that all clients";
        check(&well, UP, [&leaking, &up], warning, text);
        let probed = stats(EPOCH, &[("masters_refused_10s", 4)]);
        check(&well, UP, [&probed, &up], warning, "a1 has refused 4 connections of the master");
        let bound = stats(EPOCH, &[("rate_refused_10s", 4)]);
        check(&well, UP, [&bound, &up], warning, "a1 has refused 4 reads");
        let failing = stats(EPOCH, &[("origin_failures_10s", 5)]);
        check(&well, UP, [&failing, &up], warning, "a1 has made 5 calls to the database");
        let full = stats(EPOCH, &[("overloaded_10s", 6), ("surge_refused_10s", 7)]);
        check(&well, UP, [&full, &up], warning, "a1 has refused 6 requests");
        check(&well, UP, [&full, &up], warning, "a1 has refused 7 reads");
        let waiting = map([ServerState::Waiting, Online]);
        let strict = stats(EPOCH, &[("is_strict", 1)]);
        let text = "8 partitions have no owner until the lease of a silent server has expired";
        check(&waiting, UP, [&gone, &up], warning, text);
        check(&waiting, UP, [&gone, &strict], critical, "8 partitions have no owner now");
        let returning = map([Returning, Online]);
        check(&returning, UP, [&up, &up], critical, "have no owner now");
        let text = "16 partitions are not served at all";
        check(&map([Offline, Offline]), UP, [&gone, &gone], critical, text);
    }

    #[test]
    fn a_party_without_room_or_without_a_map_is_not_called_dead() {
        let (well, up) = (map([ServerState::Online; 2]), stats(EPOCH, &[]));
        let (severity, texts) = judge(&well, UP, &[Heard::Busy, up.clone()]);
        assert_eq!(severity, Severity::Warning, "{texts}");
        assert!(texts.contains("a1 is busy"), "{texts}");
        let learning: Heard<()> = ClientError::NotReady(String::new()).into();
        let (severity, texts) = judge(&well, learning.clone(), &[up.clone(), up]);
        assert_eq!(severity, Severity::Warning, "{texts}");
        assert!(texts.contains("is learning") && !texts.contains("does not answer"), "{texts}");
        // Another secret is no death, and it is said.
        let (severity, texts) = judge(&well, UP, &[Heard::Busy, ClientError::AuthFailed.into()]);
        assert_eq!(severity, Severity::Critical, "{texts}");
        assert!(texts.contains("a2 owns 8 partitions and can't be asked: the cluster"), "{texts}");

        let no_map = stats(MapEpoch::default(), &[]);
        let none = [no_map.clone(), no_map];
        let (severity, texts) = judge_by(&well.topology, None, learning, &none);
        assert_eq!(severity, Severity::Critical, "{texts}");
        assert!(texts.contains("a1 has no map yet") && texts.contains("a2 has"), "{texts}");
    }
}
