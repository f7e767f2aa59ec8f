//! The site of a role's metrics. document.rs writes docs/METRICS.md, of which a test sees that it is up to
//! date.

#[cfg(test)]
mod document;

use std::error::Error;

use standin_metrics::{Endpoint, Group, metrics, process};
use standin_protocol::counters::Sample;
use standin_protocol::time::Micros;
use tracing::info;

use crate::port::Port;

/// The prefix of the figures of servers.
pub(crate) const SERVER: &str = process::PREFIX;
/// The prefix of the figures of the master.
pub(crate) const MASTER: &str = "standin_master";
/// The prefix of the figures of proxies.
pub(crate) const PROXY: &str = "standin_proxy";

/// Serves the figures of a role. Dropping what this returns ends it.
pub(crate) fn serve(
    port: Port,
    prefix: &'static str,
    role: &'static str,
    samples: impl Fn(Micros) -> Vec<Sample> + Send + Sync + 'static,
) -> Result<Option<Endpoint>, Box<dyn Error>> {
    let source = move || {
        let mut groups = vec![Group { prefix, samples: samples(Micros::boottime()) }];
        groups.extend(process::groups(role));
        groups
    };
    let endpoint = port.serve(|| Ok(metrics(Box::new(source))))?;
    if let Some(endpoint) = &endpoint {
        info!(address = %endpoint.address(), "metrics are at /metrics");
    }
    Ok(endpoint)
}
