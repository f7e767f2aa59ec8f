//! `[tls]`: which ports have it, and the files.

use std::path::{Path, PathBuf};

use super::servers::Server;
use crate::mistake::Report;
use crate::section::{At, Section};
use crate::suggest::nearest;
use crate::tls::{TlsConfig, TlsPort};

const PORTS: &str = "[\"memcached\", \"redis\"]";

/// The section, as far as it is right.
pub(super) struct Tls {
    /// `None`: there is no such section, or they are wrong.
    ports: Option<At<Vec<TlsPort>>>,
    /// `None` inside: there is no such section.
    config: Option<Option<TlsConfig>>,
}

impl Tls {
    /// Returns the values if they are right; `None` inside if there is no TLS.
    pub(super) fn complete(self) -> Option<Option<TlsConfig>> {
        self.config
    }

    /// Checks that there are ports of the kinds that are to have TLS. If a server is not right, it is not
    /// known which ports it has.
    pub(super) fn check(&self, servers: &[Server], report: &mut Report<'_>) {
        let services = || servers.iter().flat_map(|server| &server.services);
        if services().any(|service| service.address.is_none()) {
            return;
        }
        let Some(ports) = &self.ports else { return };
        let has = |port| services().any(|service| TlsPort::from(service.protocol) == port);
        for port in ports.value.iter().filter(|port| !has(**port)) {
            let name = port.name();
            let wrong = format!(
                "no server has a port for {name}; write `{name} = \"ADDRESS\"` for a server, or \
                 remove {name:?} here"
            );
            report.mistake(ports.at, "tls.ports", wrong);
        }
    }
}

pub(super) fn read(mut section: Section<'_>, base_dir: &Path, report: &mut Report<'_>) -> Tls {
    if !section.is_present() {
        return Tls { ports: None, config: Some(None) };
    }
    let ports = read_ports(&mut section, report);
    let mut file = |key, example: &str| -> Option<PathBuf> {
        let path = section.required_text(key, example, report)?;
        Some(base_dir.join(path.value))
    };
    let (cert_file, key_file) = (file("cert_file", "standin.crt"), file("key_file", "standin.key"));
    let client_ca_file = section.text("client_ca_file", "clients-ca.crt", report).optional();
    section.finish(report);
    let config = || {
        Some(TlsConfig {
            ports: ports.as_ref()?.value.clone(),
            cert_file: cert_file?,
            key_file: key_file?,
            client_ca_file: client_ca_file?.map(|path| base_dir.join(path.value)),
        })
    };
    let config = config();
    Tls { config: config.map(Some), ports }
}

fn read_ports(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<At<Vec<TlsPort>>> {
    let list = section.text_list("ports", PORTS, report)?;
    let key = section.key("ports");
    if list.value.is_empty() {
        let wrong = format!("nothing would be encrypted; write `ports = {PORTS}`, or remove [tls]");
        report.mistake(list.at, &key, wrong);
        return None;
    }
    let known = TlsPort::ALL.map(|(word, _)| word);
    let mut ports = Vec::new();
    let mut is_right = true;
    for name in &list.value {
        let wrong = match TlsPort::ALL.iter().find(|(word, _)| word == name) {
            Some((_, port)) if ports.contains(port) => {
                format!("{name:?} is there twice; remove one of them")
            }
            Some((_, port)) => {
                ports.push(*port);
                continue;
            }
            None => {
                let near = nearest(name, &known).map(|near| format!("write {near:?}"));
                let instead = near.unwrap_or_else(|| format!("write {}", known.join(" or ")));
                format!("{name:?} is no kind of port that can have TLS; {instead}")
            }
        };
        report.mistake(list.at, &key, wrong);
        is_right = false;
    }
    ports.sort_unstable();
    is_right.then_some(At { value: ports, at: list.at })
}
