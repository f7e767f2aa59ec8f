//! The incidents: what goes wrong, how it ends, and the words by which it is named.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use standin_loadgen::faults::database::Lasting;
use standin_loadgen::faults::script::Trouble::Lock;
use standin_protocol::time::Micros;

use crate::cluster::{CONNECTIONS, Cluster};

/// The application whose session holds the lock.
const APPLICATION: &str = "migration";
/// The table of the load.
const TABLE: &str = "standin_demo";
/// The server that is stopped, and the one whose connections leak.
const SERVER: (usize, &str) = (0, "a1");
/// The address of the host that leaks: another one than that of the load.
const LEAKING: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
/// The time between two connections that are never closed.
const LEAKS_EVERY: Duration = Duration::from_millis(100);

/// Something that wakes an operator up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Incident {
    /// A session of PostgreSQL holds a lock on the table, in a transaction that it does not end.
    Locked,
    /// A server is stopped by SIGSTOP.
    Paused,
    /// A client opens connections and closes none.
    Leaking,
}

/// An incident that goes on.
pub(crate) enum Trouble {
    Locked(Lasting),
    Paused,
    Leaking(Leak),
}

/// What a text must have to name a cause: the alert by its name, and words.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(crate) alert: &'static str,
    pub(crate) in_alert: Vec<String>,
    pub(crate) on_page: Vec<String>,
    pub(crate) in_log: Vec<String>,
}

impl Incident {
    pub(crate) const ALL: [Self; 3] = [Self::Locked, Self::Paused, Self::Leaking];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Locked => "postgres-locked",
            Self::Paused => "server-paused",
            Self::Leaking => "client-leaking",
        }
    }

    pub(crate) fn what(self) -> String {
        match self {
            Self::Locked => format!("an application called {APPLICATION} locks the table"),
            Self::Paused => format!("SIGSTOP to {}", SERVER.1),
            Self::Leaking => format!(
                "{LEAKING} opens {} connections to {} per second, of {CONNECTIONS}, and closes none",
                Duration::from_secs(1).as_millis() / LEAKS_EVERY.as_millis(),
                SERVER.1
            ),
        }
    }

    pub(crate) fn names(self) -> Names {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        match self {
            Self::Locked => {
                let held = format!("application {APPLICATION}");
                let table = format!("table {TABLE}");
                Names {
                    alert: "StandinDatabaseLocked",
                    // It says where the holder is named.
                    in_alert: texts(&["waiting for a lock", "Another session of the database"]),
                    on_page: texts(&["for a lock", &table, &held]),
                    in_log: texts(&["for a lock", &table, &held]),
                }
            }
            Self::Paused => Names {
                alert: "StandinServerOut",
                in_alert: texts(&[SERVER.1, "offline", "does not answer"]),
                on_page: texts(&[SERVER.1, "does not answer", "offline"]),
                in_log: texts(&[SERVER.1, "does not answer", "offline"]),
            },
            Self::Leaking => {
                let address = LEAKING.to_string();
                let names = || texts(&["connections", SERVER.1, &address]);
                Names {
                    alert: "StandinConnectionsNearLimit",
                    // The alert names the server by the port that Prometheus reads.
                    in_alert: texts(&["connections", &address]),
                    on_page: names(),
                    in_log: texts(&["connections", &address]),
                }
            }
        }
    }

    pub(crate) fn begin(self, cluster: &mut Cluster) -> Result<Trouble, Box<dyn Error>> {
        Ok(match self {
            Self::Locked => {
                let url = format!("{}?application_name={APPLICATION}", cluster.database);
                Trouble::Locked(Lasting::begin(&url, Lock)?)
            }
            Self::Paused => {
                cluster.server(SERVER.0).pause();
                Trouble::Paused
            }
            Self::Leaking => Trouble::Leaking(Leak::new(cluster.redis(SERVER.0))),
        })
    }
}

impl Trouble {
    /// Does what has to be done again and again.
    pub(crate) fn go_on(&mut self) {
        if let Self::Leaking(leak) = self {
            leak.go_on();
        }
    }

    pub(crate) fn end(self, cluster: &mut Cluster) -> Result<(), Box<dyn Error>> {
        match self {
            Self::Locked(lock) => Ok(lock.end()?),
            Self::Paused => {
                cluster.server(SERVER.0).resume();
                Ok(())
            }
            // Dropped, all are closed.
            Self::Leaking(_) => Ok(()),
        }
    }
}

/// A client that opens connections, uses each once, and closes none.
pub(crate) struct Leak {
    to: SocketAddr,
    next: Micros,
    connections: Vec<TcpStream>,
}

impl Leak {
    fn new(to: SocketAddr) -> Self {
        Self { to, next: Micros::boottime(), connections: Vec::new() }
    }

    fn go_on(&mut self) {
        // At the limit it is refused, and tries again like any client.
        while self.next <= Micros::boottime() && self.connections.len() < 2 * CONNECTIONS as usize {
            self.next = self.next + LEAKS_EVERY;
            self.connections.extend(self.open().ok());
        }
    }

    fn open(&self) -> std::io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((LEAKING, 0)).into())?;
        socket.connect(&self.to.into())?;
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\n")?;
        stream.read_exact(&mut [0; 7])?;
        Ok(stream)
    }
}
