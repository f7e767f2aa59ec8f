//! Names of hosts in addresses, and what they stand for: one address for a party that listens, and any number
//! for a list of parties to try.
//!
//! A name is looked up when a file is read, and only then. What came out of it is an address like any other.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};

/// Looks up the addresses of a name.
pub(crate) type LookUp = fn(&str) -> io::Result<Vec<IpAddr>>;

/// The longest name, in bytes (RFC 1035).
const NAME_BYTES_MAX: usize = 253;

/// The names of one file: each is looked up once, so that all ports of a host have the same address.
pub(crate) struct Names {
    look_up: LookUp,
    known: HashMap<String, Result<Vec<IpAddr>, String>>,
}

impl Names {
    pub(crate) fn new(look_up: LookUp) -> Self {
        Self { look_up, known: HashMap::new() }
    }

    /// All addresses of a name, in a fixed order.
    ///
    /// # Errors
    /// The reason why it has none, and what to do.
    pub(crate) fn all(&mut self, name: &str) -> Result<Vec<IpAddr>, String> {
        let look_up = self.look_up;
        let looked_up = || match look_up(name) {
            Ok(found) => {
                let mut found: Vec<IpAddr> = found.iter().map(IpAddr::to_canonical).collect();
                found.sort_unstable();
                found.dedup();
                match found.is_empty() {
                    false => Ok(found),
                    true => Err(format!(
                        "the name {name} has no address; write one that has, or an IP address"
                    )),
                }
            }
            Err(error) => Err(format!(
                "the name {name} can't be looked up ({error}); write one that `getent hosts {name}` \
                 knows, or an IP address"
            )),
        };
        self.known.entry(name.to_owned()).or_insert_with(looked_up).clone()
    }

    /// The one address of a name. All members must come to the same one, so IPv4 is preferred to IPv6, and
    /// of two addresses of one kind none is chosen.
    ///
    /// # Errors
    /// The reason why there is no such address, and what to do.
    pub(crate) fn one(&mut self, name: &str) -> Result<IpAddr, String> {
        let all = self.all(name)?;
        let of_a_kind = |is_v4: bool| -> Vec<IpAddr> {
            all.iter().copied().filter(|address| address.is_ipv4() == is_v4).collect()
        };
        let mut candidates = of_a_kind(true);
        if candidates.is_empty() {
            candidates = of_a_kind(false);
        }
        match candidates.as_slice() {
            [one] => Ok(*one),
            several => {
                let several: Vec<String> = several.iter().map(ToString::to_string).collect();
                Err(format!(
                    "the name {name} has several addresses ({}), and this must be one; write the one \
                     that is meant, or a name that has no other",
                    several.join(", ")
                ))
            }
        }
    }
}

/// A name and a port, as in `a1.example.org:7101`; `None` for anything else.
pub(crate) fn split(text: &str) -> Option<(&str, u16)> {
    let (name, port) = text.rsplit_once(':')?;
    let is_part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    // A last part of digits is an IP address with a mistake, which would be looked up as something else.
    let parts = || name.strip_suffix('.').unwrap_or(name).split('.');
    let last_is_number = parts().next_back()?.bytes().all(|byte| byte.is_ascii_digit());
    let fine = name.len() <= NAME_BYTES_MAX && parts().all(is_part) && !last_is_number;
    Some((name, port.parse().ok()?)).filter(|_| fine)
}

/// Whether a name is that of this machine for itself (RFC 6761).
pub(crate) fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// Asks the system: its hosts file, its name servers.
pub(crate) fn of_system(name: &str) -> io::Result<Vec<IpAddr>> {
    let found = (name, 0).to_socket_addrs();
    found.map(|all| all.map(|address: SocketAddr| address.ip()).collect()).map_err(|error| {
        // The standard library puts its own words before those of the system.
        let text = error.to_string();
        match text.strip_prefix("failed to lookup address information: ") {
            Some(rest) => io::Error::new(error.kind(), rest.to_owned()),
            None => error,
        }
    })
}

/// Knows no names: for texts that are no files, which are read without asking anybody.
pub(crate) fn none(_: &str) -> io::Result<Vec<IpAddr>> {
    Err(io::Error::other("names are looked up for files only"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hosts file.
    fn hosts(name: &str) -> io::Result<Vec<IpAddr>> {
        let addresses: &[&str] = match name {
            "one" => &["10.0.0.1", "10.0.0.1"],
            "both" => &["fd00::1", "10.0.0.1"],
            "six" => &["fd00::6"],
            "two" => &["10.0.0.2", "fd00::1", "10.0.0.1"],
            "empty" => &[],
            _ => return Err(io::Error::other("not known")),
        };
        Ok(addresses.iter().map(|address| address.parse().unwrap()).collect())
    }

    #[test]
    fn a_name_stands_for_one_address_or_for_none() {
        let mut names = Names::new(hosts);
        let address = |text: &str| -> IpAddr { text.parse().unwrap() };
        assert_eq!(names.one("one"), Ok(address("10.0.0.1")));
        assert_eq!(names.one("both"), Ok(address("10.0.0.1")));
        assert_eq!(names.one("six"), Ok(address("fd00::6")));
        let two = names.one("two").unwrap_err();
        assert!(two.contains("several addresses (10.0.0.1, 10.0.0.2)"), "{two}");
        assert!(names.one("empty").unwrap_err().contains("has no address"));
        assert!(names.one("none").unwrap_err().contains("can't be looked up (not known)"));
    }

    #[test]
    fn a_list_takes_all_addresses_of_a_name() {
        let all = Names::new(hosts).all("two").unwrap();
        let all: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(all, ["10.0.0.1", "10.0.0.2", "fd00::1"]);
    }

    #[test]
    fn only_localhost_is_this_machine_for_sure() {
        assert!(is_localhost("localhost") && is_localhost("A.LocalHost."));
        assert!(!is_localhost("localhost.example.org") && !is_localhost("a1"));
    }

    #[test]
    fn a_name_is_looked_up_once() {
        use std::sync::atomic::{AtomicU32, Ordering};
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let mut names = Names::new(|_| {
            let call = CALLS.fetch_add(1, Ordering::Relaxed);
            Ok(vec![IpAddr::from([10, 0, 0, u8::try_from(call).unwrap()])])
        });
        assert_eq!(names.one("moves"), names.one("moves"));
    }

    #[test]
    fn what_is_no_name_is_not_looked_up() {
        assert_eq!(split("a1.example.org:7101"), Some(("a1.example.org", 7101)));
        assert_eq!(split("a1.example.org.:7101"), Some(("a1.example.org.", 7101)));
        for wrong in [
            "a1",
            "a1:",
            "a1:70000",
            ":7101",
            "a b:1",
            "::1:7101",
            "10.0.0.256:7101",
            "a..b:1",
            ".:1",
            "7:1",
        ] {
            assert_eq!(split(wrong), None, "{wrong}");
        }
        assert_eq!(split(&format!("{}:1", "a".repeat(254))), None);
    }
}
