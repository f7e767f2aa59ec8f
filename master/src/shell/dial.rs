//! A TCP connection to a server: HELLO, then one request at a time.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use standin_protocol::auth::ClusterKey;
use standin_protocol::frame::{Opcode, Request, RequestHeader, Response, Status};
use standin_protocol::handshake::{Caller, Credential, Next};
use standin_protocol::hello::{HelloBody, HelloReply};

use crate::machine::ProbeFailure;
use crate::shell::Shell;
use crate::shell::stream::Stream;

/// A connection to a server.
pub(crate) struct Dial {
    stream: Stream,
    input: Vec<u8>,
    last_request_id: u32,
}

impl Dial {
    /// Connects. The caller limits the time.
    pub(crate) async fn connect(address: SocketAddr, shell: &Shell) -> Result<Self, ProbeFailure> {
        let not_tried = |_| ProbeFailure::NotTried;
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).map_err(not_tried)?;
        socket.set_nonblocking(true).map_err(not_tried)?;
        // A small request must not wait for more bytes. If this call fails, requests only take
        // longer.
        let _ = socket.set_tcp_nodelay(true);
        match socket.connect(&address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(failure_of(&error)),
        }
        let mut stream = Stream::new(TcpStream::from(socket), &shell.streams).map_err(not_tried)?;
        stream.connected().await.map_err(|error| failure_of(&error))?;
        let mut input = Vec::new();
        if let Some(tls) = &shell.tls_calls {
            let secured = stream.secure(tls.connect(address), &mut input).await;
            secured.map_err(|error| {
                if error.kind() == ErrorKind::InvalidData {
                    shell.mishaps.tls_to_failed(address, &error);
                }
                failure_of(&error)
            })?;
        }
        Ok(Self { stream, input, last_request_id: 0 })
    }

    /// Sends the HELLO, with a proof if the server demands one.
    pub(crate) async fn hello(
        &mut self,
        body: HelloBody,
        key: Option<&ClusterKey>,
    ) -> Result<HelloReply, ProbeFailure> {
        let mut handshake = Caller::new(body, key.cloned().map(Credential::Key));
        let mut hello = handshake.hello().to_vec();
        loop {
            let (status, value) = self.exchange(Opcode::Hello, &hello).await?;
            match handshake.answered(status, 0, &value)? {
                Next::Ready(reply) => return Ok(reply),
                Next::Prove(proof) => hello = proof,
            }
        }
    }

    /// Sends a request without a key, and waits for its answer.
    pub(crate) async fn exchange(
        &mut self,
        opcode: Opcode,
        value: &[u8],
    ) -> Result<(Status, Vec<u8>), ProbeFailure> {
        self.last_request_id += 1;
        let header = RequestHeader::new(opcode, 0, self.last_request_id);
        let mut bytes = Vec::new();
        Request::write(header, &[], value, &mut bytes);
        self.stream.write_all(&bytes).await.map_err(|error| failure_of(&error))?;
        loop {
            if let Some(response) =
                Response::parse(&self.input).map_err(|_| ProbeFailure::Nonsense)?
            {
                if response.header.request_id != self.last_request_id {
                    return Err(ProbeFailure::Nonsense);
                }
                let answer = (response.status, response.value.to_vec());
                let used = response.header.frame_bytes();
                self.input.drain(..used);
                return Ok(answer);
            }
            let read = self.stream.read_into(&mut self.input).await;
            read.map_err(|error| failure_of(&error))?;
        }
    }
}

fn failure_of(error: &io::Error) -> ProbeFailure {
    match error.kind() {
        ErrorKind::ConnectionRefused => ProbeFailure::Refused,
        ErrorKind::TimedOut => ProbeFailure::Timeout,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
            ProbeFailure::Unreachable
        }
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::NotConnected => ProbeFailure::Closed,
        // A certificate that is not trusted, on either side, says nothing of whether the server lives.
        // Lack of descriptors, ports, memory or permissions is a problem of this machine.
        _ => ProbeFailure::NotTried,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_some_errors_are_evidence_against_the_server() {
        for (errno, failure) in [
            (Errno::CONNREFUSED, ProbeFailure::Refused),
            (Errno::TIMEDOUT, ProbeFailure::Timeout),
            (Errno::HOSTUNREACH, ProbeFailure::Unreachable),
            (Errno::NETUNREACH, ProbeFailure::Unreachable),
            (Errno::NETDOWN, ProbeFailure::Unreachable),
            (Errno::CONNRESET, ProbeFailure::Closed),
            (Errno::CONNABORTED, ProbeFailure::Closed),
            (Errno::PIPE, ProbeFailure::Closed),
            (Errno::NOTCONN, ProbeFailure::Closed),
            (Errno::MFILE, ProbeFailure::NotTried),
            (Errno::ADDRNOTAVAIL, ProbeFailure::NotTried),
        ] {
            assert_eq!(failure_of(&errno.into()), failure, "{errno}");
        }
    }
}
