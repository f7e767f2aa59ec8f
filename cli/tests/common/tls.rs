//! Certificates for a cluster on this machine, and connections to it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError};

use standin_config::{
    ClusterConfig, KernelUse, TlsAuthorities, TlsCalls, TlsConfig, TlsOwn, TlsPort,
};
use standin_testkit::{Authority, Issued, Scratch, read_some};
use standin_tls::{Connector, Tls};

use super::WITHIN;

/// The TLS of clusters, by their names.
static CALLS: Mutex<BTreeMap<String, TlsCalls>> = Mutex::new(BTreeMap::new());

/// Gives the ports of these kinds TLS, with a certificate for 127.0.0.1. Returns its authority, and the folder of
/// the files, which must live as long as the cluster.
pub fn switch_on(config: &mut ClusterConfig, ports: &[TlsPort]) -> (Authority, Scratch) {
    let scratch = Scratch::new(&format!("{}-tls", config.name));
    let authority = Authority::new(scratch.path(), "root");
    let Issued { certificate, key } = authority.issue("server", "IP:127.0.0.1");
    let root = authority.root.certificate.clone();
    let tls = TlsConfig {
        ports: ports.to_vec(),
        cert_file: certificate,
        key_file: key,
        client_ca_file: None,
        kernel: KernelUse::default(),
        is_certificate_enough: false,
        ca_file: ports.contains(&TlsPort::Standin).then_some(root),
        name: None,
    };
    config.tls = Some(tls);
    know(config);
    (authority, scratch)
}

/// Has callers do as the TLS of the ports demands, after a change of that.
pub fn know(config: &mut ClusterConfig) {
    config.tls_calls = config.tls.as_ref().and_then(TlsConfig::calls);
    if let Some(calls) = config.tls_calls.clone() {
        let mut all = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(config.name.clone(), calls);
    }
}

/// Callers of ports that ask for a certificate of an authority.
pub struct Callers {
    right: TlsCalls,
    wrong: [(&'static str, TlsCalls); 2],
}

impl Callers {
    /// All trust this authority, but only one has a certificate of it. New files go to the folder.
    pub fn new(authority: &Authority, folder: &Scratch) -> Self {
        let with = |own: Option<Issued>| TlsCalls {
            authorities: TlsAuthorities::File(authority.root.certificate.clone()),
            name: None,
            own: own.map(|own| TlsOwn { cert_file: own.certificate, key_file: own.key }),
        };
        let stranger = Authority::new(folder.path(), "stranger").issue("visitor", "DNS:client");
        Self {
            right: with(Some(authority.issue("caller", "DNS:client"))),
            wrong: [("no certificate", with(None)), ("a stranger's", with(Some(stranger)))],
        }
    }

    /// Asserts that the answer to this request begins so, and that the others have no byte of one.
    #[track_caller]
    pub fn only_the_right_one_is_answered(
        &self,
        what: &str,
        address: SocketAddr,
        request: &[u8],
        beginning: &[u8],
    ) {
        let said = |calls| {
            let mut stream = Stream::open(address, calls)?;
            stream.exchange(request, beginning)
        };
        let answer = said(&self.right).expect("it answers");
        assert!(answer.starts_with(beginning), "{what}: {}", answer.escape_ascii());
        for (with, calls) in &self.wrong {
            // In TLS 1.3 a caller sends before it is told that its certificate is not taken.
            let error = said(calls).expect_err("it is refused").to_string();
            assert!(error.contains("certificate"), "{what}, {with}: {error}");
        }
    }
}

/// A connection, with TLS if the cluster has it.
pub struct Stream {
    socket: TcpStream,
    tls: Option<Box<Tls>>,
    plain: Vec<u8>,
}

impl Stream {
    /// A connection to a member of the cluster with this name.
    pub fn new(socket: TcpStream, address: SocketAddr, cluster: &str) -> Self {
        let calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner).get(cluster).cloned();
        let connector = calls.map(|calls| Connector::new(&calls).expect("our files"));
        let tls = connector.map(|connector| Box::new(connector.connect(address)));
        Self { socket, tls, plain: Vec::new() }
    }

    /// A connection to an address with this TLS.
    pub fn open(address: SocketAddr, calls: &TlsCalls) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(WITHIN))?;
        let connector = Connector::new(calls).map_err(io::Error::other)?;
        let tls = Some(Box::new(connector.connect(address)));
        Ok(Self { socket, tls, plain: Vec::new() })
    }

    /// Sends a request, and returns what comes until the other side closes, or what is wanted.
    pub fn exchange(&mut self, request: &[u8], wanted: &[u8]) -> io::Result<Vec<u8>> {
        self.write_all(request)?;
        let mut said = Vec::new();
        let mut chunk = [0; 4_096];
        while wanted.is_empty() || !said.windows(wanted.len()).any(|bytes| bytes == wanted) {
            match self.read(&mut chunk)? {
                0 => break,
                count => said.extend_from_slice(&chunk[..count]),
            }
        }
        Ok(said)
    }

    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    fn seal(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return self.socket.write_all(bytes) };
        let mut sending = Vec::new();
        tls.seal(&mut bytes.to_vec(), &mut sending);
        self.socket.write_all(&sending)
    }

    fn receive(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 16 << 10];
        let count = read_some(&mut self.socket, &mut chunk)?;
        if let Some(tls) = &mut self.tls {
            tls.receive(&chunk[..count], &mut self.plain).map_err(io::Error::other)?;
            self.seal(&[])?;
        } else {
            self.plain.extend_from_slice(&chunk[..count]);
        }
        Ok(count)
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.plain.is_empty() {
            if self.receive()? == 0 {
                return Ok(0);
            }
        }
        let count = into.len().min(self.plain.len());
        into[..count].copy_from_slice(&self.plain[..count]);
        self.plain.drain(..count);
        Ok(count)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.seal(&[])?;
        while self.tls.as_ref().is_some_and(|tls| !tls.is_open()) {
            if self.receive()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.seal(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
