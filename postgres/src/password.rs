//! The password of the database's user: from an environment variable, a file, or PostgreSQL's passfile.
//! It is read for each connection, so that a new one is used without a restart.

use std::path::PathBuf;

use standin_config::PasswordSource;

use standin_tls::private::{self, FileError, Rule};

/// The environment variable with the path of the passfile, as by PostgreSQL.
const PASSFILE_VARIABLE: &str = "PGPASSFILE";
/// The passfile in the home folder.
const PASSFILE: &str = ".pgpass";

/// The reason why there is no password. It never shows one.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The variable is not set.
    #[error(
        "the environment variable {0}, which password_env names, is not set; set it for this \
         process, or write `password_file`"
    )]
    NoVariable(String),
    /// The file can't be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A passfile has passwords of users.
    #[error("passfile {} is used with the name of a user; write one in url", .0.display())]
    NoUser(PathBuf),
    /// The passfile has no password for this place.
    #[error(
        "passfile {} has no line for {place}; add one: host:port:database:user:password",
        path.display()
    )]
    NoLine {
        /// The passfile.
        path: PathBuf,
        /// The place, as a line of it would begin.
        place: String,
    },
}

/// The place and the user that a password is for.
#[derive(Debug, Clone)]
pub(crate) struct For<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) database: Option<&'a str>,
    pub(crate) user: Option<&'a str>,
}

/// The contents of the source, read once for all hosts of a connection string.
pub(crate) enum Passwords {
    /// Of every host; `None`: none is given.
    One(Option<Vec<u8>>),
    /// In the lines of a passfile. `is_usual`: it need not have a line.
    Passfile { path: PathBuf, lines: Vec<u8>, is_usual: bool },
}

impl Passwords {
    /// Reads the source.
    ///
    /// # Errors
    /// If it is named and can't be used. PostgreSQL's usual passfile is left out instead, with a
    /// warning unless it is merely missing.
    pub(crate) fn read(source: &PasswordSource) -> Result<Self, PasswordError> {
        match source {
            PasswordSource::Usual => Ok(usual()),
            PasswordSource::Environment(name) => match std::env::var_os(name) {
                Some(password) => Ok(Self::One(Some(password.into_encoded_bytes()))),
                None => Err(PasswordError::NoVariable(name.clone())),
            },
            PasswordSource::File(path) => {
                Ok(Self::One(Some(private::password("password_file", path)?)))
            }
            PasswordSource::Passfile(path) => {
                let lines = private::read("passfile", path, Rule::Owner)?;
                Ok(Self::Passfile { path: path.clone(), lines, is_usual: false })
            }
        }
    }

    /// Returns the password for a place, if one is given.
    ///
    /// # Errors
    /// If the passfile that is named has none.
    pub(crate) fn of(&self, wanted: &For<'_>) -> Result<Option<Vec<u8>>, PasswordError> {
        let (path, lines, is_usual) = match self {
            Self::One(password) => return Ok(password.clone()),
            Self::Passfile { path, lines, is_usual } => (path, lines, *is_usual),
        };
        let Some(user) = wanted.user else {
            return if is_usual { Ok(None) } else { Err(PasswordError::NoUser(path.clone())) };
        };
        // As for the server itself, a database has the user's name unless it has another.
        let database = wanted.database.unwrap_or(user);
        let port = wanted.port.to_string();
        let fields = [wanted.host, &port, database, user].map(str::as_bytes);
        let found = lines.split(|byte| *byte == b'\n').find_map(|line| password_of(line, &fields));
        if found.is_none() && !is_usual {
            let place = format!("{}:{port}:{database}:{user}", wanted.host);
            return Err(PasswordError::NoLine { path: path.clone(), place });
        }
        Ok(found)
    }
}

/// The usual passfile, if there is one that can be used.
fn usual() -> Passwords {
    let none = Passwords::One(None);
    let named = std::env::var_os(PASSFILE_VARIABLE).filter(|path| !path.is_empty());
    let at_home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(PASSFILE));
    let Some(path) = named.map(PathBuf::from).or_else(at_home) else { return none };
    match private::read("passfile", &path, Rule::Owner) {
        Ok(lines) => Passwords::Passfile { path, lines, is_usual: true },
        Err(error) if error.is_missing() => none,
        Err(error) => {
            tracing::warn!("PostgreSQL's passfile is not used: {error}");
            none
        }
    }
}

