//! Control groups, of both versions and of the mixture of them (hybrid) that many systems mount: in which folders the
//! limits of a process are, in which files, and how they are written there. Text only; nothing is read here.
//!
//! ```text
//! /proc/PID/cgroup     4:memory:/a/b      0::/a/b         the group of the process, for each hierarchy
//! /proc/self/mountinfo … / /sys/fs/cgroup/memory … - cgroup cgroup rw,memory       where that is mounted
//! folders              /sys/fs/cgroup/memory/a/b, …/a, …  the group and all above it: each has limits of its own
//! ```

use crate::parse;

/// Where hierarchies are mounted for whoever reads the files of the groups. The process itself, if it is in a container,
/// has other mounts: there `/sys/fs/cgroup` is its own group, and here that of the whole host.
pub(crate) const MOUNTS: &str = "/proc/self/mountinfo";

/// A limit of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// CPU time.
    Quota,
    /// The cores that it may use.
    Cores,
    Memory,
    /// What of its memory may be swapped out.
    Swap,
}

/// The version of a hierarchy of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// Each controller may have a hierarchy of its own.
    First,
    /// One hierarchy has all controllers that no hierarchy of the first version has.
    Second,
}

/// The folders of a process's control group and of all above it, the innermost first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Groups {
    pub(crate) version: Version,
    pub(crate) folders: Vec<String>,
}

/// The control group of a process is not mounted where it could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotSeen;

impl Limit {
    pub(crate) const ALL: [Self; 4] = [Self::Quota, Self::Cores, Self::Memory, Self::Swap];

    /// The controller that has it, by the kernel's name.
    fn controller(self) -> &'static str {
        match self {
            Self::Quota => "cpu",
            Self::Cores => "cpuset",
            Self::Memory | Self::Swap => "memory",
        }
    }

    /// The files of a group that say what the limit is, all of which it has.
    pub(crate) fn files(self, version: Version) -> &'static [&'static str] {
        match (self, version) {
            (Self::Quota, Version::First) => &["cpu.cfs_quota_us", "cpu.cfs_period_us"],
            (Self::Quota, Version::Second) => &["cpu.max"],
            (Self::Cores, Version::First) => &["cpuset.effective_cpus"],
            (Self::Cores, Version::Second) => &["cpuset.cpus.effective"],
            (Self::Memory, Version::First) => &["memory.limit_in_bytes"],
            (Self::Memory, Version::Second) => &["memory.max"],
            // Of memory and swap together.
            (Self::Swap, Version::First) => {
                &["memory.memsw.limit_in_bytes", "memory.limit_in_bytes"]
            }
            (Self::Swap, Version::Second) => &["memory.swap.max"],
        }
    }

    /// The limit that the texts of [`Self::files`] say: hundredths of a core, or bytes; `u64::MAX`: none.
    pub(crate) fn read(self, version: Version, texts: &[&str]) -> Option<u64> {
        match (self, version, texts) {
            (Self::Quota, _, ["-1", _]) => Some(u64::MAX),
            (Self::Quota, ..) => parse::cpu_quota(&texts.join(" ")),
            (Self::Memory, _, [text]) | (Self::Swap, Version::Second, [text]) => bytes(text),
            (Self::Swap, Version::First, [both, memory]) => match (bytes(both)?, bytes(memory)?) {
                (u64::MAX, _) => Some(u64::MAX),
                (both, memory) => Some(both.saturating_sub(memory)),
            },
            _ => None,
        }
    }

    /// The groups of a process, by its `cgroup` in `/proc` and the reader's [`MOUNTS`], both of which name groups as seen from
    /// the reader's namespace. `None`: nothing sets such a limit, as no hierarchy has its controller.
    ///
    /// # Errors
    /// [`NotSeen`]: what is mounted here is not above the process's group, or its hierarchy is not mounted at all.
    pub(crate) fn groups(self, cgroup: &str, mountinfo: &str) -> Result<Option<Groups>, NotSeen> {
        let lists = |names: &str| names.split(',').any(|name| name == self.controller());
        // A hierarchy's number, its controllers, and the group in it, which may have colons.
        let hierarchies =
            || cgroup.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
        let first = hierarchies().find(|(controllers, _)| lists(controllers));
        let (version, path) = match first {
            Some((_, path)) => (Version::First, path),
            None => match hierarchies().find(|(controllers, _)| controllers.is_empty()) {
                Some((_, path)) => (Version::Second, path),
                None => return Ok(None),
            },
        };
        let mounts = mountinfo.lines().filter_map(|line| {
            let (mount, kind) = line.split_once(" - ")?;
            let mut mount = mount.split(' ').skip(3);
            let (root, place) = (mount.next()?, mount.next()?);
            let mut kind = kind.split(' ');
            let is_it = match version {
                Version::First => kind.next() == Some("cgroup") && lists(kind.nth(1)?),
                Version::Second => kind.next() == Some("cgroup2"),
            };
            is_it.then_some((root, place))
        });
        // Parts of a hierarchy may be mounted in several places: the longest list has most of the groups above.
        let seen = mounts.filter_map(|(root, place)| folders(path, root, place));
        let longer = |best: Vec<_>, next: Vec<_>| if next.len() > best.len() { next } else { best };
        let folders = seen.reduce(longer).ok_or(NotSeen)?;
        Ok(Some(Groups { version, folders }))
    }
}

