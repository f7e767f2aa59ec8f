//! A [`FakeCache`] behind a socket, for tests of whole runs.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::fake_cache::{FakeCache, Planted, Speaks};

/// Serves until it is dropped.
#[derive(Debug)]
pub struct FakeServer {
    address: SocketAddr,
    cache: Arc<Mutex<FakeCache>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FakeServer {
    /// A cache on a port of its own.
    ///
    /// # Panics
    /// If no port can be bound.
    #[must_use]
    pub fn new(speaks: Speaks, planted: Planted) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let cache = Arc::new(Mutex::new(FakeCache::new(speaks, planted)));
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, served) = (Arc::clone(&is_over), Arc::clone(&cache));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let cache = Arc::clone(&served);
                // It ends when its client closes.
                std::thread::spawn(move || serve(stream, &cache));
            }
        });
        Self { address, cache, is_over, thread: Some(thread) }
    }

    /// A memcached without a mistake.
    #[must_use]
    pub fn memcached() -> Self {
        Self::new(Speaks::Text, Planted::Nothing)
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a memcached as a target.
    #[must_use]
    pub fn url(&self) -> String {
        format!("memcached://{}", self.address)
    }

    /// The number of mistakes that its cache has made.
    ///
    /// # Panics
    /// If a command has made one of its threads panic.
    #[must_use]
    pub fn mistakes(&self) -> u64 {
        self.cache.lock().expect("no thread panics").mistakes()
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes it up.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(mut stream: TcpStream, cache: &Mutex<FakeCache>) {
    let (mut input, mut output, mut buffer) = (Vec::new(), Vec::new(), vec![0; 1 << 16]);
    let _ = stream.set_nodelay(true);
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        input.extend_from_slice(&buffer[..read]);
        cache.lock().expect("no thread panics").answer(&mut input, &mut output);
        if stream.write_all(&output).is_err() {
            return;
        }
        output.clear();
    }
}
