//! `standin server`, `standin master` and `standin proxy`: run a role until a signal stops it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use standin_config::{
    CheckedProxy, ClusterConfig, DASHBOARD, IoKind, METRICS, Mistake, ProxyConfig,
};
use standin_master::{Master, MasterOptions};
use standin_proxy::Proxy;
use standin_server::Server;
use standin_server::shard::LoopError;
use standin_tls::{Acceptor, InUse};
use tracing::{error, info, warn};

use crate::diagnostics::{Diagnostics, LogArgs};
use crate::events::EventFile;
use crate::metrics;
use crate::port::{self, Port};
use crate::reload::{ClusterFile, HttpFiles, ProxyFile, tell_certificates};
use crate::signals::{self, Asked, RoleSignals, THREAD_DIED};
use crate::{ConfigArg, Ended, dashboard, service, watch};

/// `standin server`.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Name of this server in the cluster file.
    #[arg(long)]
    name: String,
    #[command(flatten)]
    log: LogArgs,
}

/// `standin master`.
#[derive(Debug, Args)]
pub(crate) struct MasterArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Append each change of a server's state to this file, one JSON object per line. SIGHUP
    /// reopens it.
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// Also append every report, probe and acknowledgement. These keep coming while nothing
    /// changes.
    #[arg(long, requires = "events")]
    all_events: bool,
    #[command(flatten)]
    log: LogArgs,
}

/// `standin proxy`.
#[derive(Debug, Args)]
pub(crate) struct ProxyArgs {
    /// The file of the proxy: where it listens, and some servers of the cluster.
    #[arg(long, short, default_value = "proxy.toml", value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    log: LogArgs,
}

pub(crate) fn server(args: &ServerArgs) -> Ended {
    // Registered first, so that a signal during the start is not lost.
    let mut signals = RoleSignals::listen()?;
    let (cluster, warnings) = args.config.load_for_role()?;
    let cluster = Arc::new(cluster);
    // This is in force from here on, because the start may hang in the database or on a disk.
    signals.bound_stop(cluster.timings.drain_timeout)?;
    let diagnostics = Diagnostics::start(&args.log, &args.name, cluster.log_level)?;
    log_warnings(&warnings);
    let run = AssertUnwindSafe(|| run_server(args, cluster, &diagnostics, &mut signals));
    catch_unwind(run).unwrap_or_else(|_| signals::end_without("main"))
}

fn run_server(
    args: &ServerArgs,
    cluster: Arc<ClusterConfig>,
    diagnostics: &Diagnostics,
    signals: &mut RoleSignals,
) -> Ended {
    let drain_timeout = cluster.timings.drain_timeout;
    let lost = Arc::clone(&diagnostics.lost);
    let own = cluster.servers.iter().find(|server| server.name == args.name);
    let https = port::certificates(cluster.tls.as_ref())?;
    let port = Port::bind(METRICS, own.and_then(|own| own.metrics.as_ref()), https.as_ref())?;
    let http = HttpFiles::new(https.clone(), [port.passwords()]);
    let mut file = ClusterFile {
        at: args.config.clone(),
        running: (*cluster).clone(),
        diagnostics: diagnostics.clone(),
    };
    let server = Server::start_counting(cluster, &args.name, lost)?;
    let scrape = server.scrape();
    let samples = move |now| scrape.samples(now);
    let certificates = with_http(server.certificates(), https.as_ref());
    let _metrics =
        metrics::serve(port, (metrics::SERVER, "server"), certificates, samples.clone())?;
    diagnostics.announce(&format!(
        "standin server {} on {} is ready",
        args.name,
        server.address()
    ))?;
    service::ready();
    service::watch(server.address().to_string(), samples)?;
    let reload = |server: &Server| {
        if file.reload_server(server) {
            http.reload();
        }
    };
    run_until_stopped(server, reload, drain_timeout, diagnostics, signals)
}

