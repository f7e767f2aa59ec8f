//! The figures that a party keeps about itself. Each is defined once, with its name, unit, kind, labels
//! and help text. STATS, the metrics and everything else that publishes figures read that list.

use crate::body::Counter;

/// The kind of a figure: how it changes, and how the figures of several shards are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FigureKind {
    /// Only rises, from zero at the start of the process. Shards are summed.
    Counter,
    /// Rises and falls. Shards are summed.
    Gauge,
    /// Rises and falls. The maximum over the shards is taken.
    Maximum,
    /// How often something took how long, since the start of the process. Shards are summed.
    Histogram,
}

/// The unit of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// None: a number of things.
    None,
    /// Bytes.
    Bytes,
    /// Microseconds.
    Microseconds,
    /// Milliseconds.
    Milliseconds,
}

impl Unit {
    /// The end of the names of figures in this unit.
    const SUFFIXES: [(&'static str, Self); 3] =
        [("_bytes", Self::Bytes), ("_us", Self::Microseconds), ("_ms", Self::Milliseconds)];
}

/// One figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figure {
    /// The name, with the unit last: `_us`, `_bytes`.
    pub name: &'static str,
    /// The kind.
    pub kind: FigureKind,
    /// The names of its labels. A figure with labels has a value for each combination of theirs that
    /// has occurred.
    pub labels: &'static [&'static str],
    /// The help text, a sentence for people.
    pub help: &'static str,
}

impl Figure {
    /// The unit, and the name without it.
    #[must_use]
    pub fn unit(&self) -> (&'static str, Unit) {
        let unit = Unit::SUFFIXES.iter();
        let mut units = unit.filter_map(|(end, unit)| Some((self.name.strip_suffix(end)?, *unit)));
        units.next().unwrap_or((self.name, Unit::None))
    }

    /// Combines the figures of a server's shards into the server's.
    pub fn of_all(&self, shards: impl Iterator<Item = u64>) -> u64 {
        match self.kind {
            FigureKind::Counter | FigureKind::Gauge | FigureKind::Histogram => shards.sum(),
            FigureKind::Maximum => shards.max().unwrap_or(0),
        }
    }

    /// Returns the figure with a value, as in STATS.
    #[must_use]
    pub fn with(&self, value: u64) -> Counter {
        Counter { name: self.name.to_owned(), value }
    }
}

/// A figure with a value, as it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The figure.
    pub figure: Figure,
    /// The values of its labels, in the order of their names.
    pub labels: Vec<String>,
    /// The value.
    pub value: SampleValue,
}

/// The value of a figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SampleValue {
    /// A number, in the figure's unit.
    Number(u64),
    /// That of a [`FigureKind::Histogram`].
    Histogram {
        /// The upper bounds of the buckets, in the figure's unit and rising, each with the number of
        /// values in it.
        buckets: Vec<(u64, u64)>,
        /// The number of values above the last bound.
        beyond: u64,
        /// The sum of all values.
        sum: u64,
    },
}

impl Sample {
    /// Creates the sample of a figure without labels.
    #[must_use]
    pub fn new(figure: Figure, value: u64) -> Self {
        Self { figure, labels: Vec::new(), value: SampleValue::Number(value) }
    }

    /// Returns it with the values of its labels.
    #[must_use]
    pub fn with_labels<L: Into<String>>(self, labels: impl IntoIterator<Item = L>) -> Self {
        Self { labels: labels.into_iter().map(Into::into).collect(), ..self }
    }
}

/// Returns figures with their values, which all have the same values of their labels.
pub fn samples(
    figures: &[Figure],
    values: impl IntoIterator<Item = u64>,
    labels: &[&str],
) -> impl Iterator<Item = Sample> {
    let sample = move |(figure, value): (&Figure, u64)| {
        Sample::new(*figure, value).with_labels(labels.iter().copied())
    };
    figures.iter().zip(values).map(sample)
}

