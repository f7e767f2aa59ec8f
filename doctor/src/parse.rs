//! The texts that the kernel writes into `/proc` and `/sys`. Any text is answered, and none costs more
//! than its length.

use std::collections::BTreeSet;

/// The largest number of a core that is believed: that of the largest kernel configuration.
const CORE_MAX: usize = 8_191;

/// `0-3,8` → cores. `None` if it is no such list.
pub(crate) fn cores(text: &str) -> Option<BTreeSet<usize>> {
    let mut cores = BTreeSet::new();
    if text.is_empty() {
        return Some(cores);
    }
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last > CORE_MAX {
            return None;
        }
        cores.extend(first..=last);
    }
    Some(cores)
}

/// Cores → `0-3,8`.
pub(crate) fn list(cores: &BTreeSet<usize>) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &core in cores {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            _ => runs.push((core, core)),
        }
    }
    let shown = runs.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    shown.collect::<Vec<_>>().join(",")
}

/// Whether a mask such as `00000000,0000000f` names a core. `None` if it is no mask.
pub(crate) fn is_any_in_mask(text: &str) -> Option<bool> {
    let is_mask = |c: char| c.is_ascii_hexdigit() || c == ',';
    (!text.is_empty() && text.chars().all(is_mask)).then(|| text.contains(|c| c != '0' && c != ','))
}

/// `always [madvise] never` → `madvise`.
pub(crate) fn chosen(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('[')?;
    let (chosen, _) = rest.split_once(']')?;
    (!chosen.is_empty() && !chosen.contains(char::is_whitespace)).then_some(chosen)
}

/// `6.1.0-28-amd64` → (6, 1).
pub(crate) fn release(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.split_once('.')?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    Some((major.parse().ok()?, rest[..digits].parse().ok()?))
}

/// The hard limit in a line of `/proc/PID/limits`; `u64::MAX` is "unlimited".
pub(crate) fn hard_limit(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.trim_start().strip_prefix(name))?;
    match line.split_whitespace().nth(1)? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// A line of `/proc/meminfo`, in bytes, or a number without a unit.
pub(crate) fn meminfo(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let mut words = line.split_whitespace();
    let number: u64 = words.next()?.parse().ok()?;
    match words.next() {
        Some("kB") => number.checked_mul(1_024),
        _ => Some(number),
    }
}

/// `cpu.max`: the quota as hundredths of a core; `u64::MAX` is "no quota".
pub(crate) fn cpu_quota(text: &str) -> Option<u64> {
    let mut words = text.split_whitespace();
    let (quota, period) = (words.next()?, words.next()?);
    if quota == "max" {
        return Some(u64::MAX);
    }
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    quota.checked_mul(100)?.checked_div(period)
}

/// The interface of the first default route in `/proc/net/route`.
pub(crate) fn default_route(text: &str) -> Option<&str> {
    text.lines().skip(1).find_map(|line| {
        let mut words = line.split_whitespace();
        let (name, destination) = (words.next()?, words.next()?);
        (destination == "00000000").then_some(name)
    })
}

/// A line of `/proc/interrupts`: the number, and the name at its end.
pub(crate) fn interrupts(text: &str) -> Vec<(u32, &str)> {
    let of_line = |line| {
        let (number, rest): (&str, &str) = str::split_once(line, ':')?;
        Some((number.trim().parse().ok()?, rest.split_whitespace().last()?))
    };
    text.lines().filter_map(of_line).collect()
}

/// Whether an interrupt's name is that of a queue, and not of the card's own events.
pub(crate) fn is_queue(name: &str) -> bool {
    let last = name.rsplit(['-', '@', ':']).next().unwrap_or(name);
    let known = ["TxRx", "rx", "tx", "Tx-Rx", "comp", "input", "output", "fp", "Queue", "queue"];
    !["config", "event", "async", "misc", "control", "mgmnt"]
        .iter()
        .any(|other| name.contains(other))
        && (known.iter().any(|part| name.contains(part))
            || last.bytes().any(|byte| byte.is_ascii_digit()) && name.contains('-'))
}

