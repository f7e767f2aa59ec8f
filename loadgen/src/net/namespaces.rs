//! A namespace per node, joined by a bridge in a namespace of its own.
//!
//! ```text
//!  ns of 1     ns of 2      ns of 3   ns of 10 …     each: lo, eth0 10.211.0.NUMBER/24
//!     │eth0       │eth0        │eth0     │eth0
//!     └port1──────┴port2───────┴port3────┴port10 …   bridge ns: br0
//! ```
//! The namespaces have no names. They are open files of this process, and end with it, however it ends,
//! with everything in them. `ip` and `nft` run inside as child processes.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::{Impairment, NetError, Network, NodeNumber, enter, here, rules};

const IP: Tool = Tool { program: "ip", package: "iproute2" };
const NFT: Tool = Tool { program: "nft", package: "nftables" };

/// See the head of the file.
#[derive(Debug)]
pub struct Namespaces {
    bridge: Network,
    nodes: BTreeMap<NodeNumber, Network>,
    /// The rules that each namespace has (`None`: the bridge's). Changing rules takes time, during which a
    /// fault would happen bit by bit, so only changed rules are set.
    told: Mutex<BTreeMap<Option<NodeNumber>, String>>,
}

#[derive(Debug, Clone, Copy)]
struct Tool {
    program: &'static str,
    package: &'static str,
}

impl Namespaces {
    /// Checks that this user may create namespaces, and that the programs exist.
    ///
    /// # Errors
    /// [`NetError`]: what is missing.
    pub fn available() -> Result<(), NetError> {
        if !rustix::process::geteuid().is_root() {
            return Err(NetError::NotRoot);
        }
        for (tool, argument) in [(IP, "-V"), (NFT, "--version")] {
            let mut command = Command::new(tool.program);
            let quiet = command.arg(argument).stdout(Stdio::null()).stderr(Stdio::null());
            if let Err(error) = quiet.status() {
                let Tool { program, package } = tool;
                return Err(NetError::Missing { program, package, error });
            }
        }
        Ok(())
    }

    /// Creates the namespaces of these nodes.
    ///
    /// # Errors
    /// [`NetError`].
    pub fn make(nodes: impl IntoIterator<Item = NodeNumber>) -> Result<Self, NetError> {
        let bridge = new_network()?;
        let mut text = "link add br0 type bridge\nlink set br0 up\n".to_owned();
        let numbers = nodes;
        let mut nodes = BTreeMap::new();
        for node in numbers {
            let network = new_network()?;
            let (port, file) = (rules::port_name(node), network.as_raw_fd());
            // `ip` runs as a child: our files are below our number, not below its own.
            let namespace = format!("/proc/{}/fd/{file}", std::process::id());
            text += &format!(
                "link add {port} type veth peer name eth0 netns {namespace}\n\
                 link set {port} master br0 up\n"
            );
            nodes.insert(node, network);
        }
        run(IP, &["-batch", "-"], &bridge, &text)?;
        for (node, network) in &nodes {
            let address = rules::address(*node);
            let text =
                format!("addr add {address}/24 dev eth0\nlink set lo up\nlink set eth0 up\n");
            run(IP, &["-batch", "-"], network, &text)?;
        }
        Ok(Self { bridge, nodes, told: Mutex::default() })
    }

    /// The network of a node.
    ///
    /// # Panics
    /// There is no node of that number.
    #[must_use]
    pub fn network(&self, node: NodeNumber) -> Network {
        Arc::clone(&self.nodes[&node])
    }

    /// Replaces all faults by these.
    ///
    /// # Errors
    /// [`NetError`].
    pub fn impair(&self, impairments: &[Impairment<NodeNumber>]) -> Result<(), NetError> {
        let nodes = self
            .nodes
            .iter()
            .map(|(node, network)| (Some(*node), network, rules::of_node(*node, impairments)));
        let bridge = (None, &self.bridge, rules::of_bridge(impairments));
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let news = nodes.chain([bridge]).filter(|(whom, _, text)| told.get(whom) != Some(text));
        let news: Vec<_> = news.collect();
        // All at once: a network that is half cut is another fault.
        let results: Vec<Result<(), NetError>> = std::thread::scope(|scope| {
            let tell = |(_, network, text): &(_, &Network, String)| {
                let (network, text) = (Arc::clone(network), text.clone());
                scope.spawn(move || run(NFT, &["-f", "-"], &network, &text))
            };
            let told: Vec<_> = news.iter().map(tell).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, Result<(), NetError>>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            told.into_iter().map(join).collect()
        });
        let mut all = Ok(());
        for ((whom, _, text), result) in news.into_iter().zip(results) {
            match result {
                Ok(()) => drop(told.insert(whom, text)),
                // What it has now is not known, so the next change tells it again.
                Err(error) => {
                    told.remove(&whom);
                    all = all.and(Err(error));
                }
            }
        }
        all
    }
}

