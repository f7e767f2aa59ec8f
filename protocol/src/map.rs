//! The cluster map: the servers, their states, and the owner of each partition.
//!
//! The owner of a partition follows from its rank ([`crate::placement`]) and the
//! servers' states alone, so an announcement need only carry the states.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::codes::wire_enum;
use crate::hash::{key_hash, keys_of_partitions, partition_of, shard_of};
use crate::key::KeyForms;
use crate::placement::{Candidate, WEIGHT_MAX, rank};
use crate::seeds::HashSeeds;
use crate::slots::{KeyHash, Prefixes, SLOTS, partition_of_slot};

/// The id that stands for no server: the owner of a partition that is being handed back.
pub const NO_SERVER: u16 = u16::MAX;
/// The id of the master as the sender or recipient of a datagram.
pub const SENDER_MASTER: u16 = 0xFFFE;
/// The id of a client as the sender of a datagram. `boot_id` distinguishes clients.
pub const SENDER_CLIENT: u16 = 0xFFFF;
/// The largest number of servers in a cluster.
pub const SERVERS_MAX: usize = 1_024;
/// The largest number of partitions in a cluster.
pub const PARTITIONS_MAX: u32 = 65_536;

/// The epoch of a map: the master's term, then a counter within the term. Epochs are ordered; a
/// party that has a map drops every map that is not newer (scenarios 9–11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MapEpoch {
    /// The master's term, which rises with every start of a master.
    pub term: u32,
    /// The number of changes within the term.
    pub counter: u32,
}

impl MapEpoch {
    /// `term << 32 | counter`.
    #[must_use]
    pub fn to_u64(self) -> u64 {
        u64::from(self.term) << 32 | u64::from(self.counter)
    }

    /// Inverse of [`Self::to_u64`].
    #[must_use]
    pub fn from_u64(value: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the two halves are taken apart")]
        let (term, counter) = ((value >> 32) as u32, value as u32);
        Self { term, counter }
    }

    /// Returns the short form for frame headers: the low 8 bits of the term and the low 24 of the
    /// counter.
    #[must_use]
    pub fn tag(self) -> u32 {
        (self.term & 0xFF) << 24 | (self.counter & 0x00FF_FFFF)
    }

    /// Whether tag `a` is newer than tag `b`, in serial number arithmetic (RFC 1982).
    #[must_use]
    pub fn tag_is_newer(a: u32, b: u32) -> bool {
        let distance = a.wrapping_sub(b);
        distance != 0 && distance < 1 << 31
    }

    /// The next epoch of this term.
    #[must_use]
    pub fn next(self) -> Self {
        Self { term: self.term, counter: self.counter + 1 }
    }
}

impl std::fmt::Display for MapEpoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.term, self.counter)
    }
}

wire_enum! {
    /// The state of a server, as the master has decided.
    ServerState {
        /// Processes the partitions of which it is the home.
        Online = 0, "online";
        /// Verified as offline: other members of its group process its partitions.
        Offline = 1, "offline";
        /// Reachable again; owns nothing until its stand-ins have drained. No server may cache the
        /// partitions that are being handed back to it.
        Returning = 2, "returning";
        /// Stopping: owns nothing, and its stand-ins do not own its partitions until everything
        /// that it had begun has ended. No server may cache its partitions.
        Leaving = 3, "leaving";
        /// Verified as not answering, but it may still hold a lease: it owns nothing, and its
        /// stand-ins do not own its partitions until the lease has expired.
        Waiting = 4, "waiting";
    }
}

impl ServerState {
    /// Whether the master considers a server in this state reachable.
    #[must_use]
    pub fn answers(self) -> bool {
        !matches!(self, Self::Offline | Self::Waiting)
    }
}

/// A server, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// Unique name.
    pub name: String,
    /// Failover group.
    pub group: u16,
    /// Share of the partitions, 1..=64.
    pub weight: u16,
    /// The number of shards. A partition is in shard `partition mod shards`.
    pub shards: u16,
    /// TCP (data) and UDP (control) address.
    pub address: SocketAddr,
}