/// The packets that were dropped because a core's queue was full, from `/proc/net/softnet_stat`.
pub(crate) fn backlog_drops(text: &str) -> Option<u64> {
    let of_line = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok();
    text.lines().map(of_line).try_fold(0u64, |sum, drops| Some(sum.saturating_add(drops?)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_of_cores() {
        for (text, wanted) in [
            ("0-3,8", Some(vec![0, 1, 2, 3, 8])),
            ("", Some(vec![])),
            ("7", Some(vec![7])),
            ("3-1", None),
            ("a", None),
            ("0-", None),
            ("0-4294967295", None),
        ] {
            let found = cores(text).map(|cores| cores.into_iter().collect::<Vec<_>>());
            assert_eq!(found, wanted, "{text:?}");
        }
    }

    #[test]
    fn texts_of_the_kernel() {
        assert_eq!(is_any_in_mask("00000000,00000000"), Some(false));
        assert_eq!(is_any_in_mask("00000000,0000000f"), Some(true));
        assert_eq!(is_any_in_mask("x"), None);
        assert_eq!(chosen("always [madvise] never"), Some("madvise"));
        assert_eq!(chosen("always madvise never"), None);
        assert_eq!(release("6.1.0-28-amd64"), Some((6, 1)));
        assert_eq!(release("6.18.44-fc-v782"), Some((6, 18)));
        assert_eq!(release("five"), None);
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max open files            1024                 524288               files     \n\
                      Max locked memory         8388608              unlimited            bytes     \n";
        assert_eq!(hard_limit(limits, "Max open files"), Some(524_288));
        assert_eq!(hard_limit(limits, "Max locked memory"), Some(u64::MAX));
        assert_eq!(hard_limit(limits, "Max cheese"), None);
        let memory = "MemTotal:       24683656 kB\nHugePages_Total:       3\n";
        assert_eq!(meminfo(memory, "MemTotal"), Some(24_683_656 << 10));
        assert_eq!(meminfo(memory, "HugePages_Total"), Some(3));
        assert_eq!(meminfo(memory, "Mem"), None);
        assert_eq!(cpu_quota("max 100000"), Some(u64::MAX));
        assert_eq!(cpu_quota("150000 100000"), Some(150));
        assert_eq!(cpu_quota("1 0"), None);
        let routes = "Iface\tDestination\tGateway\nlo\t0000007F\t0\neth0\t00000000\t010200C0\n";
        assert_eq!(default_route(routes), Some("eth0"));
        assert_eq!(backlog_drops("01144965 00000002 00000018\n0106fbf3 0000000f 0\n"), Some(17));
    }

    #[test]
    fn interrupts_of_queues_are_told_from_others() {
        let text = "           CPU0       CPU1\n\
                    41:  1  0 PCI-MSIX-0000:00:04.0   1-edge      virtio3-input.0\n\
                    43:  1  0 PCI-MSIX-0000:00:04.0   3-edge      virtio3-config\n\
                    NMI:  0  0   Non-maskable interrupts\n";
        assert_eq!(interrupts(text), [(41, "virtio3-input.0"), (43, "virtio3-config")]);
        for (name, is) in [
            ("virtio3-input.0", true),
            ("virtio3-config", false),
            ("eth9-TxRx-0", true),
            ("eth9", false),
            ("mlx5_comp3@pci:0000:01:00.0", true),
            ("mlx5_async0@pci:0000:01:00.0", false),
            ("i40e-eth1-TxRx-12", true),
            ("ena-mgmnt@pci:0000:00:05.0", false),
        ] {
            assert_eq!(is_queue(name), is, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "(?s).{0,200}") {
            let _ = (cores(&text), is_any_in_mask(&text), chosen(&text), release(&text));
            let _ = (hard_limit(&text, "Max open files"), meminfo(&text, "MemTotal"));
            let _ = cpu_quota(&text);
            let _ = (default_route(&text), interrupts(&text), is_queue(&text), backlog_drops(&text));
        }

        /// Texts that are nearly right, which arbitrary ones hardly are.
        #[test]
        fn nearly_right_texts_are_answered(text in "[0-9a-f,\\-: \\[\\]\n/x.]{0,80}", kb in any::<u64>()) {
            let _ = (cores(&text), is_any_in_mask(&text), chosen(&text), release(&text));
            let _ = (cpu_quota(&text), interrupts(&text), backlog_drops(&text));
            let _ = (meminfo(&format!("MemTotal: {kb} kB"), "MemTotal"), cpu_quota(&format!("{kb} {text}")));
        }

        #[test]
        fn what_is_listed_is_read_back(of in proptest::collection::btree_set(0usize..512, 0..64)) {
            prop_assert_eq!(cores(&list(&of)), Some(of));
        }
    }
}
