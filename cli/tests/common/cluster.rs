//! A cluster of real processes on loopback ports of its own, and the database behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use standin_client::blocking::Client;
use standin_client::{Bootstrap, ClientConfig};
use standin_config::{ClusterConfig, KeyspaceConfig, OriginConfig, OriginKind};
use standin_protocol::body::{PingReply, StatsReply};
use standin_protocol::frame::{Opcode, Status};
use standin_protocol::hello::Role;
use standin_protocol::map::{ClusterMap, ServerState, Topology};
use standin_testkit::{Child, Scratch, free_ports, wait_until};

use super::events::Events;
use super::wire::Wire;
use super::{KEYSPACE, WITHIN};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_standin");

/// The name of the master among the processes.
const MASTER: &str = "master";

/// A cluster file and the processes that run on it. Dropping it kills them.
pub struct Cluster {
    pub config: ClusterConfig,
    pub topology: Arc<Topology>,
    pub config_path: PathBuf,
    program: PathBuf,
    // The processes are dropped before the directory, so that they end before it is removed.
    processes: BTreeMap<String, Child>,
    frozen: BTreeSet<String>,
    scratch: Scratch,
}

impl Cluster {
    /// Writes a cluster file. Nothing runs yet.
    pub fn new(test: &str, groups: &[(&str, &[&str])]) -> Self {
        Self::with(test, groups, |_| {})
    }

    /// Creates a cluster after a change to the configuration.
    pub fn with(
        test: &str,
        groups: &[(&str, &[&str])],
        change: impl FnOnce(&mut ClusterConfig),
    ) -> Self {
        let scratch = Scratch::new(test);
        let servers: usize = groups.iter().map(|(_, servers)| servers.len()).sum();
        let mut addresses = free_ports(servers + 1)
            .into_iter()
            .map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let mut next = || addresses.next().expect("there is an address for each process");
        let mut origin = OriginConfig::sqlite("origin.sqlite");
        if let OriginKind::Sqlite { init, .. } = &mut origin.kind {
            // The database does not wait for the disk, because no test here loses power.
            *init = Some(
                "PRAGMA synchronous = NORMAL; CREATE TABLE IF NOT EXISTS items \
                 (id TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
                    .to_owned(),
            );
        }
        // Four processes write to one file, and on a busy machine one may have to wait for a while.
        origin.timeout = Duration::from_secs(3);
        let mut config = ClusterConfig::new(test, next(), origin);
        for (group, names) in groups {
            let members: Vec<_> = names.iter().map(|name| (*name, next())).collect();
            config = config.with_group(group, members);
        }
        config.partitions = 64;
        config.keyspaces = vec![items()];
        for server in &mut config.servers {
            server.memory_bytes = 16 << 20;
            server.huge_pages = false;
        }
        let ms = Duration::from_millis;
        // The timings are short so that the tests are short, but not so short that a server on a
        // busy machine seems dead.
        let timings = &mut config.timings;
        timings.attempt_timeout = ms(500);
        timings.failover_hold = ms(600);
        timings.operation_timeout = ms(8_000);
        timings.connect_timeout = ms(500);
        timings.forward_timeout = ms(500);
        timings.renew_interval = ms(100);
        timings.probe_timeout = ms(400);
        timings.recheck_interval = ms(50);
        timings.lease = ms(2_000);
        timings.announce_resend = ms(30);
        change(&mut config);
        let config_path = config.write_into(scratch.path()).expect("a valid configuration");
        let topology = Arc::new(config.topology().expect("a valid topology"));
        let program = PROGRAM.into();
        let (processes, frozen) = (BTreeMap::new(), BTreeSet::new());
        Self { config, topology, config_path, program, processes, frozen, scratch }
    }

    /// Sets the program to run instead of the one that was built.
    pub fn set_program(&mut self, program: PathBuf) {
        self.program = program;
    }

    /// The directory of the cluster's files.
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    // ---- processes

