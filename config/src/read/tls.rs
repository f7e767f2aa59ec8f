//! `[tls]`: which ports have it, and the files. In the file of a client or a proxy: whom it trusts. In that of
//! a proxy, `[proxy.tls]` is for its own ports.

use std::path::{Path, PathBuf};

use super::cluster::Master;
use super::http::Http;
use super::servers::Server;
use crate::mistake::Report;
use crate::proxy::{ListenAt, ProxyService};
use crate::section::{At, Section};
use crate::suggest::nearest;
use crate::tls::{KernelUse, TlsAuthorities, TlsCalls, TlsConfig, TlsOwn, TlsPort};

const PORTS: &str = "[\"standin\", \"memcached\", \"redis\"]";
const ENOUGH: &str = "certificate_is_enough";
/// The kinds of ports that a proxy has.
const PROXY_PORTS: [TlsPort; 3] = [TlsPort::Memcached, TlsPort::Redis, TlsPort::Http];

/// The section, as far as it is right.
pub(super) struct Tls {
    /// `None`: there is no such section, or they are wrong.
    ports: Option<At<Vec<TlsPort>>>,
    /// `None` inside: there is no such section.
    config: Option<Option<TlsConfig>>,
    /// `None` inside: callers have no TLS.
    calls: Option<Option<TlsCalls>>,
    /// The place where the file says that a certificate is enough.
    enough_at: Option<usize>,
}

impl Tls {
    /// Returns the TLS of ports and of callers, if it is right; `None` inside if there is none.
    pub(super) fn complete(self) -> Option<(Option<TlsConfig>, Option<TlsCalls>)> {
        Some((self.config?, self.calls?))
    }

    /// Whether callers have TLS, as far as is known.
    pub(super) fn has_calls(&self) -> bool {
        matches!(self.calls, Some(Some(_)))
    }

    /// Warns of what users are worth beside callers with a certificate, in a file that names some.
    pub(super) fn check_users(&self, report: &mut Report<'_>) {
        if let Some(at) = self.enough_at {
            report.warning(
                at,
                &format!("tls.{ENOUGH}"),
                "whoever has a certificate has all rights by Standin's own protocol, and is none of the \
                 users of `users_file`; remove one of them, unless that is meant",
            );
        }
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
            enough_at: None,
        };
    }
    if !section.is_present() {
        return Tls { ports: None, config: Some(None), calls: Some(None), enough_at: None };
    }
    let all = TlsPort::ALL.map(|(_, port)| port);
    let own = Own::read(&mut section, (&all, PORTS), base_dir, report);
    let ports = own.ports.clone();
    let ca_file = section.text("ca_file", "ca.crt", report).optional();
    let name = section.text("name", "cache.internal", report).optional();
    let enough = section.boolean(ENOUGH, report);
    let is_certificate_enough = enough.or(false, section.at());
    if let (Some(At { value: true, at }), Some(ports), Some(client_ca_file)) =
        (is_certificate_enough, &ports, &own.client_ca_file)
        && (client_ca_file.is_none() || !ports.value.contains(&TlsPort::Standin))
    {
        let wrong = "is for clients with a certificate; write `client_ca_file` and \"standin\" among \
                     the ports, or remove it";
        report.mistake(at, &section.key(ENOUGH), wrong);
    }
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
            is_certificate_enough: is_certificate_enough?.value,
            ca_file: ca_file?.map(|path| base_dir.join(path.value)),
            name: name?.map(|name| name.value.to_owned()),
            ..own.complete()?
        })
    };
    let config = config();
    let calls = config.as_ref().map(TlsConfig::calls);
    let enough_at = is_certificate_enough.filter(|is| is.value).map(|is| is.at);
    Tls { ports, config: config.map(Some), calls, enough_at }
}

