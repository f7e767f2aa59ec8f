//! Who has the connections when a server runs out of them: the address that has the most, from the kernel's table of
//! sockets. No shard counts addresses: the table is read on a thread of its own, and only while few places for clients
//! are left.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use standin_protocol::hello::Role;
use standin_protocol::time::Micros;
use tracing::{info, warn};

use crate::shard::admission::Admission;
use crate::stats::{Caller, StatsHub};

/// The interval of looks at the number of places.
const EVERY: Duration = Duration::from_secs(1);
/// The shortest time between two looks at the table, and that time in lengths of a look: a table of a million sockets
/// takes seconds to read.
const READ_EVERY: Duration = Duration::from_secs(5);
const READ_EVERY_LENGTHS: u32 = 50;
/// Few places are left at this share of them, in percent, and no longer at this one.
const FEW_PERCENT: u64 = 80;
const ENOUGH_PERCENT: u64 = 70;
/// Addresses that are counted at once. With more of them, an address that has less than one in this many connections
/// may be missed.
const ADDRESSES_MAX: usize = 1_024;
/// The kernel's tables of sockets of this network namespace.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// Watches the places of a server, until its shards have ended.
pub(crate) fn watch(
    admission: &Arc<Admission>,
    hub: &Arc<StatsHub>,
    ports: Vec<u16>,
    members: HashSet<IpAddr>,
) -> io::Result<JoinHandle<()>> {
    let (admission, hub) = (Arc::downgrade(admission), Arc::clone(hub));
    let body = move || watch_until_its_end(&admission, &hub, &ports, &members);
    std::thread::Builder::new().name("callers".to_owned()).spawn(body)
}

fn watch_until_its_end(
    admission: &Weak<Admission>,
    hub: &StatsHub,
    ports: &[u16],
    members: &HashSet<IpAddr>,
) {
    let mut watch = Watch::default();
    let mut read_at = Micros(0);
    loop {
        let Some(admission) = admission.upgrade() else { return };
        let ((taken, most), others) = (clients(&admission), others(&admission));
        drop(admission);
        hub.set_client_connections(taken);
        let now = Micros::boottime();
        if !watch.is_few(taken, most) {
            if watch.over() {
                info!(
                    connections = taken,
                    "there are enough places for connections of clients again"
                );
                hub.set_most_connected(None);
            }
        } else if read_at <= now {
            let caller = most_connected(ports, members, others);
            // Of those in the kernel's table, some have not said hello yet.
            let caller = caller.map(|caller| caller.at_most(taken));
            let took = Micros::boottime().since(now);
            read_at = now + READ_EVERY.max(took * READ_EVERY_LENGTHS);
            if watch.is_news(caller.as_ref()) {
                tell(taken, most, caller.as_ref());
            }
            hub.set_most_connected(caller);
        }
        std::thread::park_timeout(EVERY);
    }
}

/// The places of clients that are taken, and all of them.
fn clients(admission: &Admission) -> (u64, u64) {
    (admission.taken(Role::Client).into(), admission.places().clients.into())
}

/// The connections of members and observers.
fn others(admission: &Admission) -> u64 {
    let others = [Role::Peer, Role::Master, Role::Observer];
    others.map(|role| u64::from(admission.taken(role))).iter().sum()
}

impl Caller {
    fn at_most(self, connections: u64) -> Self {
        Self { connections: self.connections.min(connections), ..self }
    }
}

fn tell(taken: u64, most: u64, caller: Option<&Caller>) {
    let Some(Caller { address, connections }) = caller else {
        return warn!(
            "clients have {taken} of the {most} connections that they may have; at the limit others are refused. Look \
             for a client that leaves connections open, or raise limits.connections (and `ulimit -n`)"
        );
    };
    warn!(
        "clients have {taken} of the {most} connections that they may have, {connections} of them from {address}; at \
         the limit others are refused. Look for connections that this client leaves open, or raise \
         limits.connections (and `ulimit -n`)"
    );
}

/// Whether few places are left, and what has been said of it. Pure.
#[derive(Debug, Default)]
struct Watch {
    is_few: bool,
    told: Option<Option<IpAddr>>,
}

impl Watch {
    /// Whether few places are left. There have to be more than when that began until there are enough.
    fn is_few(&mut self, taken: u64, most: u64) -> bool {
        let percent = if self.is_few { ENOUGH_PERCENT } else { FEW_PERCENT };
        self.is_few = most > 0 && taken * 100 >= most * percent;
        self.is_few
    }

    /// Whether the shortage is over, and has been told of.
    fn over(&mut self) -> bool {
        self.told.take().is_some()
    }

    /// Whether the log has not said who has the most connections.
    fn is_news(&mut self, caller: Option<&Caller>) -> bool {
        let address = caller.map(|caller| caller.address);
        self.told.replace(address) != Some(address)
    }
}

/// Returns who has the most connections as a client to these ports; `None` if nobody has one, or the tables can't be
/// read. The table does not say which connections are no clients', so that all of those are taken off each address of
/// a member: a client on the machine of a member has at least what is left.
fn most_connected(ports: &[u16], members: &HashSet<IpAddr>, others: u64) -> Option<Caller> {
    let mut tally = Tally::default();
    for table in TABLES {
        // Without IPv6, there is no table of it.
        let Ok(table) = File::open(table) else { continue };
        for line in BufReader::new(table).lines().map_while(Result::ok) {
            tally.add(caller(&line, ports));
        }
    }
    members.iter().for_each(|member| tally.take_off(*member, others));
    tally.most()
}

