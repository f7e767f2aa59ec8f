//! TLS on the ports of memcached's and Redis' protocols, with a client whose bytes the test moves: in
//! pieces of any size, half, wrong, or none.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use standin_config::{
    ClusterConfig, IoKind, KernelUse, ServiceConfig, ServiceProtocol, TlsConfig, TlsPort,
};
use standin_protocol::time::Micros;
use standin_testkit::wait::wait_until;
use standin_testkit::{Authority, Issued, Scratch, free_ports, read_some};
use standin_tls::kernel::KernelTls;
use standin_tls::{Failure, Tls, pem};

use crate::fixture::{Cluster, ITEMS, PATIENCE};

/// A server with TLS on its port for memcached, and the files of its certificates.
pub(crate) struct Guarded {
    pub(crate) cluster: Cluster,
    pub(crate) authority: Authority,
    files: TlsConfig,
    _scratch: Scratch,
}

impl Guarded {
    pub(crate) fn start(io: IoKind, change: impl FnOnce(&mut ClusterConfig)) -> Self {
        let scratch = Scratch::new("sockets-tls");
        let authority = Authority::new(scratch.path(), "root");
        let Issued { certificate, key } = authority.issue("server", "IP:127.0.0.1");
        let files = TlsConfig {
            ports: vec![TlsPort::Memcached],
            cert_file: certificate,
            key_file: key,
            client_ca_file: None,
            kernel: KernelUse::Auto,
            is_certificate_enough: false,
            ca_file: None,
            name: None,
        };
        let cluster = Cluster::one(io, |config| {
            config.naming.default_keyspace = Some(ITEMS);
            config.servers[0].shards = 2;
            config.servers[0].services = vec![ServiceConfig {
                protocol: ServiceProtocol::Memcached,
                address: ([127, 0, 0, 1], free_ports(1)[0]).into(),
                passwords: None,
            }];
            config.tls = Some(files.clone());
            change(config);
        });
        Self { cluster, authority, files, _scratch: scratch }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.cluster.config.servers[0].services[0].address
    }

    pub(crate) fn caller(&self) -> Caller {
        self.caller_of(self.address())
    }

    fn caller_of(&self, address: SocketAddr) -> Caller {
        Caller::connect(address, config(&self.authority.root.certificate, None))
    }

    pub(crate) fn wait_counter(&self, name: &str, value: u64) {
        wait_until(PATIENCE, name, || self.cluster.counter(name) == value);
    }
}

pub(crate) fn config(trusted: &Path, own: Option<&Issued>) -> Arc<ClientConfig> {
    let trusted = pem::certificates("root", trusted).unwrap();
    let mut roots = RootCertStore::empty();
    trusted.into_iter().for_each(|one| roots.add(one).unwrap());
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let chain = pem::certificates("own", &own.certificate).unwrap();
            builder
                .with_client_auth_cert(chain, pem::private_key("own", &own.key).unwrap())
                .unwrap()
        }
    })
}

/// A client over a socket.
pub(crate) struct Caller {
    pub(crate) socket: TcpStream,
    pub(crate) tls: Tls,
    pub(crate) plain: Vec<u8>,
    /// The bytes in both directions.
    seen: Vec<u8>,
    /// The largest number of bytes that are sent at once.
    piece: usize,
}

impl Caller {
    pub(crate) fn connect(address: SocketAddr, config: Arc<ClientConfig>) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let tls = Tls::client(config, ServerName::from(address.ip()));
        Self { socket, tls, plain: Vec::new(), seen: Vec::new(), piece: usize::MAX }
    }

    fn in_pieces(self, piece: usize) -> Self {
        Self { piece, ..self }
    }

    pub(crate) fn send(&mut self, plain: &[u8]) {
        let mut sending = Vec::new();
        self.tls.seal(&mut plain.to_vec(), &mut sending);
        self.seen.extend_from_slice(&sending);
        for piece in sending.chunks(self.piece) {
            // The server may have closed the connection.
            if self.socket.write_all(piece).is_err() {
                return;
            }
        }
    }

    /// Receives until there is this many bytes, or the connection is closed.
    pub(crate) fn receive(&mut self, bytes: usize) -> Result<Vec<u8>, Failure> {
        self.send(b"");
        let mut buffer = vec![0; 64 << 10];
        while self.plain.len() < bytes || !self.tls.is_open() {
            let count = read_some(&mut self.socket, &mut buffer).unwrap_or(0);
            if count == 0 {
                break;
            }
            self.seen.extend_from_slice(&buffer[..count]);
            self.tls.receive(&buffer[..count], &mut self.plain)?;
            self.send(b"");
        }
        Ok(std::mem::take(&mut self.plain))
    }

    pub(crate) fn ask(&mut self, request: &[u8], reply: &[u8]) {
        self.receive(0).unwrap();
        self.send(request);
        let got = self.receive(reply.len()).unwrap();
        assert!(got == reply, "{}: {}", request.escape_ascii(), got.escape_ascii());
    }

    /// Asserts that the server closes the connection, and returns why as TLS says it.
    pub(crate) fn closed(mut self) -> Option<Failure> {
        let received = self.receive(usize::MAX);
        received.err()
    }
}

