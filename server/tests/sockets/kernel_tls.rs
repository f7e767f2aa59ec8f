//! Connections whose TLS the kernel has taken over, on a kernel that can: their ends, new keys, and what comes
//! together with the end of the handshake. tls.rs has what is the same with and without the kernel.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ClientConfig, ClientConnection, RootCertStore, Stream};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};
use standin_config::IoKind;
use standin_testkit::skip::skip;
use standin_testkit::{read_some, wait::wait_until};
use standin_tls::kernel::KernelTls;
use standin_tls::{Failure, Tls, pem};

use crate::fixture::PATIENCE;
use crate::tls::{Caller, Guarded, set, values};

/// If this variable is set to 1, tests that need TLS in the kernel fail where it is unavailable.
const REQUIRE: &str = "STANDIN_REQUIRE_KERNEL_TLS";

/// A server whose connections go to the kernel; `None`, and a line that says so, where it can't take any.
fn guarded(io: IoKind) -> Option<Guarded> {
    match KernelTls::probe() {
        Ok(_) => Some(Guarded::start(io, |config| config.limits.value_bytes = 2 << 20)),
        Err(error) => {
            skip("a test of TLS in the kernel", REQUIRE, &error.to_string());
            None
        }
    }
}

fn client(
    guarded: &Guarded,
    version: &'static SupportedProtocolVersion,
    suites: impl Fn(&SupportedCipherSuite) -> bool,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for one in pem::certificates("root", &guarded.authority.root.certificate).unwrap() {
        roots.add(one).unwrap();
    }
    let mut provider: CryptoProvider = ring::default_provider();
    provider.cipher_suites.retain(suites);
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(&[version]).unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

/// A client that has received all of the handshake, and has sent its own last part not yet.
fn before_its_last_part(guarded: &Guarded) -> (TcpStream, Tls) {
    let mut socket = TcpStream::connect(guarded.address()).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let config = client(guarded, &TLS13, |_| true);
    let mut tls = Tls::client(config, ServerName::from(guarded.address().ip()));
    let mut sending = Vec::new();
    tls.seal(&mut Vec::new(), &mut sending);
    socket.write_all(&sending).unwrap();
    let mut buffer = vec![0; 64 << 10];
    while !tls.is_open() {
        let count = read_some(&mut socket, &mut buffer).unwrap();
        assert!(count > 0, "closed during the handshake");
        tls.receive(&buffer[..count], &mut Vec::new()).unwrap();
    }
    (socket, tls)
}

/// Receives until the other side closes; returns the bytes, and whether it has said that it ends.
fn rest(socket: &mut TcpStream, tls: &mut Tls) -> (Vec<u8>, bool) {
    let (mut plain, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let count = read_some(socket, &mut buffer).unwrap_or(0);
        if count == 0 {
            return (plain, tls.has_ended());
        }
        tls.receive(&buffer[..count], &mut plain).unwrap();
    }
}

/// Receives until the other side closes; returns why it has refused what it got, if it said so, and the number of
/// bytes that it has sent after that.
fn refusal_and_rest(caller: Caller) -> (Option<Failure>, usize) {
    let Caller { mut socket, mut tls, .. } = caller;
    let (mut sent, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let count = read_some(&mut socket, &mut buffer).unwrap_or(0);
        sent.extend_from_slice(&buffer[..count]);
        if count == 0 {
            break;
        }
    }
    let mut rest = &sent[..];
    while let [_, _, _, high, low, ..] = *rest {
        let bytes = 5 + usize::from(u16::from_be_bytes([high, low]));
        let (record, after) = rest.split_at(bytes.min(rest.len()));
        rest = after;
        if let Err(failure) = tls.receive(record, &mut Vec::new()) {
            return (Some(failure), rest.len());
        }
    }
    (None, 0)
}

on_both_loops! {
    fn each_cipher_of_tls_1_3_goes_to_the_kernel_and_tls_1_2_stays(io) {
        let Some(guarded) = guarded(io) else { return };
        let suites = [
            ("AES-128-GCM", CipherSuite::TLS13_AES_128_GCM_SHA256),
            ("AES-256-GCM", CipherSuite::TLS13_AES_256_GCM_SHA384),
            ("ChaCha20-Poly1305", CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
        ];
        let ciphers = KernelTls::probe().unwrap().ciphers();
        let mut in_kernel = 0;
        for (name, suite) in suites {
            in_kernel += u64::from(ciphers.contains(name));
            let config = client(&guarded, &TLS13, |one| one.suite() == suite);
            let mut caller = Caller::connect(guarded.address(), config);
            caller.ask(&set("a", &[5; 40_000]), b"STORED\r\n");
            caller.ask(&b"get a\r\n".repeat(9), &values("a", &[5; 40_000]).repeat(9));
            guarded.wait_counter("tls_in_kernel", in_kernel);
        }
        let config = client(&guarded, &TLS12, |_| true);
        Caller::connect(guarded.address(), config).ask(b"get b\r\n", b"END\r\n");
        guarded.wait_counter("tls_handshakes", 4);
        assert_eq!(guarded.cluster.counter("tls_in_kernel"), in_kernel);
        assert!(in_kernel >= 2, "{ciphers}");
        assert_eq!(guarded.cluster.counter("tls_failures"), 0);
        guarded.cluster.assert_healthy();
    }

    fn what_comes_with_the_end_of_the_handshake_is_served_wherever_it_is_cut(io) {
        let Some(guarded) = guarded(io) else { return };
        let value = [b'v'; 50_000];
        let requests = [&set("k", &value)[..], &b"get k\r\n".repeat(20)].concat();
        let replies = [&b"STORED\r\n"[..], &values("k", &value).repeat(20)].concat();
        // Within the last part of the handshake, in the head of a record, in a record, and behind some.
        for (cut, count) in [20, 74, 76, 80, 1_000, 20_000, 50_100, usize::MAX].into_iter().zip(1..) {
            let (mut socket, mut tls) = before_its_last_part(&guarded);
            let mut sending = Vec::new();
            tls.seal(&mut requests.clone(), &mut sending);
            let cut = cut.min(sending.len());
            socket.write_all(&sending[..cut]).unwrap();
            if cut < sending.len() {
                // The server has taken the first part by the time the second comes, or has not: both have to do.
                let probe = guarded.caller();
                drop(probe);
                socket.write_all(&sending[cut..]).unwrap();
            }
            let (mut got, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
            while got.len() < replies.len() {
                let bytes = read_some(&mut socket, &mut buffer).unwrap();
                assert!(bytes > 0, "closed after {} bytes, cut at {cut}", got.len());
                tls.receive(&buffer[..bytes], &mut got).unwrap();
            }
            assert!(got == replies, "cut at {cut}");
            wait_until(PATIENCE, "all in the kernel", || {
                guarded.cluster.counter("tls_in_kernel") >= count
            });
        }
        assert_eq!(guarded.cluster.counter("tls_failures"), 0);
    }

    fn an_end_is_told_in_both_directions(io) {
        let Some(guarded) = guarded(io) else { return };
        // The client ends: what it has asked before is answered.
        let mut caller = guarded.caller();
        caller.ask(b"get none\r\n", b"END\r\n");
        let mut sending = Vec::new();
        caller.tls.seal(&mut b"get none\r\n".repeat(100), &mut sending);
        caller.tls.close(&mut sending);
        caller.socket.write_all(&sending).unwrap();
        let (got, is_told) = rest(&mut caller.socket, &mut caller.tls);
        assert!(got == b"END\r\n".repeat(100), "{} bytes", got.len());
        assert!(is_told, "the server ends as well");
        // The server ends.
        let mut caller = guarded.caller();
        caller.ask(b"get none\r\n", b"END\r\n");
        caller.send(b"quit\r\n");
        assert_eq!(rest(&mut caller.socket, &mut caller.tls), (Vec::new(), true));
        guarded.wait_counter("tls_in_kernel", 2);
        assert_eq!(guarded.cluster.counter("tls_failures"), 0);
        guarded.cluster.assert_healthy();
    }

    fn a_client_that_ends_its_input_at_once_is_answered(io) {
        // With rustls, too.
        let guarded = Guarded::start(io, |_| {});
        let takes = u64::from(KernelTls::probe().is_ok());
        for end in ["of the socket", "told", "within a record"] {
            let (mut socket, mut tls) = before_its_last_part(&guarded);
            let mut sending = Vec::new();
            tls.seal(&mut b"get none\r\n".to_vec(), &mut sending);
            match end {
                "told" => tls.close(&mut sending),
                "within a record" => {
                    let whole = sending.len();
                    tls.seal(&mut b"get more\r\n".to_vec(), &mut sending);
                    sending.truncate(whole.midpoint(sending.len()));
                }
                _ => {}
            }
            socket.write_all(&sending).unwrap();
            socket.shutdown(Shutdown::Write).unwrap();
            let (got, _) = rest(&mut socket, &mut tls);
            let counters = ["tls_in_kernel", "tls_failures", "connections_dropped"];
            let counters = counters.map(|name| (name, guarded.cluster.counter(name)));
            assert!(got == b"END\r\n", "{}, {end}, {counters:?}", got.escape_ascii());
        }
        // Such a socket was not taken by the kernel, which it takes others of all the same.
        let before = guarded.cluster.counter("tls_in_kernel");
        guarded.caller().ask(b"get none\r\n", b"END\r\n");
        guarded.wait_counter("tls_in_kernel", before + takes);
        assert_eq!(guarded.cluster.counter("tls_failures"), 0);
    }

    fn a_client_that_changes_its_key_is_closed_and_counted(io) {
        let Some(guarded) = guarded(io) else { return };
        let mut socket = TcpStream::connect(guarded.address()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::from(guarded.address().ip());
        let config = client(&guarded, &TLS13, |_| true);
        let mut tls = ClientConnection::new(config, name).unwrap();
        let mut stream = Stream::new(&mut tls, &mut socket);
        let mut reply = [0; 5];
        stream.write_all(b"get a\r\n").unwrap();
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"END\r\n");
        let mut other = guarded.caller();
        other.ask(b"get a\r\n", b"END\r\n");
        // What it asks before, in the same segment, is answered.
        stream.conn.writer().write_all(&b"get a\r\n".repeat(3)).unwrap();
        stream.conn.refresh_traffic_keys().unwrap();
        stream.write_all(b"get a\r\n").unwrap();
        for _ in 0..3 {
            stream.read_exact(&mut reply).unwrap();
            assert_eq!(&reply, b"END\r\n");
        }
        let heard = stream.read_exact(&mut reply).unwrap_err();
        // An end as any other, so that it connects again.
        assert_eq!(heard.kind(), std::io::ErrorKind::UnexpectedEof, "{heard}");
        assert!(!heard.to_string().contains("close_notify"), "the end was told: {heard}");
        guarded.wait_counter("tls_failures", 1);
        other.ask(b"get a\r\n", b"END\r\n");
        guarded.cluster.assert_healthy();
    }

    fn a_client_that_asks_for_new_keys_with_the_end_of_the_handshake_is_served(io) {
        let Some(guarded) = guarded(io) else { return };
        for (count, has_request) in [(1, true), (2, false)] {
            let mut socket = TcpStream::connect(guarded.address()).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let name = ServerName::from(guarded.address().ip());
            let config = client(&guarded, &TLS13, |_| true);
            let mut tls = ClientConnection::new(config, name).unwrap();
            while tls.is_handshaking() {
                while tls.wants_write() {
                    tls.write_tls(&mut socket).unwrap();
                }
                assert!(tls.read_tls(&mut socket).unwrap() > 0, "closed during the handshake");
                tls.process_new_packets().unwrap();
            }
            // Its last part is not sent yet, and goes with all of this.
            if has_request {
                tls.writer().write_all(b"get a\r\n").unwrap();
            }
            tls.refresh_traffic_keys().unwrap();
            tls.writer().write_all(b"get a\r\n").unwrap();
            let mut sending = Vec::new();
            while tls.wants_write() {
                tls.write_tls(&mut sending).unwrap();
            }
            socket.write_all(&sending).unwrap();
            let mut stream = Stream::new(&mut tls, &mut socket);
            let mut reply = [0; 5];
            for _ in 0..1 + usize::from(has_request) {
                stream.read_exact(&mut reply).unwrap();
                assert_eq!(&reply, b"END\r\n");
            }
            // The key is new, and the connection is in the kernel all the same.
            stream.write_all(b"get a\r\n").unwrap();
            stream.read_exact(&mut reply).unwrap();
            assert_eq!(&reply, b"END\r\n");
            guarded.wait_counter("tls_in_kernel", count);
        }
        assert_eq!(guarded.cluster.counter("tls_failures"), 0);
        guarded.cluster.assert_healthy();
    }

    fn bytes_that_are_no_tls_end_the_connection_and_no_other(io) {
        let Some(guarded) = guarded(io) else { return };
        let mut other = guarded.caller();
        other.ask(b"get a\r\n", b"END\r\n");
        let whole = {
            let mut caller = guarded.caller();
            caller.ask(b"get a\r\n", b"END\r\n");
            let mut sending = Vec::new();
            caller.tls.seal(&mut b"get a\r\n".to_vec(), &mut sending);
            sending
        };
        let wrong: [&[u8]; 5] = [
            &whole,
            b"get a\r\nget a\r\n",
            &[23, 3, 3, 0xFF, 0xFF, 1, 2, 3],
            &[23, 9, 9, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[99; 100],
        ];
        let mut alerts = 0;
        for (wrong, count) in wrong.into_iter().zip(1..) {
            let mut caller = guarded.caller();
            caller.ask(b"get a\r\n", b"END\r\n");
            // An answer that is on its way when the other side is refused is not sent after that.
            let mut sending = Vec::new();
            caller.tls.seal(&mut b"get a\r\n".repeat(100), &mut sending);
            sending.extend_from_slice(wrong);
            caller.socket.write_all(&sending).unwrap();
            let (heard, after) = refusal_and_rest(caller);
            assert!(matches!(heard, None | Some(Failure::Refused(_))), "{heard:?}");
            assert_eq!(after, 0, "bytes after a fatal alert");
            alerts += u32::from(heard.is_some());
            guarded.wait_counter("tls_failures", count);
        }
        assert!(alerts > 0, "none was heard");
        other.ask(b"get a\r\n", b"END\r\n");
        guarded.cluster.assert_healthy();
    }

    fn clients_that_vanish_leave_nothing_behind(io) {
        let Some(guarded) = guarded(io) else { return };
        let mut caller = guarded.caller();
        let large = vec![3; 200 << 10];
        caller.ask(&set("large", &large), b"STORED\r\n");
        drop(caller);
        for _ in 0..6 {
            let mut caller = guarded.caller();
            // The kernel has it by the time of the answer.
            caller.ask(b"get none\r\n", b"END\r\n");
            caller.send(&b"get large\r\n".repeat(20));
            // A reset: most of what the server sends is not read.
            drop(caller);
        }
        guarded.wait_counter("tls_in_kernel", 7);
        wait_until(PATIENCE, "no connection is left", || guarded.cluster.counter("connections") == 0);
        wait_until(PATIENCE, "no output is left", || guarded.cluster.counter("output_bytes") == 0);
        guarded.cluster.assert_healthy();
    }
}
