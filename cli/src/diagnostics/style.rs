//! The form of log lines: text, or one JSON object per line.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use super::{Format, wall_time};

/// The form of a process's log lines.
#[derive(Debug, Clone)]
pub(super) struct Style {
    pub(super) format: Format,
    /// The name of the server, or `master`, which each line of JSON has.
    name: Arc<str>,
}

impl Style {
    pub(super) fn new(format: Format, name: &str) -> Self {
        Self { format, name: name.into() }
    }

    /// Formats a line that does not come from `tracing`.
    pub(super) fn line(&self, level: Level, text: &str) -> String {
        match self.format {
            Format::Text => format!("{} {level:>5} {text}\n", wall_time()),
            Format::Json => {
                let mut fields = Fields::default();
                fields.insert("message", json!(text));
                self.object(level, fields)
            }
        }
    }

    fn object(&self, level: Level, Fields(fields): Fields) -> String {
        let [time, level] = [json!(wall_time()), json!(level.as_str())];
        let [name, fields] = [json!(*self.name), Value::Object(fields)];
        // The order that a person reads them in.
        format!("{{\"timestamp\":{time},\"level\":{level},\"name\":{name},\"fields\":{fields}}}\n")
    }
}

/// Formats an event as JSON.
impl<S, N> FormatEvent<S, N> for Style
where
    S: Subscriber + for<'l> LookupSpan<'l>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        writer.write_str(&self.object(*event.metadata().level(), fields))
    }
}

/// The fields of an event. Those by which libraries name the place in their source are left out.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn insert(&mut self, name: &str, value: Value) {
        if !name.starts_with("log.") {
            self.0.insert(name.to_owned(), value);
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field.name(), json!(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field.name(), json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field.name(), json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field.name(), json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field.name(), json!(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field.name(), json!(value));
    }
}
