//! Rates that change with time: phases, each made of pieces whose rate is a straight line over time.
//!
//! The number of requests until a time is the integral of the rate, so a request's time is found by inverting that
//! integral. Its pieces are parabolas, which are inverted exactly: no error builds up over a long run.

use std::time::Duration;

/// The largest number of pieces: bursts and points of curves of all phases.
pub const PIECES_MAX: usize = 1_000_000;
/// The largest rate, of all workers together.
pub const RATE_PER_S_MAX: f64 = 1e7;
/// The shortest time of a piece that is not cut at the end of its phase.
const PIECE_MIN: Duration = Duration::from_millis(1);
/// The longest time of all phases together.
const LENGTH_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);

/// A phase as it was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    /// Its name in reports.
    pub name: String,
    /// Its rate.
    pub shape: Shape,
}

/// The rate of a phase over time, in requests per second of all workers together.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// A straight line; a steady rate if both ends are the same.
    Ramp {
        /// The time that it takes.
        length: Duration,
        /// The rate at its beginning.
        from: f64,
        /// The rate at its end.
        to: f64,
    },
    /// Steps of equal length, the first and the last of which have the rates given.
    Steps {
        /// The time that all of them take.
        length: Duration,
        /// The rate of the first step.
        from: f64,
        /// The rate of the last step.
        to: f64,
        /// Their number.
        steps: u32,
    },
    /// A steady rate with bursts, the first of which is at the beginning.
    Bursts {
        /// The time that the phase takes.
        length: Duration,
        /// The rate between bursts.
        rate: f64,
        /// The rate of a burst.
        burst: f64,
        /// The time from one burst's beginning to the next one's.
        every: Duration,
        /// The length of a burst.
        lasting: Duration,
    },
    /// Points of seconds and rates, between which the rate is a straight line. Two points of the same time are a jump.
    /// The curve begins at the first one.
    Curve {
        /// The points, in order of time.
        points: Vec<(f64, f64)>,
    },
}

/// The reason why phases make no profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProfileError(String);

/// A phase's place in a profile.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Name of the phase.
    pub name: String,
    /// The beginning, since the start of the run.
    pub begin: Duration,
    /// The end.
    pub end: Duration,
}

/// A part of a profile in which the rate is a straight line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Piece {
    begin_s: f64,
    length_s: f64,
    from: f64,
    to: f64,
    /// Requests before it.
    before: f64,
    pub(super) phase: u32,
}

/// Rates over the whole time of a run. It has at least one phase, and at least one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    pieces: Box<[Piece]>,
    spans: Box<[Span]>,
    requests: f64,
}

impl Profile {
    /// Puts phases one after the other.
    ///
    /// # Errors
    /// A phase or all of them together are too long, too short, or have a rate that is out of range.
    pub fn new(phases: &[Phase]) -> Result<Self, ProfileError> {
        let mut builder = Builder::default();
        let mut spans = Vec::new();
        for (number, phase) in (0..).zip(phases) {
            builder.phase = number;
            let begin = builder.end();
            builder.add(&phase.shape).map_err(|text| {
                ProfileError(format!("phase {} ({}): {text}", number + 1, phase.name))
            })?;
            spans.push(Span { name: phase.name.clone(), begin, end: builder.end() });
        }
        let Builder { pieces, end_s, requests, .. } = builder;
        if end_s > LENGTH_MAX.as_secs_f64() {
            return Err(ProfileError("the phases take more than a year".to_owned()));
        }
        if requests < 1.0 {
            let text = "the phases have no request; give one of them a rate above 0";
            return Err(ProfileError(text.to_owned()));
        }
        Ok(Self { pieces: pieces.into(), spans: spans.into(), requests })
    }

    /// The phases' places.
    #[must_use]
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The time of all phases together.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.spans.last().map_or(Duration::ZERO, |span| span.end)
    }

    /// The number of requests before a time, with its fraction.
    #[must_use]
    pub fn requests_until(&self, time: Duration) -> f64 {
        let time_s = time.as_secs_f64();
        let next = self.pieces.partition_point(|piece| piece.begin_s <= time_s);
        // A profile begins at zero.
        let Some(piece) = next.checked_sub(1).map(|index| &self.pieces[index]) else { return 0.0 };
        piece.before + piece.requests_until(time_s - piece.begin_s)
    }

    /// The first piece from `index` on that has the request with this number, and that request's time in seconds;
    /// `None`: it comes after the end.
    pub(super) fn find(&self, mut index: usize, number: f64) -> Option<(usize, f64)> {
        loop {
            let piece = self.pieces.get(index)?;
            // The end of a piece belongs to the next one.
            let after = self.pieces.get(index + 1).map_or(self.requests, |next| next.before);
            if number < after {
                return Some((index, piece.begin_s + piece.time_of(number - piece.before)));
            }
            index += 1;
        }
    }

    pub(super) fn phase_of(&self, piece: usize) -> usize {
        self.pieces[piece].phase as usize
    }
}

