//! A scraper: what a process publishes, as a test reads it.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use standin_testkit::wait::poll_for;

use super::WITHIN;

/// The header by which Prometheus asks for OpenMetrics.
pub const OPENMETRICS: &str = "Accept: application/openmetrics-text;version=1.0.0\r\n";

/// What was published at one moment.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// The answer without its head.
    pub text: String,
    series: BTreeMap<String, f64>,
}

impl Metrics {
    /// Asks a process; `None` if it does not answer.
    pub fn scrape(address: SocketAddr, headers: &str) -> Option<Self> {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(WITHIN)).ok()?;
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).ok()?;
        let (head, text) = reply.split_once("\r\n\r\n")?;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let line = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
            Some((series.to_owned(), value))
        };
        let series = text.lines().filter(|line| !line.starts_with('#')).filter_map(line).collect();
        Some(Self { text: text.to_owned(), series })
    }

    /// The sum of the series of this name that have all these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let is_of = |series: &str| {
            let (of, rest) = series.split_once('{').unwrap_or((series, ""));
            of == name && labels.iter().all(|label| rest.contains(label))
        };
        self.series.iter().filter(|(series, _)| is_of(series)).map(|(_, value)| value).sum()
    }

    /// Whether there is such a series.
    pub fn has(&self, name: &str) -> bool {
        self.series.keys().any(|series| series.split('{').next() == Some(name))
    }
}

/// Scrapes until the figures are as wanted.
#[track_caller]
pub fn wait_metrics(
    address: SocketAddr,
    what: &str,
    mut is_so: impl FnMut(&Metrics) -> bool,
) -> Metrics {
    let mut last = Metrics::default();
    let found = poll_for(WITHIN, || {
        last = Metrics::scrape(address, "")?;
        is_so(&last).then(|| last.clone())
    });
    found.unwrap_or_else(|| panic!("{what} does not come about:\n{}", last.text))
}
