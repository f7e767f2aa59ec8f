//! A port on which a role answers over HTTP: bound before the role starts, served while it runs.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use standin_config::{HTTP_DESCRIPTORS, HttpConfig, HttpKeys, TlsConfig, TlsPort};
use standin_metrics::{Admit, Endpoint, Listener, Site};
use standin_server::shard::users::{Users, UsersError};
use standin_tls::{Acceptor, TlsError};

// The roles reserve them.
const _: () = assert!(standin_metrics::DESCRIPTORS <= HTTP_DESCRIPTORS);

/// A port that is bound, if the file has one.
pub(crate) struct Port(Option<(Listener, Option<PasswordFile>)>);

/// The password file of a port, and what it said when it was last read.
#[derive(Clone)]
pub(crate) struct PasswordFile {
    path: PathBuf,
    users: Arc<RwLock<Users>>,
}

impl std::fmt::Display for PasswordFile {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "the password file {}", self.path.display())
    }
}

impl PasswordFile {
    fn read(path: &Path) -> Result<Self, UsersError> {
        let users = Arc::new(RwLock::new(Users::read(path)?));
        Ok(Self { path: path.to_owned(), users })
    }

    fn admit(&self) -> Admit {
        let users = Arc::clone(&self.users);
        Box::new(move |user: &[u8], password: &[u8]| {
            users.read().unwrap_or_else(PoisonError::into_inner).admit(user, password)
        })
    }

    /// Reads the file again, for requests from now on.
    ///
    /// # Errors
    /// The file can't be used; the users of before stay.
    pub(crate) fn reload(&self) -> Result<(), UsersError> {
        let users = Users::read(&self.path)?;
        *self.users.write().unwrap_or_else(PoisonError::into_inner) = users;
        Ok(())
    }
}

/// Returns the certificates of the ports, if they have TLS.
pub(crate) fn certificates(tls: Option<&TlsConfig>) -> Result<Option<Arc<Acceptor>>, TlsError> {
    let tls = tls.filter(|tls| tls.is_for(TlsPort::Http));
    Ok(tls.map(Acceptor::new).transpose()?.map(Arc::new))
}

impl Port {
    /// Binds the port, and reads who may use it.
    pub(crate) fn bind(
        keys: HttpKeys,
        config: Option<&HttpConfig>,
        tls: Option<&Arc<Acceptor>>,
    ) -> Result<Self, Box<dyn Error>> {
        let Some(config) = config else { return Ok(Self(None)) };
        let passwords = config.passwords.as_deref().map(PasswordFile::read).transpose()?;
        let mut listener = Listener::bind(config.address, keys.address)?;
        if let Some(tls) = tls {
            listener = listener.with_tls(Arc::clone(tls));
        }
        Ok(Self(Some((listener, passwords))))
    }

    /// Returns the password file, if it has one.
    pub(crate) fn passwords(&self) -> Option<PasswordFile> {
        self.0.as_ref()?.1.clone()
    }

    /// Returns it for pages that browsers show.
    pub(crate) fn for_browsers(self) -> Self {
        Self(self.0.map(|(listener, passwords)| (listener.for_browsers(), passwords)))
    }

    /// Serves a site on it, which is made only if there is a port. Dropping what this returns ends it.
    pub(crate) fn serve(
        self,
        site: impl FnOnce() -> Result<Site, Box<dyn Error>>,
    ) -> Result<Option<Endpoint>, Box<dyn Error>> {
        let Some((listener, passwords)) = self.0 else { return Ok(None) };
        Ok(Some(listener.serve(site()?, passwords.as_ref().map(PasswordFile::admit))?))
    }
}

/// Returns the reason why the port's password file can't be used.
pub(crate) fn refusal_of_file(config: Option<&HttpConfig>) -> Option<String> {
    let users = config?.passwords.as_deref().map(Users::read)?;
    users.err().map(|error| error.to_string())
}

/// Returns the reason why this process can't listen at the port's address, unless another process does.
pub(crate) fn refusal_of_address(keys: HttpKeys, config: Option<&HttpConfig>) -> Option<String> {
    let refused = Listener::check(config?.address, keys.address)?;
    (!refused.is_taken()).then(|| refused.to_string())
}