/// The folders of a group and of those above it, as far as they are mounted. `root` is the group that is mounted at
/// `place`: in a container, often its own. `None`: the group is not below that, and so is not seen there.
fn folders(path: &str, root: &str, place: &str) -> Option<Vec<String>> {
    // With a namespace of its own, a process outside of it is seen at a path that leads out of the mount.
    if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return None;
    }
    let inside = path.strip_prefix(root.trim_end_matches('/'))?;
    if !inside.is_empty() && !inside.starts_with('/') {
        return None;
    }
    let mut inside = inside.trim_end_matches('/');
    let mut folders = vec![format!("{place}{inside}")];
    while let Some(at) = inside.rfind('/') {
        inside = &inside[..at];
        folders.push(format!("{place}{inside}"));
    }
    Some(folders)
}

/// A limit in bytes; `u64::MAX`: none.
fn bytes(text: &str) -> Option<u64> {
    /// From here on, a limit is none: the first version has the largest number, rounded down to a page.
    const UNLIMITED: u64 = 1 << 62;
    if text == "max" {
        return Some(u64::MAX);
    }
    let bytes: u64 = text.parse().ok()?;
    Some(if bytes >= UNLIMITED { u64::MAX } else { bytes })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of a machine with the first version, and the second one without controllers.
    const HYBRID: &str =
        "9:name=systemd:/\n8:pids:/\n4:memory:/api/cd2a\n3:cpuset:/\n1:cpu,cpuacct:/a:b\n0::/\n";
    const HYBRID_MOUNTS: &str = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
        34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
    /// Of a container of Docker without a namespace for control groups.
    const CONTAINER: &str =
        "5:memory:/docker/8f\n4:cpu,cpuacct:/docker/8f\n0::/system.slice/containerd.service\n";
    const CONTAINER_MOUNTS: &str = "700 699 0:29 /docker/8f /sys/fs/cgroup/cpu,cpuacct ro master:9 - cgroup cgroup rw,cpu,cpuacct\n\
        701 699 0:32 /docker/8f /sys/fs/cgroup/memory ro,nosuid master:12 - cgroup cgroup rw,memory\n";
    const UNIFIED: &str = "0::/system.slice/standin.service\n";
    const UNIFIED_MOUNTS: &str = "30 23 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n";

    fn of(limit: Limit, cgroup: &str, mounts: &str) -> Option<(Version, Vec<String>)> {
        let groups = limit.groups(cgroup, mounts).expect("it is seen, or there is none");
        groups.map(|groups| (groups.version, groups.folders))
    }

    fn owned<const N: usize>(folders: [&str; N]) -> Vec<String> {
        folders.map(str::to_owned).to_vec()
    }

    #[test]
    fn the_limits_of_a_process_are_found_in_both_versions_and_in_containers() {
        use Limit::{Cores, Memory, Quota, Swap};
        use Version::{First, Second};
        let all = |group: &str| {
            [
                format!("/sys/fs/cgroup/{group}"),
                "/sys/fs/cgroup/system.slice".into(),
                "/sys/fs/cgroup".into(),
            ]
        };
        for limit in Limit::ALL {
            let expected = Some((Second, all("system.slice/standin.service").to_vec()));
            assert_eq!(of(limit, UNIFIED, UNIFIED_MOUNTS), expected);
        }
        let memory = [
            "/sys/fs/cgroup/memory/api/cd2a",
            "/sys/fs/cgroup/memory/api",
            "/sys/fs/cgroup/memory",
        ];
        for limit in [Memory, Swap] {
            assert_eq!(of(limit, HYBRID, HYBRID_MOUNTS), Some((First, owned(memory))));
        }
        let cpu = ["/sys/fs/cgroup/cpu,cpuacct/a:b", "/sys/fs/cgroup/cpu,cpuacct"];
        assert_eq!(of(Quota, HYBRID, HYBRID_MOUNTS), Some((First, owned(cpu))));
        let cpuset = ["/sys/fs/cgroup/cpuset"];
        assert_eq!(of(Cores, HYBRID, HYBRID_MOUNTS), Some((First, owned(cpuset))));
        // The container's own group is what is mounted.
        let expected = Some((First, owned(["/sys/fs/cgroup/memory"])));
        assert_eq!(of(Memory, CONTAINER, CONTAINER_MOUNTS), expected);
        // The process is in a group that may have limits, of a hierarchy that is not mounted here.
        assert_eq!(Cores.groups(CONTAINER, CONTAINER_MOUNTS), Err(NotSeen));
        assert_eq!(Memory.groups(UNIFIED, ""), Err(NotSeen));
        // It is in no hierarchy with this controller, nor in the one of the second version.
        let without_second = "5:memory:/docker/8f\n4:cpu,cpuacct:/docker/8f\n";
        assert_eq!(of(Cores, without_second, CONTAINER_MOUNTS), None);
        // A namespace from which the process is outside.
        assert_eq!(Memory.groups("0::/../../system.slice/a\n", UNIFIED_MOUNTS), Err(NotSeen));
        // A name that only begins with that of the mounted group.
        let other = CONTAINER_MOUNTS.replace("/docker/8f", "/docker/8");
        assert_eq!(Memory.groups(CONTAINER, &other), Err(NotSeen));
    }

    #[test]
    fn the_limits_of_another_group_are_not_those_of_the_process() {
        use Limit::Memory;
        use Version::{First, Second};
        // A process of the host, seen from a container that sees only its own group.
        let of_host = "4:memory:/system.slice/standin.service\n";
        assert_eq!(Memory.groups(of_host, CONTAINER_MOUNTS), Err(NotSeen));
        // What is mounted begins above the reader's namespace: where the group is in it, nobody says.
        let above = UNIFIED_MOUNTS.replace(" / /sys", " /../.. /sys");
        assert_eq!(Memory.groups("0::/\n", &above), Err(NotSeen));
        // A process in a container, seen from the host, where the container's own mount comes first.
        let in_container = "4:memory:/docker/8f\n";
        let own = "29 23 0:32 /docker/8f /srv/8f/sys/fs/cgroup rw - cgroup cgroup rw,memory\n";
        let expected = [
            "/sys/fs/cgroup/memory/docker/8f",
            "/sys/fs/cgroup/memory/docker",
            "/sys/fs/cgroup/memory",
        ];
        let mounts = format!("{own}{HYBRID_MOUNTS}");
        assert_eq!(of(Memory, in_container, &mounts), Some((First, owned(expected))));
        // One of another container is passed over.
        let other = own.replace("8f", "77");
        let mounts = format!("{other}{HYBRID_MOUNTS}");
        assert_eq!(of(Memory, in_container, &mounts), Some((First, owned(expected))));
        // With a namespace of its own and the second version, too: the host sees its whole name.
        let expected = [
            "/sys/fs/cgroup/system.slice/docker-8f.scope",
            "/sys/fs/cgroup/system.slice",
            "/sys/fs/cgroup",
        ];
        let in_container = "0::/system.slice/docker-8f.scope\n";
        assert_eq!(of(Memory, in_container, UNIFIED_MOUNTS), Some((Second, owned(expected))));
    }

    #[test]
    fn limits_are_read_in_the_words_of_their_version() {
        use Limit::{Memory, Quota, Swap};
        use Version::{First, Second};
        const NONE: &str = "9223372036854771712";
        for (limit, version, texts, expected) in [
            (Quota, Second, &["max 100000"][..], Some(u64::MAX)),
            (Quota, Second, &["150000 100000"], Some(150)),
            (Quota, First, &["-1", "100000"], Some(u64::MAX)),
            (Quota, First, &["150000", "100000"], Some(150)),
            (Quota, First, &["-2", "100000"], None),
            (Quota, First, &["1", "0"], None),
            (Quota, First, &["", ""], None),
            (Memory, Second, &["max"], Some(u64::MAX)),
            (Memory, First, &[NONE], Some(u64::MAX)),
            (Memory, First, &["104857600"], Some(104_857_600)),
            (Memory, First, &["-1"], None),
            (Swap, Second, &["0"], Some(0)),
            (Swap, First, &["104857600", "104857600"], Some(0)),
            (Swap, First, &["104857600", "100857600"], Some(4_000_000)),
            (Swap, First, &[NONE, NONE], Some(u64::MAX)),
            (Swap, First, &[NONE], None),
        ] {
            assert_eq!(limit.read(version, texts), expected, "{limit:?} {version:?} {texts:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(cgroup in "[0-9a-z:,/.\n]{0,80}", mounts in "[0-9a-z :,/.\n-]{0,120}") {
            for limit in Limit::ALL {
                let _ = limit.groups(&cgroup, &mounts);
                let _ = limit.groups(&cgroup, HYBRID_MOUNTS);
                let _ = limit.groups(HYBRID, &mounts);
            }
            for limit in Limit::ALL {
                let _ = limit.read(Version::First, &[&cgroup, &mounts]);
                let _ = limit.read(Version::Second, &[&cgroup]);
            }
        }
    }
}
