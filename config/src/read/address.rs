//! An address in a file: an IP address with a port.

use std::net::SocketAddr;

use crate::mistake::Report;
use crate::section::At;

/// An IP address with a port, as in `127.0.0.1:7100` or `[::1]:7100`.
pub(super) fn read_address(
    text: At<&str>,
    key: &str,
    example: &str,
    report: &mut Report<'_>,
) -> Option<At<SocketAddr>> {
    match text.value.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => {
            report.mistake(
                text.at,
                key,
                format!(
                    "port 0 can't be connected to; write a port from 1 to 65535, such as \
                     `{example}`"
                ),
            );
            None
        }
        Ok(value) => Some(At { value, at: text.at }),
        Err(_) => {
            let text_shown = text.value;
            report.mistake(
                text.at,
                key,
                format!("{text_shown:?} is not an IP address with a port; write one such as `{example}` (no host names)"),
            );
            None
        }
    }
}
