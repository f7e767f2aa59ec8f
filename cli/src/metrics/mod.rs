//! The site of a role's metrics. document.rs writes docs/METRICS.md, of which a test sees that it is up to
//! date.

#[cfg(test)]
mod document;

use std::error::Error;

use standin_metrics::{Endpoint, Group, metrics, process};
use standin_protocol::counters::{Sample, samples as samples_of};
use standin_protocol::time::Micros;
use standin_tls::InUse;
use tracing::info;

use crate::port::Port;

/// The prefix of the figures of servers.
pub(crate) const SERVER: &str = process::PREFIX;
/// The prefix of the figures of the master.
pub(crate) const MASTER: &str = "standin_master";
/// The prefix of the figures of proxies.
pub(crate) const PROXY: &str = "standin_proxy";

standin_protocol::counters! {
    /// The certificates of the process.
    pub(crate) struct CertificateFigures by ["use", "whose"] {
        /// Unix time at which certificates in use expire: at the `ports`, at the port of `http`, or in `calls` of
        /// other members. The process' `own`: of a chain, the first that expires. Those of its `authorities`, by
        /// which it verifies the other side's: the last that expires.
        Gauge tls_certificate_expires_timestamp_ms,
    }
}

fn certificate_samples(in_use: &InUse) -> Vec<Sample> {
    let figures = in_use.expiries().flat_map(|(what, whose, expires_s)| {
        let tls_certificate_expires_timestamp_ms = expires_s.saturating_mul(1_000);
        let values = CertificateFigures { tls_certificate_expires_timestamp_ms }.values();
        samples_of(CertificateFigures::FIGURES, values, &[what, whose]).collect::<Vec<_>>()
    });
    figures.collect()
}

/// Serves the figures of a role. Dropping what this returns ends it.
pub(crate) fn serve(
    port: Port,
    (prefix, role): (&'static str, &'static str),
    certificates: InUse,
    samples: impl Fn(Micros) -> Vec<Sample> + Send + Sync + 'static,
) -> Result<Option<Endpoint>, Box<dyn Error>> {
    let source = move || {
        let mut groups = vec![Group { prefix, samples: samples(Micros::boottime()) }];
        groups.extend(process::groups(role));
        let samples = certificate_samples(&certificates);
        groups.push(Group { prefix: process::PREFIX, samples });
        groups
    };
    let endpoint = port.serve(|| Ok(metrics(Box::new(source))))?;
    if let Some(endpoint) = &endpoint {
        info!(address = %endpoint.address(), "metrics are at /metrics");
    }
    Ok(endpoint)
}
