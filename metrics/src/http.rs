//! The port: a thread that answers GET with what a site gives. It works for one caller at a time, and what
//! callers can make it keep is bounded: their number, the bytes of a request's head, and the time for all of
//! a connection. There is one request for each connection, and its body is not read.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, ALLOW, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, ORIGIN,
    WWW_AUTHENTICATE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use standin_protocol::bind::patiently;
use standin_protocol::time::Micros;
use standin_tls::{Acceptor, Failure, is_hello};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle as Task;
use tokio_rustls::TlsAcceptor;
use tracing::{error, warn};

use crate::guard;
use crate::mishaps::Mishaps;

/// The largest number of connections. One more closes the oldest.
const CONNECTIONS_MAX: usize = 8;
/// The number of files and sockets that an endpoint needs: the connections, one that is being accepted, the
/// listener, two of the event loop, and a file of `/proc`.
pub const DESCRIPTORS: u64 = CONNECTIONS_MAX as u64 + 6;
/// The longest time that a connection has for everything.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// The part of it that a caller has for the head of its request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest head of a request, in bytes; the smallest that the library takes.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// The largest number of header lines.
const HEADERS_MAX: usize = 64;
/// The pause after a failure to accept, which most likely means that no descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The answer to a caller without TLS on a port that has to have it.
const HTTPS_ONLY: &str = "this port takes HTTPS only\n";
/// The answer to a caller with TLS on a port that has none, which sees that it is no TLS.
const NO_HTTPS: &str = "this port has no HTTPS\n";

/// What a caller wants.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'r> {
    /// The path, which begins with `/`.
    pub path: &'r str,
    /// The header `Accept`.
    pub accept: Option<&'r str>,
}

/// The end of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// There it is.
    Ok,
    /// There is nothing at this path.
    NotFound,
    /// There is nothing yet.
    NotYet,
}

/// An answer to a caller.
#[derive(Debug, Clone)]
pub struct Answer {
    status: Status,
    content_type: &'static str,
    body: Bytes,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Answer {
    /// Creates an answer with this body.
    #[must_use]
    pub fn new(status: Status, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status, content_type, body: body.into(), headers: Vec::new() }
    }

    /// Returns it with another header.
    ///
    /// # Panics
    /// If the name or the value can't be one, which is a bug: neither comes from outside.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("a value of this program's own");
        self.headers.push((HeaderName::from_static(name), value));
        self
    }
}

/// Gives the answers of a port. It is called on the port's thread.
pub type Site = Box<dyn Fn(&Asked<'_>) -> Answer + Send + Sync>;

/// Says whether this user with this password may ask.
pub type Admit = Box<dyn Fn(&[u8], &[u8]) -> bool + Send + Sync>;

/// The address can't be listened on.
#[derive(Debug, thiserror::Error)]
#[error(
    "can't listen on {address} for `{key}`: {source}; `{key}` must be an address of this machine, \
     with a port that is free and that this user may use"
)]
pub struct BindError {
    address: SocketAddr,
    key: &'static str,
    source: io::Error,
}

impl BindError {
    /// Whether another socket has the address.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }
}

/// An address that is listened on. Callers wait until it is [served](Listener::serve).
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    name: &'static str,
    is_guarded: bool,
    tls: Option<Arc<Acceptor>>,
}

impl Listener {
    /// Listens on this address. The key of the file that names it is also the name of its thread.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(address: SocketAddr, key: &'static str) -> Result<Self, BindError> {
        let failed = |source| BindError { address, key, source };
        let socket = patiently(|| TcpListener::bind(address)).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, address, name: key, is_guarded: false, tls: None })
    }

    /// Returns why this process can't listen on an address, whether or not another one does.
    #[must_use]
    pub fn check(address: SocketAddr, key: &'static str) -> Option<BindError> {
        TcpListener::bind(address).err().map(|source| BindError { address, key, source })
    }

    /// Returns it for a site that browsers show: requests of other sites' pages are refused.
    #[must_use]
    pub fn for_browsers(self) -> Self {
        Self { is_guarded: true, ..self }
    }

    /// Returns it for callers with TLS, and no others.
    #[must_use]
    pub fn with_tls(self, tls: Arc<Acceptor>) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Starts the thread that answers with what the site gives. With `admit`, callers must name
    /// themselves.
    ///
    /// # Errors
    /// The system refuses the thread or its descriptors.
    pub fn serve(self, site: Site, admit: Option<Admit>) -> io::Result<Endpoint> {
        self.socket.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let Self { socket, address, name, is_guarded, tls } = self;
        let ends = Arc::new(Notify::new());
        let until = Arc::clone(&ends);
        let has_tls = tls.is_some();
        let port =
            Arc::new(Port { name, site, admit, is_guarded, tls, mishaps: Mishaps::new(name) });
        let body = move || {
            runtime.block_on(async {
                tokio::select! {
                    ended = accept(socket, Arc::clone(&port)) => {
                        if let Err(error) = ended {
                            error!(%error, "the port of `{name}` can't be used any more");
                        }
                    }
                    () = port.mishaps.keep_telling() => {}
                    () = until.notified() => {}
                }
                port.mishaps.tell(Micros::NEVER);
            });
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body)?;
        Ok(Endpoint { address, has_tls, name, ends, thread: Some(thread) })
    }
}

/// A port that is served. Dropping it ends the thread and its connections.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    has_tls: bool,
    name: &'static str,
    ends: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl Endpoint {
    /// Returns the address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether callers need TLS.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.has_tls
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.ends.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the thread `{}` panicked", self.name);
        }
    }
}

