//! Free ports of this machine, for a cluster whose addresses must be known beforehand.
//!
//! They lie below the range from which the kernel serves outgoing connections: while a
//! killed server's port is free, no client's connection may take it, nor connect to itself.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use crate::rng::Random;

/// `count` different addresses of this host, of this machine, whose ports are free for TCP and UDP now.
///
/// # Errors
/// There are not that many.
pub(crate) fn free_addresses(
    host: Ipv4Addr,
    count: usize,
    random: &mut Random,
) -> io::Result<Vec<SocketAddr>> {
    let (first, last) = candidates();
    let span = u64::from(last - first) + 1;
    let start = random.below(span);
    let mut held = Vec::new();
    for step in 0..span {
        if held.len() == count {
            break;
        }
        let port = first + u16::try_from((start + step) % span).unwrap_or(0);
        let address = SocketAddr::from((host, port));
        // Held until all are found, or one of them would be found twice.
        if let (Ok(tcp), Ok(udp)) = (TcpListener::bind(address), UdpSocket::bind(address)) {
            held.push((address, tcp, udp));
        }
    }
    if held.len() < count {
        let text = format!("fewer than {count} free ports on {host} in {first}..={last}");
        return Err(io::Error::other(text));
    }
    Ok(held.into_iter().map(|(address, _, _)| address).collect())
}

fn candidates() -> (u16, u16) {
    let range =
        std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let low = range.split_whitespace().next().and_then(|low| low.parse().ok()).unwrap_or(32_768);
    if low > 12_000 { (10_000, low - 1) } else { (10_000, 65_000) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn addresses_differ_and_are_free() {
        let addresses = free_addresses(Ipv4Addr::LOCALHOST, 5, &mut Random::new(4)).unwrap();
        assert_eq!(addresses.iter().collect::<BTreeSet<_>>().len(), 5);
    }
}
