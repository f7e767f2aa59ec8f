//! The dashboard: a page that the master serves, and the look at the cluster that the page asks for once a
//! second. docs/DASHBOARD.md describes both.
//!
//! The page asks again and again instead of keeping a stream open, because a port keeps few connections and
//! each for a short time: a viewer that sleeps or has gone holds nothing.

use std::error::Error;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};
use standin_config::ClusterConfig;
use standin_metrics::{Answer, Asked, Endpoint, Site, Status};
use standin_protocol::map::Topology;
use tracing::info;

use crate::port::Port;
use crate::watch::{Events, Watcher};

/// The page with its style, its script, and nothing from elsewhere.
const PAGE: &str = include_str!("page.html");
const TEXT: &str = "text/plain; charset=utf-8";

/// Serves the dashboard, if there is a port for it. Dropping what this returns ends it.
pub(crate) fn serve(
    port: Port,
    cluster: &ClusterConfig,
    topology: &Arc<Topology>,
    events: Events,
) -> Result<Option<Endpoint>, Box<dyn Error>> {
    let site = || {
        let watcher = Watcher::start(cluster, Arc::clone(topology), Some(events))?;
        Ok(site(watcher))
    };
    let endpoint = port.for_browsers().serve(site)?;
    if let Some(endpoint) = &endpoint {
        let scheme = if endpoint.has_tls() { "https" } else { "http" };
        info!(address = %endpoint.address(), "the dashboard is at {scheme}://{}/", endpoint.address());
    }
    Ok(endpoint)
}

fn site(watcher: Watcher) -> Site {
    let policy = policy();
    Box::new(move |asked: &Asked<'_>| {
        let answer = match asked.path {
            "/" => Answer::new(Status::Ok, "text/html; charset=utf-8", PAGE)
                .with("content-security-policy", &policy),
            "/state.json" => state(&watcher),
            _ => {
                Answer::new(Status::NotFound, TEXT, "The page is at /, its data at /state.json.\n")
            }
        };
        answer
            .with("cache-control", "no-store")
            .with("cross-origin-resource-policy", "same-origin")
            .with("referrer-policy", "no-referrer")
            .with("x-content-type-options", "nosniff")
            .with("x-frame-options", "DENY")
    })
}

fn state(watcher: &Watcher) -> Answer {
    let shown = watcher.newest().and_then(|shown| serde_json::to_vec(&*shown).ok());
    match shown {
        Some(shown) => Answer::new(Status::Ok, "application/json", shown),
        None => Answer::new(Status::NotYet, TEXT, "the first look has not ended yet\n"),
    }
}

/// The policy of the page: its own style and script, known by their hashes, and its own data. What somebody
/// might get into the page as text can't do anything.
fn policy() -> String {
    let hash = |tag: &str| {
        let (_, rest) = PAGE.split_once(&format!("<{tag}>")).expect("the page has one");
        let (text, _) = rest.split_once(&format!("</{tag}>")).expect("it ends");
        BASE64_STANDARD.encode(Sha256::digest(text))
    };
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash("script"),
        hash("style")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_makes_no_markup_of_text() {
        for part in ["<script>", "<style>"] {
            assert_eq!(PAGE.matches(part).count(), 1, "{part}");
        }
        let namespace = "http://www.w3.org/2000/svg";
        let addresses = PAGE.replace(namespace, "");
        for part in
            ["http://", "https://", "//cdn", "src=", "@import", "url(", " style=", " onclick"]
        {
            assert!(!addresses.contains(part), "{part}");
        }
        for sink in ["innerHTML =", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!PAGE.contains(sink), "{sink}");
        }
        assert!(policy().starts_with("default-src 'none'; script-src 'sha256-"));
    }
}