/// What the answers are made of.
struct Port {
    name: &'static str,
    site: Site,
    admit: Option<Admit>,
    is_guarded: bool,
    tls: Option<Arc<Acceptor>>,
    mishaps: Mishaps,
}

async fn accept(socket: TcpListener, port: Arc<Port>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(socket)?;
    let mut connections: VecDeque<Task<()>> = VecDeque::new();
    let mut is_failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                is_failing = false;
                connections.retain(|connection| !connection.is_finished());
                if connections.len() == CONNECTIONS_MAX
                    && let Some(oldest) = connections.pop_front()
                {
                    oldest.abort();
                }
                connections.push_back(tokio::spawn(connection(
                    stream,
                    from.ip(),
                    Arc::clone(&port),
                )));
            }
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    let name = port.name;
                    warn!(%error, "a caller of `{name}` can't be accepted; trying again");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, from: IpAddr, port: Arc<Port>) {
    // An error concerns the other side, which has left, is too slow, or does not speak HTTP.
    let _ =
        tokio::time::timeout(CONNECTION_TIMEOUT, secure(stream, from.to_canonical(), &port)).await;
}

/// Answers, without TLS, a caller that has TLS where there is none, or the reverse.
async fn turn_away(mut stream: TcpStream, text: &str) {
    let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close";
    let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{text}", text.len());
    let _ = stream.write_all(answer.as_bytes()).await;
    // It has to have read the answer when the connection is closed.
    let _ = stream.shutdown().await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
}

/// Serves a caller if it speaks TLS where that is wanted, and nowhere else.
async fn secure(stream: TcpStream, from: IpAddr, port: &Port) {
    let mut first = [0];
    let begins = tokio::time::timeout(HEAD_TIMEOUT, stream.peek(&mut first)).await;
    let Ok(Ok(bytes)) = begins else { return };
    match (&port.tls, is_hello(&first[..bytes])) {
        (None, false) => serve(stream, from, port).await,
        (None, true) => {
            port.mishaps.tls_failed(from, Failure::Unexpected);
            turn_away(stream, NO_HTTPS).await;
        }
        (Some(_), false) if bytes == 0 => {}
        (Some(_), false) => {
            port.mishaps.tls_failed(from, Failure::Plain);
            turn_away(stream, HTTPS_ONLY).await;
        }
        (Some(tls), true) => {
            let accept = TlsAcceptor::from(tls.config()).accept(stream);
            match tokio::time::timeout(HEAD_TIMEOUT, accept).await {
                Ok(Ok(stream)) => serve(stream, from, port).await,
                Ok(Err(error)) => port.mishaps.tls_failed(from, Failure::of_io(&error)),
                Err(_) => {}
            }
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, from: IpAddr, port: &Port) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = port.answer(&request, from);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let _ = served.await;
}

impl Port {
    fn answer(&self, request: &Request<Incoming>, from: IpAddr) -> Response<Full<Bytes>> {
        let header = |name| request.headers().get(name).map(HeaderValue::as_bytes);
        let has_passwords = self.admit.is_some();
        if self.is_guarded && !guard::is_welcome(header(HOST), header(ORIGIN), has_passwords) {
            let text = "this port is for pages of its own; use its IP address, or localhost\n";
            return said(StatusCode::FORBIDDEN, text);
        }
        if !self.admits(header(AUTHORIZATION)) {
            // A browser first asks without any.
            if header(AUTHORIZATION).is_some() {
                self.mishaps.login_failed(from);
            }
            let mut refusal = said(StatusCode::UNAUTHORIZED, "give a user and a password\n");
            let challenge = HeaderValue::from_static("Basic realm=\"standin\"");
            refusal.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            return refusal;
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let mut refusal = said(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        let accept = header(ACCEPT).and_then(|accept| std::str::from_utf8(accept).ok());
        let asked = Asked { path: request.uri().path(), accept };
        match catch_unwind(AssertUnwindSafe(|| (self.site)(&asked))) {
            Ok(answer) => answer.into(),
            Err(_) => {
                error!("answering a caller of `{}` panicked", self.name);
                said(StatusCode::INTERNAL_SERVER_ERROR, "a bug; see the log\n")
            }
        }
    }

    /// Whether a caller with this `Authorization` may ask.
    fn admits(&self, authorization: Option<&[u8]>) -> bool {
        let Some(admit) = &self.admit else { return true };
        let credentials = || {
            let (scheme, encoded) = authorization?.split_at_checked("Basic ".len())?;
            let decoded = BASE64_STANDARD.decode(encoded.trim_ascii()).ok()?;
            let colon = decoded.iter().position(|byte| *byte == b':')?;
            let (user, password) = (decoded[..colon].to_vec(), decoded[colon + 1..].to_vec());
            scheme.eq_ignore_ascii_case(b"Basic ").then_some((user, password))
        };
        credentials().is_some_and(|(user, password)| admit(&user, &password))
    }
}

impl From<Answer> for Response<Full<Bytes>> {
    fn from(answer: Answer) -> Self {
        let mut response = Self::new(Full::from(answer.body));
        *response.status_mut() = match answer.status {
            Status::Ok => StatusCode::OK,
            Status::NotFound => StatusCode::NOT_FOUND,
            Status::NotYet => StatusCode::SERVICE_UNAVAILABLE,
        };
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
        headers.extend(answer.headers);
        response
    }
}

fn said(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
