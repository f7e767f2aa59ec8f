//! `[tls]`: which ports have it, and the files. In the file of a client or a proxy: whom it trusts.

use std::path::{Path, PathBuf};

use super::cluster::Master;
use super::http::Http;
use super::servers::Server;
use crate::mistake::Report;
use crate::section::{At, Section};
use crate::suggest::nearest;
use crate::tls::{TlsAuthorities, TlsCalls, TlsConfig, TlsOwn, TlsPort};

const PORTS: &str = "[\"standin\", \"memcached\", \"redis\"]";

/// The section, as far as it is right.
pub(super) struct Tls {
    /// `None`: there is no such section, or they are wrong.
    ports: Option<At<Vec<TlsPort>>>,
    /// `None` inside: there is no such section.
    config: Option<Option<TlsConfig>>,
    /// `None` inside: callers have no TLS.
    calls: Option<Option<TlsCalls>>,
}

impl Tls {
    /// Returns the TLS of ports and of callers, if it is right; `None` inside if there is none.
    pub(super) fn complete(self) -> Option<(Option<TlsConfig>, Option<TlsCalls>)> {
        Some((self.config?, self.calls?))
    }

    /// Checks that there are ports of the kinds that are to have TLS. If a server is not right, it is not
    /// known which ports it has.
    pub(super) fn check(
        &self,
        servers: &[Server],
        master: Option<&Master>,
        report: &mut Report<'_>,
    ) {
        let services = || servers.iter().flat_map(|server| &server.services);
        if services().any(|service| service.address.is_none()) {
            return;
        }
        let Some(ports) = &self.ports else { return };
        let mut of_http: Vec<&Http> = servers.iter().map(|server| &server.metrics).collect();
        of_http.extend(master.iter().flat_map(|master| [&master.metrics, &master.dashboard]));
        let has = |port| match port {
            TlsPort::Standin => true,
            TlsPort::Http => of_http.iter().any(|http| !matches!(http.address, Some(None))),
            _ => services().any(|service| TlsPort::from(service.protocol) == port),
        };
        for port in ports.value.iter().filter(|port| !has(**port)) {
            let name = port.name();
            let key = if *port == TlsPort::Http { "metrics" } else { name };
            let wrong = format!(
                "no server has a port for {name}; write `{key} = \"ADDRESS\"` for a server, or \
                 remove {name:?} here"
            );
            report.mistake(ports.at, "tls.ports", wrong);
        }
    }
}

pub(super) fn read(
    mut section: Section<'_>,
    for_clients: bool,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Tls {
    if for_clients {
        return Tls {
            ports: None,
            config: Some(None),
            calls: read_calls(section, base_dir, report),
        };
    }
    if !section.is_present() {
        return Tls { ports: None, config: Some(None), calls: Some(None) };
    }
    let ports = read_ports(&mut section, report);
    let mut file = |key, example: &str| -> Option<PathBuf> {
        let path = section.required_text(key, example, report)?;
        Some(base_dir.join(path.value))
    };
    let (cert_file, key_file) = (file("cert_file", "standin.crt"), file("key_file", "standin.key"));
    let client_ca_file = section.text("client_ca_file", "clients-ca.crt", report).optional();
    let ca_file = section.text("ca_file", "ca.crt", report).optional();
    let name = section.text("name", "cache.internal", report).optional();
    if let Some(ports) = &ports {
        let has_standin = ports.value.contains(&TlsPort::Standin);
        if has_standin && matches!(ca_file, Some(None)) {
            section.missing(
                "ca_file",
                "\"ca.crt\", the authority of the certificates of servers and the master",
                report,
            );
        }
        let others = [("ca_file", &ca_file), ("name", &name)];
        for (key, found) in others.into_iter().filter(|_| !has_standin) {
            if let Some(Some(found)) = found {
                let wrong = "is for callers of Standin's own protocol; write \"standin\" among the \
                             ports, or remove it";
                report.mistake(found.at, &section.key(key), wrong);
            }
        }
    }
    section.finish(report);
    let config = || {
        Some(TlsConfig {
            ports: ports.as_ref()?.value.clone(),
            cert_file: cert_file?,
            key_file: key_file?,
            client_ca_file: client_ca_file?.map(|path| base_dir.join(path.value)),
            ca_file: ca_file?.map(|path| base_dir.join(path.value)),
            name: name?.map(|name| name.value.to_owned()),
        })
    };
    let config = config();
    let calls = config.as_ref().map(TlsConfig::calls);
    Tls { ports, config: config.map(Some), calls }
}

/// Reads the section of a file that is not for members of the cluster. `None` inside: there is none.
pub(super) fn read_calls(
    mut section: Section<'_>,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Option<Option<TlsCalls>> {
    if !section.is_present() {
        return Some(None);
    }
    let ca_file = section.text("ca_file", "ca.crt", report).optional();
    let ca = section.text("ca", "-----BEGIN CERTIFICATE-----", report).optional();
    let name = section.text("name", "cache.internal", report).optional();
    let cert_file = section.text("cert_file", "client.crt", report).optional();
    let key_file = section.text("key_file", "client.key", report).optional();
    let authorities = match (ca_file?, ca?) {
        (Some(path), None) => Some(TlsAuthorities::File(base_dir.join(path.value))),
        (None, Some(text)) => Some(TlsAuthorities::Pem(text.value.to_owned())),
        (Some(_), Some(text)) => {
            report.mistake(
                text.at,
                &section.key("ca"),
                "`ca_file` is there, too; remove one of them",
            );
            None
        }
        (None, None) => {
            section.missing(
                "ca_file",
                "\"ca.crt\", the authority of the certificates of servers and the master",
                report,
            );
            None
        }
    };
    let own = match (cert_file?, key_file?) {
        (Some(cert), Some(key)) => Some(Some(TlsOwn {
            cert_file: base_dir.join(cert.value),
            key_file: base_dir.join(key.value),
        })),
        (None, None) => Some(None),
        (Some(_), None) => {
            section.missing("key_file", "\"client.key\"", report);
            None
        }
        (None, Some(_)) => {
            section.missing("cert_file", "\"client.crt\"", report);
            None
        }
    };
    section.finish(report);
    Some(Some(TlsCalls {
        authorities: authorities?,
        name: name?.map(|name| name.value.to_owned()),
        own: own?,
    }))
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