/// The password of a line of a passfile, if its other fields match. In a field `*` is anything, and
/// `\` makes a colon or a backslash part of it.
fn password_of(line: &[u8], wanted: &[&[u8]; 4]) -> Option<Vec<u8>> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.starts_with(b"#") {
        return None;
    }
    let mut rest = line;
    for wanted in wanted {
        rest = match rest.strip_prefix(b"*:") {
            Some(rest) => rest,
            None => after_field(rest, wanted)?,
        };
    }
    let mut password = Vec::with_capacity(rest.len());
    let mut bytes = rest.iter();
    while let Some(&byte) = bytes.next() {
        let escaped = if byte == b'\\' { bytes.next() } else { None };
        password.push(*escaped.unwrap_or(&byte));
    }
    (!password.is_empty()).then_some(password)
}

/// The rest of a line after a field and its colon, if the field is this one.
fn after_field<'l>(line: &'l [u8], wanted: &[u8]) -> Option<&'l [u8]> {
    let mut rest = line;
    for byte in wanted {
        rest = match rest {
            [b'\\', escaped, rest @ ..] if escaped == byte => rest,
            [b':', ..] => return None,
            [plain, rest @ ..] if plain == byte => rest,
            _ => return None,
        };
    }
    rest.strip_prefix(b":")
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn passfile(lines: &str, is_usual: bool) -> Passwords {
        Passwords::Passfile { path: "pgpass".into(), lines: lines.into(), is_usual }
    }

    fn of(lines: &str, host: &str, port: u16, database: Option<&str>) -> Option<String> {
        let wanted = For { host, port, database, user: Some("app") };
        let found = passfile(lines, true).of(&wanted).unwrap();
        found.map(|password| String::from_utf8(password).unwrap())
    }

    #[test]
    fn the_first_line_that_matches_has_the_password() {
        let lines = "# host:5432:*:*:comment\n\
                     other:5432:db:app:of another host\n\
                     host:5432:db:else:of another user\n\
                     host:5432:db:app:first\r\n\
                     host:*:*:app:sec:ond\n\
                     a\\:b\\\\c:5432:*:*:esc\\:a\\\\ped\n\
                     *:1:app:*:anywhere\n\
                     short:5432";
        assert_eq!(of(lines, "host", 5_432, Some("db")).as_deref(), Some("first"));
        assert_eq!(of(lines, "host", 5_433, Some("db")).as_deref(), Some("sec:ond"));
        assert_eq!(of(lines, "a:b\\c", 5_432, None).as_deref(), Some("esc:a\\ped"));
        assert_eq!(of(lines, "x", 1, None).as_deref(), Some("anywhere"), "the user's database");
        assert_eq!(of(lines, "x", 1, Some("db")), None);
        assert_eq!(of(lines, "hos", 5_432, Some("db")), None);
        assert_eq!(of(lines, "hostt", 5_432, Some("db")), None);
        assert_eq!(of(lines, "short", 5_432, None), None);
        assert_eq!(of("*:*:*:*:", "h", 1, None), None, "an empty password is none");
    }

    #[test]
    fn a_passfile_that_is_named_must_have_a_line() {
        let wanted = For { host: "h", port: 1, database: Some("d"), user: Some("u") };
        let said = passfile("x:1:d:u:secret", false).of(&wanted).unwrap_err().to_string();
        assert!(said.contains("no line for h:1:d:u") && !said.contains("secret"), "{said}");
        let nobody = For { user: None, ..wanted };
        let said = passfile("*:*:*:*:secret", false).of(&nobody).unwrap_err().to_string();
        assert!(said.contains("write one in url"), "{said}");
        assert!(passfile("*:*:*:*:secret", true).of(&nobody).unwrap().is_none());
    }

    #[test]
    fn a_source_that_is_named_must_have_a_password() {
        let scratch = standin_testkit::Scratch::new("password-file");
        let path = scratch.file("password");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
            Passwords::read(&PasswordSource::File(path.clone())).map_err(|error| error.to_string())
        };
        let Ok(Passwords::One(found)) = read("se cret\n") else { panic!("of every host") };
        assert_eq!(found.as_deref(), Some(&b"se cret"[..]));
        assert!(read("").map(drop).unwrap_err().contains("is empty"));
        let none = PasswordSource::Environment("STANDIN_NO_SUCH_VARIABLE".to_owned());
        let said = Passwords::read(&none).map(drop).unwrap_err().to_string();
        assert!(said.contains("STANDIN_NO_SUCH_VARIABLE") && said.contains("not set"), "{said}");
    }
}
