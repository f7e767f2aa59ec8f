//! SIGHUP: a role reads its file again, takes over what can change while it runs, and says in the log what has
//! changed and what needs a restart. A file with a mistake changes nothing.

use std::path::PathBuf;
use std::sync::Arc;

use standin_config::{CheckedProxy, ClusterConfig, LogLevel, ProxyConfig};
use standin_master::Reloader;
use standin_proxy::Proxy;
use standin_server::Server;
use standin_tls::{Acceptor, TlsError};
use tracing::{error, info, warn};

use crate::ConfigArg;
use crate::diagnostics::Diagnostics;
use crate::port::PasswordFile;

/// The cluster file of a running server or master.
pub(crate) struct ClusterFile {
    pub(crate) at: ConfigArg,
    /// What it runs with.
    pub(crate) running: ClusterConfig,
    pub(crate) diagnostics: Diagnostics,
}

impl ClusterFile {
    /// Reads the file again, for a server. Returns whether it was taken over.
    pub(crate) fn reload_server(&mut self, server: &Server) -> bool {
        let Some(new) = self.read() else { return false };
        let reload = self.running.reload(&new);
        if let Err(error) = server.reload(&reload.config) {
            return refused(&error.to_string());
        }
        tell_changed(&self.diagnostics, reload.config.log_level, &reload.changed);
        let services = self.running.servers.iter().find(|one| one.address == server.address());
        if services.is_some_and(|own| own.services.iter().any(|port| port.passwords.is_some())) {
            info!("taken over: the password files, for connections from now on");
        }
        tell_certificates(server.reload_tls());
        tell_restart(&reload.needs_restart);
        self.running = reload.config;
        true
    }

    /// Reads the file again, for the master, which takes over secrets and users. Returns whether it was taken over.
    pub(crate) fn reload_master(&mut self, master: &Reloader) -> bool {
        let Some(new) = self.read() else { return false };
        let reload = self.running.reload_of_master(&new);
        master.reload(&reload.config);
        tell_changed(&self.diagnostics, reload.config.log_level, &reload.changed);
        tell_restart(&reload.needs_restart);
        self.running = reload.config;
        true
    }

    fn read(&self) -> Option<ClusterConfig> {
        match self.at.load_for_role() {
            Ok((new, warnings)) => {
                warnings.iter().for_each(|warning| warn!("{warning}"));
                Some(new)
            }
            Err(error) => {
                refused(&error.to_string());
                None
            }
        }
    }
}

/// The file of a running proxy.
pub(crate) struct ProxyFile {
    pub(crate) path: PathBuf,
    /// What it runs with.
    pub(crate) running: ProxyConfig,
    pub(crate) diagnostics: Diagnostics,
}

impl ProxyFile {
    /// Reads the file and the password files again. Returns whether they were taken over.
    pub(crate) fn reload(&mut self, proxy: &Proxy) -> bool {
        let CheckedProxy { config, warnings } = ProxyConfig::check_file(&self.path);
        warnings.iter().for_each(|warning| warn!("{warning}"));
        let new = match config {
            Ok(new) => new,
            Err(error) => return refused(&error.to_string()),
        };
        let (config, changed, needs_restart) = self.running.reload(&new);
        if let Err(error) = proxy.reload(&config) {
            return refused(&error.to_string());
        }
        tell_changed(&self.diagnostics, config.log_level, &changed);
        if config.services.iter().any(|service| service.passwords.is_some()) {
            info!("taken over: the password files, for connections from now on");
        }
        tell_certificates(proxy.reload_tls());
        tell_restart(&needs_restart);
        self.running = config;
        true
    }
}

/// The files of the ports of HTTP, which are read again on SIGHUP: certificates and passwords.
pub(crate) struct HttpFiles {
    tls: Option<Arc<Acceptor>>,
    passwords: Vec<PasswordFile>,
}

impl HttpFiles {
    pub(crate) fn new(
        tls: Option<Arc<Acceptor>>,
        passwords: impl IntoIterator<Item = Option<PasswordFile>>,
    ) -> Self {
        Self { tls, passwords: passwords.into_iter().flatten().collect() }
    }

    /// Reads them again. Of a file with a mistake, what it said before stays.
    pub(crate) fn reload(&self) {
        if let Some(tls) = &self.tls {
            tell_certificates(tls.reload().map(|()| true));
        }
        for file in &self.passwords {
            match file.reload() {
                Ok(()) => info!("taken over: {file}, for requests from now on"),
                Err(error) => error!(
                    "{error}; the passwords of before stay in use: correct the file and send SIGHUP again"
                ),
            }
        }
    }
}

/// Says whether the files of `[tls]` were read again.
pub(crate) fn tell_certificates(reloaded: Result<bool, TlsError>) {
    match reloaded {
        Ok(true) => info!("the files of [tls] have been read again, for new connections"),
        Ok(false) => {}
        Err(error) => warn!(%error, "the certificates of before stay in use"),
    }
}

/// Says why a file was not taken over. Returns that it was not.
fn refused(mistakes: &str) -> bool {
    for mistake in mistakes.lines() {
        error!("{mistake}");
    }
    error!(
        "the file was not taken over, and nothing has changed; correct it and send SIGHUP again"
    );
    false
}

/// Says what was taken over, at the level of the new file.
fn tell_changed(diagnostics: &Diagnostics, level: LogLevel, changed: &[String]) {
    let counts = diagnostics.set_level(level);
    for change in changed {
        info!("taken over: {change}");
        if !counts && change.starts_with("[log]") {
            warn!(
                "the environment variable RUST_LOG says which lines the log has, so `level` does not"
            );
        }
    }
}

fn tell_restart(parts: &[String]) {
    if !parts.is_empty() {
        warn!(
            "{} of the file differ from what this process runs with; restart it for them",
            parts.join(", ")
        );
    }
}
