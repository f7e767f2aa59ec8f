//! An address in a file: an IP address or the name of a host, with a port.

use std::net::SocketAddr;

use crate::mistake::Report;
use crate::names;
use crate::section::At;

/// The address of one party, as in `127.0.0.1:7100`, `[::1]:7100` or `a1.example.org:7100`.
pub(super) fn read_address(
    text: At<&str>,
    key: &str,
    example: &str,
    report: &mut Report<'_>,
) -> Option<At<SocketAddr>> {
    let read = match text.value.parse::<SocketAddr>() {
        Ok(address) => Ok(address),
        Err(_) => named(text.value, example).and_then(|(name, port)| {
            let address = report.names.one(name)?;
            if address.is_loopback() && !names::is_localhost(name) {
                let warning = format!(
                    "the name {name} is {address} on this machine, which no other machine can reach; see \
                     /etc/hosts, where installers write a machine's own name in this way"
                );
                report.warning(text.at, key, warning);
            }
            Ok(SocketAddr::new(address, port))
        }),
    };
    let read = read.and_then(|address| with_port(address, example));
    let value = read.map_err(|wrong| report.mistake(text.at, key, wrong)).ok()?;
    Some(At { value, at: text.at })
}

/// The addresses of one entry in a list of parties to try: of a name, all that it has.
pub(super) fn read_addresses(
    text: At<&str>,
    key: &str,
    example: &str,
    report: &mut Report<'_>,
) -> Option<Vec<At<SocketAddr>>> {
    let read = match text.value.parse::<SocketAddr>() {
        Ok(address) => Ok(vec![address]),
        Err(_) => named(text.value, example).and_then(|(name, port)| {
            let all = report.names.all(name)?;
            Ok(all.into_iter().map(|address| SocketAddr::new(address, port)).collect())
        }),
    };
    let read = read.and_then(|all| {
        all.into_iter().map(|address| with_port(address, example)).collect::<Result<Vec<_>, _>>()
    });
    let all = read.map_err(|wrong| report.mistake(text.at, key, wrong)).ok()?;
    Some(all.into_iter().map(|value| At { value, at: text.at }).collect())
}

fn named<'t>(text: &'t str, example: &str) -> Result<(&'t str, u16), String> {
    names::split(text).ok_or_else(|| {
        format!(
            "{text:?} is not an IP address or a host name, with a port; write one such as `{example}`, \
             `[::1]:7101` or `a1.example.org:7101`"
        )
    })
}

fn with_port(address: SocketAddr, example: &str) -> Result<SocketAddr, String> {
    match address.port() {
        0 => Err(format!(
            "port 0 can't be connected to; write a port from 1 to 65535, such as `{example}`"
        )),
        _ => Ok(address),
    }
}
