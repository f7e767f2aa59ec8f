//! The permissions of files that others must not read or change: files with passwords, secrets and keys, and files that
//! are believed though nothing in them is secret, such as those of authorities. Every such file is judged here, whoever
//! reads it.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use rustix::process::geteuid;

const ROOT: u32 = 0;

/// Those who may have access to a file, beside root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Everybody may read it, and its owner alone may write it: it holds no secret, and what it says is believed. A
    /// group with the number of the owner may write it, too: where each user has such a group, nobody else is in it. The
    /// owner may be anybody: in a container, often a user of the host; of certificates, the program that renews them.
    Trusted,
    /// Its owner; its group may read it. Whoever may write it could add a password of their own.
    Group,
    /// Its owner, as for PostgreSQL's passfile.
    Owner,
    /// Its owner, and its group may read it if root owns it, as for the private keys of PostgreSQL's
    /// clients.
    Key,
}

/// What matters of a file.
#[derive(Debug, Clone, Copy)]
struct About {
    mode: u32,
    owner: u32,
    group: u32,
}

impl Rule {
    /// The bits of the mode that must not be set.
    fn forbidden(self, file: About) -> u32 {
        match self {
            Self::Trusted if file.group == file.owner => 0o002,
            Self::Trusted => 0o022,
            Self::Group => 0o027,
            Self::Key if file.owner == ROOT => 0o027,
            Self::Owner | Self::Key => 0o077,
        }
    }

    /// What to advise to `chmod`. Standin seldom runs as root, so that a secret file of root is most likely read by way
    /// of its group; with mode 600 nobody but root could read it.
    fn right(self, file: About) -> &'static str {
        match self {
            Self::Trusted => "go-w",
            Self::Key | Self::Group if file.owner == ROOT => GROUP_READS,
            Self::Group if file.mode & 0o007 == 0 => GROUP_READS,
            _ => "600",
        }
    }
}

const GROUP_READS: &str = "640";

/// The reason why a file is not used: somebody else may read or change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooOpen {
    why: Why,
    is_secret: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The mode lets others read or write it.
    Mode { mode: u32, right: &'static str },
    /// This user, who is neither root nor the one who reads it, owns it.
    Owner(u32),
    /// A user without a number in this process's user namespace owns it, such as root of the host. All of them are seen
    /// as this one.
    Unmapped(u32),
}

impl std::error::Error for TooOpen {}

impl std::fmt::Display for TooOpen {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.why {
            Why::Mode { mode, right } => {
                let wrong = match mode {
                    mode if mode & 0o002 != 0 && !self.is_secret => {
                        "can be written by every user of this machine"
                    }
                    mode if mode & 0o007 != 0 && self.is_secret => {
                        "is accessible to every user of this machine"
                    }
                    mode if mode & 0o020 != 0 => "can be written by every user of its group",
                    _ => "is accessible to every user of its group",
                };
                write!(out, "{wrong} (mode {mode:03o}); run `chmod {right}` on it")?;
                if right == GROUP_READS {
                    out.write_str(" and give it the group of the user that reads it (`chgrp`)")?;
                }
                let world = if self.is_secret { 0o007 } else { 0o002 };
                if mode & world == 0 {
                    out.write_str(
                        " (where `ls -l` shows a `+`, what the mode says of the group is what an ACL gives to others at \
                         most: see `getfacl`, and take it away with `setfacl -b`)",
                    )?;
                }
            }
            Why::Owner(owner) => write!(
                out,
                "belongs to the user {owner}, who can change it and is neither root nor the user that reads it; run \
                 `chown root` on it"
            )?,
            Why::Unmapped(owner) => write!(
                out,
                "belongs to a user of the host who is not known in this container, as root of the host in a user \
                 namespace (it is seen as {owner}), and could be anybody; outside of the container, give it to the user \
                 as whom Standin runs there (/proc/PID/uid_map has the numbers), or hand it over as a secret of the \
                 container's manager"
            )?,
        }
        out.write_str(match self.is_secret {
            true => "; change what is secret in it if others may have read it",
            false => "; and see whether others have changed it",
        })
    }
}

