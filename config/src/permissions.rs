//! The permissions that files with passwords, secrets and keys may have. Every file with a secret is judged here,
//! whoever reads it.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

/// Those who may have access to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Everybody: it holds no secret.
    Everybody,
    /// Its owner; its group may read it. Whoever may write it could add a password of their own.
    Group,
    /// Its owner, as for PostgreSQL's passfile.
    Owner,
    /// Its owner, and its group may read it if root owns it, as for the private keys of PostgreSQL's
    /// clients.
    Key,
}

impl Rule {
    /// The bits of the mode that must not be set.
    fn forbidden(self, owner: u32) -> u32 {
        match self {
            Self::Everybody => 0,
            Self::Group => 0o027,
            Self::Key if owner == 0 => 0o027,
            Self::Owner | Self::Key => 0o077,
        }
    }

    /// The mode to advise. Standin seldom runs as root, so that a file of root is most likely read by way of its
    /// group; with mode 600 nobody but root could read it.
    fn right(self, mode: u32, owner: u32) -> &'static str {
        match self {
            Self::Key | Self::Group if owner == 0 => GROUP_READS,
            Self::Group if mode & 0o007 == 0 => GROUP_READS,
            _ => "600",
        }
    }
}

const GROUP_READS: &str = "640";

/// The reason why a file with a secret is not used: somebody else may read or change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooOpen {
    mode: u32,
    right: &'static str,
}

impl std::error::Error for TooOpen {}

impl std::fmt::Display for TooOpen {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { mode, right } = self;
        let wrong = match mode {
            mode if mode & 0o007 != 0 => "is accessible to every user of this machine",
            mode if mode & 0o020 != 0 => "can be written by every user of its group",
            _ => "is accessible to every user of its group",
        };
        write!(out, "{wrong} (mode {mode:03o}); run `chmod {right}` on it")?;
        if *right == GROUP_READS {
            out.write_str(" and give it the group of the user that reads it (`chgrp`)")?;
        }
        out.write_str("; change what is secret in it if others may have read it")
    }
}

/// Checks the permissions of a file.
///
/// # Errors
/// [`TooOpen`], which says what to do.
pub fn check(file: &Metadata, rule: Rule) -> Result<(), TooOpen> {
    judge(file.permissions().mode() & 0o777, file.uid(), rule)
}

fn judge(mode: u32, owner: u32, rule: Rule) -> Result<(), TooOpen> {
    if mode & rule.forbidden(owner) == 0 {
        return Ok(());
    }
    Err(TooOpen { mode, right: rule.right(mode, owner) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_owner_may_write_a_secret_and_only_its_group_may_read_it_beside() {
        const ROOT: u32 = 0;
        const USER: u32 = 1_000;
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
            (0o666, USER, Rule::Everybody, None),
        ] {
            let judged = judge(mode, owner, rule);
            let said = judged.map_err(|wrong| wrong.to_string()).err();
            match advice {
                None => assert_eq!(said, None, "{mode:o} of {owner}, {rule:?}"),
                Some(right) => {
                    let said = said.unwrap_or_else(|| panic!("{mode:o} of {owner}, {rule:?}"));
                    assert!(said.contains(&format!("`chmod {right}`")), "{mode:o}: {said}");
                    assert!(said.contains(&format!("(mode {mode:03o})")), "{said}");
                    let right = u32::from_str_radix(right, 8).unwrap();
                    assert_eq!(judge(right, owner, rule), Ok(()), "the advice helps: {said}");
                    assert_eq!(said.contains("chgrp"), right == 0o640, "{said}");
                }
            }
        }
        let said = |mode| judge(mode, USER, Rule::Group).unwrap_err().to_string();
        assert!(said(0o660).contains("written by every user of its group"), "{}", said(0o660));
        assert!(said(0o602).contains("every user of this machine"), "{}", said(0o602));
    }
}
