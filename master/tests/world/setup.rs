//! The cluster file of the tests.

use std::sync::Arc;
use std::time::Duration;

use standin_config::Mode;
use standin_master::Rules;
use standin_protocol::map::{ServerInfo, Topology};

pub fn rules() -> Rules {
    let ms = Duration::from_millis;
    Rules {
        probe_timeout: ms(100),
        probe_attempts: 2,
        recheck_interval: ms(250),
        lease: ms(2_000),
        announce_resend: ms(50),
        drain_timeout: ms(1_000),
        offline_servers_max: 2,
        mode: Mode::Available,
    }
}

/// Groups of that many servers: a1 a2 …, b1 b2 …
pub fn topology(groups: &[u16]) -> Arc<Topology> {
    let mut servers = Vec::new();
    for (group, size) in (0u16..).zip(groups) {
        for member in 1..=*size {
            let letter = char::from(b'a' + u8::try_from(group).expect("few groups"));
            let port = 1_000 + 100 * group + member;
            servers.push(ServerInfo {
                name: format!("{letter}{member}"),
                group,
                weight: 1,
                shards: 2,
                address: ([127, 0, 0, 1], port).into(),
            });
        }
    }
    let master = ([127, 0, 0, 1], 999).into();
    Arc::new(Topology::new("world".to_owned(), master, servers, 16).expect("sound"))
}
