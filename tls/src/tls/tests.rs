//! Both sides of a connection, without a socket.

use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, RootCertStore, SupportedProtocolVersion};
use standin_config::{KernelUse, TlsCalls, TlsConfig, TlsOwn, TlsPort};
use standin_testkit::{Authority, Scratch};

use super::*;
use crate::kernel::NotTaken;
use crate::{Acceptor, Connector, pem};

struct Pair {
    client: Tls,
    server: Tls,
}

impl Pair {
    fn new(version: &'static SupportedProtocolVersion) -> Self {
        Self::of(version, false)
    }

    /// Sides of which the keys can be taken, or not.
    fn of(version: &'static SupportedProtocolVersion, has_keys: bool) -> Self {
        let scratch = Scratch::new("tls-pair");
        let authority = Authority::new(scratch.path(), "root");
        let own = authority.issue("server", "DNS:here");
        let chain = pem::certificates("cert_file", &own.certificate).expect("a certificate");
        let key = pem::private_key("key_file", &own.key).expect("a key");
        let mut roots = RootCertStore::empty();
        let root = &authority.root.certificate;
        for one in pem::certificates("ca_file", root).expect("a certificate") {
            roots.add(one).expect("an authority");
        }
        let provider = || Arc::new(rustls::crypto::ring::default_provider());
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a pair");
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(roots)
            .with_no_client_auth();
        server.enable_secret_extraction = has_keys;
        client.enable_secret_extraction = has_keys;
        let name = ServerName::try_from("here").expect("a name");
        Self { client: Tls::client(Arc::new(client), name), server: Tls::server(Arc::new(server)) }
    }

    fn open(version: &'static SupportedProtocolVersion) -> Self {
        let mut pair = Self::new(version);
        for _ in 0..4 {
            assert_eq!(pair.ask(&[]).0, Ok(Vec::new()));
            assert_eq!(pair.answer(&[]).0, Ok(Vec::new()));
        }
        assert!(pair.client.is_open() && pair.server.is_open());
        pair
    }

    /// Sends from the client; returns what the server got, and the bytes on the wire.
    fn ask(&mut self, plain: &[u8]) -> (Result<Vec<u8>, Failure>, Vec<u8>) {
        carry(&mut self.client, &mut self.server, plain)
    }

    fn answer(&mut self, plain: &[u8]) -> (Result<Vec<u8>, Failure>, Vec<u8>) {
        carry(&mut self.server, &mut self.client, plain)
    }
}

impl Pair {
    /// Has the client change its key and ask for another of the server.
    fn refresh(&mut self) {
        let Side::Client(client) = &mut self.client.side else { unreachable!() };
        let status = client.process_tls_records(&mut []);
        let Ok(ConnectionState::WriteTraffic(traffic)) = status.state else { panic!("it is open") };
        traffic.refresh_traffic_keys().expect("it is version 1.3");
    }

    fn assert_same_keys(self) {
        let keys = |tls: Tls| tls.into_keys().expect("they are kept, for a known cipher");
        let (server, client) = (keys(self.server), keys(self.client));
        assert!(server.matches(&client), "what one sends the other receives");
    }
}

fn carry(from: &mut Tls, to: &mut Tls, plain: &[u8]) -> (Result<Vec<u8>, Failure>, Vec<u8>) {
    let (mut sending, mut got) = (Vec::new(), Vec::new());
    from.seal(&mut plain.to_vec(), &mut sending);
    (to.receive(&sending, &mut got).map(|()| got), sending)
}

#[test]
fn what_one_side_seals_the_other_receives_and_nobody_can_read_it() {
    for version in [&TLS12, &TLS13] {
        let mut pair = Pair::open(version);
        for bytes in [1, 16 << 10, (16 << 10) + 1, 3 << 20] {
            let plain = vec![0xE7; bytes];
            let (got, sent) = pair.ask(&plain);
            assert_eq!(got.expect("it is right").len(), bytes);
            assert!(!sent.windows(8).any(|eight| eight == [0xE7; 8]), "{bytes}");
            assert_eq!(pair.answer(&plain).0.expect("it is right"), plain);
        }
        assert!(!pair.server.is_inside() && pair.server.outgoing_bytes() == 0);
        assert!(pair.server.incoming.capacity() <= KEPT_BYTES);
    }
}

