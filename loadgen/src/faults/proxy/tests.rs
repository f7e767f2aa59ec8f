//! The proxy before a server that sends everything back.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener as StdListener, TcpStream as StdStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use standin_testkit::wait_until;

use super::*;

const SOON: Duration = Duration::from_secs(20);
/// A delay that no test waits for.
const NEVER: Duration = Duration::from_secs(3_000);

/// An echo server behind a proxy; it ends with its connections.
fn proxied() -> (Proxy, SocketAddr) {
    proxied_within(Limits::USUAL)
}

fn proxied_within(limits: Limits) -> (Proxy, SocketAddr) {
    let echo = StdListener::bind("127.0.0.1:0").unwrap();
    let upstream = echo.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in echo.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut copy = stream.try_clone().unwrap();
                let _ = io::copy(&mut stream, &mut copy);
            });
        }
    });
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (Proxy::run(listener, upstream, 0, true, limits).unwrap(), address)
}

fn connect(address: SocketAddr) -> StdStream {
    let stream = StdStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Sends, and waits for the echo; how long that took.
fn ask(stream: &mut StdStream, bytes: &[u8]) -> io::Result<Duration> {
    let begin = Micros::boottime();
    stream.write_all(bytes)?;
    let mut echo = vec![0; bytes.len()];
    stream.read_exact(&mut echo)?;
    assert_eq!(echo, bytes);
    Ok(Micros::boottime().since(begin))
}

#[test]
fn passes_on_and_delays() {
    let (proxy, address) = proxied();
    let mut stream = connect(address);
    let large = vec![7; 1 << 20];
    let writer = stream.try_clone().unwrap();
    let sending = std::thread::spawn({
        let (mut writer, large) = (writer, large.clone());
        move || writer.write_all(&large).unwrap()
    });
    let mut echo = vec![0; large.len()];
    stream.read_exact(&mut echo).unwrap();
    sending.join().unwrap();
    assert!(echo == large, "a megabyte comes back as it went");

    let delay = Duration::from_millis(120);
    proxy.set(Conduct::Slow(Shape { delay, way: Way::To, ..Shape::default() }));
    assert!(ask(&mut stream, b"slow").unwrap() >= delay);
    proxy.set(Conduct::Pass);
    ask(&mut stream, b"quick").unwrap();
}

#[test]
fn a_stall_keeps_everything() {
    let (proxy, address) = proxied();
    let mut stream = connect(address);
    ask(&mut stream, b"before").unwrap();
    proxy.set(Conduct::Stall(Way::Both));
    stream.write_all(b"during").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(60))).unwrap();
    let mut echo = [0; 6];
    let silent = stream.read_exact(&mut echo).unwrap_err();
    assert!(matches!(silent.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{silent}");
    proxy.set(Conduct::Pass);
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"during");
}

#[test]
fn refusing_resets_old_and_new_connections() {
    let (proxy, address) = proxied();
    let mut stream = connect(address);
    ask(&mut stream, b"before").unwrap();
    proxy.set(Conduct::Refuse);
    let mut byte = [0];
    let ended = stream.read(&mut byte);
    assert!(
        matches!(ended, Err(ref error) if error.kind() == ErrorKind::ConnectionReset),
        "{ended:?}"
    );
    // The reset may come before or after the write.
    assert!(ask(&mut connect(address), b"x").is_err());
    proxy.set(Conduct::Pass);
    ask(&mut connect(address), b"after").unwrap();
}

#[test]
fn what_a_client_has_sent_arrives_although_it_closes() {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let front = StdListener::bind("127.0.0.1:0").unwrap();
    let (upstream, address) = (listener.local_addr().unwrap(), front.local_addr().unwrap());
    let _proxy = Proxy::plain(front, upstream, 0).unwrap();
    connect(address).write_all(&vec![7; 3 << 20]).unwrap();
    let mut bytes = Vec::new();
    listener.accept().unwrap().0.read_to_end(&mut bytes).expect("an end without a reset");
    assert_eq!(bytes.len(), 3 << 20);
}

#[test]
fn counts_what_it_passes_on() {
    let (proxy, address) = proxied();
    let mut stream = connect(address);
    let startup = [&8u32.to_be_bytes()[..], &196_608u32.to_be_bytes()].concat();
    ask(&mut stream, &startup).unwrap();
    ask(&mut stream, b"Q\0\0\0\x16SELECT 1 FROM t;\0\0").unwrap();
    ask(&mut stream, b"Q\0\0\0\x12DELETE FROM t\0").unwrap();
    assert_eq!(proxy.reads()(), 1, "what deletes is none");
    drop(proxy);
    assert!(StdStream::connect(address).is_err(), "gone with its owner");
}

#[test]
fn a_reset_ends_the_connections_that_there_are() {
    let (proxy, address) = proxied();
    let mut stream = connect(address);
    ask(&mut stream, b"before").unwrap();
    proxy.reset();
    let ended = stream.read(&mut [0]);
    let kind = ended.map_err(|error| error.kind());
    assert_eq!(kind, Err(ErrorKind::ConnectionReset));
    ask(&mut connect(address), b"after").unwrap();
}

