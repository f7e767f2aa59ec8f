//! How a target of a URL lets this client in: TLS, a certificate, a user and a password. The options are the same for all
//! targets.

use std::path::{Path, PathBuf};

use clap::Args;
use standin_client::ClientConfig;
use standin_config::{Report, Section, TlsAuthorities, TlsCalls, TlsOwn};
use standin_protocol::users::UserKey;
use standin_tls::private::{self, FileError};
use standin_tls::{Connector, TlsError};

use crate::targets::wire::settings::{Sealing, Settings};

/// TLS and login of a target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct AccessArgs {
    /// With --target: encrypt all connections with TLS, and trust the authorities in this PEM file.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub ca_file: Option<PathBuf>,
    /// The certificate of this side, a PEM file, for targets that ask for one. With --ca-file and --key-file.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub cert_file: Option<PathBuf>,
    /// The private key of --cert-file, which others must not be able to read.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub key_file: Option<PathBuf>,
    /// The name that the certificates of all servers are for; by default the host of each in --target, or its address.
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    pub server_name: Option<String>,
    /// With --target: the user. It needs --password-file or --password-env.
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    pub user: Option<String>,
    /// The file with the password as its only line. Nobody but its owner may write it, and nobody but its owner and its
    /// group may read it. It may also be a pipe: `/dev/stdin`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "password_env"])]
    pub password_file: Option<PathBuf>,
    /// The environment variable with the password.
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    pub password_env: Option<String>,
}