/// A running role whose threads are watched.
trait Running {
    /// The word for it in a log line.
    const WORD: &'static str;

    /// Returns the thread that has ended unexpectedly, if there is one.
    fn failed_thread(&self) -> Option<String>;

    /// Stops it.
    fn stop(self) -> Result<(), LoopError>;
}

impl Running for Server {
    const WORD: &'static str = "server";

    fn failed_thread(&self) -> Option<String> {
        Self::failed_thread(self)
    }

    fn stop(self) -> Result<(), LoopError> {
        Self::stop(self)
    }
}

impl Running for Proxy {
    const WORD: &'static str = "proxy";

    fn failed_thread(&self) -> Option<String> {
        Self::failed_thread(self)
    }

    fn stop(self) -> Result<(), LoopError> {
        Self::stop(self)
    }
}

/// Adds the certificate of the ports for HTTP.
fn with_http(mut certificates: InUse, https: Option<&Arc<Acceptor>>) -> InUse {
    certificates.ports.extend(https.map(|https| ("http", Arc::clone(https))));
    certificates
}

fn run_until_stopped<R: Running>(
    role: R,
    mut reload: impl FnMut(&R),
    drain_timeout: Duration,
    diagnostics: &Diagnostics,
    signals: &mut RoleSignals,
) -> Ended {
    loop {
        standin_protocol::fault::point();
        match signals.take() {
            Some(Asked::Stop) => {
                service::stopping();
                role.stop()?;
                return Ok(ExitCode::SUCCESS);
            }
            Some(Asked::Reload) => hang_up(diagnostics, None, || reload(&role)),
            None => {}
        }
        if let Some(thread) = role.failed_thread() {
            let word = R::WORD;
            error!("thread {thread} has died and the {word} can't continue without it; stopping");
            signals::bound_this_stop(drain_timeout)?;
            if let Err(error) = role.stop() {
                error!(%error, "a shard failed");
            }
            return Ok(ExitCode::from(THREAD_DIED));
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

pub(crate) fn proxy(args: &ProxyArgs) -> Ended {
    let mut signals = RoleSignals::listen()?;
    let CheckedProxy { config, warnings } = ProxyConfig::check_file(&args.config);
    let config = config?;
    signals.bound_stop(config.timings.drain_timeout)?;
    let diagnostics = Diagnostics::start(&args.log, "proxy", config.log_level)?;
    log_warnings(&warnings);
    let run = AssertUnwindSafe(|| run_proxy(&args.config, &config, &diagnostics, &mut signals));
    catch_unwind(run).unwrap_or_else(|_| signals::end_without("main"))
}

fn run_proxy(
    path: &Path,
    config: &ProxyConfig,
    diagnostics: &Diagnostics,
    signals: &mut RoleSignals,
) -> Ended {
    let https = port::certificates(config.tls.as_ref())?;
    let port = Port::bind(METRICS, config.metrics.as_ref(), https.as_ref())?;
    let http = HttpFiles::new(https.clone(), [port.passwords()]);
    let proxy = Proxy::start(config, Arc::clone(&diagnostics.lost))?;
    let scrape = proxy.scrape();
    let samples = move |now| scrape.samples(now);
    let certificates = with_http(proxy.certificates(), https.as_ref());
    let _metrics = metrics::serve(port, (metrics::PROXY, "proxy"), certificates, samples.clone())?;
    let places: Vec<String> = proxy.places().iter().map(ToString::to_string).collect();
    let places = places.join(" and ");
    diagnostics.announce(&format!("standin proxy on {places} is ready"))?;
    service::ready();
    service::watch(places, samples)?;
    let mut file = ProxyFile {
        path: path.to_owned(),
        running: config.clone(),
        diagnostics: diagnostics.clone(),
    };
    let reload = |proxy: &Proxy| {
        if file.reload(proxy) {
            http.reload();
        }
    };
    run_until_stopped(proxy, reload, config.timings.drain_timeout, diagnostics, signals)
}

pub(crate) fn master(args: &MasterArgs) -> Ended {
    let mut signals = RoleSignals::listen()?;
    let (cluster, warnings) = args.config.load_for_role()?;
    // As for a server: the state file's disk may hang.
    signals.bound_stop(cluster.timings.drain_timeout)?;
    let diagnostics = Diagnostics::start(&args.log, "master", cluster.log_level)?;
    log_warnings(&warnings);
    let events = args.events.as_deref().map(|path| EventFile::open(path, &diagnostics));
    let events = events.transpose()?.map(Arc::new);
    let topology = Arc::new(cluster.topology()?);
    let https = port::certificates(cluster.tls.as_ref())?;
    let of_metrics = Port::bind(METRICS, cluster.master.metrics.as_ref(), https.as_ref())?;
    let of_dashboard = Port::bind(DASHBOARD, cluster.master.dashboard.as_ref(), https.as_ref())?;
    let passwords = [of_metrics.passwords(), of_dashboard.passwords()];
    let http = HttpFiles::new(https.clone(), passwords);
    let (watched, of_master) = watch::events();
    let file = cluster.clone();
    let options = MasterOptions {
        cluster,
        topology: Arc::clone(&topology),
        io: IoKind::Auto,
        log_lines_lost: Arc::clone(&diagnostics.lost),
    };
    let master = Master::bind(options)?;
    let (scrape, certificates) = (master.scrape(), master.certificates());
    let samples = move |now| scrape.samples(now);
    let in_use = with_http(certificates.in_use(), https.as_ref());
    let _metrics =
        metrics::serve(of_metrics, (metrics::MASTER, "master"), in_use, samples.clone())?;
    let _dashboard = dashboard::serve(of_dashboard, &file, &topology, of_master)?;
    diagnostics.announce(&format!("standin master on {} is ready", master.address()))?;
    service::ready();
    service::watch(master.address().to_string(), samples)?;
    let stopper = master.stopper();
    let of_file =
        ClusterFile { at: args.config.clone(), running: file, diagnostics: diagnostics.clone() };
    let of_signals = (diagnostics.clone(), events.clone(), of_file, master.reloader());
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let (diagnostics, events, mut file, reloader) = of_signals;
        let listen = || loop {
            let asked = signals.wait();
            standin_protocol::fault::point();
            match asked {
                Some(Asked::Stop) => return,
                Some(Asked::Reload) => {
                    hang_up(&diagnostics, events.as_deref(), || {
                        if file.reload_master(&reloader) {
                            tell_certificates(certificates.reload());
                            http.reload();
                        }
                    });
                }
                None => {}
            }
        };
        match catch_unwind(AssertUnwindSafe(listen)) {
            Ok(()) => {
                service::stopping();
                stopper.stop();
            }
            Err(_) => signals::end_without("signals"),
        }
    })?;
    let all_events = args.all_events;
    let run = move || {
        master.run(move |event| {
            standin_protocol::fault::point();
            watched.note(event);
            if let Some(file) = &events
                && (all_events || event.is_change())
            {
                file.append(&event, &topology);
            }
        })
    };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(ended) => ended?,
        Err(_) => signals::end_without("main"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Logs what `check-config` warns of, because nobody may have run it.
fn log_warnings(warnings: &[Mistake]) {
    for warning in warnings {
        warn!("{warning}");
    }
}

/// SIGHUP.
fn hang_up(diagnostics: &Diagnostics, events: Option<&EventFile>, reload: impl FnOnce()) {
    service::reloading();
    diagnostics.reopen();
    if let Some(events) = events {
        events.reopen();
    }
    let files = [(diagnostics.has_file, "log"), (events.is_some(), "event")];
    for (_, name) in files.iter().filter(|(is_there, _)| *is_there) {
        info!("the {name} file was reopened");
    }
    reload();
    service::ready();
}
