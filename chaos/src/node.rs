//! The members of the cluster, and its clients.

/// Names of the servers, by their ids.
const SERVERS: [&str; 4] = ["a1", "a2", "b1", "b2"];

/// A node of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    /// The load generator.
    Client,
    /// The master.
    Master,
    /// A server, by its id.
    Server(u16),
}

impl Node {
    /// The name on the command line and in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Master => "master",
            Self::Server(id) => SERVERS.get(usize::from(id)).copied().unwrap_or("?"),
        }
    }

    /// The node of that name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let servers = (0..).zip(SERVERS).map(|(id, _)| Self::Server(id));
        [Self::Client, Self::Master].into_iter().chain(servers).find(|node| node.name() == name)
    }
}
