//! Which requests come from a page that this port has served, or from no page: the others are of sites
//! that use a browser of somebody who may reach the port.
//!
//! A site can give its own host name this port's address (DNS rebinding), and its scripts would then read
//! what the port answers. Such a request names that host, and so a host must be an IP address or
//! `localhost`, to which no site can point its name. A port with passwords takes every name: a browser
//! sends a password only to the name that it was given for.

use std::net::{IpAddr, Ipv6Addr};

/// Whether a request with these headers `Host` and `Origin` is answered.
pub(crate) fn is_welcome(host: Option<&[u8]>, origin: Option<&[u8]>, has_passwords: bool) -> bool {
    let Some(host) = host.and_then(|host| std::str::from_utf8(host).ok()) else { return false };
    let is_own = match origin.map(std::str::from_utf8) {
        None => true,
        Some(Ok(origin)) => {
            origin.split_once("://").is_some_and(|(_, of)| of.eq_ignore_ascii_case(host))
        }
        Some(Err(_)) => false,
    };
    is_own && (has_passwords || is_no_name(host))
}

/// Whether a host, possibly with a port, is an IP address or `localhost`.
fn is_no_name(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        return address.parse::<Ipv6Addr>().is_ok() && (port.is_empty() || is_port(port));
    }
    let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
    let is_known = name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok();
    is_known && (port.is_empty() || is_port(port))
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_a_site_can_point_here_are_refused() {
        for host in ["127.0.0.1:7190", "localhost:8080", "LOCALHOST", "[::1]:7190", "10.0.0.1"] {
            assert!(is_welcome(Some(host.as_bytes()), None, false), "{host}");
        }
        for host in [
            "",
            "example.org",
            "example.org:7190",
            "localhost.example.org:7190",
            "127.0.0.1.example.org",
            "127.0.0.1:x",
            "127.0.0.1:7190:1",
            "[::1",
            "[::1]x",
            "[example.org]:7190",
            "localhost:7190 example.org",
        ] {
            assert!(!is_welcome(Some(host.as_bytes()), None, false), "{host}");
        }
        assert!(!is_welcome(None, None, false), "HTTP/1.1 demands a host");
        assert!(!is_welcome(Some(b"\xff"), None, true));
        assert!(is_welcome(Some(b"master.example.org:7190"), None, true));
    }

    #[test]
    fn a_page_of_another_site_is_refused() {
        let host = Some(&b"127.0.0.1:7190"[..]);
        assert!(is_welcome(host, Some(b"http://127.0.0.1:7190"), false));
        for origin in ["null", "http://example.org", "http://127.0.0.1:80", "127.0.0.1:7190"] {
            for has_passwords in [false, true] {
                assert!(!is_welcome(host, Some(origin.as_bytes()), has_passwords), "{origin}");
            }
        }
        assert!(!is_welcome(host, Some(b"http://\xff"), true));
    }
}
