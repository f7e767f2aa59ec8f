//! Checks of addresses: none is used twice, and none other than loopback is used without a secret.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use standin_protocol::slots::KeyHash;

use super::cluster::Master;
use super::http::Http;
use super::nodes;
use super::servers::Server;
use crate::mistake::Report;
use crate::section::At;
use crate::security::Security;
use crate::services::ServiceProtocol;

/// The instruction for creating a secret, word for word.
pub(super) const MAKE_SECRET: &str = "make one by `head -c 32 /dev/urandom | xxd -p -c 64 > cluster.secret && chmod 600 \
                                      cluster.secret` and write `[security]` with `secret_file = \"cluster.secret\"`";

pub(super) fn check(
    master: Option<&Master>,
    servers: &[Server],
    hash: Option<At<KeyHash>>,
    (secret_missing, users): (bool, Option<PortUsers>),
    report: &mut Report<'_>,
) {
    let mut endpoints: Vec<Endpoint> = servers.iter().filter_map(Endpoint::of_server).collect();
    endpoints.extend(master.and_then(Endpoint::of_master));
    endpoints.extend(servers.iter().flat_map(Endpoint::of_services));
    for port in master.iter().flat_map(|master| [&master.metrics, &master.dashboard]) {
        endpoints.extend(Endpoint::of_http("master", "the master", port));
    }
    let of_server =
        |server: &Server| Endpoint::of_http("group.server", &server.shown(), &server.metrics);
    endpoints.extend(servers.iter().filter_map(of_server));
    if let Some(hash) = hash {
        for server in servers {
            let nodes = nodes::of(server, hash.value, report);
            endpoints.extend(Endpoint::of_nodes(server, nodes));
        }
        nodes::check(servers, hash.value, report);
    }
    check_kinds(master, servers, report);
    // If two addresses are equal, the later one in the file is the mistake.
    endpoints.sort_by_key(|endpoint| endpoint.address.at);

    let mut first_uses: HashMap<SocketAddr, &Endpoint> = HashMap::new();
    for endpoint in &endpoints {
        let Endpoint { key, address, .. } = endpoint;
        check_reachable(key, *address, report);
        let wire = canonical(address.value);
        if !wire.ip().is_loopback()
            && let Some(wrong) = endpoint.is_open(users)
        {
            report.mistake(address.at, key, wrong);
        }
        if secret_missing && endpoint.service.is_none() && !wire.ip().is_loopback() {
            report.mistake(
                address.at,
                key,
                format!(
                    "{} is not a loopback address, and there is no cluster secret; {MAKE_SECRET}",
                    address.value
                ),
            );
        }
        if let Some(first) = first_uses.get(&wire) {
            let place = if first.is_default {
                "by default".to_owned()
            } else {
                format!("in line {}", report.line(first.address.at))
            };
            report.mistake(
                address.at,
                key,
                format!(
                    "{} is already the address of {} {place}; write another port",
                    address.value, first.owner
                ),
            );
        } else {
            first_uses.insert(wire, endpoint);
        }
    }
}

/// An address at which a member listens.
struct Endpoint {
    key: String,
    owner: String,
    address: At<SocketAddr>,
    is_default: bool,
    /// For a service, the key of its password file, and whether it certainly has none.
    service: Option<(&'static str, bool)>,
    /// It asks for one of the cluster's users, too.
    has_users: bool,
}

impl Endpoint {
    /// What is wrong with an address that others reach, if everybody could use it.
    fn is_open(&self, users: Option<PortUsers>) -> Option<String> {
        let (passwords_key, has_none) = self.service?;
        // A file that can't be used was reported.
        let users = if self.has_users { users? } else { PortUsers::Absent };
        open_port(self.address.value, passwords_key, has_none, users)
    }

    fn of_master(master: &Master) -> Option<Self> {
        let owner = "the master".to_owned();
        let is_default = master.is_address_default;
        let key = "master.address".to_owned();
        let address = master.address?;
        Some(Self { key, owner, address, is_default, service: None, has_users: false })
    }

    fn of_server(server: &Server) -> Option<Self> {
        let (key, owner) = ("group.server.address".to_owned(), server.shown());
        let address = server.address?;
        Some(Self { key, owner, address, is_default: false, service: None, has_users: false })
    }