impl Piece {
    fn slope(&self) -> f64 {
        (self.to - self.from) / self.length_s
    }

    /// The integral of the rate.
    fn requests_until(&self, passed_s: f64) -> f64 {
        let passed_s = passed_s.clamp(0.0, self.length_s);
        passed_s * (self.from + self.slope() * passed_s / 2.0)
    }

    /// The inverse of the integral. This form of the quadratic formula subtracts nothing from a number close to it,
    /// and needs no division by the slope, which may be 0.
    fn time_of(&self, requests: f64) -> f64 {
        if requests <= 0.0 {
            return 0.0;
        }
        let square = self.from * self.from + 2.0 * self.slope() * requests;
        (2.0 * requests / (self.from + square.max(0.0).sqrt())).min(self.length_s)
    }
}

#[derive(Default)]
struct Builder {
    pieces: Vec<Piece>,
    end_s: f64,
    requests: f64,
    phase: u32,
}

impl Builder {
    fn end(&self) -> Duration {
        Duration::try_from_secs_f64(self.end_s).unwrap_or(Duration::MAX)
    }

    fn add(&mut self, shape: &Shape) -> Result<(), String> {
        match shape {
            Shape::Ramp { length, from, to } => self.piece(seconds(*length)?, *from, *to),
            Shape::Steps { length, from, to, steps } => {
                if *steps < 2 {
                    return Err("write at least two steps".to_owned());
                }
                let length_s = seconds(*length / *steps)?;
                for step in 0..*steps {
                    let share = f64::from(step) / f64::from(*steps - 1);
                    let rate = from + (to - from) * share;
                    self.piece(length_s, rate, rate)?;
                }
                Ok(())
            }
            Shape::Bursts { length, rate, burst, every, lasting } => {
                let (length_s, every_s) = (seconds(*length)?, seconds(*every)?);
                let lasting_s = seconds(*lasting)?;
                if lasting_s >= every_s {
                    let text = "a burst must be shorter than the time from one to the next";
                    return Err(text.to_owned());
                }
                let begin_s = self.end_s;
                for number in 0_u32.. {
                    // Multiplied, not added up.
                    let from_s = f64::from(number) * every_s;
                    if from_s >= length_s {
                        break;
                    }
                    let (ends_s, next_s) =
                        ((from_s + lasting_s).min(length_s), (from_s + every_s).min(length_s));
                    self.piece_until(begin_s + ends_s, *burst, *burst)?;
                    self.piece_until(begin_s + next_s, *rate, *rate)?;
                }
                Ok(())
            }
            Shape::Curve { points } => {
                let begin_s = self.end_s;
                for pair in points.windows(2) {
                    let [(_, from), (until_s, to)] = *pair else { continue };
                    self.piece_until(begin_s + until_s - points[0].0, from, to)?;
                }
                match self.end_s > begin_s {
                    true => Ok(()),
                    false => Err("the curve needs two points of different times".to_owned()),
                }
            }
        }
    }

    /// Adds a piece, unless it takes no time.
    fn piece_until(&mut self, end_s: f64, from: f64, to: f64) -> Result<(), String> {
        let length_s = end_s - self.end_s;
        if length_s < 0.0 {
            return Err("times must not go back".to_owned());
        }
        // A jump, or the end of a phase between two bursts.
        if length_s == 0.0 {
            return Ok(());
        }
        self.piece(length_s, from, to)?;
        // Not the sum: it could be off by a rounding.
        self.end_s = end_s;
        Ok(())
    }

    fn piece(&mut self, length_s: f64, from: f64, to: f64) -> Result<(), String> {
        for rate in [from, to] {
            if !(0.0..=RATE_PER_S_MAX).contains(&rate) {
                return Err(format!("a rate of {rate}/s is out of range; write 0 to 10000000"));
            }
        }
        if self.pieces.len() >= PIECES_MAX {
            return Err(format!("there are more than {PIECES_MAX} bursts, steps and points"));
        }
        let (begin_s, before, phase) = (self.end_s, self.requests, self.phase);
        let piece = Piece { begin_s, length_s, from, to, before, phase };
        self.requests += piece.requests_until(length_s);
        self.end_s += length_s;
        self.pieces.push(piece);
        Ok(())
    }
}

