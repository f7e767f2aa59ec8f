//! `[cluster]` and `[master]`, and the rules for names.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::address::read_address;
use super::http::Http;
use crate::defaults;
use crate::http::{DASHBOARD, METRICS};
use crate::mistake::Report;
use crate::model::{MasterConfig, Mode};
use crate::section::{At, Found, Section};
use crate::services::KEY_SEPARATOR;
use standin_protocol::map::PARTITIONS_MAX;
use standin_protocol::slots::{KeyHash, SLOTS};

/// Longest name of a cluster, group, server or keyspace, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// The longest separator of names and keys, in bytes.
const SEPARATOR_BYTES_MAX: usize = 8;
const HASHES: [(&str, KeyHash); 2] = [("xxh3", KeyHash::Xxh3), ("crc16", KeyHash::Crc16)];

/// `[cluster]`, as far as it is right.
pub(super) struct Cluster<'d> {
    pub(super) name: Option<String>,
    pub(super) partitions: Option<At<u32>>,
    pub(super) hash: Option<At<KeyHash>>,
    pub(super) mode: Option<Mode>,
    pub(super) for_clients: Option<bool>,
    pub(super) naming: NamingKeys<'d>,
}

/// The keys that say how a key names its keyspace, as far as they are right.
pub(super) struct NamingKeys<'d> {
    pub(super) separator: Option<At<&'d str>>,
    pub(super) default_keyspace: Option<Option<At<&'d str>>>,
}

impl<'d> NamingKeys<'d> {
    pub(super) fn read(section: &mut Section<'d>, report: &mut Report<'_>) -> Self {
        let separator = section.text("key_separator", KEY_SEPARATOR, report);
        let separator = separator
            .and_then(|text| check_separator(text, &section.key("key_separator"), report))
            .or(KEY_SEPARATOR, section.at());
        let default_keyspace = section.text("default_keyspace", "items", report).optional();
        Self { separator, default_keyspace }
    }
}

/// `[master]`, as far as it is right.
pub(super) struct Master {
    pub(super) address: Option<At<SocketAddr>>,
    pub(super) is_address_default: bool,
    state_file: Option<PathBuf>,
    pub(super) offline_servers_max: Option<Option<At<u32>>>,
    pub(super) metrics: Http,
    pub(super) dashboard: Http,
}

impl Master {
    pub(super) fn complete(self) -> Option<MasterConfig> {
        Some(MasterConfig {
            address: self.address?.value,
            state_file: self.state_file?,
            offline_servers_max: self.offline_servers_max?.map(|most| most.value),
            metrics: self.metrics.complete()?,
            dashboard: self.dashboard.complete()?,
        })
    }
}

pub(super) fn read<'d>(mut section: Section<'d>, report: &mut Report<'_>) -> Cluster<'d> {
    let name = section.text("name", defaults::CLUSTER_NAME, report);
    let name = name.and_then(|name| check_name(name, &section.key("name"), report));
    let naming = NamingKeys::read(&mut section, report);
    let partitions =
        section.whole("partitions", 1..=u64::from(PARTITIONS_MAX), defaults::PARTITIONS, report);
    let hash = section.choice("hash", &HASHES, report).or(defaults::HASH, section.at());
    if hash.is_some_and(|hash| hash.value == KeyHash::Crc16) {
        check_for_slots(partitions, naming.separator, report);
    }
    let cluster = Cluster {
        naming,
        name: name.or(defaults::CLUSTER_NAME, section.at()).map(|name| name.value.to_owned()),
        partitions,
        hash,
        mode: section
            .choice("mode", &Mode::ALL, report)
            .or(Mode::Available, section.at())
            .map(|mode| mode.value),
        for_clients: section
            .boolean("for_clients", report)
            .or(false, section.at())
            .map(|for_clients| for_clients.value),
    };
    section.finish(report);
    cluster
}

/// A partition is a range of slots, and a separator must not begin a hash tag.
fn check_for_slots(
    partitions: Option<At<u32>>,
    separator: Option<At<&str>>,
    report: &mut Report<'_>,
) {
    if let Some(partitions) = partitions.filter(|partitions| partitions.value > SLOTS) {
        let wrong = format!(
            "with `hash = \"crc16\"` each partition has one or more of {SLOTS} slots; write a whole \
             number from 1 to {SLOTS}"
        );
        report.mistake(partitions.at, "cluster.partitions", wrong);
    }
    if let Some(separator) = separator.filter(|separator| separator.value.contains('{')) {
        let wrong = "with `hash = \"crc16\"`, `{` begins a hash tag; write another separator, such as \
                     `key_separator = \":\"`";
        report.mistake(separator.at, "cluster.key_separator", wrong);
    }
}

pub(super) fn read_master(
    mut section: Section<'_>,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Master {
    let example = defaults::MASTER_ADDRESS.to_string();
    let address = section.text("address", &example, report);
    let address =
        address.and_then(|text| read_address(text, &section.key("address"), &example, report));
    let is_address_default = matches!(address, Found::Absent);
    let state_file = section.text("state_file", defaults::MASTER_STATE_FILE, report);
    let master = Master {
        address: address.or(defaults::MASTER_ADDRESS, section.at()),
        is_address_default,
        state_file: state_file
            .or(defaults::MASTER_STATE_FILE, section.at())
            .map(|file| base_dir.join(file.value)),
        offline_servers_max: section
            .whole_or_absent("offline_servers_max", 1..=65_535, "1", report)
            .optional(),
        metrics: Http::read(METRICS, &mut section, base_dir, report),
        dashboard: Http::read(DASHBOARD, &mut section, base_dir, report),
    };
    section.finish(report);
    master
}

/// A name that can be typed on a command line and seen in a log.
pub(super) fn check_name<'d>(
    name: At<&'d str>,
    key: &str,
    report: &mut Report<'_>,
) -> Option<At<&'d str>> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let begins_well = name.value.starts_with(|c: char| c.is_ascii_alphabetic());
    if begins_well && name.value.chars().all(is_plain) && name.value.len() <= NAME_BYTES_MAX {
        return Some(name);
    }
    let shown: String = name.value.chars().take(NAME_BYTES_MAX).collect();
    report.mistake(
        name.at,
        key,
        format!(
            "{shown:?} cannot be a name; write a letter followed by at most {} letters, digits, `.`, `_` or `-`",
            NAME_BYTES_MAX - 1
        ),
    );
    None
}

/// The separator as the file has it: any printable text, which shows in a log and in a client.
fn check_separator<'d>(
    text: At<&'d str>,
    key: &str,
    report: &mut Report<'_>,
) -> Option<At<&'d str>> {
    let is_plain = text.value.bytes().all(|byte| byte.is_ascii_graphic());
    if is_plain && text.value.len() <= SEPARATOR_BYTES_MAX {
        return Some(text);
    }
    let wrong = format!(
        "{:?} can't separate names from keys; write 1 to {SEPARATOR_BYTES_MAX} printable ASCII \
         characters without spaces, such as `key_separator = \":\"`",
        text.value
    );
    report.mistake(text.at, key, wrong);
    None
}
