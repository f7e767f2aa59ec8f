//! The file of users, `users_file` in `[security]`: one user a line.
//!
//! ```text
//! # name   verifier    rights by keyspace; * is every other one
//! shop     5d1f…07     items=read,write sessions=read
//! ops      88ab…c2     *=read,write,administer
//! default  open        *=read
//! ```

use std::collections::HashSet;
use std::fmt::Write as _;

use standin_protocol::users::{
    DEFAULT_USER, KeyspaceSet, Right, Rights, USER_NAME_BYTES_MAX, User, Users, Verifier,
};

use crate::digits::{hex, key_of};
use crate::model::KeyspaceConfig;
use crate::suggest::nearest;

/// The largest file that is read, in bytes.
pub(crate) const FILE_BYTES_MAX: u64 = 4 << 20;
/// In the place of a verifier: everybody is this user.
const OPEN: &str = "open";
/// In the place of a keyspace: all that are not named.
const OTHERS: &str = "*";
const ALL: &str = "all";
const NONE: &str = "none";
const DIGITS: usize = 64;
/// The largest number of passwords of a user: each is tried at every attempt.
const VERIFIERS_MAX: usize = 8;
const EXAMPLE: &str = "write `NAME VERIFIER KEYSPACE=RIGHTS`, which `standin user` prints";

/// Reads the text of a file. Empty lines, and lines that begin with `#`, say nothing.
///
/// # Errors
/// What is wrong with the first line that is, and what to write instead. It shows no verifier.
pub(crate) fn parse(text: &str, keyspaces: &[KeyspaceConfig]) -> Result<Users, String> {
    let (mut users, mut names) = (Vec::new(), HashSet::new());
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |wrong: String| format!("line {number}: {wrong}");
        let user = read_user(line, keyspaces).map_err(wrong)?;
        if !names.insert(user.name.clone()) {
            let name = &user.name;
            return Err(wrong(format!("{name:?} has a line already; write one for each user")));
        }
        users.push(user);
    }
    if users.is_empty() {
        return Err(format!("names no user; {EXAMPLE}"));
    }
    // What is cut off may have taken away a right that stands before it.
    if !text.ends_with('\n') {
        return Err("has no end of line after its last user, and is perhaps written in part; end it with a \
                    line feed"
            .to_owned());
    }
    Ok(Users::new(users))
}

fn read_user(line: &str, keyspaces: &[KeyspaceConfig]) -> Result<User, String> {
    let mut words = line.split_ascii_whitespace();
    let (Some(name), Some(verifiers)) = (words.next(), words.next()) else {
        return Err(format!("is no user; {EXAMPLE}"));
    };
    let name = check_user_name(name)?;
    let verifiers = match verifiers {
        OPEN if name == DEFAULT_USER => Vec::new(),
        OPEN => {
            return Err(format!(
                "only the user `{DEFAULT_USER}` may be `{OPEN}`; {name:?} needs a verifier, which \
                 `standin user {name}` prints"
            ));
        }
        list if list.split(',').count() > VERIFIERS_MAX => {
            return Err(format!(
                "{name:?} has more than {VERIFIERS_MAX} verifiers; remove those of passwords that are \
                 out of use"
            ));
        }
        list => {
            let read = list.split(',').map(read_verifier);
            read.collect::<Option<_>>().ok_or_else(|| {
                format!(
                    "the verifier of {name:?} is not {DIGITS} hexadecimal digits (or several such, \
                     with commas between them); copy it from what `standin user` printed"
                )
            })?
        }
    };
    let rights = read_rights(words, keyspaces)?;
    Ok(User { name: name.into(), verifiers, rights })
}

/// Checks the name of a user.
///
/// # Errors
/// What is wrong with it.
pub fn check_user_name(name: &str) -> Result<&str, String> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if is_plain && !name.is_empty() && name.len() <= USER_NAME_BYTES_MAX {
        return Ok(name);
    }
    let shown: String = name.chars().take(USER_NAME_BYTES_MAX).collect();
    Err(format!(
        "{shown:?} can't be the name of a user; write 1 to {USER_NAME_BYTES_MAX} printable ASCII \
         characters without spaces and `#`"
    ))
}

