//! TCP connections (`/proc/net/tcp`) and the memory of processes (`/proc/PID/status`) as the kernel sees them; see
//! proc(5); and the limit of descriptors.

/// An established connection over IPv4.
pub struct Connection {
    /// The port of this end.
    pub local: u16,
    /// The port of the other end.
    pub remote: u16,
    /// Whether the process of this end has bytes to read.
    pub has_unread: bool,
    /// Whether the kernel's timer on it is the keepalive timer.
    pub is_watched: bool,
}

/// Returns all established connections. A connection between two processes of this host is listed
/// twice.
pub fn connections() -> Vec<Connection> {
    const ESTABLISHED: &str = "01";
    let table = std::fs::read_to_string("/proc/net/tcp").expect("proc");
    let port = |address: &str| {
        let port = address.rsplit_once(':').expect("address and port").1;
        u16::from_str_radix(port, 16).expect("a port")
    };
    let lines = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<&str>>());
    lines
        .filter(|line| line[3] == ESTABLISHED)
        .map(|line| Connection {
            local: port(line[1]),
            remote: port(line[2]),
            has_unread: !line[4].ends_with(":00000000"),
            is_watched: line[5].starts_with("02:"),
        })
        .collect()
}

/// Returns the resident memory of a process in bytes.
pub fn resident_bytes(pid: u32) -> u64 {
    status_bytes(pid, "VmRSS:")
}

/// Returns the largest resident memory that a process has had so far, in bytes.
pub fn peak_resident_bytes(pid: u32) -> u64 {
    status_bytes(pid, "VmHWM:")
}

/// Raises this process's descriptor limit, because it opens thousands of connections too.
pub fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls take a pointer to a whole rlimit that outlives them.
    let raised = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit)
    };
    assert_eq!(raised, 0, "the limit of descriptors can be raised");
}

fn status_bytes(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect(field);
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}
