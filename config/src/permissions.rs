//! The permissions of files that others must not read or change: files with passwords, secrets and keys, and files that
//! are believed though nothing in them is secret, such as those of authorities. Every such file is judged here, whoever
//! reads it.

use std::fmt;
use std::fs::{File, Metadata};
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

    /// What to advise: after that, the rule holds, and the reader can read the file. Standin seldom runs as root, so that
    /// a secret file of root is most likely read by way of its group.
    fn remedy(self, file: About, reader: u32) -> Remedy {
        let is_of_root = file.owner == ROOT;
        let is_foreign = self.is_foreign(file, reader);
        let for_reader = Remedy::Reader((reader != ROOT).then_some(reader));
        match self {
            Self::Trusted => Remedy::NobodyWrites,
            Self::Owner if is_foreign || is_of_root => for_reader,
            Self::Group | Self::Key if is_foreign => Remedy::GroupOfRoot,
            Self::Group | Self::Key if is_of_root => Remedy::Group,
            Self::Group if file.mode & 0o007 == 0 => Remedy::Group,
            Self::Group | Self::Owner | Self::Key => Remedy::Owner,
        }
    }

    /// Whether a secret is a third user's, who could change it. Root reads files of any owner: it may be checking those
    /// of the user that Standin will run as.
    fn is_foreign(self, file: About, reader: u32) -> bool {
        self != Self::Trusted && reader != ROOT && ![ROOT, reader].contains(&file.owner)
    }
}

/// What to do about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remedy {
    /// Only its owner may write it.
    NobodyWrites,
    /// Its owner alone may read it.
    Owner,
    /// It belongs to this user, who reads it, or to one whose number is not known here, and nobody else may read it.
    Reader(Option<u32>),
    /// The reader's group may read it.
    Group,
    /// It belongs to root, and the reader's group may read it.
    GroupOfRoot,
}

impl fmt::Display for Remedy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = "and give it the group of the user that reads it (`chgrp`)";
        match self {
            Self::NobodyWrites => out.write_str("run `chmod go-w` on it"),
            Self::Owner => out.write_str("run `chmod 600` on it"),
            Self::Reader(Some(user)) => write!(out, "run `chown {user}` and `chmod 600` on it"),
            Self::Reader(None) => out
                .write_str("run `chmod 600` on it and give it to the user that reads it (`chown`)"),
            Self::Group => write!(out, "run `chmod 640` on it {group}"),
            Self::GroupOfRoot => write!(out, "run `chown root` and `chmod 640` on it {group}"),
        }
    }
}

/// The reason why a file is not used: somebody else may read or change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooOpen {
    why: Why,
    is_secret: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The mode lets others read or write it.
    Mode { mode: u32, has_acl: bool, remedy: Remedy },
    /// This user, who is neither root nor the one who reads it, owns it.
    Owner { owner: u32, remedy: Remedy },
    /// A user without a number in this process's user namespace owns it, such as root of the host. All of them are seen
    /// as this one.
    Unmapped(u32),
}

impl std::error::Error for TooOpen {}