fn read_verifier(digits: &str) -> Option<Verifier> {
    key_of(digits).map(Verifier::from_bytes)
}

/// Reads words such as `items=read,write`.
///
/// # Errors
/// What is wrong with the first one that is.
pub fn read_rights<'a>(
    words: impl Iterator<Item = &'a str>,
    keyspaces: &[KeyspaceConfig],
) -> Result<Rights, String> {
    let mut named: Vec<(&str, Option<u8>, Vec<Right>)> = Vec::new();
    for word in words {
        let Some((keyspace, rights)) = word.split_once('=') else {
            return Err(format!(
                "{word:?} is not KEYSPACE=RIGHTS; write for example `{OTHERS}=read,write`"
            ));
        };
        if named.iter().any(|(name, ..)| *name == keyspace) {
            return Err(format!("{keyspace:?} is named twice; write all its rights at once"));
        }
        let id = match keyspace {
            OTHERS => None,
            name => Some(keyspace_id(name, keyspaces)?),
        };
        named.push((keyspace, id, read_right_list(rights)?));
    }
    let mut all = Rights::default();
    let others = named.iter().find(|(_, id, _)| id.is_none());
    for right in others.iter().flat_map(|(.., rights)| rights) {
        *all.of_mut(*right) = KeyspaceSet::ALL;
    }
    for (_, id, rights) in &named {
        let Some(id) = *id else { continue };
        for right in Right::ALL {
            all.of_mut(right).set(id, rights.contains(&right));
        }
    }
    Ok(all)
}

fn keyspace_id(name: &str, keyspaces: &[KeyspaceConfig]) -> Result<u8, String> {
    if let Some(keyspace) = keyspaces.iter().find(|keyspace| keyspace.name == name) {
        return Ok(keyspace.id);
    }
    let names: Vec<&str> = keyspaces.iter().map(|keyspace| &*keyspace.name).collect();
    let instead = nearest(name, &names).map_or_else(
        || format!("write the name of a keyspace of the cluster, or `{OTHERS}`"),
        |near| format!("write `{near}`"),
    );
    Err(format!("there is no keyspace {name:?}; {instead}"))
}

fn read_right_list(list: &str) -> Result<Vec<Right>, String> {
    match list {
        ALL => return Ok(Right::ALL.to_vec()),
        NONE => return Ok(Vec::new()),
        _ => {}
    }
    let read = |word: &str| Right::ALL.into_iter().find(|right| right.name() == word);
    let wrong = |word: &str| {
        let names: Vec<&str> = Right::ALL.into_iter().map(Right::name).collect();
        let instead = nearest(word, &names).map_or_else(
            || format!("write some of {}, or `{ALL}` or `{NONE}`", names.join(",")),
            |near| format!("write `{near}`"),
        );
        format!("{word:?} is no right; {instead}")
    };
    list.split(',').map(|word| read(word).ok_or_else(|| wrong(word))).collect()
}

/// Returns a file's line for a user, without the end of the line.
#[must_use]
pub fn user_line(user: &User, keyspaces: &[KeyspaceConfig]) -> String {
    let verifiers: Vec<String> = user.verifiers.iter().map(|one| hex(one.bytes())).collect();
    let verifiers = if verifiers.is_empty() { OPEN.to_owned() } else { verifiers.join(",") };
    let mut line = format!("{} {verifiers}", user.name);
    let words = |has: &dyn Fn(Right) -> bool| -> String {
        let words: Vec<&str> =
            Right::ALL.into_iter().filter(|right| has(*right)).map(Right::name).collect();
        if words.is_empty() { NONE.to_owned() } else { words.join(",") }
    };
    // Of no keyspace in particular.
    let is_free = |id: &u8| keyspaces.iter().all(|keyspace| keyspace.id != *id);
    let others = (0..=u8::MAX).rev().find(is_free);
    let others = others.map(|id| words(&|right| user.rights.of(right).has(id)));
    let others = others.unwrap_or_else(|| NONE.to_owned());
    for keyspace in keyspaces {
        let rights = words(&|right| user.rights.of(right).has(keyspace.id));
        if rights != others {
            // Writing to a String can't fail.
            let _ = write!(line, " {}={rights}", keyspace.name);
        }
    }
    let _ = write!(line, " {OTHERS}={others}");
    line
}

