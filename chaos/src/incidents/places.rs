//! The places in which the cause of an incident is looked for, as an operator reads them.

use serde_json::Value;
use standin_testkit::{Browser, Prometheus};

use crate::cluster::Cluster;
use crate::incident::Names;

/// A place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Alert,
    Page,
    Log,
}

/// All, in the order of the table's columns.
pub(crate) const PLACES: [Place; 3] = [Place::Alert, Place::Page, Place::Log];

/// What is asked.
pub(crate) struct Places {
    pub(crate) prometheus: Prometheus,
    pub(crate) browser: Browser,
}

impl Places {
    /// Whether the page says that all is well, and the alert of this incident does not fire. Others may do so for a
    /// while: that of writes in doubt looks back on five minutes.
    pub(crate) fn are_quiet(&self, cluster: &Cluster, names: &Names) -> bool {
        let is_read = self.prometheus.reads_all(cluster.metrics().len());
        let is_other = |alert: &Value| alert["labels"]["alertname"] != names.alert;
        let is_quiet = self.prometheus.firing().is_some_and(|firing| firing.iter().all(is_other));
        is_read && is_quiet && self.page().iter().any(|line| line.contains("all is well"))
    }

    /// What the alerts and the page say now.
    pub(crate) fn say(&self) -> String {
        let firing = self.prometheus.firing().unwrap_or_default();
        let names: Vec<String> = firing.iter().map(|alert| alert["labels"].to_string()).collect();
        format!("{names:?}\n{}", self.page().join("\n"))
    }

    /// The words that name the cause, if the place has them by now.
    pub(crate) fn words(
        &self,
        place: Place,
        names: &Names,
        cluster: &Cluster,
        logged_before: &[usize],
    ) -> Option<String> {
        match place {
            Place::Alert => {
                let firing = self.prometheus.firing()?;
                let of_name = firing.iter().filter(|it| it["labels"]["alertname"] == names.alert);
                let text = of_name.map(said_by).find(|text| has(text, &names.in_alert))?;
                Some(format!("{}: {text}", names.alert))
            }
            Place::Page => self.page().into_iter().find(|line| has(line, &names.on_page)),
            Place::Log => {
                let logs = cluster.logs().into_iter().zip(logged_before);
                let mut lines = logs.flat_map(|(mut lines, before)| lines.split_off(*before));
                lines.find(|line| has(line, &names.in_log))
            }
        }
    }

    /// What is wrong and what has happened, as the page shows them.
    fn page(&self) -> Vec<String> {
        const LINES: &str = "[...document.querySelectorAll('#state, #findings li, #events li')]\
                             .map(item => item.innerText.replace(/\\s+/g, ' '))";
        let lines = self.browser.value(LINES);
        let lines = lines.as_array().map(Vec::as_slice).unwrap_or_default();
        lines.iter().filter_map(|line| line.as_str().map(str::to_owned)).collect()
    }
}

/// What the message of an alert says of its cause.
fn said_by(alert: &Value) -> String {
    let text = |name: &str| alert["annotations"][name].as_str().unwrap_or_default().to_owned();
    format!("{}. {}", text("summary"), text("cause"))
}

fn has(text: &str, words: &[String]) -> bool {
    words.iter().all(|word| text.contains(word))
}