#[test]
fn a_narrow_line_takes_its_time_and_loses_nothing() {
    let (proxy, address) = proxied();
    let mut stream = connect(address);
    ask(&mut stream, b"before").unwrap();
    let shape = Shape { bytes_per_s: Some(400_000), way: Way::To, ..Shape::default() };
    proxy.set(Conduct::Slow(shape));
    let took = ask(&mut stream, &vec![7; 100_000]).unwrap();
    assert!(took >= Duration::from_millis(240), "{took:?}");
}

#[test]
fn a_stall_of_one_way_lets_the_other_pass() {
    let (proxy, address) = proxied();
    let mut stream = connect(address);
    ask(&mut stream, b"before").unwrap();
    proxy.set(Conduct::Stall(Way::From));
    stream.write_all(b"during").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(60))).unwrap();
    assert!(stream.read(&mut [0]).is_err());
    proxy.set(Conduct::Stall(Way::To));
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut echo = [0; 6];
    stream.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"during", "it had arrived");
}

#[test]
fn what_was_slow_is_not_when_that_ends() {
    let (proxy, address) = proxied();
    let (mut delayed, mut narrow) = (connect(address), connect(address));
    ask(&mut delayed, b"before").unwrap();
    ask(&mut narrow, b"before").unwrap();
    let narrowest = Shape { bytes_per_s: Some(1), ..Shape::default() };
    for shape in [Shape { delay: NEVER, ..Shape::default() }, narrowest] {
        proxy.set(Conduct::Slow(shape));
        for stream in [&mut delayed, &mut narrow] {
            stream.write_all(&[7; 5_000]).unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(60))).unwrap();
            assert!(stream.read(&mut [0]).is_err(), "it waits");
        }
        proxy.set(Conduct::Pass);
        for stream in [&mut delayed, &mut narrow] {
            stream.set_read_timeout(Some(SOON)).unwrap();
            stream.read_exact(&mut [0; 5_000]).unwrap();
        }
    }
    // A line that is narrow again has nothing before this byte.
    proxy.set(Conduct::Slow(Shape { bytes_per_s: Some(5), ..Shape::default() }));
    ask(&mut connect(address), b"x").unwrap();
}

#[test]
fn connections_of_clients_that_gave_up_make_room() {
    let limits = Limits { connections: 4, ..Limits::USUAL };
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let upstream = listener.local_addr().unwrap();
    let (there, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    std::thread::spawn({
        let (there, most) = (Arc::clone(&there), Arc::clone(&most));
        move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let (there, most) = (Arc::clone(&there), Arc::clone(&most));
                std::thread::spawn(move || {
                    let now = there.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    let mut copy = stream.try_clone().unwrap();
                    let _ = io::copy(&mut stream, &mut copy);
                    there.fetch_sub(1, Ordering::SeqCst);
                });
            }
        }
    });
    let front = StdListener::bind("127.0.0.1:0").unwrap();
    let address = front.local_addr().unwrap();
    let proxy = Proxy::run(front, upstream, 0, false, limits).unwrap();
    let mut patient = connect(address);
    ask(&mut patient, b"before").unwrap();
    proxy.set(Conduct::Stall(Way::Both));
    for _ in 0..30 {
        connect(address).write_all(b"impatient").unwrap();
    }
    let mut last = connect(address);
    last.write_all(b"last").unwrap();
    proxy.set(Conduct::Pass);
    last.read_exact(&mut [0; 4]).unwrap();
    ask(&mut patient, b"after").expect("who did not give up keeps the connection");
    // The server may learn of an end after the next beginning.
    let most = most.load(Ordering::SeqCst);
    assert!(most <= 2 * limits.connections, "{most} at a time");
    drop((last, patient));
    wait_until(SOON, "the ends", || there.load(Ordering::SeqCst) == 0);
}

#[test]
fn a_stall_keeps_no_more_than_there_is_room_for_and_loses_nothing() {
    const EACH_BYTES: usize = 12 << 20;
    let limits = Limits { bytes: 2 << 20, bytes_of_one: 1 << 20, ..Limits::USUAL };
    let echo = StdListener::bind("127.0.0.1:0").unwrap();
    let upstream = echo.local_addr().unwrap();
    let front = StdListener::bind("127.0.0.1:0").unwrap();
    let address = front.local_addr().unwrap();
    let proxy = Proxy::run(front, upstream, 0, false, limits).unwrap();
    proxy.set(Conduct::Stall(Way::To));
    let clients = 6;
    let writers: Vec<_> = (0..clients)
        .map(|_| {
            let mut stream = connect(address);
            std::thread::spawn(move || {
                stream.write_all(&vec![7; EACH_BYTES]).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                stream
            })
        })
        .collect();
    let room = &proxy.rooms[Direction::Up as usize];
    wait_until(SOON, "the room to be full", || room.waiting() >= limits.bytes);
    let beyond = limits.bytes + clients * 2 * bounds::CHUNK_BYTES;
    for _ in 0..50 {
        assert!(room.waiting() <= beyond, "{} bytes", room.waiting());
        std::thread::yield_now();
    }
    proxy.set(Conduct::Pass);
    // One after the other: those that nobody reads must not hold up the one that is read.
    for stream in echo.incoming().take(clients) {
        let mut stream = stream.unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), EACH_BYTES);
    }
    writers.into_iter().for_each(|writer| drop(writer.join().unwrap()));
    wait_until(SOON, "nothing to wait", || room.waiting() == 0);
}