/// The reason why a target can't be asked with this access.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A file of TLS, or what is in it.
    #[error("{}", .0.to_string().trim_start_matches("[tls] "))]
    Tls(#[from] TlsError),
    /// The file of the password.
    #[error(transparent)]
    File(#[from] FileError),
    /// The password is empty or no text, or the variable is not set.
    #[error("{what} has no password: {why}")]
    Password {
        /// The file or variable.
        what: String,
        /// What is wrong, and what to do.
        why: &'static str,
    },
    /// The parts of a login do not fit the target.
    #[error("{0}")]
    Login(&'static str),
}

impl AccessArgs {
    /// These options, and for each that is not given that of `below`.
    pub(super) fn over(self, below: Self) -> Self {
        let has_password = self.password_file.is_some() || self.password_env.is_some();
        let below = match has_password {
            true => Self { password_file: None, password_env: None, ..below },
            false => below,
        };
        Self {
            ca_file: self.ca_file.or(below.ca_file),
            cert_file: self.cert_file.or(below.cert_file),
            key_file: self.key_file.or(below.key_file),
            server_name: self.server_name.or(below.server_name),
            user: self.user.or(below.user),
            password_file: self.password_file.or(below.password_file),
            password_env: self.password_env.or(below.password_env),
        }
    }

    /// Reads the keys of `[target]`.
    pub(super) fn read(
        section: &mut Section<'_>,
        base_dir: &Path,
        report: &mut Report<'_>,
    ) -> Self {
        let mut text = |key, example| section.text(key, example, report).good().map(str::to_owned);
        let file = |text: Option<String>| text.map(|path| base_dir.join(path));
        Self {
            ca_file: file(text("ca_file", "ca.crt")),
            cert_file: file(text("cert_file", "client.crt")),
            key_file: file(text("key_file", "client.key")),
            server_name: text("server_name", "cache.internal"),
            user: text("user", "app"),
            password_file: file(text("password_file", "cache.password")),
            password_env: text("password_env", "CACHE_PASSWORD"),
        }
    }

    /// What can't be said of one option alone.
    pub(super) fn check(&self, has_url: bool) -> Result<(), &'static str> {
        let has_password = self.password_file.is_some() || self.password_env.is_some();
        let needs_tls = self.cert_file.is_some() || self.server_name.is_some();
        let is_variable = |name: &String| !name.is_empty() && !name.contains(['=', '\0']);
        if *self != Self::default() && !has_url {
            Err(
                "--ca-file, --cert-file, --key-file, --server-name, --user, --password-file and --password-env are \
                 for a --target: a cluster file has its own",
            )
        } else if self.cert_file.is_some() != self.key_file.is_some() {
            Err("--cert-file and --key-file are a pair: give both, or none")
        } else if needs_tls && self.ca_file.is_none() {
            Err(
                "--cert-file and --server-name are for TLS: add --ca-file with the authority of the target",
            )
        } else if self.password_file.is_some() && self.password_env.is_some() {
            Err("--password-file and --password-env are both the password: leave one away")
        } else if self.user.is_some() && !has_password {
            Err("--user needs a password: add --password-file or --password-env")
        } else if !self.password_env.as_ref().is_none_or(is_variable) {
            // Whoever writes the password here must not see it in a message.
            Err("--password-env is the name of an environment variable, not the password")
        } else {
            Ok(())
        }
    }

    /// Whether there is a file whose owner should know to whom it is shown.
    pub(super) fn has_secret(&self) -> bool {
        self.password_file.is_some() || self.key_file.is_some()
    }

    /// The files that are read.
    pub(super) fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let tls = self.ca_file.iter_mut().chain(&mut self.cert_file).chain(&mut self.key_file);
        tls.chain(&mut self.password_file)
    }

    fn calls(&self) -> Option<TlsCalls> {
        let own = self.cert_file.clone().zip(self.key_file.clone());
        Some(TlsCalls {
            authorities: TlsAuthorities::File(self.ca_file.clone()?),
            name: self.server_name.clone(),
            own: own.map(|(cert_file, key_file)| TlsOwn { cert_file, key_file }),
        })
    }

    fn password(&self) -> Result<Option<String>, AccessError> {
        let lacks = |what: String, why| AccessError::Password { what, why };
        let (what, text) = match (&self.password_file, &self.password_env) {
            (Some(path), _) => {
                let what = format!("password_file {}", path.display());
                let text = String::from_utf8(private::given_password("password_file", path)?);
                let why = "it is no UTF-8; give a user another password";
                (what.clone(), text.map_err(|_| lacks(what, why))?)
            }
            (None, Some(name)) => {
                let what = format!("password_env {name}");
                let why = "it is not set, or no UTF-8; export it";
                let text = std::env::var(name).map_err(|_| lacks(what.clone(), why))?;
                (what, text)
            }
            (None, None) => return Ok(None),
        };
        match text.is_empty() {
            true => Err(lacks(what, "it is empty; set it to the password")),
            false => Ok(Some(text)),
        }
    }

    /// Puts TLS and login into the settings of a client of other caches. Reads the files.
    pub(super) fn give_to(&self, settings: &mut Settings) -> Result<(), AccessError> {
        settings.sealing =
            self.calls().as_ref().map(Connector::of_others).transpose()?.map(Sealing::new);
        if let Some(password) = self.password()? {
            if settings.login.password.is_some() {
                return Err(AccessError::Login(
                    "--target has a password already: leave it or --password-file and --password-env away",
                ));
            }
            settings.login.user.clone_from(&self.user);
            settings.login.password = Some(password);
        }
        let login = &settings.login;
        let has_space = |text: &Option<String>| {
            text.as_ref().is_some_and(|text| text.contains(|one: char| one <= ' ' || one == '\x7f'))
        };
        match settings.protocol.is_memcached() {
            true if login.password.is_some() && login.user.is_none() => {
                Err(AccessError::Login("memcached has no password without a user: add --user"))
            }
            true if has_space(&login.user) || has_space(&login.password) => {
                Err(AccessError::Login(
                    "memcached's authentication separates user and password by a space: use neither spaces nor \
                     control characters in them",
                ))
            }
            _ => Ok(()),
        }
    }

    /// The settings of Standin's client. Reads the files.
    pub(super) fn client(&self) -> Result<ClientConfig, AccessError> {
        let tls = self.calls();
        // Its mistakes are reported as those of the other targets.
        tls.as_ref().map(Connector::new).transpose()?;
        let user = match (self.password()?, &self.user) {
            (Some(password), Some(user)) => {
                Some((user.clone(), UserKey::new(user.as_bytes(), password.as_bytes())))
            }
            (Some(_), None) => {
                return Err(AccessError::Login(
                    "Standin has no password without a user: add --user",
                ));
            }
            (None, _) => None,
        };
        Ok(ClientConfig { tls, user, ..ClientConfig::default() })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use standin_testkit::{Authority, Scratch};

    use super::super::options::tests::parse;
    use super::*;
    use crate::targets::address::{Resolved, TargetUrl};

    fn settings(url: &str, access: &AccessArgs) -> Result<Settings, String> {
        let Resolved::Wire(mut settings) = url.parse::<TargetUrl>().unwrap().resolve().unwrap()
        else {
            panic!("{url}")
        };
        access.give_to(&mut settings).map(|()| settings).map_err(|error| error.to_string())
    }

    #[test]
    fn options_that_do_not_fit_together_are_refused() {
        let url = ["--target", "redis://127.0.0.1:1"];
        let refusal = |arguments: &[&str]| {
            parse(arguments).expect("right one by one").resolve().unwrap_err().to_string()
        };
        let refused = |arguments: &[&str], part: &str| {
            let said = refusal(&[&url[..], arguments].concat());
            assert!(said.contains(part), "{arguments:?}: {said}");
        };
        refused(&["--cert-file", "a", "--ca-file", "c"], "are a pair");
        refused(&["--cert-file", "a", "--key-file", "b"], "add --ca-file");
        refused(&["--server-name", "a"], "add --ca-file");
        refused(&["--user", "a"], "--password-file or --password-env");
        refused(&["--password-env", "s3cret=x"], "the name of an environment variable");
        assert!(parse(&["--password-env", "A", "--password-file", "b"]).is_none());
        assert!(parse(&["--config", "a", "--ca-file", "b"]).is_none());
        assert!(refusal(&["--ca-file", "b"]).contains("are for a --target"));
    }

    #[test]
    fn an_access_belongs_to_its_target() {
        let below = || {
            parse(&["--target", "redis://a:1", "--ca-file", "c", "--password-env", "A"]).unwrap()
        };
        let over = |arguments: &[&str]| parse(arguments).unwrap().over(below()).access;
        assert_eq!(over(&[]), below().access);
        assert_eq!(over(&["--target", "redis://b:1"]), AccessArgs::default());
        assert_eq!(over(&["--config", "c"]), AccessArgs::default());
        let access = over(&["--password-file", "f"]);
        assert_eq!((access.password_env, access.ca_file), (None, Some("c".into())));
    }

    #[test]
    fn passwords_and_certificates_come_from_files() {
        let scratch = Scratch::new("access");
        let authority = Authority::new(scratch.path(), "root");
        let file = scratch.file("password");
        std::fs::write(&file, "p w\n").unwrap();
        let access = AccessArgs {
            ca_file: Some(authority.root.certificate.clone()),
            user: Some("me".to_owned()),
            password_file: Some(file.clone()),
            ..AccessArgs::default()
        };
        let mode = |mode| std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        mode(0o644);
        let said = settings("redis://127.0.0.1:1", &access).unwrap_err();
        assert!(said.contains("chmod 6") && !said.contains("p w"), "{said}");
        mode(0o600);
        let found = settings("redis://127.0.0.1:1", &access).unwrap();
        assert_eq!(found.login.user.as_deref(), Some("me"));
        assert_eq!(found.login.password.as_deref(), Some("p w"));
        assert!(found.sealing.is_some());
        let said = settings("redis://:x@127.0.0.1:1", &access).unwrap_err();
        assert!(said.contains("already"), "{said}");
        let said = settings("memcached://127.0.0.1:1", &access).unwrap_err();
        assert!(said.contains("space"), "{said}");
        let nobody = AccessArgs { user: None, ..access.clone() };
        assert!(settings("memcached://127.0.0.1:1", &nobody).unwrap_err().contains("--user"));
        assert!(nobody.client().unwrap_err().to_string().contains("--user"));
        let client = access.client().unwrap();
        assert!(client.tls.is_some() && client.user.is_some());
        std::fs::write(&file, "\n").unwrap();
        assert!(access.client().unwrap_err().to_string().contains("is empty"));
        let none = AccessArgs { ca_file: Some(scratch.file("none")), ..AccessArgs::default() };
        let said = none.client().unwrap_err().to_string();
        assert!(said.starts_with("ca_file") && said.contains("cannot be read"), "{said}");
        let unset =
            AccessArgs { password_env: Some("STANDIN_TEST_UNSET".into()), ..AccessArgs::default() };
        assert!(unset.client().unwrap_err().to_string().contains("export it"));
    }
}