#[cfg(test)]
mod tests {
    use standin_protocol::users::UserKey;

    use super::*;

    fn keyspaces() -> Vec<KeyspaceConfig> {
        vec![KeyspaceConfig::cache(1, "items"), KeyspaceConfig::cache(70, "sessions")]
    }

    fn verifier(name: &str) -> Verifier {
        UserKey::new(name.as_bytes(), b"password").verifier()
    }

    #[test]
    fn a_user_has_the_rights_of_each_keyspace_and_those_of_all_others() {
        let hex = |name: &str| hex(verifier(name).bytes());
        let text = format!(
            "# all\n\n  shop {},{}\titems=read,write sessions=none *=read\r\nops {} *=all\n\
             default open items=read\n",
            hex("shop"),
            hex("other"),
            hex("ops")
        );
        let users = parse(&text, &keyspaces()).unwrap();
        let may = |name: &str| {
            let user = users.named(name.as_bytes()).unwrap();
            move |right: Right, keyspace| user.rights.of(right).has(keyspace)
        };
        let shop = may("shop");
        assert!(shop(Right::Read, 1) && shop(Right::Write, 1) && !shop(Right::Administer, 1));
        assert!(!shop(Right::Read, 70) && shop(Right::Read, 9) && !shop(Right::Write, 9));
        assert!(users.named(b"ops").unwrap().rights == Rights::ALL);
        assert!(may("default")(Right::Read, 1) && !may("default")(Right::Read, 9));
        assert!(users.open().is_some());
        assert_eq!(users.named(b"shop").unwrap().verifiers.len(), 2);
        let lines: Vec<String> = users.iter().map(|user| user_line(user, &keyspaces())).collect();
        assert_eq!(parse(&(lines.join("\n") + "\n"), &keyspaces()).unwrap(), users, "{lines:?}");
    }

    #[test]
    fn what_is_no_user_is_refused_with_the_line_and_the_remedy() {
        let shop = format!("shop {}", hex(verifier("shop").bytes()));
        for (text, wrong) in [
            (String::new(), "names no user"),
            ("shop".to_owned(), "line 1: is no user; write `NAME VERIFIER"),
            ("shop 12".to_owned(), "line 1: the verifier of \"shop\" is not 64"),
            ("shop open *=read".to_owned(), "only the user `default` may be `open`"),
            (format!("{shop} item=read"), "there is no keyspace \"item\"; write `items`"),
            (format!("{shop} items=raed"), "\"raed\" is no right; write `read`"),
            (format!("{shop} items=x"), "write some of read,write,administer"),
            (format!("{shop} items"), "\"items\" is not KEYSPACE=RIGHTS"),
            (format!("{shop} *=read *=write"), "\"*\" is named twice"),
            (format!("#\n{shop} *=read\n{shop}"), "line 3: \"shop\" has a line already"),
            (format!("{shop} *=read"), "has no end of line after its last user"),
            (
                format!("{shop}{} *=read\n", format!(",{}", &shop[5..]).repeat(8)),
                "more than 8 verifiers",
            ),
            (format!("sh\u{f6}p {}", &shop[5..]), "can't be the name of a user"),
        ] {
            let said = parse(&text, &keyspaces()).unwrap_err();
            assert!(said.contains(wrong) && !said.contains(&shop[5..]), "{text}: {said}");
        }
    }
}
