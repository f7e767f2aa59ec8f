//! The port of the metrics of a role: bound before the role starts, served while it runs. document.rs writes
//! docs/METRICS.md, of which a test sees that it is up to date.

#[cfg(test)]
mod document;

use std::error::Error;

use standin_config::{METRICS_DESCRIPTORS, MetricsConfig};
use standin_metrics::{Admit, Endpoint, Group, Listener, process};
use standin_protocol::counters::Sample;
use standin_protocol::time::Micros;
use standin_server::shard::users::{Users, is_open_to_others};
use tracing::info;

/// The prefix of the figures of servers.
pub(crate) const SERVER: &str = process::PREFIX;
/// The prefix of the figures of the master.
pub(crate) const MASTER: &str = "standin_master";
/// The prefix of the figures of proxies.
pub(crate) const PROXY: &str = "standin_proxy";

// The roles reserve them.
const _: () = assert!(standin_metrics::DESCRIPTORS <= METRICS_DESCRIPTORS);

/// A port of metrics that is bound, if the file has one.
pub(crate) struct Port(Option<(Listener, Option<Admit>)>);

impl Port {
    /// Binds the port, and reads who may use it.
    pub(crate) fn bind(config: Option<&MetricsConfig>) -> Result<Self, Box<dyn Error>> {
        let Some(config) = config else { return Ok(Self(None)) };
        let users = config.passwords.as_deref().map(Users::read).transpose()?;
        let admit = users.map(|users| -> Admit {
            Box::new(move |user: &[u8], password: &[u8]| users.admit(user, password))
        });
        Ok(Self(Some((Listener::bind(config.address)?, admit))))
    }

    /// Serves it with the figures of a role. Dropping what this returns ends it.
    pub(crate) fn serve(
        self,
        prefix: &'static str,
        role: &'static str,
        samples: impl Fn(Micros) -> Vec<Sample> + Send + Sync + 'static,
    ) -> Result<Option<Endpoint>, Box<dyn Error>> {
        let Some((listener, admit)) = self.0 else { return Ok(None) };
        let source = move || {
            let mut groups = vec![Group { prefix, samples: samples(Micros::boottime()) }];
            groups.extend(process::groups(role));
            groups
        };
        let endpoint = listener.serve(Box::new(source), admit)?;
        info!(address = %endpoint.address(), "metrics are at /metrics");
        Ok(Some(endpoint))
    }
}

/// Returns the reasons why this process can't serve the port, unless another process has it.
pub(crate) fn refusals(config: Option<&MetricsConfig>) -> Vec<String> {
    let Some(config) = config else { return Vec::new() };
    let users = config.passwords.as_deref().map(Users::read);
    let users = users.and_then(Result::err).map(|error| error.to_string());
    let address = Listener::check(config.address).filter(|error| !error.is_taken());
    users.into_iter().chain(address.map(|error| error.to_string())).collect()
}

/// Returns what is probably a mistake.
pub(crate) fn doubts(config: Option<&MetricsConfig>) -> Option<String> {
    let path = config?.passwords.as_deref()?;
    let mode = is_open_to_others(path)?;
    Some(format!(
        "the password file {} can be read by other users of this machine (mode {mode:03o}); run \
         `chmod 600` on it",
        path.display()
    ))
}