    /// Starts the master and all servers. Returns when every shard has the map in which all servers
    /// are online.
    pub fn start(&mut self) {
        let names: Vec<String> = self.config.servers.iter().map(|s| s.name.clone()).collect();
        self.start_some(&names.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// Starts only these servers. The test plays the others.
    pub fn start_some(&mut self, names: &[&str]) {
        self.start_master();
        for name in names {
            self.spawn_server(name);
        }
        for name in names {
            self.wait_ready(name);
        }
        self.wait_all(ServerState::Online);
    }

    /// Starts the master, and waits until it accepts connections.
    pub fn start_master(&mut self) {
        let mut command = self.role("master");
        command.args(["--all-events", "--events"]).arg(self.events_path());
        let child = Child::spawn(MASTER, command, self.directory());
        child.wait_for_line("is ready", WITHIN);
        self.processes.insert(MASTER.to_owned(), child);
    }

    /// Starts a server, and waits until it accepts connections.
    pub fn start_server(&mut self, name: &str) {
        self.spawn_server(name);
        self.wait_ready(name);
    }

    fn spawn_server(&mut self, name: &str) {
        let mut command = self.role("server");
        command.args(["--name", name]);
        let child = Child::spawn(name, command, self.directory());
        let before = self.processes.insert(name.to_owned(), child);
        assert!(before.is_none(), "{name} runs already");
    }

    /// Starts a process of the cluster with a command of the test's own and this standard error,
    /// and waits until it accepts connections.
    pub fn spawn(&mut self, name: &str, command: Command, stderr: Stdio) {
        self.spawn_unready(name, command, stderr);
        self.wait_ready(name);
    }

    /// Starts a process without waiting until it is ready.
    pub fn spawn_unready(&mut self, name: &str, mut command: Command, stderr: Stdio) {
        match name {
            MASTER => command.args(["--all-events", "--events"]).arg(self.events_path()),
            server => command.args(["--name", server]),
        };
        let child = Child::spawn_to(name, command, self.directory(), stderr);
        self.processes.insert(name.to_owned(), child);
    }

    /// Waits for a process to end by itself.
    pub fn wait_end(&mut self, name: &str) -> ExitStatus {
        let status = self.process(name).exit_status(WITHIN);
        self.processes.remove(name);
        status
    }

    fn wait_ready(&self, name: &str) {
        self.processes[name].wait_for_line("is ready", WITHIN);
    }

    /// Returns a command that runs a role on this cluster's file, for [`Self::spawn`].
    pub fn role(&self, role: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(role).arg("--config").arg(&self.config_path);
        command.current_dir(self.directory()).env_remove("RUST_LOG");
        command
    }

    /// Returns the running process of that name.
    pub fn process(&mut self, name: &str) -> &mut Child {
        self.processes.get_mut(name).unwrap_or_else(|| panic!("{name} does not run"))
    }

    /// Sends SIGKILL, and waits for the end of the process.
    pub fn kill(&mut self, name: &str) {
        self.process(name).kill();
        self.processes.remove(name);
        self.frozen.remove(name);
    }

    /// Sends SIGTERM, and waits for the end of the process.
    pub fn terminate(&mut self, name: &str, within: Duration) -> ExitStatus {
        let process = self.process(name);
        process.signal(libc::SIGTERM);
        let status = process.exit_status(within);
        self.processes.remove(name);
        status
    }

    /// Sends SIGSTOP, and waits until it has taken effect. Does not stop the process within a
    /// transaction, because its lock on the SQLite file would stop the writes of all other servers
    /// as well.
    pub fn freeze(&mut self, name: &str) {
        wait_until(WITHIN, "a process to stop outside of a transaction", || {
            self.stop_process(name);
            let database = self.database();
            database.busy_timeout(Duration::from_millis(300)).expect("a timeout");
            let is_free = database.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok();
            if !is_free {
                self.process(name).signal(libc::SIGCONT);
            }
            is_free
        });
        self.frozen.insert(name.to_owned());
    }

    /// Freezes a process, whatever it is doing.
    pub fn freeze_anywhere(&mut self, name: &str) {
        self.stop_process(name);
        self.frozen.insert(name.to_owned());
    }

    fn stop_process(&mut self, name: &str) {
        let process = self.process(name);
        process.signal(libc::SIGSTOP);
        let stat = format!("/proc/{}/stat", process.pid());
        wait_until(WITHIN, "a process to stop", || {
            let stat = std::fs::read_to_string(&stat).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
        });
    }

    /// Sends SIGCONT.
    pub fn thaw(&mut self, name: &str) {
        self.process(name).signal(libc::SIGCONT);
        self.frozen.remove(name);
    }

    /// Runs a command of the program on this cluster's file until it ends.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        command.arg(arguments[0]).arg("--config").arg(&self.config_path).args(&arguments[1..]);
        command.current_dir(self.directory()).output().expect("the program can be run")
    }

    // ---- topology

    /// Returns the id of a server.
    pub fn id(&self, name: &str) -> u16 {
        self.topology.server_id(name).unwrap_or_else(|| panic!("no server {name}"))
    }

    /// Returns the address of a server.
    pub fn address(&self, name: &str) -> SocketAddr {
        self.topology.servers[usize::from(self.id(name))].address
    }

    /// Returns the address of a server's first service, which speaks another protocol.
    pub fn service(&self, name: &str) -> SocketAddr {
        self.config.servers[usize::from(self.id(name))].services[0].address
    }

    /// Returns the name of the key's home.
    pub fn home(&self, key: &[u8]) -> &str {
        let home = self.topology.home(self.topology.partition(KEYSPACE, key));
        &self.topology.servers[usize::from(home)].name
    }

    /// Returns keys whose home is `server`, in a fixed order.
    pub fn keys_of<'a>(&'a self, server: &'a str) -> impl Iterator<Item = Vec<u8>> + 'a {
        (0..).map(|n| format!("key-{n}").into_bytes()).filter(move |key| self.home(key) == server)
    }

    /// Returns the first such key.
    pub fn key_of(&self, server: &str) -> Vec<u8> {
        self.keys_of(server).next().expect("every server is the home of some key")
    }

    // ---- questions

    /// Opens a client's connection to a server's shard 0.
    pub fn connect(&self, name: &str) -> Wire {
        Wire::connect(&self.topology, self.id(name), 0, Role::Client)
            .unwrap_or_else(|error| panic!("no connection to {name}: {error}"))
    }

    /// Creates the real client, which routes by the cluster file.
    pub fn client(&self) -> Client {
        self.client_with(|_| {})
    }

    /// Creates a client after a change to its configuration.
    pub fn client_with(&self, change: impl FnOnce(&mut ClientConfig)) -> Client {
        let mut config = ClientConfig::from(&self.config);
        change(&mut config);
        Client::new(config, Bootstrap::Config(Arc::clone(&self.topology))).expect("a client")
    }

    /// Returns the map of a server or of the master (by the name `master`), if it answers with one.
    pub fn map_at(&self, name: &str) -> Option<ClusterMap> {
        let mut wire = match name {
            MASTER => Wire::connect_to(self.topology.master, &self.topology, 0, Role::Client),
            name => Wire::connect(&self.topology, self.id(name), 0, Role::Client),
        }
        .ok()?;
        let reply = wire.try_ask(Opcode::Map, b"", b"").ok()?;
        (reply.status == Status::Ok).then(|| ClusterMap::from_bytes(&reply.value).expect("a map"))
    }

    /// Returns the state of a server in the map of another.
    pub fn state_at(&self, name: &str, of: &str) -> Option<ServerState> {
        Some(self.map_at(name)?.state(self.id(of)))
    }

    /// Returns a server's counter. Servers publish their counters a few times a second, so wait for
    /// a value with [`Self::wait_counter`].
    pub fn counter(&self, name: &str, counter: &str) -> u64 {
        self.stats(name).counter(counter)
    }

    /// Returns a server's counters. A server that a busy machine kept from running closes its
    /// connections, and is asked again then.
    #[track_caller]
    pub fn stats(&self, name: &str) -> StatsReply {
        let ask = || {
            let mut wire = Wire::connect(&self.topology, self.id(name), 0, Role::Client).ok()?;
            let reply = wire.try_ask(Opcode::Stats, b"", b"").ok()?;
            assert_eq!(reply.status, Status::Ok, "STATS of {name}");
            Some(StatsReply::from_bytes(&reply.value).expect("statistics"))
        };
        standin_testkit::wait::poll_for(WITHIN, ask).unwrap_or_else(|| panic!("no STATS of {name}"))
    }

    /// Waits until a counter has this value.
    #[track_caller]
    pub fn wait_counter(&self, name: &str, counter: &str, value: u64) {
        let mut last = 0;
        let outcome = standin_testkit::wait::poll_for(WITHIN, || {
            last = self.counter(name, counter);
            (last == value).then_some(())
        });
        assert!(outcome.is_some(), "{counter} of {name} is {last}, expected {value}");
    }

    /// Returns the file of the master's events.
    pub fn events(&self) -> Events {
        Events::new(self.events_path())
    }

    fn events_path(&self) -> PathBuf {
        self.scratch.file("events.jsonl")
    }

    // ---- waiting

    /// Waits until every shard of every running server has applied the master's map, and every
    /// server has this state and its running incarnation in it.
    #[track_caller]
    pub fn wait_all(&self, state: ServerState) {
        let names: Vec<(&str, ServerState)> =
            self.config.servers.iter().map(|server| (server.name.as_str(), state)).collect();
        self.wait_states(&names);
    }

    /// Waits for the states of some servers.
    #[track_caller]
    pub fn wait_states(&self, states: &[(&str, ServerState)]) {
        let mut last = String::new();
        let outcome = standin_testkit::wait::poll_for(WITHIN, || {
            let map = self.map_at(MASTER)?;
            last = format!("{} {:?}", map.epoch, map.statuses());
            let are_so = states.iter().all(|(name, state)| {
                let status = map.statuses()[usize::from(self.id(name))];
                status.state == *state && status.boot_id != 0
            });
            (are_so && self.running_servers().all(|name| self.has_applied(name, &map)))
                .then_some(())
        });
        assert!(outcome.is_some(), "{states:?} has not come about everywhere; the master: {last}");
    }

    /// Returns the names of the servers that run as processes and are not stopped.
    pub fn running_servers(&self) -> impl Iterator<Item = &str> {
        let runs = |name: &&str| *name != MASTER && !self.frozen.contains(*name);
        self.processes.keys().map(String::as_str).filter(runs)
    }

    fn has_applied(&self, name: &str, map: &ClusterMap) -> bool {
        let id = self.id(name);
        let has = |shard| {
            let mut wire = Wire::connect(&self.topology, id, shard, Role::Client).ok()?;
            let reply = wire.try_ask(Opcode::Ping, b"", b"").ok()?;
            let ping = PingReply::from_bytes(&reply.value).ok()?;
            let known = map.statuses()[usize::from(id)].boot_id;
            Some(ping.map_epoch == map.epoch.to_u64() && ping.boot_id == known)
        };
        (0..self.topology.servers[usize::from(id)].shards).all(|shard| has(shard) == Some(true))
    }

    // ---- the database

    /// Opens a separate connection to the SQLite file.
    pub fn database(&self) -> rusqlite::Connection {
        let connection =
            rusqlite::Connection::open(self.scratch.file("origin.sqlite")).expect("the database");
        connection.busy_timeout(WITHIN).expect("a timeout");
        connection
    }

    /// Writes a row without the cluster's knowledge.
    pub fn set_row(&self, key: &[u8], value: &[u8]) {
        let sql = "INSERT INTO items (id, value) VALUES (?1, ?2) \
                   ON CONFLICT (id) DO UPDATE SET value = excluded.value";
        self.database().execute(sql, (text(key), value)).expect("a row written");
    }

    /// Returns the row in the database.
    pub fn row(&self, key: &[u8]) -> Option<Vec<u8>> {
        let database = self.database();
        let mut statement =
            database.prepare("SELECT value FROM items WHERE id = ?1").expect("a statement");
        let mut rows = statement.query([text(key)]).expect("rows");
        rows.next().expect("a row or none").map(|row| row.get(0).expect("a blob"))
    }
}

/// The keyspace of all tests.
pub fn items() -> KeyspaceConfig {
    let mut items =
        KeyspaceConfig::new(KEYSPACE, "items", "SELECT value FROM items WHERE id = :key");
    items.put = Some(
        "INSERT INTO items (id, value) VALUES (:key, :value) \
         ON CONFLICT (id) DO UPDATE SET value = excluded.value"
            .to_owned(),
    );
    items.delete = Some("DELETE FROM items WHERE id = :key".to_owned());
    items
}

fn text(key: &[u8]) -> &str {
    std::str::from_utf8(key).expect("keys of the tests are text")
}
