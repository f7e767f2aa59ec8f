//! Faults of proxies: `what` is slow, stall, refuse or reset.

use std::time::Duration;

use standin_config::{At, Report, Section};

use crate::faults::proxy::{Conduct, Shape, Way};
use crate::faults::script::{Deed, Kind, Script};

const WAYS: [(&str, Way); 3] = [("both", Way::Both), ("to", Way::To), ("from", Way::From)];

/// The words of `what` for proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProxyWord {
    Slow,
    Stall,
    Refuse,
    Reset,
}

/// The keys of faults of proxies.
pub(super) struct LineKeys {
    delay: Option<At<Duration>>,
    jitter: Option<At<Duration>>,
    bandwidth: Option<Option<At<u32>>>,
    loss: Option<At<u8>>,
    duplication: Option<At<u8>>,
    way: Option<At<Way>>,
    udp: Option<At<bool>>,
}

/// Those of faults of the network.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinkKeys {
    pub(super) loss: u8,
    pub(super) duplication: u8,
    pub(super) udp: bool,
    pub(super) way: Way,
}

impl LineKeys {
    pub(super) fn read(section: &mut Section<'_>, report: &mut Report<'_>) -> Self {
        let at = section.at();
        let (range, none) = (Duration::ZERO..=Duration::from_secs(3_600), Duration::ZERO);
        let bytes = 1..=u64::from(u32::MAX);
        Self {
            delay: section.duration("delay", range.clone(), none, report),
            jitter: section.duration("jitter", range, none, report),
            bandwidth: section.size_or_absent("bandwidth", bytes, "1MiB", report).optional(),
            loss: section.whole("loss", 0..=100, 0, report),
            duplication: section.whole("duplication", 0..=100, 0, report),
            way: section.choice("way", &WAYS, report).or(Way::Both, at),
            udp: section.boolean("udp", report).or(false, at),
        }
    }

    /// Reports those that mean nothing.
    pub(super) fn misplaced(
        &self,
        section: &mut Section<'_>,
        allowed: &[&str],
        report: &mut Report<'_>,
    ) {
        const SLOW: &str = "is for `what = \"slow\"`; remove it";
        for (key, why) in [
            ("delay", SLOW),
            ("jitter", SLOW),
            ("bandwidth", SLOW),
            ("duplication", "is for `what = \"slow\"` and \"duplicate\"; remove it"),
            ("udp", "is for `what = \"lose\"`; remove it"),
            ("loss", "is for `what = \"slow\"` and \"lose\"; remove it"),
            (
                "way",
                "is for `what = \"slow\"`, \"stall\", \"cut\", \"lose\" and \"duplicate\"; remove it",
            ),
            ("from", "is for `what = \"cut\"`, \"lose\" and \"duplicate\"; remove it"),
        ] {
            if !allowed.contains(&key) {
                section.misplaced(key, why, report);
            }
        }
    }

    /// What of them concerns the network.
    pub(super) fn of_network(&self) -> Option<LinkKeys> {
        Some(LinkKeys {
            loss: self.loss?.value,
            duplication: self.duplication?.value,
            udp: self.udp?.value,
            way: self.way?.value,
        })
    }

    fn shape(&self) -> Option<Shape> {
        Some(Shape {
            delay: self.delay?.value,
            jitter: self.jitter?.value,
            bytes_per_s: self.bandwidth?.map(|found| found.value),
            loss_percent: self.loss?.value,
            duplication_percent: self.duplication?.value,
            way: self.way?.value,
        })
    }
}

/// What happens to the proxy `on`. Not `is_whole`: processes that have mistakes are not in the script.
pub(super) fn deed(
    section: &mut Section<'_>,
    what: At<ProxyWord>,
    on: Option<At<&str>>,
    line: &LineKeys,
    script: &Script,
    is_whole: bool,
    report: &mut Report<'_>,
) -> Option<Deed> {
    let At { value: word, at } = what;
    let allowed: &[&str] = match word {
        ProxyWord::Slow => &["delay", "jitter", "bandwidth", "loss", "duplication", "way"],
        ProxyWord::Stall => &["way"],
        ProxyWord::Refuse | ProxyWord::Reset => &[],
    };
    line.misplaced(section, allowed, report);
    let shape = line.shape()?;
    let Some(on) = on else {
        let wrong = "is for proxies; write `on` with one of the scenario";
        report.mistake(at, &section.key("what"), wrong);
        return None;
    };
    let is_udp = match script.process(on.value).map(|one| &one.kind) {
        Some(Kind::Proxy { is_udp, .. }) => *is_udp,
        // One that has a mistake is not in the list.
        None if !is_whole => return None,
        None | Some(_) => {
            let wrong = format!(
                "there is no process {:?} of kind \"proxy\"; put one before what this fault is to \
                 concern, and its name into the target's URL",
                on.value
            );
            report.mistake(on.at, &section.key("on"), wrong);
            return None;
        }
    };
    if !is_udp {
        for key in ["loss", "duplication"] {
            let why = "is for datagrams; remove it, or write `udp = true` at the proxy";
            section.misplaced(key, why, report);
        }
    }
    let bare = Shape { way: shape.way, ..Shape::default() };
    if word == ProxyWord::Slow && shape == bare {
        let wrong = "needs `delay`, `jitter`, `bandwidth`, or with UDP `loss` or `duplication`";
        report.mistake(at, &section.key("what"), wrong);
        return None;
    }
    if word == ProxyWord::Reset && is_udp {
        report.mistake(at, &section.key("what"), "is for connections; datagrams have none");
        return None;
    }
    let name = on.value.to_owned();
    let conduct = match word {
        ProxyWord::Slow => Conduct::Slow(shape),
        ProxyWord::Stall => Conduct::Stall(shape.way),
        ProxyWord::Refuse => Conduct::Refuse,
        ProxyWord::Reset => return Some(Deed::Reset(name)),
    };
    Some(Deed::Proxy { name, conduct })
}