/// Checks the permissions of a file that this process reads. Root reads files of any owner: it may be checking those of
/// the user that Standin will run as.
///
/// # Errors
/// [`TooOpen`], which says what to do.
pub fn check(file: &Metadata, rule: Rule) -> Result<(), TooOpen> {
    let mode = file.permissions().mode() & 0o777;
    let about = About { mode, owner: file.uid(), group: file.gid() };
    judge(about, geteuid().as_raw(), rule).map_err(|wrong| {
        let text = |path| std::fs::read_to_string(path).unwrap_or_default();
        wrong.seen_from(&text("/proc/self/uid_map"), &text("/proc/sys/kernel/overflowuid"))
    })
}

impl TooOpen {
    /// The reason as it is within a user namespace, of which `/proc` says these.
    fn seen_from(self, uid_map: &str, overflow_uid: &str) -> Self {
        // Outside of all of them, each number is its own, and a user may have that of those who are not known.
        let is_host = uid_map.split_ascii_whitespace().eq(["0", "0", "4294967295"]);
        match self.why {
            Why::Owner(owner) if !is_host && overflow_uid.trim().parse() == Ok(owner) => {
                Self { why: Why::Unmapped(owner), ..self }
            }
            _ => self,
        }
    }
}

fn judge(file: About, reader: u32, rule: Rule) -> Result<(), TooOpen> {
    let is_secret = rule != Rule::Trusted;
    let About { mode, owner, .. } = file;
    if mode & rule.forbidden(file) != 0 {
        return Err(TooOpen { why: Why::Mode { mode, right: rule.right(file) }, is_secret });
    }
    match reader == ROOT || [ROOT, reader].contains(&owner) || !is_secret {
        true => Ok(()),
        false => Err(TooOpen { why: Why::Owner(owner), is_secret }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_owner_may_write_a_secret_and_only_its_group_may_read_it_beside() {
        const USER: u32 = 1_000;
        let of = |mode, owner| About { mode, owner, group: 50 };
        for (mode, owner, rule, advice) in [
            (0o600, USER, Rule::Group, None),
            (0o400, USER, Rule::Group, None),
            (0o640, USER, Rule::Group, None),
            (0o640, ROOT, Rule::Group, None),
            (0o604, USER, Rule::Group, Some("600")),
            (0o602, USER, Rule::Group, Some("600")),
            (0o601, USER, Rule::Group, Some("600")),
            (0o644, USER, Rule::Group, Some("600")),
            (0o644, ROOT, Rule::Group, Some("640")),
            (0o666, ROOT, Rule::Group, Some("640")),
            (0o660, USER, Rule::Group, Some("640")),
            (0o620, USER, Rule::Group, Some("640")),
            (0o600, USER, Rule::Owner, None),
            (0o640, ROOT, Rule::Owner, Some("600")),
            (0o600, USER, Rule::Key, None),
            (0o640, USER, Rule::Key, Some("600")),
            (0o640, ROOT, Rule::Key, None),
            (0o660, ROOT, Rule::Key, Some("640")),
            (0o644, ROOT, Rule::Key, Some("640")),
            (0o644, USER, Rule::Trusted, None),
            (0o644, ROOT, Rule::Trusted, None),
            (0o600, USER, Rule::Trusted, None),
            (0o664, USER, Rule::Trusted, Some("go-w")),
            (0o646, ROOT, Rule::Trusted, Some("go-w")),
            (0o666, USER, Rule::Trusted, Some("go-w")),
        ] {
            let judged = judge(of(mode, owner), USER, rule);
            let said = judged.map_err(|wrong| wrong.to_string()).err();
            match advice {
                None => assert_eq!(said, None, "{mode:o} of {owner}, {rule:?}"),
                Some(right) => {
                    let said = said.unwrap_or_else(|| panic!("{mode:o} of {owner}, {rule:?}"));
                    assert!(said.contains(&format!("`chmod {right}`")), "{mode:o}: {said}");
                    assert!(said.contains(&format!("(mode {mode:03o})")), "{said}");
                    let right = u32::from_str_radix(right, 8).unwrap_or(mode & !0o022);
                    assert_eq!(judge(of(right, owner), USER, rule), Ok(()), "it helps: {said}");
                    assert_eq!(said.contains("chgrp"), right == 0o640, "{said}");
                }
            }
        }
        let said = |mode| judge(of(mode, USER), USER, Rule::Group).unwrap_err().to_string();
        assert!(said(0o660).contains("written by every user of its group"), "{}", said(0o660));
        assert!(said(0o602).contains("every user of this machine"), "{}", said(0o602));
    }

    #[test]
    fn a_file_of_a_third_user_holds_no_secret() {
        let (reader, other) = (1_000, 1_001);
        for rule in [Rule::Group, Rule::Owner, Rule::Key] {
            let of = |owner| judge(About { mode: 0o600, owner, group: owner }, reader, rule);
            assert_eq!((of(reader), of(ROOT)), (Ok(()), Ok(())));
            let said = of(other).unwrap_err().to_string();
            assert!(said.contains("user 1001") && said.contains("`chown root`"), "{said}");
            let by_root = judge(About { mode: 0o600, owner: other, group: other }, ROOT, rule);
            assert_eq!(by_root, Ok(()), "it may look at what another user will read");
        }
        let of_host = About { mode: 0o644, owner: other, group: other };
        assert_eq!(judge(of_host, reader, Rule::Trusted), Ok(()));
        assert!(judge(About { mode: 0o646, ..of_host }, reader, Rule::Trusted).is_err());
    }

    #[test]
    fn a_secret_of_somebody_who_is_not_known_in_a_container_has_advice_of_its_own() {
        let of = About { mode: 0o640, owner: 65_534, group: 1_000 };
        let wrong = judge(of, 1_000, Rule::Group).unwrap_err();
        let said = |uid_map, overflow| wrong.seen_from(uid_map, overflow).to_string();
        let inside = said("         0     100000      65536\n", "65534\n");
        assert!(inside.contains("seen as 65534") && !inside.contains("chown root"), "{inside}");
        let on_host = said("         0          0 4294967295\n", "65534\n");
        assert!(
            on_host.contains("the user 65534") && on_host.contains("`chown root`"),
            "{on_host}"
        );
        assert_eq!(said("0 100000 65536", "60000\n"), on_host, "it is an ordinary user");
        assert_eq!(said("0 100000 65536", ""), on_host);
        let by_mode = judge(About { mode: 0o644, ..of }, 1_000, Rule::Group).unwrap_err();
        assert_eq!(by_mode.seen_from("0 100000 65536", "65534"), by_mode);
    }

    #[test]
    fn what_the_mode_says_of_the_group_may_be_the_mask_of_an_acl() {
        let said = |mode, rule| {
            let of = About { mode, owner: 1_000, group: 50 };
            judge(of, 1_000, rule).unwrap_err().to_string()
        };
        for (mode, rule) in
            [(0o664, Rule::Trusted), (0o660, Rule::Group), (0o640, Rule::Key), (0o640, Rule::Owner)]
        {
            assert!(said(mode, rule).contains("getfacl"), "{}", said(mode, rule));
        }
        for (mode, rule) in [(0o646, Rule::Trusted), (0o644, Rule::Group), (0o604, Rule::Key)] {
            assert!(!said(mode, rule).contains("getfacl"), "{}", said(mode, rule));
        }
    }

    #[test]
    fn a_users_own_group_may_write_what_is_believed_and_no_secret() {
        let of = |mode| About { mode, owner: 1_000, group: 1_000 };
        assert_eq!(judge(of(0o664), 1_000, Rule::Trusted), Ok(()));
        assert!(judge(of(0o666), 1_000, Rule::Trusted).is_err());
        assert!(judge(of(0o660), 1_000, Rule::Group).is_err());
        let foreign = judge(About { group: 50, ..of(0o664) }, 1_000, Rule::Trusted).unwrap_err();
        let said = foreign.to_string();
        assert!(said.contains("written by every user of its group (mode 664)"), "{said}");
        assert!(said.contains("`chmod go-w`") && !said.contains("secret"), "{said}");
    }
}
