//! A port on which a role answers over HTTP: bound before the role starts, served while it runs.

use std::error::Error;
use std::sync::Arc;

use standin_config::{HTTP_DESCRIPTORS, HttpConfig, HttpKeys, TlsConfig, TlsPort};
use standin_metrics::{Admit, Endpoint, Listener, Site};
use standin_server::shard::users::Users;
use standin_tls::{Acceptor, TlsError};

// The roles reserve them.
const _: () = assert!(standin_metrics::DESCRIPTORS <= HTTP_DESCRIPTORS);

/// A port that is bound, if the file has one.
pub(crate) struct Port(Option<(Listener, Option<Admit>)>);

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
        let users = config.passwords.as_deref().map(Users::read).transpose()?;
        let admit = users.map(|users| -> Admit {
            Box::new(move |user: &[u8], password: &[u8]| users.admit(user, password))
        });
        let mut listener = Listener::bind(config.address, keys.address)?;
        if let Some(tls) = tls {
            listener = listener.with_tls(Arc::clone(tls));
        }
        Ok(Self(Some((listener, admit))))
    }

    /// Returns it for pages that browsers show.
    pub(crate) fn for_browsers(self) -> Self {
        Self(self.0.map(|(listener, admit)| (listener.for_browsers(), admit)))
    }

    /// Serves a site on it, which is made only if there is a port. Dropping what this returns ends it.
    pub(crate) fn serve(
        self,
        site: impl FnOnce() -> Result<Site, Box<dyn Error>>,
    ) -> Result<Option<Endpoint>, Box<dyn Error>> {
        let Some((listener, admit)) = self.0 else { return Ok(None) };
        Ok(Some(listener.serve(site()?, admit)?))
    }
}

/// Returns the reasons why this process can't serve the port, unless another process has it.
pub(crate) fn refusals(keys: HttpKeys, config: Option<&HttpConfig>) -> Vec<String> {
    let Some(config) = config else { return Vec::new() };
    let users = config.passwords.as_deref().map(Users::read);
    let users = users.and_then(Result::err).map(|error| error.to_string());
    let address = Listener::check(config.address, keys.address).filter(|error| !error.is_taken());
    users.into_iter().chain(address.map(|error| error.to_string())).collect()
}
