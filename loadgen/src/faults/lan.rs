//! The network of a scenario whose processes have namespaces of their own: who is where, and what is cut now.
//!
//! The generator and all other processes are one node, *client*. The namespaces have no names: they are gone with this
//! program and what it has started, however it ends, and nothing is left to remove.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use super::links::NetworkFault;
use super::script::{CLIENT, Script};
use super::site::Site;
use crate::net::{Impairment, Namespaces, NetError, Network, NodeNumber, address, enter, here};

const CLIENT_NUMBER: NodeNumber = 1;
/// The first port in a namespace of which all are free.
const FIRST_PORT: u16 = 7_001;

/// See the head of the file. Dropping it brings the thread that has made it back to where it was.
#[derive(Debug)]
pub struct Lan {
    namespaces: Namespaces,
    numbers: BTreeMap<String, NodeNumber>,
    /// The faults of now, by their index.
    faults: BTreeMap<usize, NetworkFault>,
    before: Network,
}

impl Lan {
    /// Makes the namespaces that a scenario asks for, and moves this thread into the client's.
    ///
    /// # Errors
    /// [`NetError`].
    pub(super) fn of(script: &Script) -> Result<Option<Self>, NetError> {
        let nodes = script.nodes();
        if nodes.is_empty() {
            return Ok(None);
        }
        Namespaces::available()?;
        let all = [CLIENT.to_owned()].into_iter().chain(nodes);
        let numbers: BTreeMap<String, NodeNumber> = all.zip(CLIENT_NUMBER..).collect();
        let namespaces = Namespaces::make(numbers.values().copied())?;
        let failed = |error| NetError::System { what: "entering a network namespace", error };
        let before = here().map_err(failed)?;
        enter(&namespaces.network(CLIENT_NUMBER)).map_err(failed)?;
        Ok(Some(Self { namespaces, numbers, faults: BTreeMap::new(), before }))
    }

    /// The place of a process, if it has a namespace of its own.
    pub(super) fn site(&self, name: &str, addresses: usize) -> Option<Site> {
        let number = *self.numbers.get(name)?;
        let ports = (FIRST_PORT..).take(addresses);
        Some(Site {
            addresses: ports.map(|port| SocketAddr::from((address(number), port))).collect(),
            network: Some(self.namespaces.network(number)),
        })
    }

    /// The address of the client, and of all processes without a namespace of their own.
    pub(super) fn host() -> Ipv4Addr {
        address(CLIENT_NUMBER)
    }

    /// All addresses.
    pub(super) fn subnet() -> String {
        format!("{}/24", address(0))
    }

    /// Begins a fault (`Some`), or ends it.
    pub(super) fn set(&mut self, fault: usize, is: Option<&NetworkFault>) -> Result<(), NetError> {
        match is {
            Some(is) => drop(self.faults.insert(fault, is.clone())),
            None => drop(self.faults.remove(&fault)),
        }
        let all = self.faults.values().flat_map(NetworkFault::impairments);
        let all: Vec<Impairment<NodeNumber>> =
            all.map(|one| one.map(|name| self.numbers[name])).collect();
        self.namespaces.impair(&all)
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        // It fails only without the right that it took to get here.
        let _ = enter(&self.before);
    }
}
