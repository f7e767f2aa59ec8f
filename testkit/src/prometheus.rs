//! A real Prometheus that scrapes processes of a test and evaluates rules, and its `promtool`.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::child::Child;
use crate::ports::free_ports;
use crate::scratch::Scratch;

/// The time between two scrapes of a target. Alerts are then as late as their rules want it.
const SCRAPE_MS: u32 = 500;
/// The time that an answer may take.
const WITHIN: Duration = Duration::from_secs(20);

/// A Prometheus on a loopback port of its own. Dropping it kills it and removes its data.
#[derive(Debug)]
pub struct Prometheus {
    address: SocketAddr,
    _process: Child,
    _scratch: Scratch,
}

impl Prometheus {
    /// Whether Prometheus and `promtool` are installed here.
    ///
    /// # Errors
    /// They are not: the package to install.
    pub fn available() -> Result<(), &'static str> {
        let runs = |program: &str| {
            let mut command = Command::new(program);
            let command = command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        let has = runs("promtool") && runs("prometheus");
        has.then_some(()).ok_or("promtool and prometheus (Debian: prometheus)")
    }

    /// Starts one that scrapes these targets as the job `standin`, and evaluates these rules.
    ///
    /// # Panics
    /// If it can't be started.
    #[must_use]
    pub fn start(targets: &[SocketAddr], rules: &Path) -> Self {
        let scratch = Scratch::new("prometheus");
        let address = SocketAddr::from(([127, 0, 0, 1], free_ports(1)[0]));
        let config = scratch.file("prometheus.yml");
        let targets: Vec<String> = targets.iter().map(|target| format!("\"{target}\"")).collect();
        let text = format!(
            "global: {{ scrape_interval: {SCRAPE_MS}ms, scrape_timeout: {SCRAPE_MS}ms }}\n\
             rule_files: [\"{}\"]\n\
             scrape_configs:\n  - job_name: standin\n    static_configs:\n      \
             - targets: [{}]\n",
            rules.display(),
            targets.join(", "),
        );
        std::fs::write(&config, text).expect("the folder is ours");
        let mut command = Command::new("prometheus");
        let flag = |name: &str, value: String| format!("--{name}={value}");
        command.arg(flag("config.file", config.display().to_string()));
        command.arg(flag("storage.tsdb.path", scratch.file("data").display().to_string()));
        command.arg(flag("web.listen-address", address.to_string()));
        let process = Child::spawn("prometheus", command, scratch.path());
        Self { address, _process: process, _scratch: scratch }
    }

    /// Asks it, by a path such as `/api/v1/alerts`; `None` if it does not answer.
    #[must_use]
    pub fn ask(&self, path: &str) -> Option<Value> {
        let address = self.address;
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(WITHIN)).ok()?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).ok()?;
        serde_json::from_str(reply.split_once("\r\n\r\n")?.1).ok()
    }

    /// The result of an instant query: a series each, with `metric` and `value`; `None` if it does not answer, or if
    /// the query is none.
    #[must_use]
    pub fn query(&self, query: &str) -> Option<Vec<Value>> {
        let quoted: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let reply = self.ask(&format!("/api/v1/query?query={quoted}"))?;
        reply["data"]["result"].as_array().cloned()
    }

    /// The alerts that fire now, each with `labels` and `annotations`.
    #[must_use]
    pub fn firing(&self) -> Option<Vec<Value>> {
        let reply = self.ask("/api/v1/alerts")?;
        let alerts = reply["data"]["alerts"].as_array()?;
        Some(alerts.iter().filter(|alert| alert["state"] == "firing").cloned().collect())
    }

    /// Whether it scrapes all of its targets, of which there are this many.
    #[must_use]
    pub fn reads_all(&self, targets: usize) -> bool {
        let is_up = |reply: Value| {
            let all = reply["data"]["activeTargets"].as_array()?;
            Some(all.len() == targets && all.iter().all(|target| target["health"] == "up"))
        };
        self.ask("/api/v1/targets").and_then(is_up) == Some(true)
    }
}

/// Runs `promtool` in a directory, and returns what it says.
///
/// # Errors
/// It finds a mistake, or can't be run: what it says.
pub fn promtool(arguments: &[&str], directory: &Path, input: &str) -> Result<String, String> {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(directory);
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = pipes.spawn().and_then(|mut child| {
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        child.wait_with_output()
    });
    let output = output.map_err(|error| format!("promtool: {error}"))?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}