#[test]
fn a_certificate_that_has_expired_is_named_as_such_on_both_sides() {
    for is_of_server in [true, false] {
        let scratch = Scratch::new("tls-expired");
        let authority = Authority::new(scratch.path(), "root");
        let own = authority.issue("server", "DNS:here");
        let client = authority.issue("client", "DNS:client");
        standin_testkit::expire(&authority, if is_of_server { &own } else { &client });
        let root = authority.root.certificate.clone();
        let ports = TlsConfig {
            ports: vec![TlsPort::Standin],
            cert_file: own.certificate,
            key_file: own.key,
            client_ca_file: Some(root.clone()),
            kernel: KernelUse::default(),
            is_certificate_enough: false,
            ca_file: Some(root),
            name: Some("here".to_owned()),
        };
        let own = TlsOwn { cert_file: client.certificate, key_file: client.key };
        let calls = TlsCalls { own: Some(own), ..ports.calls().expect("it is for callers") };
        let mut pair = Pair {
            client: Connector::new(&calls).expect("files").connect(([127, 0, 0, 1], 1).into()),
            server: Acceptor::new(&ports).expect("files").accept(),
        };
        assert_eq!(pair.ask(&[]).0, Ok(Vec::new()));
        let at_client = pair.answer(&[]).0;
        let at_server = pair.ask(&[]).0;
        let at_client = at_client.and_then(|_| pair.answer(&[]).0);
        let (judge, judged) =
            if is_of_server { (at_client, at_server) } else { (at_server, at_client) };
        let judge = judge.expect_err("it has expired");
        assert!(matches!(judge, Failure::Certificate(_)), "{judge}");
        assert!(judge.to_string().contains("certificate expired"), "{judge}");
        let judged = judged.expect_err("it is told");
        assert_eq!(judged, Failure::Refused(AlertDescription::CertificateExpired));
        assert!(judged.to_string().contains("has expired, by its clock; renew"), "{judged}");
    }
}

#[test]
fn nothing_is_sent_before_the_handshake_is_done() {
    let mut pair = Pair::new(&TLS13);
    let (mut plain, mut sending) = (b"too early".to_vec(), Vec::new());
    pair.client.seal(&mut plain, &mut sending);
    assert!(is_hello(&sending) && !is_hello(b"get a\r\n") && !is_hello(b""));
    assert_eq!(plain, b"too early");
    assert!(!pair.client.can_send(true), "nothing goes before the other side has answered");
    assert!(!sending.windows(9).any(|bytes| bytes == b"too early"));
    pair.client.close(&mut sending);
    assert!(!pair.client.can_close());
}

#[test]
fn new_keys_in_the_middle_of_a_connection_change_nothing() {
    let mut pair = Pair::open(&TLS13);
    for _ in 0..3 {
        pair.refresh();
        assert_eq!(pair.ask(b"after").0, Ok(b"after".to_vec()));
        assert_eq!(pair.answer(b"back").0, Ok(b"back".to_vec()));
    }
}

#[test]
fn the_end_is_told_behind_all_that_was_sealed() {
    let mut pair = Pair::open(&TLS13);
    let (mut sending, mut got) = (Vec::new(), Vec::new());
    pair.server.seal(&mut b"last".to_vec(), &mut sending);
    assert!(pair.server.can_close());
    pair.server.close(&mut sending);
    assert!(!pair.server.can_close() && !pair.server.can_send(true));
    pair.client.receive(&sending, &mut got).expect("it is right");
    assert!(got == b"last" && pair.client.has_ended());
    // What comes behind the end is not read, and takes no memory.
    pair.client.receive(&[0; 1_000], &mut got).expect("it is not looked at");
    assert!(got == b"last" && !pair.client.is_inside());
}

#[test]
fn a_changed_byte_ends_the_connection_and_the_other_side_hears_so() {
    for version in [&TLS12, &TLS13] {
        let mut pair = Pair::open(version);
        let (mut sending, mut got) = (Vec::new(), Vec::new());
        pair.client.seal(&mut b"value".to_vec(), &mut sending);
        let last = sending.len() - 1;
        sending[last] ^= 1;
        let failure = pair.server.receive(&sending, &mut got).expect_err("it was changed");
        assert!(matches!(failure, Failure::Broken(_)) && got.is_empty(), "{failure}");
        assert_eq!(pair.server.receive(b"more", &mut got), Err(failure));
        assert!(!pair.server.is_inside() && pair.server.can_send(false));
        let (heard, _) = pair.answer(b"not sent");
        assert_eq!(heard, Err(Failure::Refused(AlertDescription::BadRecordMac)));
    }
}

#[test]
fn a_caller_without_tls_is_known_by_its_first_byte() {
    let mut pair = Pair::new(&TLS13);
    let mut got = Vec::new();
    assert_eq!(pair.server.receive(b"", &mut got), Ok(()));
    assert_eq!(pair.server.receive(b"get a\r\n", &mut got), Err(Failure::Plain));
    assert!(got.is_empty() && !pair.server.can_send(true));
}

#[test]
fn a_server_without_tls_is_known_by_its_first_byte() {
    let mut pair = Pair::new(&TLS13);
    let mut got = Vec::new();
    assert_eq!(pair.client.receive(b"s\x01 is no record", &mut got), Err(Failure::Plain));
    assert!(got.is_empty());
    // One that has TLS may refuse at once.
    let mut pair = Pair::new(&TLS13);
    let refused = pair.client.receive(&[21, 3, 3, 0, 2, 2, 40], &mut got);
    assert_eq!(refused, Err(Failure::Refused(AlertDescription::HandshakeFailure)));
}

