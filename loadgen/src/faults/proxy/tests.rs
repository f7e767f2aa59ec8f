//! The proxy before a server that sends everything back.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener as StdListener, TcpStream as StdStream};

use super::*;

/// An echo server behind a proxy; it ends with its connections.
fn proxied() -> (Proxy, SocketAddr) {
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
    (Proxy::start(listener, upstream).unwrap(), address)
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
    proxy.set(Conduct::delayed(delay));
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
fn counts_what_it_passes_on() {
    let (proxy, address) = proxied();
    let mut stream = connect(address);
    let startup = [&8u32.to_be_bytes()[..], &196_608u32.to_be_bytes()].concat();
    ask(&mut stream, &startup).unwrap();
    ask(&mut stream, b"Q\0\0\0\x16SELECT 1 FROM t;\0\0").unwrap();
    ask(&mut stream, b"Q\0\0\0\x12DELETE FROM t\0").unwrap();
    assert_eq!((proxy.calls(Call::Read).len(), proxy.calls(Call::Write).len()), (1, 1));
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