/// A new namespace, made by a thread that then ends.
fn new_network() -> Result<Network, NetError> {
    let make = || -> io::Result<Network> {
        // SAFETY: only this thread's network changes; files and memory stay shared.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
        here()
    };
    let made = std::thread::scope(|scope| scope.spawn(make).join());
    let made = made.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    made.map_err(|error| NetError::System { what: "making a network namespace", error })
}

/// Runs a program in a namespace with this text as its input.
fn run(tool: Tool, arguments: &[&str], network: &Network, input: &str) -> Result<(), NetError> {
    let Tool { program, package } = tool;
    let failed = |error| NetError::Missing { program, package, error };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let network = Arc::clone(network);
    // SAFETY: between fork and exec only setns is called, which is async-signal-safe.
    unsafe { command.pre_exec(move || enter(&network)) };
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that has ended already says why below.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let output = String::from_utf8_lossy(&said).into_owned();
    Err(NetError::Refused { program, output })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::super::within;
    use super::*;

    const PORT: u16 = 7_100;

    /// Returns how many of this many sent datagrams arrive.
    fn sent(net: &Namespaces, from: NodeNumber, to: NodeNumber, count: u32) -> u32 {
        let at = (rules::address(to), PORT);
        let bound = |node, port| {
            let network = net.network(node);
            let bind = || UdpSocket::bind((rules::address(node), port)).unwrap();
            within(Some(&network), bind).unwrap()
        };
        let (receiver, sender) = (bound(to, PORT), bound(from, 0));
        for _ in 0..count {
            sender.send_to(b"x", at).unwrap();
        }
        // A datagram that has not arrived by then was dropped: the path is a function call in the
        // kernel.
        receiver.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        std::iter::from_fn(|| receiver.recv(&mut [0; 8]).ok()).count() as u32
    }

    #[test]
    fn links_are_cut_one_way_lose_and_repeat() {
        if let Err(error) = Namespaces::available() {
            let (test, why) = ("links_are_cut_one_way_lose_and_repeat", error.to_string());
            return standin_testkit::skip(test, standin_testkit::network::REQUIRE, &why);
        }
        let net = Namespaces::make([3, 10, 11]).unwrap();
        let (a1, other, master) = (10, 11, 3);
        assert_eq!(sent(&net, a1, master, 20), 20);
        net.impair(&[Impairment::Cut { from: a1, to: master }]).unwrap();
        assert_eq!(sent(&net, a1, master, 20), 0);
        assert_eq!(sent(&net, master, a1, 20), 20, "the other way is open");
        assert_eq!(sent(&net, other, master, 20), 20, "others are not concerned");
        let loss = |is_udp| Impairment::Loss { from: a1, to: master, percent: 50, is_udp };
        for lost in [loss(false), loss(true)] {
            net.impair(&[lost]).unwrap();
            let arrived = sent(&net, a1, master, 200);
            assert!((50..150).contains(&arrived), "{arrived} of 200");
        }
        net.impair(&[loss(true)]).unwrap();
        assert_eq!(sent(&net, other, master, 20), 20, "the loss is between two");
        let twice = Impairment::Duplication { from: a1, to: master, percent: 50 };
        net.impair(&[twice]).unwrap();
        let arrived = sent(&net, a1, master, 200);
        assert!((250..350).contains(&arrived), "{arrived} of 200");
        assert_eq!(sent(&net, master, a1, 20), 20, "the other way repeats nothing");
        net.impair(&[]).unwrap();
        assert_eq!(sent(&net, a1, master, 20), 20);
    }
}
