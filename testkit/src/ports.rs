//! Ports that are free, for servers whose address must be known before they start.
//!
//! Binding port 0 and closing again is not enough: another test, in another
//! process, can be given the same port in between. So a port is claimed by a lock
//! on a file named after it, which the kernel frees when the process ends, and
//! ports are taken from below the range from which the kernel serves port 0 and
//! outgoing connections.
//!
//! Whether somebody who knows nothing of this has a port is read in the kernel's tables. Binding it to
//! find out would take it from the one who asks: a process that another thread starts at that moment
//! has the socket too until it runs its own program.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, Permissions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use procfs::net::{TcpNetEntries, UdpNetEntries};
use procfs::{FromReadSI as _, ProcError, ProcResult, current_system_info};

/// Locks of all ports this process has been given, held until it ends.
static CLAIMED: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// `count` different ports of 127.0.0.1, each free for both TCP and UDP, and this
/// process's until it ends.
///
/// # Panics
/// When there are not that many.
#[must_use]
pub fn free_ports(count: usize) -> Vec<u16> {
    let (directory, taken) = (lock_directory(), taken_ports());
    let (first, last) = candidates();
    let span = u32::from(last - first) + 1;
    let start =
        u32::try_from(RandomState::new().build_hasher().finish() % u64::from(span)).unwrap_or(0);
    let mut claimed = CLAIMED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut ports = Vec::with_capacity(count);
    for step in 0..span {
        if ports.len() == count {
            break;
        }
        let offset = u16::try_from((start + step) % span).unwrap_or(0);
        let port = first + offset;
        if let Some(lock) = claim(&directory, &taken, port) {
            claimed.push(lock);
            ports.push(port);
        }
    }
    assert!(ports.len() == count, "fewer than {count} free ports in {first}..={last}");
    ports
}

/// The first of `count` ports in a row, each as [`free_ports`] has them.
///
/// # Panics
/// When there are not that many in a row.
#[must_use]
pub fn free_ports_in_a_row(count: u16) -> u16 {
    let (directory, taken) = (lock_directory(), taken_ports());
    let (first, last) = candidates();
    let starts = u64::from(last - first - count) + 1;
    let random = RandomState::new().build_hasher().finish() % starts;
    for step in 0..starts {
        let offset = u16::try_from((random + step) % starts).unwrap_or(0);
        let ports = first + offset..first + offset + count;
        // What was claimed in vain is free again.
        let locks: Option<Vec<File>> = ports.map(|port| claim(&directory, &taken, port)).collect();
        if let Some(locks) = locks {
            CLAIMED.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(locks);
            return first + offset;
        }
    }
    panic!("no {count} free ports in a row in {first}..={last}");
}

/// Takes the port's lock if nobody has it or the port.
fn claim(directory: &Path, taken: &HashSet<u16>, port: u16) -> Option<File> {
    if taken.contains(&port) {
        return None;
    }
    let path = directory.join(format!("{port}.lock"));
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path).ok()?;
    // Another user's tests may use the same directory; failing only means it is their file.
    let _ = lock.set_permissions(Permissions::from_mode(0o666));
    lock.try_lock().ok()?;
    Some(lock)
}

/// The ports of all sockets in this thread's network namespace, for TCP or UDP.
fn taken_ports() -> HashSet<u16> {
    let (system, mut ports) = (current_system_info(), HashSet::new());
    for table in ["tcp", "tcp6"] {
        let sockets = known(TcpNetEntries::from_file(table_of(table), system));
        ports.extend(sockets.iter().flat_map(|all| &all.0).map(|one| one.local_address.port()));
    }
    for table in ["udp", "udp6"] {
        let sockets = known(UdpNetEntries::from_file(table_of(table), system));
        ports.extend(sockets.iter().flat_map(|all| &all.0).map(|one| one.local_address.port()));
    }
    ports
}

/// The sockets of a table; `None`: the kernel has no such protocol, as without IPv6.
fn known<T>(table: ProcResult<T>) -> Option<T> {
    match table {
        Ok(sockets) => Some(sockets),
        Err(ProcError::NotFound(_)) => None,
        Err(error) => panic!("the kernel's tables of sockets: {error}"),
    }
}

fn table_of(name: &str) -> PathBuf {
    ["/proc/thread-self/net", name].iter().collect()
}

fn lock_directory() -> PathBuf {
    let path = std::env::temp_dir().join("standin-test-ports");
    if let Err(error) = std::fs::create_dir(&path)
        && !path.is_dir()
    {
        panic!("cannot make {}: {error}", path.display());
    }
    let _ = std::fs::set_permissions(&path, Permissions::from_mode(0o1777));
    path
}

/// First and last port to hand out: below the kernel's own range where there is room.
fn candidates() -> (u16, u16) {
    let range =
        std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let low =
        range.split_whitespace().next().and_then(|low| low.parse::<u16>().ok()).unwrap_or(32_768);
    if low > 12_000 { (10_000, low - 1) } else { (10_000, 65_000) }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn ports_differ_and_can_be_bound_for_tcp_and_udp() {
        let row = free_ports_in_a_row(5);
        let ports: Vec<u16> = [free_ports(20), free_ports(20), (row..row + 5).collect()].concat();
        assert_eq!(ports.iter().collect::<HashSet<_>>().len(), 45);
        for port in ports {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
            UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        }
    }

    #[test]
    fn a_claimed_port_is_not_given_to_another_process() {
        let port = free_ports(1)[0];
        // A second open of the lock file stands for the other process: such locks
        // belong to the open file, not to the process.
        assert!(claim(&lock_directory(), &HashSet::new(), port).is_none());
    }

    #[test]
    fn a_port_that_somebody_has_without_a_claim_is_not_given() {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = taken_ports();
        for port in [tcp.local_addr().unwrap().port(), udp.local_addr().unwrap().port()] {
            assert!(taken.contains(&port), "{port}");
            assert!(claim(&lock_directory(), &taken, port).is_none());
        }
    }
}