/// The properties of a cluster that do not change while it runs, and the ranks that follow from
/// them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Name of the cluster.
    pub name: String,
    /// UDP and TCP address of the master.
    pub master: SocketAddr,
    /// The servers. A server's index is its id.
    pub servers: Vec<ServerInfo>,
    /// Number of partitions.
    pub partitions: u32,
    /// The seed with which the keys of each keyspace are hashed.
    pub hash_seeds: HashSeeds,
    /// The forms of the keyspaces' keys.
    pub key_forms: KeyForms,
    /// The prefixes of the keyspaces if a partition is a range of Redis' slots ([`KeyHash::Crc16`]).
    pub slot_prefixes: Option<Prefixes>,
    /// A fingerprint of all of the above. Parties with different fingerprints refuse each other.
    pub id: u64,
    /// The servers that may serve each partition, home first, for all partitions one after another.
    ranks: Vec<u16>,
    /// The index in `ranks` at which each partition's servers begin, and one more entry at the end.
    rank_starts: Vec<u32>,
}

/// The reason why a map is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// Not a valid archive.
    #[error("the bytes are no valid map archive")]
    Archive,
    /// A number is out of its range.
    #[error("the map is invalid: {0}")]
    Unsound(&'static str),
}

impl Topology {
    /// Checks the parts and computes all ranks.
    ///
    /// # Errors
    /// [`MapError::Unsound`] names what is out of range.
    pub fn new(
        name: String,
        master: SocketAddr,
        servers: Vec<ServerInfo>,
        partitions: u32,
    ) -> Result<Self, MapError> {
        if servers.is_empty() || servers.len() > SERVERS_MAX {
            return Err(MapError::Unsound("there must be 1 to 1024 servers"));
        }
        if partitions == 0 || partitions > PARTITIONS_MAX {
            return Err(MapError::Unsound("there must be 1 to 65536 partitions"));
        }
        if servers.iter().any(|s| s.shards == 0 || s.weight == 0 || s.weight > WEIGHT_MAX) {
            return Err(MapError::Unsound("a server has at least 1 shard and a weight of 1 to 64"));
        }
        // As they would be read from a map, so that the id does not depend on where an address came
        // from.
        let master = canonical(master);
        let servers: Vec<ServerInfo> = servers
            .into_iter()
            .map(|s| ServerInfo { address: canonical(s.address), ..s })
            .collect();
        let candidates: Vec<Candidate<'_>> = servers
            .iter()
            .map(|s| Candidate { name: &s.name, group: s.group, weight: s.weight })
            .collect();
        let mut ranks = Vec::new();
        let mut rank_starts = vec![0];
        for partition in 0..partitions {
            ranks.extend(rank(partition, &candidates));
            let end = u32::try_from(ranks.len())
                .map_err(|_| MapError::Unsound("too many servers times partitions"))?;
            rank_starts.push(end);
        }
        let hash_seeds = HashSeeds::default();
        let key_forms = KeyForms::default();
        let id = fingerprint(&name, master, &servers, partitions, (&hash_seeds, &key_forms, None));
        Ok(Self {
            name,
            master,
            servers,
            partitions,
            hash_seeds,
            key_forms,
            slot_prefixes: None,
            id,
            ranks,
            rank_starts,
        })
    }

    /// Returns the topology with keyspaces that are bound to each other.
    #[must_use]
    pub fn with_hash_seeds(mut self, hash_seeds: HashSeeds) -> Self {
        self.hash_seeds = hash_seeds;
        self.identified()
    }

    /// Returns the topology with keyspaces whose keys have forms.
    #[must_use]
    pub fn with_key_forms(mut self, key_forms: KeyForms) -> Self {
        self.key_forms = key_forms;
        self.identified()
    }

    /// Returns the topology with partitions that are ranges of Redis' slots, where keyspaces have these
    /// prefixes.
    ///
    /// # Errors
    /// There are more partitions than slots, or keyspaces that are bound to each other have different
    /// prefixes.
    pub fn with_slots(mut self, prefixes: Prefixes) -> Result<Self, MapError> {
        if self.partitions > SLOTS {
            return Err(MapError::Unsound("there are more partitions than slots"));
        }
        let differs = |(keyspace, seed)| prefixes.of(keyspace) != prefixes.of(seed);
        if self.hash_seeds.bound().any(differs) {
            return Err(MapError::Unsound("bound keyspaces have different prefixes"));
        }
        self.slot_prefixes = Some(prefixes);
        Ok(self.identified())
    }

