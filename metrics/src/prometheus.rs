//! The site of the metrics: `GET /metrics` in the format that the caller wants.

use crate::exposition::{Group, encode};
use crate::http::{Answer, Asked, Site, Status};
use crate::negotiation::preferred;

const TEXT: &str = "text/plain; charset=utf-8";

/// Gives the figures of a role. It is called on the thread of the port, for each scrape.
pub type Source = Box<dyn Fn() -> Vec<Group> + Send + Sync>;

/// Returns the site that publishes the figures of `source`.
#[must_use]
pub fn metrics(source: Source) -> Site {
    Box::new(move |asked: &Asked<'_>| match asked.path {
        "/metrics" => {
            let format = preferred(asked.accept);
            Answer::new(Status::Ok, format.content_type(), encode(source(), format))
        }
        "/" => Answer::new(Status::Ok, TEXT, "The metrics are at /metrics.\n"),
        _ => Answer::new(Status::NotFound, TEXT, "The metrics are at /metrics.\n"),
    })
}