fn seconds(length: Duration) -> Result<f64, String> {
    if length < PIECE_MIN {
        return Err(format!("a time of {length:?} is too short; write at least 1ms"));
    }
    if length > LENGTH_MAX {
        return Err(format!("a time of {length:?} is too long; write at most a year"));
    }
    Ok(length.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn profile(shapes: &[Shape]) -> Result<Profile, ProfileError> {
        let phase = |shape: &Shape| Phase { name: "p".to_owned(), shape: shape.clone() };
        Profile::new(&shapes.iter().map(phase).collect::<Vec<_>>())
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// The time of each request, by the profile's own inverse, is where its integral has that number.
    #[test]
    fn the_inverse_is_that_of_the_integral() {
        let shapes = [
            Shape::Ramp { length: secs(10), from: 0.0, to: 1_000.0 },
            Shape::Ramp { length: secs(5), from: 0.0, to: 0.0 },
            Shape::Steps { length: secs(9), from: 100.0, to: 300.0, steps: 3 },
            Shape::Bursts {
                length: secs(7),
                rate: 50.0,
                burst: 2_000.0,
                every: secs(3),
                lasting: Duration::from_millis(250),
            },
            Shape::Ramp { length: secs(10), from: 1_000.0, to: 0.0 },
            Shape::Curve { points: vec![(60.0, 7.5), (61.0, 9.0), (61.0, 400.0), (64.0, 0.0)] },
        ];
        let profile = profile(&shapes).unwrap();
        // Triangle, pause, 3 s each of 100, 200 and 300, three bursts and 6.25 s of 50, triangle, curve.
        let whole = 5_000.0 + 1_800.0 + 3.0 * 500.0 + 6.25 * 50.0 + 5_000.0 + 8.25 + 600.0;
        assert!((profile.requests - whole).abs() < 1e-6, "{}", profile.requests);
        assert_eq!(profile.length(), secs(10 + 5 + 9 + 7 + 10 + 4));
        assert!((profile.requests_until(secs(5)) - 1_250.0).abs() < 1e-9);
        assert!((profile.requests_until(secs(100)) - whole).abs() < 1e-6);
        let (mut piece, mut last_s, mut number) = (0, -1.0, 0.0);
        while let Some((index, time_s)) = profile.find(piece, number) {
            let back = profile.requests_until(Duration::from_secs_f64(time_s));
            assert!((back - number).abs() < 1e-3, "{number}: {time_s} s has {back}");
            assert!(time_s > last_s, "{number}: {time_s} s after {last_s} s");
            assert!(!(10.0..15.0).contains(&time_s) || time_s < 10.0 + 1e-9, "a pause: {time_s}");
            (piece, last_s, number) = (index, time_s, number + 1.0);
        }
        assert_eq!(number, whole.ceil(), "every request has a time");
    }

    #[test]
    fn phases_have_their_places() {
        let ramp = |seconds| Shape::Ramp { length: secs(seconds), from: 1.0, to: 1.0 };
        let profile = profile(&[ramp(2), ramp(3)]).unwrap();
        let places: Vec<_> = profile.spans().iter().map(|span| (span.begin, span.end)).collect();
        assert_eq!(places, [(secs(0), secs(2)), (secs(2), secs(5))]);
        let (piece, time_s) = profile.find(0, 2.0).unwrap();
        assert_eq!((profile.phase_of(piece), time_s), (1, 2.0), "the end belongs to what follows");
        assert!(profile.find(0, 5.0).is_none());
    }

    #[test]
    fn what_makes_no_schedule_is_refused() {
        let ramp = |length, from, to| Shape::Ramp { length, from, to };
        let bursts = |every, lasting| Shape::Bursts {
            length: secs(1_000_000),
            rate: 1.0,
            burst: 2.0,
            every: Duration::from_millis(every),
            lasting: Duration::from_millis(lasting),
        };
        let curve = |points: &[(f64, f64)]| Shape::Curve { points: points.to_vec() };
        for (shape, what) in [
            (ramp(secs(1), 0.0, 0.0), "no request"),
            (ramp(secs(1), -1.0, 5.0), "out of range"),
            (ramp(secs(1), f64::NAN, 5.0), "out of range"),
            (ramp(secs(1), 1.0, 1e8), "out of range"),
            (ramp(Duration::ZERO, 1.0, 1.0), "too short"),
            (ramp(secs(1 << 40), 1.0, 1.0), "too long"),
            (Shape::Steps { length: secs(1), from: 1.0, to: 2.0, steps: 1 }, "two steps"),
            (bursts(10, 10), "shorter"),
            (bursts(2, 1), "more than 1000000"),
            (curve(&[(1.0, 5.0)]), "two points"),
            (curve(&[(1.0, 5.0), (1.0, 6.0)]), "two points"),
            (curve(&[(1.0, 5.0), (0.5, 6.0)]), "go back"),
        ] {
            let error = profile(std::slice::from_ref(&shape)).unwrap_err().to_string();
            assert!(error.contains(what), "{shape:?}: {error}");
        }
        assert!(Profile::new(&[]).is_err());
    }
}
