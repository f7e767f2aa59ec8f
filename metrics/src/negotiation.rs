//! Which format a caller wants, by the header `Accept`.

use crate::exposition::Format;

/// The versions of OpenMetrics that can read what is written.
const VERSIONS: [&str; 2] = ["1.0.0", "0.0.1"];

/// Returns the format that the caller prefers. Whoever wants neither gets text, as everybody who says
/// nothing does: a person with a browser can read it.
pub(crate) fn preferred(accept: Option<&str>) -> Format {
    let (mut of_text, mut of_openmetrics) = (0.0, 0.0);
    for range in accept.unwrap_or_default().split(',') {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let (mut quality, mut is_known) = (1.0, true);
        for parameter in parts {
            match parameter.split_once('=') {
                Some(("q" | "Q", value)) => quality = parsed(value),
                Some((name, value)) if name.eq_ignore_ascii_case("version") => {
                    is_known = VERSIONS.contains(&value.trim_matches('"'));
                }
                _ => {}
            }
        }
        if kind.eq_ignore_ascii_case("application/openmetrics-text") {
            if is_known {
                of_openmetrics = f32::max(of_openmetrics, quality);
            }
        } else if ["text/plain", "text/*", "*/*"].iter().any(|all| kind.eq_ignore_ascii_case(all)) {
            of_text = f32::max(of_text, quality);
        }
    }
    if of_openmetrics > of_text { Format::OpenMetrics } else { Format::Text }
}

/// A weight, 0 to 1; 0 if it is none.
fn parsed(weight: &str) -> f32 {
    let weight = weight.parse::<f32>().ok();
    weight.filter(|weight| (0.0..=1.0).contains(weight)).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_gets_the_format_of_the_greater_weight_and_otherwise_text() {
        // What Prometheus 2 and 3 send.
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,\
                            application/openmetrics-text;version=0.0.1;q=0.75,\
                            text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                            application/openmetrics-text;version=0.0.1;q=0.5,\
                            text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for accept in [
            prometheus_2,
            prometheus_3,
            "application/openmetrics-text",
            "APPLICATION/OpenMetrics-Text; version=\"1.0.0\"; q=0.5, text/plain; q=0.4",
        ] {
            assert_eq!(preferred(Some(accept)), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "text/plain;version=0.0.4",
            "application/openmetrics-text;q=0.3, text/plain;q=0.7",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=NaN",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=2",
            ";;;=,,q=,;q",
        ] {
            assert_eq!(preferred(Some(accept)), Format::Text, "{accept}");
        }
        assert_eq!(preferred(None), Format::Text);
    }
}