    fn of_services(server: &Server) -> impl Iterator<Item = Self> {
        server.services.iter().filter_map(|service| {
            let (protocol, is_open) = (service.protocol, service.is_open());
            Some(Self {
                key: format!("group.server.{}", protocol.key()),
                owner: format!("{} for {}", server.shown(), protocol.key()),
                address: service.address?,
                is_default: false,
                service: Some((protocol.passwords_key(), is_open)),
                has_users: true,
            })
        })
    }

    fn of_http(section: &str, owner: &str, port: &Http) -> Option<Self> {
        let keys = port.keys;
        Some(Self {
            key: format!("{section}.{}", keys.address),
            owner: format!("{owner} for {}", keys.what_for),
            address: port.address??,
            is_default: false,
            service: Some((keys.passwords, port.is_open())),
            has_users: false,
        })
    }

    fn of_nodes(server: &Server, nodes: Vec<At<SocketAddr>>) -> impl Iterator<Item = Self> {
        (0..).zip(nodes).map(|(shard, address): (u16, _)| Self {
            key: nodes::KEY.to_owned(),
            owner: format!("{}'s shard {shard} for clients of Redis Cluster", server.shown()),
            address,
            is_default: false,
            // A lack of passwords is reported at the address of the service.
            service: Some((ServiceProtocol::Redis.passwords_key(), false)),
            has_users: false,
        })
    }
}

/// What the file of users means for ports that ask for a user.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PortUsers {
    /// There is none.
    Absent,
    /// Everybody has to be a user.
    Asked,
    /// Everybody is a user.
    Open,
}

impl PortUsers {
    /// `None`: a file is named that can't be used, which was reported, or was not read.
    pub(super) fn of(security: &Option<Security>, is_named: bool) -> Option<Self> {
        match security.as_ref().and_then(|security| security.users.as_ref()) {
            None if is_named => None,
            None => Some(Self::Absent),
            Some(users) if users.open().is_some() => Some(Self::Open),
            Some(_) => Some(Self::Asked),
        }
    }
}

/// What is wrong with a port that others reach, if everybody could use it.
pub(super) fn open_port(
    address: SocketAddr,
    passwords_key: &str,
    has_no_passwords: bool,
    users: PortUsers,
) -> Option<String> {
    match users {
        PortUsers::Absent if has_no_passwords => Some(format!(
            "{address} is not a loopback address, and everybody who reaches it could use it; write \
             `{passwords_key} = \"FILE\"`, a file of lines `user:password`, or a loopback address"
        )),
        PortUsers::Open => Some(format!(
            "{address} is not a loopback address, and in the file of users `default` is `open`, so \
             everybody who reaches it could use it; give `default` a verifier, or write a loopback \
             address"
        )),
        PortUsers::Absent | PortUsers::Asked => None,
    }
}

/// Servers and the master send each other datagrams from the socket of their own address, which reaches only
/// addresses of its kind.
fn check_kinds(master: Option<&Master>, servers: &[Server], report: &mut Report<'_>) {
    let Some(first) = master.and_then(Endpoint::of_master) else { return };
    let master_kind = kind(first.address.value);
    for server in servers.iter().filter_map(Endpoint::of_server) {
        if kind(server.address.value) != master_kind {
            let wrong = format!(
                "{} is an {} address, and the master's, {}, is an {} address: they could not send \
                 each other datagrams; write addresses of one kind",
                server.address.value,
                kind(server.address.value),
                first.address.value,
                master_kind
            );
            report.mistake(server.address.at, &server.key, wrong);
        }
    }
}

fn kind(address: SocketAddr) -> &'static str {
    match address.ip() {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => "IPv4-mapped IPv6",
        IpAddr::V6(_) => "IPv6",
    }
}

/// Others connect to this address, so it must name one machine.
fn check_reachable(key: &str, address: At<SocketAddr>, report: &mut Report<'_>) {
    let ip = canonical(address.value).ip();
    let nobody = ip.is_unspecified()
        || ip.is_multicast()
        || matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    if let IpAddr::V6(ip) = ip
        && ip.is_unicast_link_local()
    {
        let wrong =
            format!("{ip} is valid on one link only; write an address that the others can route");
        report.mistake(address.at, key, wrong);
    }
    if nobody {
        report.mistake(
            address.at,
            key,
            format!(
                "other machines cannot connect to {}; write this machine's own address",
                address.value.ip()
            ),
        );
    }
}

/// One spelling for `127.0.0.1` and `::ffff:127.0.0.1`.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