/// The reason why no connection comes about. A server that was stopped for a moment closes all connections
/// without one; then the next has it.
fn refusal(connect: impl Fn() -> Caller) -> Failure {
    const ATTEMPTS: usize = 5;
    (0..ATTEMPTS).find_map(|_| connect().closed()).expect("closed without a reason each time")
}

pub(crate) fn set(key: &str, value: &[u8]) -> Vec<u8> {
    [format!("set {key} 0 0 {}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
}

pub(crate) fn values(key: &str, value: &[u8]) -> Vec<u8> {
    [format!("VALUE {key} 0 {}\r\n", value.len()).as_bytes(), value, b"\r\nEND\r\n"].concat()
}

on_both_loops! {
    fn replies_are_those_of_a_port_without_tls_in_pieces_of_any_size(io) {
        let guarded = Guarded::start(io, |config| config.limits.value_bytes = 2 << 20);
        for (number, piece) in [(0, 1), (1, 7), (2, 1_000), (3, usize::MAX)] {
            let mut caller = guarded.caller().in_pieces(piece);
            let key = format!("key{number}");
            let value = format!("the value {number}").into_bytes();
            caller.ask(&set(&key, &value), b"STORED\r\n");
            // Each connection is of another shard than the last.
            let get = format!("get {key}\r\n").into_bytes();
            caller.ask(&get, &values(&key, &value));
            caller.ask(&get.repeat(500), &values(&key, &value).repeat(500));
            let said = caller.seen.windows(value.len()).any(|bytes| bytes == value);
            assert!(!said, "the value is on the wire as it is");
            assert!(caller.seen.len() > 15_000, "{} bytes were seen", caller.seen.len());
        }
        let mut caller = guarded.caller();
        let large = vec![7; (1 << 20) - 200];
        caller.ask(&set("large", &large), b"STORED\r\n");
        caller.ask(&b"get large\r\n".repeat(8), &values("large", &large).repeat(8));
        drop(caller);
        guarded.wait_counter("tls_handshakes", 5);
        let in_kernel = if KernelTls::probe().is_ok() { 5 } else { 0 };
        assert_eq!(guarded.cluster.counter("tls_in_kernel"), in_kernel);
        assert_eq!(guarded.cluster.counter("tls_failures"), 0);
        guarded.cluster.assert_healthy();
    }

    fn a_handshake_or_record_that_does_not_end_is_cut(io) {
        // Longer than the handshakes of the connections that are to stay take on a busy machine.
        let bound = std::time::Duration::from_secs(1);
        let guarded = Guarded::start(io, |config| {
            config.limits.handshake_timeout = bound;
            // The kernel does not say that a record has begun.
            config.tls.as_mut().unwrap().kernel = KernelUse::Off;
        });
        let mut open = guarded.caller();
        open.ask(b"get none\r\n", b"END\r\n");
        let start = Micros::boottime();
        let silent = TcpStream::connect(guarded.address()).unwrap();
        let mut half = guarded.caller();
        let mut hello = Vec::new();
        half.tls.seal(&mut Vec::new(), &mut hello);
        half.socket.write_all(&hello[..hello.len() / 2]).unwrap();
        let mut inside = guarded.caller();
        inside.ask(b"get none\r\n", b"END\r\n");
        let mut record = Vec::new();
        inside.tls.seal(&mut b"get none\r\n".to_vec(), &mut record);
        inside.socket.write_all(&record[..record.len() - 1]).unwrap();
        for (what, mut socket) in [("silent", silent), ("half", half.socket), ("inside", inside.socket)] {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            // The end of TLS may come before that of the connection.
            assert!(socket.read_to_end(&mut Vec::new()).is_ok(), "{what}");
            let took = Micros::boottime().since(start);
            assert!(took >= bound && took < PATIENCE, "{what}: cut after {took:?}");
        }
        open.ask(b"get none\r\n", b"END\r\n");
        drop(open);
        guarded.cluster.assert_healthy();
    }

    fn what_is_no_tls_is_closed_and_counted(io) {
        let guarded = Guarded::start(io, |_| {});
        let mut plain = TcpStream::connect(guarded.address()).unwrap();
        plain.set_read_timeout(Some(PATIENCE)).unwrap();
        plain.write_all(b"get a\r\n").unwrap();
        let mut said = Vec::new();
        plain.read_to_end(&mut said).unwrap();
        assert_eq!(said, b"SERVER_ERROR this port takes TLS only\r\n");
        let mut garbage = TcpStream::connect(guarded.address()).unwrap();
        garbage.write_all(&[&[22, 3, 1, 0, 200][..], &[0xA5; 200]].concat()).unwrap();
        garbage.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut alert = Vec::new();
        // The kernel resets a connection with bytes that were not read.
        let _ = garbage.read_to_end(&mut alert);
        assert!(alert.first().is_none_or(|kind| *kind == 21), "an alert or nothing: {alert:?}");
        let mut later = guarded.caller();
        later.ask(b"get none\r\n", b"END\r\n");
        later.socket.write_all(&[&[23, 3, 3, 0, 40][..], &[0xA5; 40]].concat()).unwrap();
        assert!(later.closed().is_some(), "an alert");
        guarded.wait_counter("tls_failures", 3);
        guarded.cluster.assert_healthy();
    }

    fn only_callers_with_a_certificate_of_the_right_authority_are_let_in(io) {
        let scratch = Scratch::new("sockets-tls-callers");
        let of_callers = Authority::new(scratch.path(), "callers");
        let other = Authority::new(scratch.path(), "other");
        let guarded = Guarded::start(io, |config| {
            let tls = config.tls.as_mut().unwrap();
            tls.client_ca_file = Some(of_callers.root.certificate.clone());
        });
        let root = &guarded.authority.root.certificate;
        let right = of_callers.issue("right", "DNS:client");
        let connect = |own| Caller::connect(guarded.address(), config(root, own));
        connect(Some(&right)).ask(b"get none\r\n", b"END\r\n");
        for wrong in [None, Some(&other.issue("wrong", "DNS:client"))] {
            let refused = refusal(|| connect(wrong));
            assert!(matches!(refused, Failure::Refused(_)), "{refused:?}");
        }
        guarded.wait_counter("tls_failures", 2);
        assert_eq!(guarded.cluster.counter("tls_handshakes"), 1);
    }

    fn tls_on_a_port_without_it_is_closed_and_hears_what_is_no_tls(io) {
        let guarded = Guarded::start(io, |config| config.tls = None);
        for address in [guarded.address(), guarded.cluster.config.servers[0].address] {
            assert_eq!(refusal(|| guarded.caller_of(address)), Failure::Plain);
        }
        // Some bytes of a hello look like the end of a line.
        let mut caller = TcpStream::connect(guarded.address()).unwrap();
        caller.set_read_timeout(Some(PATIENCE)).unwrap();
        caller.write_all(b"\x16\x03\x01 and\r\nget a\r\n").unwrap();
        let mut said = Vec::new();
        // The kernel resets a connection with bytes that were not read.
        let _ = caller.read_to_end(&mut said);
        assert_eq!(said, b"SERVER_ERROR this port has no TLS\r\n");
        guarded.cluster.assert_healthy();
    }

    fn clients_that_do_not_trust_the_certificate_do_not_connect(io) {
        let scratch = Scratch::new("sockets-tls-other");
        let other = Authority::new(scratch.path(), "other");
        let guarded = Guarded::start(io, |_| {});
        let connect = |trusted| Caller::connect(guarded.address(), config(trusted, None));
        let refused = refusal(|| connect(&other.root.certificate));
        assert!(matches!(refused, Failure::Certificate(_)), "{refused:?}");
        let trusted = &guarded.authority.root.certificate;
        let refused = refusal(|| {
            let name = ServerName::try_from("another.host").unwrap();
            Caller { tls: Tls::client(config(trusted, None), name), ..connect(trusted) }
        });
        assert!(matches!(refused, Failure::Certificate(_)), "{refused:?}");
    }

    fn new_files_are_used_for_new_connections_and_wrong_ones_are_not(io) {
        let guarded = Guarded::start(io, |_| {});
        let (server, files) = (&guarded.cluster.servers[0], &guarded.files);
        let mut before = guarded.caller();
        before.ask(b"get none\r\n", b"END\r\n");
        let scratch = Scratch::new("sockets-tls-new");
        let new = Authority::new(scratch.path(), "new");
        let issued = new.issue("server", "IP:127.0.0.1");
        std::fs::copy(&issued.certificate, &files.cert_file).unwrap();
        let error = server.reload_tls().unwrap_err().to_string();
        assert!(error.contains("give the key of this certificate"), "{error}");
        guarded.caller().ask(b"get none\r\n", b"END\r\n");
        std::fs::copy(&issued.key, &files.key_file).unwrap();
        assert!(server.reload_tls().unwrap());
        let refused = refusal(|| guarded.caller());
        assert!(matches!(refused, Failure::Certificate(_)), "{refused:?}");
        let trusting = config(&new.root.certificate, None);
        Caller::connect(guarded.address(), trusting).ask(b"get none\r\n", b"END\r\n");
        before.ask(b"get none\r\n", b"END\r\n");
    }
}