/// Reads `[proxy.tls]`. `None` inside: a proxy's own ports have no TLS.
pub(super) fn read_of_proxy(
    mut section: Section<'_>,
    services: Option<&[At<ProxyService>]>,
    metrics: &Http,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Option<Option<TlsConfig>> {
    if !section.is_present() {
        return Some(None);
    }
    let own = Own::read(&mut section, (&PROXY_PORTS, "[\"redis\"]"), base_dir, report);
    let key = section.key("ports");
    section.finish(report);
    // If a place is not right, it is not known which ones there are.
    for port in own.ports.iter().filter(|_| services.is_some()).flat_map(|ports| &ports.value) {
        let (at, name) = (own.ports.as_ref()?.at, port.name());
        let mut services = services.unwrap_or_default().iter().map(|service| &service.value);
        let wrong = match services.find(|service| TlsPort::from(service.protocol) == *port) {
            Some(ProxyService { at: ListenAt::Tcp(_), .. }) => continue,
            Some(ProxyService { at: ListenAt::Unix(_), .. }) => format!(
                "{name} is at a Unix socket, which has no TLS; write an address as `{name}`, or \
                 remove {name:?} here"
            ),
            None if *port == TlsPort::Http && !matches!(metrics.address, Some(None)) => continue,
            None => {
                let key = if *port == TlsPort::Http { metrics.keys.address } else { name };
                format!(
                    "the proxy has no port for {name}; write `{key} = \"ADDRESS\"` in [proxy], or \
                     remove {name:?} here"
                )
            }
        };
        report.mistake(at, &key, wrong);
    }
    own.complete().map(Some)
}

/// The TLS of ports, as far as it is right.
struct Own {
    ports: Option<At<Vec<TlsPort>>>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    /// `None` inside: callers need no certificates.
    client_ca_file: Option<Option<PathBuf>>,
    kernel: Option<KernelUse>,
}

impl Own {
    /// Reads these keys. `kinds` are the kinds of ports that there can be, with an example.
    fn read(
        section: &mut Section<'_>,
        kinds: (&[TlsPort], &str),
        base_dir: &Path,
        report: &mut Report<'_>,
    ) -> Self {
        let ports = read_ports(section, kinds, report);
        let mut file = |key, example: &str| -> Option<PathBuf> {
            let path = section.required_text(key, example, report)?;
            Some(base_dir.join(path.value))
        };
        let (cert_file, key_file) =
            (file("cert_file", "standin.crt"), file("key_file", "standin.key"));
        let client_ca_file = section.text("client_ca_file", "clients-ca.crt", report).optional();
        let client_ca_file = client_ca_file.map(|file| file.map(|file| base_dir.join(file.value)));
        let kernel = section.choice("kernel_tls", &KernelUse::ALL, report);
        let kernel = kernel.or(KernelUse::default(), section.at()).map(|kernel| kernel.value);
        Self { ports, cert_file, key_file, client_ca_file, kernel }
    }

    fn complete(self) -> Option<TlsConfig> {
        Some(TlsConfig {
            ports: self.ports?.value,
            cert_file: self.cert_file?,
            key_file: self.key_file?,
            client_ca_file: self.client_ca_file?,
            kernel: self.kernel?,
            is_certificate_enough: false,
            ca_file: None,
            name: None,
        })
    }
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

fn read_ports(
    section: &mut Section<'_>,
    (kinds, example): (&[TlsPort], &str),
    report: &mut Report<'_>,
) -> Option<At<Vec<TlsPort>>> {
    let list = section.text_list("ports", example, report)?;
    let key = section.key("ports");
    if list.value.is_empty() {
        let wrong =
            format!("nothing would be encrypted; write `ports = {example}`, or remove the section");
        report.mistake(list.at, &key, wrong);
        return None;
    }
    let known: Vec<&str> = kinds.iter().map(|port| port.name()).collect();
    let mut ports = Vec::new();
    let mut is_right = true;
    for name in &list.value {
        let wrong = match kinds.iter().find(|port| port.name() == *name) {
            Some(port) if ports.contains(port) => {
                format!("{name:?} is there twice; remove one of them")
            }
            Some(port) => {
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