    fn identified(mut self) -> Self {
        let Self { name, master, servers, partitions, hash_seeds, key_forms, .. } = &self;
        let keys = (hash_seeds, key_forms, self.slot_prefixes.as_ref());
        self.id = fingerprint(name, *master, servers, *partitions, keys);
        self
    }

    /// The function that maps keys to partitions.
    #[must_use]
    pub fn key_hash(&self) -> KeyHash {
        if self.slot_prefixes.is_some() { KeyHash::Crc16 } else { KeyHash::Xxh3 }
    }

    /// Returns the servers that may serve `partition`, home first.
    ///
    /// # Panics
    /// If there is no such partition.
    #[must_use]
    pub fn rank(&self, partition: u32) -> &[u16] {
        let at = partition as usize;
        &self.ranks[self.rank_starts[at] as usize..self.rank_starts[at + 1] as usize]
    }

    /// The server that usually processes `partition`.
    #[must_use]
    pub fn home(&self, partition: u32) -> u16 {
        self.rank(partition)[0]
    }

    /// Returns the partition of a key, which must be in its form.
    #[must_use]
    pub fn partition(&self, keyspace: u8, key: &[u8]) -> u32 {
        self.place(keyspace, key).1
    }

    /// Returns the hash of a key, which must be in its form, and its partition.
    #[inline]
    #[must_use]
    pub fn place(&self, keyspace: u8, key: &[u8]) -> (u64, u32) {
        let hash = key_hash(self.hash_seeds.of(keyspace), key);
        let partition = match &self.slot_prefixes {
            None => partition_of(hash, self.partitions),
            Some(prefixes) => partition_of_slot(prefixes.slot(keyspace, key), self.partitions),
        };
        (hash, partition)
    }

    /// Returns, for each partition, a key of the keyspace that belongs to it. A FLUSH of the partition
    /// carries this key.
    #[must_use]
    pub fn keys_of_partitions(&self, keyspace: u8) -> Vec<Vec<u8>> {
        keys_of_partitions(self.partitions, |key| self.partition(keyspace, key))
    }

    /// Returns the shard of a partition at a server.
    #[must_use]
    pub fn shard(&self, server: u16, partition: u32) -> u16 {
        shard_of(partition, self.servers[usize::from(server)].shards)
    }

    /// The other members of the server's group.
    pub fn group_peers(&self, server: u16) -> impl Iterator<Item = u16> + '_ {
        let group = self.servers[usize::from(server)].group;
        (0u16..)
            .zip(&self.servers)
            .filter_map(move |(id, s)| (id != server && s.group == group).then_some(id))
    }

    /// Whether a datagram with this sender may come from that address. It may come from the
    /// sender's own address in the cluster file, or from that of another member of the group
    /// (`relayed_for`), which may have relayed it.
    #[must_use]
    pub fn may_send(&self, sender: u16, from: SocketAddr, relayed_for: Option<u16>) -> bool {
        let from = canonical(from);
        let own = match sender {
            SENDER_MASTER => Some(self.master),
            id => self.servers.get(usize::from(id)).map(|server| server.address),
        };
        let passes_on = |id: u16| self.servers[usize::from(id)].address == from;
        own == Some(from) || relayed_for.is_some_and(|id| self.group_peers(id).any(passes_on))
    }

    /// Returns the id of the server of that name.
    #[must_use]
    pub fn server_id(&self, name: &str) -> Option<u16> {
        (0u16..).zip(&self.servers).find_map(|(id, s)| (s.name == name).then_some(id))
    }
}

pub(crate) fn fingerprint(
    name: &str,
    master: SocketAddr,
    servers: &[ServerInfo],
    partitions: u32,
    (hash_seeds, key_forms, slot_prefixes): (&HashSeeds, &KeyForms, Option<&Prefixes>),
) -> u64 {
    use std::fmt::Write as _;
    let mut text = format!("{name}\n{master}\n{partitions}\n");
    for s in servers {
        // Writing to a String can't fail.
        let _ = writeln!(text, "{} {} {} {} {}", s.name, s.group, s.weight, s.shards, s.address);
    }
    for (keyspace, seed) in hash_seeds.bound() {
        let _ = writeln!(text, "{keyspace} {seed}");
    }
    for (keyspace, form) in key_forms.formed() {
        let _ = writeln!(text, "{keyspace} {form}");
    }
    if let Some(prefixes) = slot_prefixes {
        let _ = writeln!(text, "{}", KeyHash::Crc16);
        for (keyspace, prefix) in prefixes.named() {
            let _ = writeln!(text, "{keyspace} {prefix}");
        }
    }
    key_hash(0, text.as_bytes())
}