/// Defines a struct of figures. Each line is the help text as a doc comment, the kind and the name. If
/// all have the same labels, these come behind the name of the struct: `struct Counters by ["shard"]`.
///
/// ```
/// standin_protocol::counters! {
///     /// The figures of a shard.
///     pub struct Counters {
///         /// Requests received.
///         Counter requests,
///         /// Longest turn of the last second, in microseconds.
///         Maximum loop_lag_us,
///     }
/// }
/// let counters = Counters { requests: 3, ..Counters::default() };
/// assert_eq!(counters.values(), [3, 0]);
/// assert_eq!(Counters::FIGURES[0].help, "Requests received.");
/// ```
#[macro_export]
macro_rules! counters {
    ($(#[$meta:meta])* $visibility:vis struct $Counters:ident $(by [$($label:literal),+])? {
        $($(#[doc = $help:literal])+ $Kind:ident $name:ident,)+
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        $visibility struct $Counters { $($(#[doc = $help])+ $visibility $name: u64,)+ }

        impl $Counters {
            /// The names of the labels of each figure.
            const LABELS: &'static [&'static str] = &[$($($label),+)?];

            /// The figures, in the order of [`Self::values`].
            $visibility const FIGURES: &'static [$crate::counters::Figure] = &[$(
                $crate::counters::Figure {
                    name: stringify!($name),
                    kind: $crate::counters::FigureKind::$Kind,
                    labels: Self::LABELS,
                    help: concat!($($help),+).trim_ascii(),
                },
            )+];

            /// The values, in the order of [`Self::FIGURES`].
            #[must_use]
            $visibility fn values(&self) -> [u64; Self::FIGURES.len()] {
                [$(self.$name),+]
            }

            /// Returns the figures with their values, as in STATS.
            #[must_use]
            $visibility fn list(&self) -> Vec<$crate::body::Counter> {
                Self::FIGURES.iter().zip(self.values()).map(|(f, value)| f.with(value)).collect()
            }
        }

        impl From<[u64; $Counters::FIGURES.len()]> for $Counters {
            /// Takes the values in the order of [`Self::FIGURES`].
            fn from([$($name),+]: [u64; $Counters::FIGURES.len()]) -> Self {
                Self { $($name),+ }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    counters! {
        struct Figures {
            /// Requests, of
            /// every kind.
            Counter requests,
            /// Open connections.
            Gauge connections,
            /// Longest turn.
            Maximum lag_us,
        }
    }

    #[test]
    fn a_figure_has_name_kind_and_help() {
        let [requests, connections, lag] = Figures::FIGURES else {
            panic!("{:?}", Figures::FIGURES)
        };
        let expected = Figure {
            name: "requests",
            kind: FigureKind::Counter,
            labels: &[],
            help: "Requests, of every kind.",
        };
        assert_eq!(*requests, expected);
        assert_eq!((connections.kind, lag.kind), (FigureKind::Gauge, FigureKind::Maximum));
        let counters = Figures { connections: 2, ..Figures::default() };
        assert_eq!(counters.list()[1], Counter { name: "connections".to_owned(), value: 2 });
    }

    counters! {
        /// It has labels.
        struct OfShard by ["shard"] {
            /// Length of the queue.
            Gauge queue_bytes,
        }
    }

    #[test]
    fn the_unit_is_the_end_of_the_name() {
        assert_eq!(Figures::FIGURES[0].unit(), ("requests", Unit::None));
        assert_eq!(Figures::FIGURES[2].unit(), ("lag", Unit::Microseconds));
        assert_eq!(OfShard::FIGURES[0].unit(), ("queue", Unit::Bytes));
    }

    #[test]
    fn figures_have_the_labels_of_their_struct() {
        let of_shard = OfShard { queue_bytes: 3 };
        assert_eq!(of_shard.list()[0].value, 3);
        let samples: Vec<Sample> = samples(OfShard::FIGURES, of_shard.values(), &["1"]).collect();
        let [sample] = &*samples else { panic!("{samples:?}") };
        assert_eq!(
            (sample.figure.labels, &*sample.labels),
            (&["shard"][..], &["1".to_owned()][..])
        );
        assert_eq!(sample.value, SampleValue::Number(3));
    }

    #[test]
    fn shards_are_summed_but_for_maxima() {
        let all = Figures::FIGURES.iter().map(|figure| figure.of_all([3, 1, 2].into_iter()));
        assert_eq!(all.collect::<Vec<_>>(), [6, 6, 3]);
        assert_eq!(Figures::FIGURES[2].of_all(std::iter::empty()), 0);
    }
}
