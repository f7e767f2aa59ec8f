//! Ports on which servers speak other protocols, and how keys name their keyspaces there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::address::read_address;
use super::cluster::NamingKeys;
use crate::mistake::Report;
use crate::model::KeyspaceConfig;
use crate::section::{At, Section};
use crate::services::{Naming, ServiceConfig, ServiceProtocol};
use crate::suggest::nearest;

/// A service of a server, as far as it is right.
pub(super) struct Service {
    pub(super) protocol: ServiceProtocol,
    pub(super) address: Option<At<SocketAddr>>,
    pub(super) passwords: Option<Option<PathBuf>>,
}

impl Service {
    pub(super) fn complete(&self) -> Option<ServiceConfig> {
        Some(ServiceConfig {
            protocol: self.protocol,
            address: self.address?.value,
            passwords: self.passwords.clone()?,
        })
    }

    /// Whether its password file is certain to be missing.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.passwords, Some(None))
    }
}

/// The services of a server. A wrong one is in the list, so that the server is incomplete.
pub(super) fn read(
    section: &mut Section<'_>,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Vec<Service> {
    let mut services = Vec::new();
    for protocol in ServiceProtocol::ALL {
        let (key, passwords_key) = (protocol.key(), protocol.passwords_key());
        let example = format!("127.0.0.1:{}", protocol.usual_port());
        let address = section.text(key, &example, report);
        let address =
            address.and_then(|text| read_address(text, &section.key(key), &example, report));
        let passwords = section.text(passwords_key, "passwords", report).optional();
        let Some(address) = address.optional() else {
            services.push(Service { protocol, address: None, passwords: None });
            continue;
        };
        match (address, &passwords) {
            (Some(address), _) => {
                let passwords = passwords.map(|file| file.map(|file| base_dir.join(file.value)));
                services.push(Service { protocol, address: Some(address), passwords });
            }
            (None, Some(Some(file))) => {
                let wrong =
                    format!("there is no port that it is for; write `{key} = \"{example}\"`");
                report.mistake(file.at, &section.key(passwords_key), wrong);
            }
            (None, _) => {}
        }
    }
    services
}

/// Turns the name of the default keyspace into its id, and checks that every keyspace can be named. The
/// keys are those of this section.
pub(super) fn naming(
    section: &str,
    keys: Option<&NamingKeys<'_>>,
    keyspaces: Option<&[KeyspaceConfig]>,
    report: &mut Report<'_>,
) -> Option<Naming> {
    let (keys, keyspaces) = (keys?, keyspaces?);
    let separator = keys.separator?;
    let hidden = keyspaces.iter().find(|keyspace| keyspace.name.contains(separator.value));
    if let Some(hidden) = hidden {
        let wrong = format!(
            "{:?} is in the name of the keyspace {:?}, so no key could name it; write another \
             separator, such as `key_separator = \":\"`",
            separator.value, hidden.name
        );
        report.mistake(separator.at, &format!("{section}.key_separator"), wrong);
    }
    let default_keyspace = match keys.default_keyspace? {
        None => None,
        Some(name) => match keyspaces.iter().find(|keyspace| keyspace.name == name.value) {
            Some(keyspace) => Some(keyspace.id),
            None => {
                let names: Vec<&str> = keyspaces.iter().map(|other| &*other.name).collect();
                let instead = nearest(name.value, &names).map_or_else(
                    || "write the name of a keyspace of this file".to_owned(),
                    |near| format!("write \"{near}\""),
                );
                let wrong = format!("there is no keyspace {:?}; {instead}", name.value);
                report.mistake(name.at, &format!("{section}.default_keyspace"), wrong);
                return None;
            }
        },
    };
    Some(Naming { separator: separator.value.to_owned(), default_keyspace })
}
