//! memcached, and twemproxy in front of some.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use super::super::process::Process;
use super::{Asked, Ground, Site, StartError, user, words};

/// Starts one with 64 MiB and one thread, and waits until it accepts connections.
///
/// # Errors
/// [`StartError`].
pub fn start(ground: &Ground<'_>, asked: Asked<'_>, site: &Site) -> Result<Process, StartError> {
    let address = site.address();
    let (host, port) = (address.ip(), address.port());
    let mut all = words(&format!("-l {host} -p {port} -U 0 -m 64 -t 1"));
    all.extend_from_slice(asked.arguments);
    // Its own option -u would take back that it dies with the program.
    let user = user(asked.name, &["nobody"])?;
    let (network, program) = (site.network.clone(), asked.program("memcached"));
    let mut process = Process::start_as(user, network, asked.name, program, all, ground.folder)?;
    ground.wait_until_open(&mut process, address, asked.ready_within)?;
    Ok(process)
}

/// The pool of twemproxy.
#[derive(Debug, Clone, Copy)]
pub struct Pool<'p> {
    /// The servers.
    pub servers: &'p [SocketAddr],
    /// Whether those that fail are left out.
    pub ejects: bool,
    /// The longest wait for a server; without one, it waits for ever.
    pub timeout: Duration,
}

/// Starts twemproxy with ketama and its own defaults otherwise. The second address is the one of its statistics.
///
/// # Errors
/// [`StartError`].
pub fn start_nutcracker(
    ground: &Ground<'_>,
    asked: Asked<'_>,
    pool: Pool<'_>,
    site: &Site,
) -> Result<Process, StartError> {
    let [address, statistics] = [site.addresses[0], site.addresses[1]];
    let folder = ground.own_folder(asked.name)?;
    let file = folder.join("nutcracker.yml");
    std::fs::write(&file, configuration(pool, address))
        .map_err(StartError::system(file.display().to_string()))?;
    let mut all: Vec<OsString> = vec![
        "-c".into(),
        file.into(),
        "-s".into(),
        statistics.port().to_string().into(),
        "-p".into(),
        folder.join("nutcracker.pid").into(),
    ];
    all.extend_from_slice(asked.arguments);
    let mut process = ground.spawn(asked.name, asked.program("nutcracker"), all, site)?;
    ground.wait_until_open(&mut process, address, asked.ready_within)?;
    Ok(process)
}

fn configuration(pool: Pool<'_>, address: SocketAddr) -> String {
    let Pool { servers, ejects, timeout } = pool;
    let servers: String = servers.iter().map(|server| format!("    - {server}:1\n")).collect();
    format!(
        "cache:\n  listen: {address}\n  hash: fnv1a_64\n  distribution: ketama\n  \
         auto_eject_hosts: {ejects}\n  timeout: {}\n  preconnect: true\n  servers:\n{servers}",
        timeout.as_millis()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_is_written_as_twemproxy_reads_it() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let pool =
            Pool { servers: &[at(1), at(2)], ejects: true, timeout: Duration::from_millis(100) };
        let text = configuration(pool, at(9));
        assert!(text.contains("\n  auto_eject_hosts: true\n  timeout: 100\n"), "{text}");
        let servers = "\n  servers:\n    - 127.0.0.1:1:1\n    - 127.0.0.1:2:1\n";
        assert!(text.ends_with(servers), "{text}");
    }
}
