//! Histograms as texts: HdrHistogram's V2 encoding, compressed and in base64, as it is in the lines of an HDR log.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

use super::{LATENCY_US_MAX, histogram};

/// A text that is no histogram.
#[derive(Debug, thiserror::Error)]
#[error("a text is not a histogram in HdrHistogram's V2 encoding and base64: {0}")]
pub struct EncodingError(String);

/// A histogram of latencies, as a text. It has been read once, so it can be read again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Encoded(String);

impl Encoded {
    /// Returns the text of a histogram.
    #[must_use]
    pub fn new(latency: &Histogram<u64>) -> Self {
        let mut bytes = Vec::new();
        match V2DeflateSerializer::new().serialize(latency, &mut bytes) {
            Ok(_) => Self(BASE64_STANDARD.encode(bytes)),
            // Writing a histogram of counts below 2^63 into memory has no way to fail.
            Err(error) => unreachable!("encoding a histogram: {error}"),
        }
    }

    /// The histogram.
    #[must_use]
    pub fn histogram(&self) -> Histogram<u64> {
        match decode(&self.0) {
            Ok(histogram) => histogram,
            Err(error) => unreachable!("reading a histogram again: {error}"),
        }
    }
}

impl TryFrom<String> for Encoded {
    type Error = EncodingError;

    fn try_from(text: String) -> Result<Self, EncodingError> {
        decode(&text)?;
        Ok(Self(text))
    }
}

impl From<Encoded> for String {
    fn from(encoded: Encoded) -> Self {
        encoded.0
    }
}

/// Reads a histogram. One of other bounds or another precision is converted.
fn decode(text: &str) -> Result<Histogram<u64>, EncodingError> {
    let bytes = BASE64_STANDARD.decode(text).map_err(|error| EncodingError(error.to_string()))?;
    let read: Histogram<u64> = Deserializer::new()
        .deserialize(&mut &bytes[..])
        .map_err(|error| EncodingError(error.to_string()))?;
    let mut ours = histogram();
    for value in read.iter_recorded() {
        let us = value.value_iterated_to().min(LATENCY_US_MAX);
        if ours.record_n(us, value.count_at_value()).is_err() {
            return Err(EncodingError(format!("{us} is out of range")));
        }
    }
    Ok(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_the_same_as_a_text() {
        let mut latency = histogram();
        for us in [1, 1, 17, 2_000, 2_001, 1_234_567, LATENCY_US_MAX] {
            latency.record(us).unwrap();
        }
        let text = String::from(Encoded::new(&latency));
        assert!(text.starts_with("HISTFAAA"), "as in the logs of other tools: {text}");
        assert_eq!(Encoded::try_from(text).unwrap().histogram(), latency);
    }

    #[test]
    fn nonsense_is_refused() {
        let good = String::from(Encoded::new(&histogram()));
        for text in ["", "x", "AAAA", &good[..good.len() / 2 / 4 * 4]] {
            assert!(Encoded::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
