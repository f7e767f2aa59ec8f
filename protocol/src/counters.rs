//! The figures that a party keeps about itself. Each is defined once, with its name, kind and help
//! text. STATS and everything else that publishes figures reads that list.

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
}

/// One figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figure {
    /// The name, with the unit last: `_us`, `_bytes`.
    pub name: &'static str,
    /// The kind.
    pub kind: FigureKind,
    /// The help text, a sentence for people.
    pub help: &'static str,
}

impl Figure {
    /// Combines the figures of a server's shards into the server's.
    pub fn of_all(&self, shards: impl Iterator<Item = u64>) -> u64 {
        match self.kind {
            FigureKind::Counter | FigureKind::Gauge => shards.sum(),
            FigureKind::Maximum => shards.max().unwrap_or(0),
        }
    }

    /// Returns the figure with a value, as in STATS.
    #[must_use]
    pub fn with(&self, value: u64) -> Counter {
        Counter { name: self.name.to_owned(), value }
    }
}

/// Defines a struct of figures. Each line is the help text as a doc comment, the kind and the name:
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
    ($(#[$meta:meta])* $visibility:vis struct $Counters:ident {
        $($(#[doc = $help:literal])+ $Kind:ident $name:ident,)+
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        $visibility struct $Counters { $($(#[doc = $help])+ $visibility $name: u64,)+ }

        impl $Counters {
            /// The figures, in the order of [`Self::values`].
            $visibility const FIGURES: &'static [$crate::counters::Figure] = &[$(
                $crate::counters::Figure {
                    name: stringify!($name),
                    kind: $crate::counters::FigureKind::$Kind,
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
        struct Sample {
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
        let [requests, connections, lag] = Sample::FIGURES else { panic!("{:?}", Sample::FIGURES) };
        let expected = Figure {
            name: "requests",
            kind: FigureKind::Counter,
            help: "Requests, of every kind.",
        };
        assert_eq!(*requests, expected);
        assert_eq!((connections.kind, lag.kind), (FigureKind::Gauge, FigureKind::Maximum));
        let counters = Sample { connections: 2, ..Sample::default() };
        assert_eq!(counters.list()[1], Counter { name: "connections".to_owned(), value: 2 });
    }

    #[test]
    fn shards_are_summed_but_for_maxima() {
        let all = Sample::FIGURES.iter().map(|figure| figure.of_all([3, 1, 2].into_iter()));
        assert_eq!(all.collect::<Vec<_>>(), [6, 6, 3]);
        assert_eq!(Sample::FIGURES[2].of_all(std::iter::empty()), 0);
    }
}
