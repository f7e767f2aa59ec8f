//! The way to the database from this host, gone as far as it can be without a password: names are
//! resolved, PostgreSQL is connected to and asked whether it speaks TLS, SQLite's file may be written.
#![expect(clippy::disallowed_methods, reason = "a shell: the time that the way takes")]

use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::fs::Access;
use standin_config::{OriginConfig, OriginKind};
use standin_server::check::{self, DatabaseHost};

use crate::facts::{Way, WayAnswer};

/// The longest time for one address, and for resolving one name.
const WITHIN: Duration = Duration::from_secs(2);
/// The largest number of addresses of one name that are tried.
const ADDRESSES: usize = 8;
/// PostgreSQL's question whether the server speaks TLS: a length, and a number that no version has.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

pub(super) fn ways(origin: &OriginConfig) -> Vec<Way> {
    match &origin.kind {
        OriginKind::Sqlite { path, .. } => {
            vec![Way { place: path.display().to_string(), answered: sqlite(path) }]
        }
        OriginKind::Postgres { .. } => {
            // A wrong connection string is for `check-config`, and for the start.
            let hosts = check::database_hosts(origin);
            // All at once: with several hosts the deadline stays what it is.
            std::thread::scope(|scope| {
                let ways: Vec<_> = hosts.iter().map(|host| scope.spawn(|| way(host))).collect();
                let ended = ways.into_iter().zip(&hosts).map(|(way, host)| {
                    way.join().unwrap_or_else(|_| Way {
                        place: place(host),
                        answered: Err("the attempt ended unexpectedly".to_owned()),
                    })
                });
                ended.collect()
            })
        }
    }
}

fn place(host: &DatabaseHost) -> String {
    match host {
        DatabaseHost::Name(name, port) => format!("{name}:{port}"),
        DatabaseHost::Address(address) => address.to_string(),
        DatabaseHost::Socket(path) => path.display().to_string(),
    }
}

fn way(host: &DatabaseHost) -> Way {
    let answered = match host {
        DatabaseHost::Name(name, port) => {
            resolve(name, *port).and_then(|addresses| any(&addresses))
        }
        DatabaseHost::Address(address) => any(&[*address]),
        DatabaseHost::Socket(path) => over_socket(path),
    };
    Way { place: place(host), answered }
}

/// Resolves a name. The thread of a resolver that does not answer is left behind: it ends with the
/// process at the latest.
fn resolve(name: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(vec![(address, port).into()]);
    }
    let (sender, receiver) = mpsc::channel();
    let asked = name.to_owned();
    let resolver = std::thread::Builder::new().name("resolver".to_owned()).spawn(move || {
        let found = (asked.as_str(), port).to_socket_addrs();
        let _ = sender.send(found.map(|found| found.take(ADDRESSES).collect::<Vec<_>>()));
    });
    resolver.map_err(|error| format!("no thread for the resolver: {error}"))?;
    match receiver.recv_timeout(WITHIN) {
        Ok(Ok(found)) if found.is_empty() => Err("the name has no address".to_owned()),
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(format!("the name can't be resolved: {error}")),
        Err(_) => Err(format!("the name was not resolved within {} s", WITHIN.as_secs())),
    }
}

/// Returns the first answer of one of the addresses, or what was wrong with the last.
fn any(addresses: &[SocketAddr]) -> Result<WayAnswer, String> {
    let mut last = Err("there is no address".to_owned());
    for address in addresses {
        last = over_tcp(*address).map_err(|error| format!("{address}: {error}"));
        if last.is_ok() {
            break;
        }
    }
    last
}

fn over_tcp(address: SocketAddr) -> Result<WayAnswer, String> {
    let began = Instant::now();
    let stream = TcpStream::connect_timeout(&address, WITHIN)
        .map_err(|error| format!("no connection within {} s: {error}", WITHIN.as_secs()))?;
    let limits = stream.set_read_timeout(Some(WITHIN)).and(stream.set_write_timeout(Some(WITHIN)));
    limits.map_err(|error| error.to_string())?;
    greet(stream, began)
}

fn over_socket(path: &Path) -> Result<WayAnswer, String> {
    let began = Instant::now();
    let stream = UnixStream::connect(path).map_err(|error| format!("no connection: {error}"))?;
    let limits = stream.set_read_timeout(Some(WITHIN)).and(stream.set_write_timeout(Some(WITHIN)));
    limits.map_err(|error| error.to_string())?;
    greet(stream, began)
}

