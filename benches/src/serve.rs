//! The processes that a benchmark starts of its own program: the echo, and Standin on one port.

use std::error::Error;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use standin_config::{IoKind, KernelUse, ServiceProtocol, TlsConfig};
use standin_tls::kernel::KernelTls;

use crate::fixture::{self, Port};
use crate::targets::{Certificates, Target};
use crate::{cpu, echo};

/// What a benchmark's program does in a process that it has started itself.
#[derive(Debug, Subcommand)]
pub enum Role {
    /// Serves until killed; the bench starts itself so.
    #[command(hide = true)]
    Serve(Serve),
}

/// The target to be served.
#[derive(Debug, Args)]
pub struct Serve {
    target: String,
    #[arg(long)]
    directory: PathBuf,
    #[arg(long)]
    memory_mib: u64,
    #[arg(long)]
    core: usize,
    /// The folder of the certificates, for a target with TLS.
    #[arg(long)]
    tls: Option<PathBuf>,
    /// Whether the kernel has to encrypt its connections after their handshakes.
    #[arg(long, requires = "tls")]
    kernel_tls: bool,
}

impl Role {
    /// Serves until the process ends.
    ///
    /// # Errors
    /// The target can't start, or has ended.
    pub fn run(&self) -> Result<(), Box<dyn Error>> {
        let Self::Serve(Serve { target, directory, memory_mib, core, tls, kernel_tls }) = self;
        let target = Target::named(target).ok_or_else(|| format!("no target is named {target}"))?;
        let (io, port) = match target {
            Target::StandinUring => (IoKind::Uring, Port::Own),
            Target::StandinEpoll => (IoKind::Epoll, Port::Own),
            Target::StandinMeta | Target::StandinText => {
                (IoKind::Uring, Port::Of(ServiceProtocol::Memcached))
            }
            Target::StandinResp => (IoKind::Uring, Port::Of(ServiceProtocol::Redis)),
            Target::Echo => {
                cpu::pin_self(*core)?;
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
                println!("{}{}", fixture::READY, listener.local_addr()?);
                return Ok(echo::serve(&listener)?);
            }
            Target::Memcached | Target::MemcachedText | Target::Redis | Target::Valkey => {
                return Err(format!("{} is a program of its own", target.name()).into());
            }
        };
        let mut cluster = fixture::cluster(directory, io, memory_mib << 20, *core);
        cluster.tls = tls.as_deref().map(Certificates::ports);
        if let Some(tls) = cluster.tls.as_mut().filter(|_| *kernel_tls) {
            // A server would go on without it, and its figures would be those of rustls.
            KernelTls::probe()?;
            tls.kernel = KernelUse::Auto;
        }
        cluster.tls_calls = cluster.tls.as_ref().and_then(TlsConfig::calls);
        fixture::serve_cluster(cluster, port)
    }
}
