//! The PostgreSQL of the tests: it answers, stops, pauses, dies and comes back.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::Duration;

use standin_testkit::{Postgres, read_some};

/// Whether the server says anything within `within`. An SSL request is the
/// shortest thing that every PostgreSQL answers, with one byte.
fn answers(port: u16, within: Duration) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    stream.set_read_timeout(Some(within)).expect("a timeout above zero");
    stream
        .write_all(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f])
        .expect("a fresh connection takes 8 bytes");
    match read_some(&mut stream, &mut [0]) {
        Ok(length) => length == 1,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn stops_pauses_dies_and_comes_back_on_the_same_port() {
    let Some(mut postgres) = Postgres::start_or_skip("stops_pauses_dies_and_comes_back") else {
        return;
    };
    let port = postgres.port();
    let soon = Duration::from_secs(10);
    assert!(answers(port, soon));
    assert!(postgres.url().contains(&port.to_string()));
    assert!(postgres.socket_directory().join(format!(".s.PGSQL.{port}")).exists());

    postgres.pause();
    assert!(!answers(port, Duration::from_millis(100)));
    postgres.resume();
    assert!(answers(port, soon));

    postgres.stop();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    postgres.restart();
    assert!(answers(port, soon));

    postgres.kill();
    assert!(!answers(port, soon));
    postgres.restart();
    assert!(answers(port, soon));
}