#[test]
fn a_record_that_is_too_large_is_refused_before_it_is_kept() {
    let mut pair = Pair::new(&TLS13);
    let mut got = Vec::new();
    let failure = pair.server.receive(&[22, 3, 1, 0xFF, 0xFF], &mut got);
    assert!(failure.is_err() && pair.server.incoming.capacity() == 0);
    // Messages of a handshake may span records, but not without end.
    let mut pair = Pair::new(&TLS13);
    let record = [&[22, 3, 1, 0x40, 0][..], &[1, 0xFF, 0xFF, 0xFF][..], &[0; 0x3FFC]].concat();
    let mut most = 0;
    for _ in 0..100 {
        if pair.server.receive(&record, &mut got).is_err() {
            break;
        }
        most = most.max(pair.server.incoming.len());
    }
    assert!(pair.server.failure.is_some() && most <= 80 << 10, "{most}");
}

#[test]
fn a_connection_goes_to_the_kernel_between_two_records_and_no_sooner() {
    let kernel = KernelTls::of_all_ciphers();
    let mut pair = Pair::new(&TLS13);
    assert!(!pair.server.can_go_to(&kernel), "it is not open");
    for _ in 0..4 {
        pair.ask(&[]).0.expect("a handshake");
        pair.answer(&[]).0.expect("a handshake");
    }
    assert!(pair.server.can_go_to(&kernel) && !pair.client.can_go_to(&kernel));
    assert_eq!(pair.server.missing_bytes(), Some(0));
    let (mut sending, mut got) = (Vec::new(), Vec::new());
    pair.client.seal(&mut b"a value".to_vec(), &mut sending);
    for (at, byte) in sending.iter().enumerate() {
        pair.server.receive(&[*byte], &mut got).expect("it is right");
        let known = at + 1;
        let missing = match known {
            0..RECORD_HEAD_BYTES => RECORD_HEAD_BYTES - known,
            _ => sending.len() - known,
        };
        assert_eq!(pair.server.missing_bytes(), Some(missing), "after {known} bytes");
    }
    assert_eq!(got, b"a value");
    pair.client.close(&mut sending);
    pair.server.receive(&sending[sending.len() - 24..], &mut got).expect("the end");
    assert!(pair.server.has_ended() && !pair.server.can_go_to(&kernel));
}

#[test]
fn both_sides_give_the_kernel_the_keys_of_the_same_next_record() {
    let mut pair = Pair::of(&TLS13, true);
    for _ in 0..4 {
        pair.ask(b"more").0.expect("it is right");
        pair.answer(b"more").0.expect("it is right");
    }
    pair.assert_same_keys();
}

#[test]
fn a_client_that_asks_for_new_keys_with_the_end_of_the_handshake_is_told_of_them() {
    let kernel = KernelTls::of_all_ciphers();
    let mut pair = Pair::of(&TLS13, true);
    pair.ask(&[]).0.expect("a hello");
    pair.answer(&[]).0.expect("an answer");
    // All of this comes at once.
    let mut sending = Vec::new();
    pair.client.seal(&mut b"before".to_vec(), &mut sending);
    pair.refresh();
    pair.client.seal(&mut b"after".to_vec(), &mut sending);
    let mut got = Vec::new();
    pair.server.receive(&sending, &mut got).expect("it is right");
    assert_eq!(got, b"beforeafter");
    while pair.server.outgoing_bytes() > 0 {
        pair.answer(&[]).0.expect("tickets");
    }
    assert!(pair.server.can_go_to(&kernel));
    assert!(pair.server.outgoing_bytes() > 0, "its key is new, and the client has to hear that");
    pair.answer(&[]).0.expect("a change of keys");
    assert!(pair.server.can_go_to(&kernel));
    assert_eq!(pair.server.outgoing_bytes(), 0, "that is said once");
    pair.assert_same_keys();
}

#[test]
fn a_connection_of_tls_1_2_stays_with_rustls() {
    let mut pair = Pair::open(&TLS12);
    assert!(!pair.server.can_go_to(&KernelTls::of_all_ciphers()));
}

#[test]
fn a_kernel_for_which_no_keys_are_kept_gets_no_more_connections() {
    let kernel = KernelTls::of_all_ciphers();
    let mut pair = Pair::open(&TLS13);
    assert!(pair.server.can_go_to(&kernel));
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let not_taken = kernel.take(&socket, pair.server.into_keys()).expect_err("they are not kept");
    assert!(matches!(not_taken, NotTaken::ForGood(_)), "{not_taken}");
    assert!(!Pair::open(&TLS13).server.can_go_to(&kernel), "the next one stays with rustls");
}
