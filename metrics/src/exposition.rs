//! Figures as Prometheus reads them: the names by its conventions, in base units, in both text formats.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry;
use standin_protocol::counters::{Figure, FigureKind, Sample, SampleValue, Unit};

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own, version 0.0.4.
    Text,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The value of `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Samples whose names begin with the same word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The first word of the names: the program, and its role if that has figures of its own.
    pub prefix: &'static str,
    /// The samples. Those of one figure may be in several places.
    pub samples: Vec<Sample>,
}

/// Returns the name of a figure in the metrics, as a query has it.
#[must_use]
pub fn published_name(prefix: &str, figure: &Figure) -> String {
    let (name, unit) = figure.unit();
    let unit = base_unit(unit).0.map_or_else(String::new, |unit| format!("_{}", unit.as_str()));
    let end = if figure.kind == FigureKind::Counter { "_total" } else { "" };
    format!("{prefix}_{name}{unit}{end}")
}

/// Writes all samples. Figures are in the order in which they first appear.
#[must_use]
pub fn encode(groups: Vec<Group>, format: Format) -> String {
    let mut registry = registry::Registry::default();
    for Group { prefix, samples } in groups {
        let of_prefix = registry.sub_registry_with_prefix(prefix);
        of_prefix.register_collector(Box::new(Families::of(samples)));
    }
    let mut out = String::new();
    let written = match format {
        Format::Text => prometheus_text::encode(&mut out, &registry),
        Format::OpenMetrics => text::encode(&mut out, &registry),
    };
    written.expect("writing to a string does not fail");
    out
}

/// The base unit of Prometheus, and the number of it that one of this unit is.
fn base_unit(unit: Unit) -> (Option<registry::Unit>, f64) {
    match unit {
        Unit::None => (None, 1.0),
        Unit::Bytes => (Some(registry::Unit::Bytes), 1.0),
        Unit::Microseconds => (Some(registry::Unit::Seconds), 1e6),
        Unit::Milliseconds => (Some(registry::Unit::Seconds), 1e3),
    }
}

/// Samples by their figures, which a text format has together.
#[derive(Debug)]
struct Families(Vec<(Figure, Vec<Sample>)>);

impl Families {
    fn of(samples: Vec<Sample>) -> Self {
        let mut families: Vec<(Figure, Vec<Sample>)> = Vec::new();
        for sample in samples {
            // Most samples follow one of the same figure.
            match families.iter_mut().rev().find(|(figure, _)| *figure == sample.figure) {
                Some((_, of_figure)) => of_figure.push(sample),
                None => families.push((sample.figure, vec![sample])),
            }
        }
        Self(families)
    }
}

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (figure, samples) in &self.0 {
            let (name, unit) = figure.unit();
            let (unit, per_base) = base_unit(unit);
            let kind = match figure.kind {
                FigureKind::Counter => MetricType::Counter,
                FigureKind::Gauge | FigureKind::Maximum => MetricType::Gauge,
                FigureKind::Histogram => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(name, figure.help, unit.as_ref(), kind)?;
            for sample in samples {
                let names = figure.labels.iter().copied();
                let labels: Vec<(&str, &str)> =
                    names.zip(sample.labels.iter().map(String::as_str)).collect();
                match labels.is_empty() {
                    true => encode_value(&mut metric, sample, kind, per_base)?,
                    false => {
                        encode_value(&mut metric.encode_family(&labels)?, sample, kind, per_base)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn encode_value(
    metric: &mut MetricEncoder<'_>,
    sample: &Sample,
    kind: MetricType,
    per_base: f64,
) -> fmt::Result {
    #[expect(clippy::cast_precision_loss, reason = "Prometheus has nothing else than doubles")]
    let in_base = |value: u64| value as f64 / per_base;
    match &sample.value {
        SampleValue::Number(value) if per_base == 1.0 => match kind {
            MetricType::Counter => metric.encode_counter::<NoLabelSet, _, f64>(value, None),
            _ => metric.encode_gauge(value),
        },
        SampleValue::Number(value) => match kind {
            MetricType::Counter => {
                metric.encode_counter::<NoLabelSet, _, f64>(&in_base(*value), None)
            }
            _ => metric.encode_gauge(&in_base(*value)),
        },
        SampleValue::Histogram { buckets, beyond, sum } => {
            let below = buckets.iter().map(|(bound, count)| (in_base(*bound), *count));
            let all: Vec<(f64, u64)> = below.chain([(f64::INFINITY, *beyond)]).collect();
            let count = all.iter().map(|(_, count)| count).sum();
            metric.encode_histogram::<NoLabelSet>(in_base(*sum), count, &all, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUESTS: Figure = Figure {
        name: "requests",
        kind: FigureKind::Counter,
        labels: &["keyspace"],
        help: "Requests.",
    };
    const LAG: Figure =
        Figure { name: "lag_us", kind: FigureKind::Maximum, labels: &[], help: "Lag." };
    const WAIT: Figure =
        Figure { name: "wait_us", kind: FigureKind::Histogram, labels: &["of"], help: "Wait." };

    fn group() -> Vec<Group> {
        let wait = SampleValue::Histogram { buckets: vec![(16, 2), (32, 0)], beyond: 1, sum: 100 };
        let samples = vec![
            Sample::new(REQUESTS, 3).with_labels(["a\"b\\\n"]),
            Sample::new(LAG, 1_500),
            Sample { figure: WAIT, labels: vec!["x".to_owned()], value: wait },
            Sample::new(REQUESTS, 4).with_labels(["c"]),
        ];
        vec![Group { prefix: "standin", samples }]
    }

    #[test]
    fn text_has_names_and_base_units_as_prometheus_wants_them() {
        let wanted = r#"# HELP standin_requests_total Requests.
# TYPE standin_requests_total counter
standin_requests_total{keyspace="a\"b\\\n"} 3
standin_requests_total{keyspace="c"} 4
# HELP standin_lag_seconds Lag.
# TYPE standin_lag_seconds gauge
standin_lag_seconds 0.0015
# HELP standin_wait_seconds Wait.
# TYPE standin_wait_seconds histogram
standin_wait_seconds_bucket{of="x",le="1.6e-05"} 2
standin_wait_seconds_bucket{of="x",le="3.2e-05"} 2
standin_wait_seconds_bucket{of="x",le="+Inf"} 3
standin_wait_seconds_sum{of="x"} 0.0001
standin_wait_seconds_count{of="x"} 3
"#;
        assert_eq!(encode(group(), Format::Text), wanted);
    }

    #[test]
    fn openmetrics_has_units_and_an_end() {
        let text = encode(group(), Format::OpenMetrics);
        for line in [
            "# TYPE standin_requests counter",
            "standin_requests_total{keyspace=\"a\\\"b\\\\\\n\"} 3",
            "# UNIT standin_lag_seconds seconds",
            "standin_wait_seconds_count{of=\"x\"} 3",
            "standin_wait_seconds_bucket{le=\"+Inf\",of=\"x\"} 3",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
        assert!(text.ends_with("\n# EOF\n"), "{text}");
    }

    #[test]
    fn a_query_uses_the_name_that_is_written() {
        for (figure, name) in [
            (REQUESTS, "standin_requests_total"),
            (LAG, "standin_lag_seconds"),
            (WAIT, "standin_wait_seconds"),
        ] {
            assert_eq!(published_name("standin", &figure), name);
            assert!(encode(group(), Format::Text).contains(&format!("# TYPE {name} ")));
        }
    }
}