impl fmt::Display for TooOpen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why {
            Why::Mode { mode, has_acl, remedy } => {
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
                write!(out, "{wrong} (mode {mode:03o}); {remedy}")?;
                if has_acl {
                    out.write_str(
                        " (it has an ACL, of which the mode shows in the place of the group what it gives to others at \
                         most: see `getfacl`, and take it away with `setfacl -b`)",
                    )?;
                }
            }
            Why::Owner { owner, remedy } => write!(
                out,
                "belongs to the user {owner}, who can change it and is neither root nor the user that reads it; {remedy}"
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

/// Checks the permissions of a file that this process reads, of which the system says this. Root reads files of any owner.
///
/// # Errors
/// [`TooOpen`], which says what to do.
pub fn check(file: &File, about: &Metadata, rule: Rule) -> Result<(), TooOpen> {
    let mode = about.permissions().mode() & 0o777;
    let about = About { mode, owner: about.uid(), group: about.gid() };
    judge(about, geteuid().as_raw(), rule).map_err(|wrong| {
        let text = |path| std::fs::read_to_string(path).unwrap_or_default();
        wrong
            .with_acl(|| has_acl(file))
            .seen_from(&text("/proc/self/uid_map"), &text("/proc/sys/kernel/overflowuid"))
    })
}

/// Whether a file has an ACL beside its mode.
fn has_acl(file: &File) -> bool {
    rustix::fs::fgetxattr_query(file, "system.posix_acl_access").is_ok()
}

impl TooOpen {
    /// The reason, if the file may have an ACL. Only what the mode says of the group can come from it.
    fn with_acl(self, has_acl: impl FnOnce() -> bool) -> Self {
        match self.why {
            Why::Mode { mode, remedy, .. } => {
                let has_acl = mode & 0o070 != 0 && has_acl();
                Self { why: Why::Mode { mode, has_acl, remedy }, ..self }
            }
            _ => self,
        }
    }

    /// The reason as it is within a user namespace, of which `/proc` says these.
    fn seen_from(self, uid_map: &str, overflow_uid: &str) -> Self {
        // Outside of all of them, each number is its own, and a user may have that of those who are not known.
        let is_host = uid_map.split_ascii_whitespace().eq(["0", "0", "4294967295"]);
        match self.why {
            Why::Owner { owner, .. } if !is_host && overflow_uid.trim().parse() == Ok(owner) => {
                Self { why: Why::Unmapped(owner), ..self }
            }
            _ => self,
        }
    }
}

fn judge(file: About, reader: u32, rule: Rule) -> Result<(), TooOpen> {
    let is_secret = rule != Rule::Trusted;
    let About { mode, owner, .. } = file;
    let remedy = rule.remedy(file, reader);
    let why = if rule.is_foreign(file, reader) {
        Why::Owner { owner, remedy }
    } else if mode & rule.forbidden(file) != 0 {
        Why::Mode { mode, has_acl: false, remedy }
    } else {
        return Ok(());
    };
    Err(TooOpen { why, is_secret })
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

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
            (0o640, USER, Rule::Owner, Some("600")),
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
        for (rule, advice, mended) in [
            (Rule::Group, "`chown root` and `chmod 640`", (0o640, ROOT)),
            (Rule::Key, "`chown root` and `chmod 640`", (0o640, ROOT)),
            (Rule::Owner, "`chown 1000` and `chmod 600`", (0o600, reader)),
        ] {
            let of = |mode, owner| judge(About { mode, owner, group: owner }, reader, rule);
            assert_eq!((of(0o600, reader), of(0o600, ROOT)), (Ok(()), Ok(())));
            // With each mode, its owner is what is wrong, and the advice is all that has to be done.
            for mode in [0o600, 0o640, 0o644, 0o666] {
                let said = of(mode, other).unwrap_err().to_string();
                assert!(said.contains("user 1001") && said.contains(advice), "{said}");
                assert_eq!(said.contains("`chgrp`"), mended.0 == 0o640, "{said}");
            }
            assert_eq!(of(mended.0, mended.1), Ok(()));
            let by_root = judge(About { mode: 0o600, owner: other, group: other }, ROOT, rule);
            assert_eq!(by_root, Ok(()), "it may look at what another user will read");
        }
        let of_host = About { mode: 0o644, owner: other, group: other };
        assert_eq!(judge(of_host, reader, Rule::Trusted), Ok(()));
        assert!(judge(About { mode: 0o646, ..of_host }, reader, Rule::Trusted).is_err());
    }

    #[test]
    fn a_passfile_of_root_that_a_group_reads_is_given_to_its_reader() {
        let of_root = About { mode: 0o640, owner: ROOT, group: 50 };
        let said = |reader| judge(of_root, reader, Rule::Owner).unwrap_err().to_string();
        // With mode 600 alone, nobody but root could read it.
        assert!(said(1_000).contains("run `chown 1000` and `chmod 600`"), "{}", said(1_000));
        let by_root = said(ROOT);
        assert!(by_root.contains("`chmod 600`") && by_root.contains("(`chown`)"), "{by_root}");
        let mended = About { mode: 0o600, owner: 1_000, ..of_root };
        assert_eq!(judge(mended, 1_000, Rule::Owner), Ok(()));
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
        let open = judge(About { mode: 0o644, ..of }, 1_000, Rule::Group).unwrap_err();
        let said = open.seen_from("0 100000 65536", "65534").to_string();
        assert!(said.contains("seen as 65534"), "a mode would not help alone: {said}");
        let own = judge(About { mode: 0o644, owner: 1_000, ..of }, 1_000, Rule::Group).unwrap_err();
        assert_eq!(own.seen_from("0 100000 65536", "65534"), own);
    }

    #[test]
    fn an_acl_is_named_where_the_mode_of_the_group_is_what_it_gives() {
        let said = |mode, rule, has_acl: bool| {
            let of = About { mode, owner: 1_000, group: 50 };
            let wrong = judge(of, 1_000, rule).unwrap_err();
            wrong.with_acl(|| has_acl).to_string()
        };
        for (mode, rule) in
            [(0o664, Rule::Trusted), (0o660, Rule::Group), (0o640, Rule::Key), (0o640, Rule::Owner)]
        {
            assert!(said(mode, rule, true).contains("getfacl"), "{}", said(mode, rule, true));
            assert!(!said(mode, rule, false).contains("getfacl"), "{}", said(mode, rule, false));
        }
        assert!(!said(0o604, Rule::Key, true).contains("getfacl"), "others are no part of it");
    }

    #[test]
    fn an_acl_of_a_real_file_is_seen() {
        let file = tempfile::tempfile().unwrap();
        let chmod = || file.set_permissions(Permissions::from_mode(0o600)).unwrap();
        chmod();
        assert!(!has_acl(&file));
        // Version 2; the owner, the user 1234, the group, the mask and all others: tag, rights, number.
        let entries: [(u16, u16, u32); 5] =
            [(1, 6, !0), (2, 4, 1_234), (4, 0, !0), (0x10, 4, !0), (0x20, 0, !0)];
        let mut acl = 2_u32.to_le_bytes().to_vec();
        for (tag, rights, number) in entries {
            acl.extend(tag.to_le_bytes());
            acl.extend(rights.to_le_bytes());
            acl.extend(number.to_le_bytes());
        }
        let flags = rustix::fs::XattrFlags::empty();
        match rustix::fs::fsetxattr(&file, "system.posix_acl_access", &acl, flags) {
            Ok(()) => {}
            // A file system without ACLs.
            Err(rustix::io::Errno::OPNOTSUPP) => return,
            Err(error) => panic!("{error}"),
        }
        assert!(has_acl(&file));
        let wrong = check(&file, &file.metadata().unwrap(), Rule::Owner).unwrap_err().to_string();
        assert!(wrong.contains("(mode 640)") && wrong.contains("`setfacl -b`"), "{wrong}");
        chmod();
        assert_eq!(
            check(&file, &file.metadata().unwrap(), Rule::Owner),
            Ok(()),
            "its mask is empty"
        );
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