/// Asks whether PostgreSQL is at the other end, which answers S or N (or E, if it is old).
fn greet(
    mut stream: impl std::io::Read + std::io::Write,
    began: Instant,
) -> Result<WayAnswer, String> {
    let mut answer = [0];
    let answered = stream.write_all(&SSL_REQUEST).and_then(|()| stream.read_exact(&mut answer));
    match answered {
        Ok(()) if matches!(answer, [b'S' | b'N' | b'E']) => {
            Ok(WayAnswer::Postgres(began.elapsed()))
        }
        Ok(()) => Err("something answers there, but not as PostgreSQL does".to_owned()),
        Err(error) => Err(format!("connected, but PostgreSQL does not answer: {error}")),
    }
}

/// Whether the file, or its folder if it is not there yet, may be written by this user. The folder must
/// be writable in any case: the write-ahead log is beside the file.
fn sqlite(path: &Path) -> Result<WayAnswer, String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let may = |path: &Path| {
        rustix::fs::access(path, Access::READ_OK | Access::WRITE_OK)
            .map_err(|error| format!("{}: {}", path.display(), std::io::Error::from(error)))
    };
    may(folder)?;
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => may(path)?,
        Ok(_) => return Err("it is no regular file".to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.to_string()),
    }
    let system =
        rustix::fs::statfs(folder).map_err(|error| std::io::Error::from(error).to_string())?;
    // The numbers of `linux/magic.h`, as the low 32 bits that the kernel gives.
    let network = match system.f_type as u32 {
        0x6969 => Some("NFS"),
        0xff53_4d42 | 0xfe53_4d42 => Some("SMB"),
        0x0102_1997 => Some("9p"),
        0x00c3_6400 => Some("Ceph"),
        _ => None,
    };
    Ok(network.map_or(WayAnswer::Writable, WayAnswer::OnNetwork))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use standin_testkit::Scratch;

    use super::*;

    /// Whoever connects gets this answer to the first eight bytes.
    fn answering(bytes: &'static [u8]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = [0; 8];
            stream.read_exact(&mut question).unwrap();
            assert_eq!(question, SSL_REQUEST);
            stream.write_all(bytes).unwrap();
        });
        port
    }

    fn postgres(port: u16) -> Vec<Way> {
        ways(&OriginConfig::postgres(&format!("postgres://u:secret@127.0.0.1:{port}/d")))
    }

    #[test]
    fn postgres_is_recognized_and_anything_else_is_not() {
        let ways = postgres(answering(b"N"));
        let [way] = &ways[..] else { panic!("one way: {ways:?}") };
        assert!(matches!(way.answered, Ok(WayAnswer::Postgres(_))), "{way:?}");
        assert!(!format!("{way:?}").contains("secret"));
        for (bytes, wanted) in [(&b"HTTP/1.1"[..], "not as PostgreSQL"), (b"", "does not answer")] {
            let said = postgres(answering(bytes))[0].answered.clone().unwrap_err();
            assert!(said.contains(wanted), "{said}");
        }
        let free = standin_testkit::free_ports(1)[0];
        let said = postgres(free)[0].answered.clone().unwrap_err();
        assert!(said.contains("refused"), "{said}");
    }

    #[test]
    fn every_host_of_the_connection_string_is_a_way() {
        let port = answering(b"S");
        let free = standin_testkit::free_ports(1)[0];
        let url = format!("host=127.0.0.1,no.such.host.invalid port={port},{free} user=u");
        let ways = ways(&OriginConfig::postgres(&url));
        assert!(matches!(ways[0].answered, Ok(WayAnswer::Postgres(_))), "{ways:?}");
        let said = ways[1].answered.clone().unwrap_err();
        assert!(said.contains("resolved"), "{said}");
    }

    #[test]
    fn a_file_of_sqlite_must_be_possible() {
        let scratch = Scratch::new("doctor-sqlite");
        let of = |path: &Path| ways(&OriginConfig::sqlite(path))[0].answered.clone();
        assert_eq!(of(&scratch.file("new.sqlite")), Ok(WayAnswer::Writable));
        assert!(of(&scratch.file("none").join("x")).is_err());
        assert_eq!(of(scratch.path()).unwrap_err(), "it is no regular file");
    }
}