/// The master's record of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerStatus {
    /// The state: online, offline, or in between.
    pub state: ServerState,
    /// The map epoch at which `state` last changed.
    pub since: MapEpoch,
    /// The incarnation that the master knows; 0: none yet.
    pub boot_id: u64,
}

impl Default for ServerStatus {
    fn default() -> Self {
        Self { state: ServerState::Online, since: MapEpoch::default(), boot_id: 0 }
    }
}

/// The owner of a partition, and the epoch since which it is the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ownership {
    /// The server that usually processes it.
    pub home: u16,
    /// The one server that may cache it, or [`NO_SERVER`].
    pub owner: u16,
    /// The server that a client asks if the owner does not answer, or [`NO_SERVER`]: the next
    /// server in rank that is reachable. While the previous owner is *waiting*, only this server
    /// may write.
    pub stand_in: u16,
    /// The epoch of the ownership. It changes whenever the owner has changed, even if the same
    /// server is the owner again.
    pub epoch: MapEpoch,
}

/// A topology, the servers' states at one epoch, and the owners that follow from them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterMap {
    /// The servers and partitions.
    pub topology: Arc<Topology>,
    /// The epoch of the states.
    pub epoch: MapEpoch,
    statuses: Vec<ServerStatus>,
    pub(crate) owners: Vec<Ownership>,
}

impl ClusterMap {
    /// Derives the owners. Missing statuses count as [`ServerStatus::default`].
    #[must_use]
    pub fn new(topology: Arc<Topology>, epoch: MapEpoch, mut statuses: Vec<ServerStatus>) -> Self {
        statuses.resize(topology.servers.len(), ServerStatus::default());
        let owners = (0..topology.partitions)
            .map(|partition| ownership(topology.rank(partition), &statuses))
            .collect();
        Self { topology, epoch, statuses, owners }
    }

    /// The states of all servers, by id.
    #[must_use]
    pub fn statuses(&self) -> &[ServerStatus] {
        &self.statuses
    }

    /// The state of one server.
    #[must_use]
    pub fn state(&self, server: u16) -> ServerState {
        self.statuses[usize::from(server)].state
    }

    /// Returns the ownership of a partition.
    #[inline]
    #[must_use]
    pub fn ownership(&self, partition: u32) -> Ownership {
        self.owners[partition as usize]
    }

    /// Returns the servers to ask for `partition`, best first: the owner (or, while there is none,
    /// the server that is returning), then the others in rank that are reachable, then those that
    /// are offline or waiting.
    pub fn candidates(&self, partition: u32) -> impl Iterator<Item = u16> + '_ {
        let rank = self.topology.rank(partition);
        let is_up = move |id: &&u16| self.state(**id).answers();
        rank.iter().filter(is_up).chain(rank.iter().filter(move |id| !is_up(id))).copied()
    }
}

fn ownership(rank: &[u16], statuses: &[ServerStatus]) -> Ownership {
    let status = |id: u16| statuses[usize::from(id)];
    let mut epoch = MapEpoch::default();
    let (mut owner, mut first_up) = (NO_SERVER, None);
    for &id in rank {
        epoch = epoch.max(status(id).since);
        match status(id).state {
            ServerState::Offline => continue,
            ServerState::Online => owner = id,
            ServerState::Returning | ServerState::Leaving | ServerState::Waiting => {}
        }
        first_up = Some(id);
        break;
    }
    let mut others =
        rank.iter().filter(|id| status(**id).state.answers() && Some(**id) != first_up);
    let stand_in = others.next().copied().unwrap_or(NO_SERVER);
    Ownership { home: rank[0], owner, stand_in, epoch }
}

/// Returns an IPv4 address that is mapped into IPv6 as IPv4: an address must have one fingerprint.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