/// Returns the address of the other side of an established connection to one of these ports, from a line of the
/// kernel's table: `12: LOCAL:PORT REMOTE:PORT STATE …`, in hexadecimal digits.
fn caller(line: &str, ports: &[u16]) -> Option<IpAddr> {
    const ESTABLISHED: &str = "01";
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote, state) = (fields.next()?, fields.next()?, fields.next()?);
    let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
    if state != ESTABLISHED || !ports.contains(&port) {
        return None;
    }
    let address = remote.rsplit_once(':')?.0;
    // Words in the order of the machine.
    let word = |at: usize| {
        let word = u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    match address.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            // An IPv4 address on a port for both.
            Some(IpAddr::from(Ipv6Addr::from(bytes)).to_canonical())
        }
        _ => None,
    }
}

/// Counts by address in bounded memory, by the algorithm of Misra and Gries.
#[derive(Debug, Default)]
struct Tally(HashMap<IpAddr, u64>);

impl Tally {
    fn add(&mut self, address: Option<IpAddr>) {
        let Some(address) = address else { return };
        if let Some(count) = self.0.get_mut(&address) {
            *count += 1;
        } else if self.0.len() < ADDRESSES_MAX {
            self.0.insert(address, 1);
        } else {
            self.0.retain(|_, count| {
                *count -= 1;
                *count > 0
            });
        }
    }

    /// Counts this many connections of an address no longer.
    fn take_off(&mut self, address: IpAddr, connections: u64) {
        if let Some(count) = self.0.get_mut(&address) {
            *count = count.saturating_sub(connections);
        }
    }

    fn most(self) -> Option<Caller> {
        let counts = self.0.into_iter().filter(|(_, count)| *count > 0);
        let most = counts.max_by_key(|(address, count)| (*count, *address))?;
        Some(Caller { address: most.0, connections: most.1 })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn of(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    #[test]
    fn lines_of_the_table_are_read_by_port_and_state() {
        let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
        let (here, there) = (word([127, 0, 0, 1]), word([10, 0, 0, 7]));
        let line = |port: u16, state: &str| {
            format!("   3: {here}:{port:04X} {there}:C350 {state} 00000000:00000000 00:00000000")
        };
        assert_eq!(caller(&line(7101, "01"), &[6379, 7101]), Some(of(7)));
        assert_eq!(caller(&line(7101, "0A"), &[7101]), None, "it listens");
        assert_eq!(caller(&line(7102, "01"), &[7101]), None, "another port");
        let six = |last: [[u8; 4]; 4]| {
            let remote = last.map(word).concat();
            format!("   0: {}:1BBD {remote}:0001 01 0", "0".repeat(32))
        };
        let mapped = six([[0; 4], [0; 4], [0, 0, 255, 255], [10, 0, 0, 7]]);
        assert_eq!(caller(&mapped, &[7101]), Some(of(7)));
        let own = six([[32, 1, 13, 184], [0; 4], [0; 4], [0, 0, 0, 9]]);
        assert_eq!(caller(&own, &[7101]), Some("2001:db8::9".parse().unwrap()));
        for bad in ["", "  sl  local_address rem_address   st", "1: 1BBD 2 01", "1: é:1BBD é:1 01"]
        {
            assert_eq!(caller(bad, &[7101]), None, "{bad}");
        }
    }

    #[test]
    fn the_connections_of_this_process_are_found_in_the_real_table() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let nobody = HashSet::new();
        assert_eq!(most_connected(&[address.port()], &nobody, 0), None);
        let open = || (TcpStream::connect(address).unwrap(), listener.accept().unwrap());
        let _open = [open(), open(), open()];
        let expected = Caller { address: address.ip(), connections: 3 };
        assert_eq!(most_connected(&[address.port()], &nobody, 9), Some(expected));
        // Two servers and the master are on this machine: two of the three are theirs.
        let members = HashSet::from([address.ip()]);
        let client = Caller { address: address.ip(), connections: 1 };
        assert_eq!(most_connected(&[address.port()], &members, 2), Some(client.clone()));
        assert_eq!(most_connected(&[address.port()], &members, 3), None, "no clients'");
        assert_eq!(client.at_most(0).connections, 0);
    }

    #[test]
    fn an_address_with_many_connections_is_found_among_any_number_of_others() {
        let mut tally = Tally::default();
        for n in 0..100_000_u32 {
            tally.add(Some(Ipv4Addr::from(n + (11 << 24)).into()));
            tally.add((n % 50 == 0).then_some(of(7)));
        }
        assert!(tally.0.len() <= ADDRESSES_MAX);
        assert_eq!(tally.most().map(|caller| caller.address), Some(of(7)));
    }

    #[test]
    fn a_shortage_begins_at_four_fifths_and_is_told_once_for_each_address() {
        let mut watch = Watch::default();
        assert!(!watch.is_few(79, 100) && !watch.over());
        assert!(watch.is_few(80, 100));
        let caller = |last| Caller { address: of(last), connections: 60 };
        assert!(watch.is_news(Some(&caller(7))));
        assert!(!watch.is_news(Some(&caller(7))));
        assert!(watch.is_news(Some(&caller(8))));
        assert!(watch.is_few(70, 100), "it is not over yet");
        assert!(!watch.is_few(69, 100));
        assert!(watch.over() && !watch.over());
        assert!(!watch.is_few(0, 0), "no places, no shortage");
    }
}
