//! When a proxy passes on what it has read: delay, jitter and bandwidth; and the fate of datagrams. Pure.

use std::time::Duration;

use serde::Serialize;
use standin_protocol::time::Micros;

use super::Treatment;
use crate::rng::Random;

/// The directions that a fault concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// From the client to the server.
    To,
    /// From the server to the client.
    From,
    /// Both.
    #[default]
    Both,
}

/// One direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// To the server.
    Up,
    /// To the client.
    Down,
}

impl Way {
    pub(super) fn concerns(self, direction: Direction) -> bool {
        match self {
            Self::Both => true,
            Self::To => direction == Direction::Up,
            Self::From => direction == Direction::Down,
        }
    }
}

/// A bad line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Shape {
    /// Everything takes this much longer.
    pub delay: Duration,
    /// At random up to this much more. The order of a connection's bytes stays; that of datagrams need not.
    pub jitter: Duration,
    /// Bytes per second of all connections together, in each direction; `None`: without a limit.
    pub bytes_per_s: Option<u32>,
    /// The percentage of datagrams that are lost.
    pub loss_percent: u8,
    /// The percentage of datagrams that arrive twice.
    pub duplication_percent: u8,
    /// The directions.
    pub way: Way,
}

/// When a line of limited bandwidth has sent what was put on it. Everything that passes in one direction shares it.
#[derive(Debug, Default)]
pub(super) struct LineFree {
    at: Micros,
    /// The treatment under which that was so: with another one, the line is another line.
    treatment: u64,
}

impl LineFree {
    /// Puts bytes on the line, and returns when it has sent them.
    fn take(&mut self, now: Micros, treatment: u64, bytes: usize, per_s: u32) -> Micros {
        if self.treatment != treatment {
            *self = Self { at: now, treatment };
        }
        let takes = Duration::from_secs_f64(bytes as f64 / f64::from(per_s.max(1)));
        self.at = now.max(self.at) + takes;
        self.at
    }
}

/// The random choices for one direction of a connection, or of all datagrams.
#[derive(Debug)]
pub(super) struct Pace {
    random: Random,
    direction: Direction,
}

/// When bytes leave the line, and when they arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) sent: Micros,
    pub(super) arrives: Micros,
}

impl Pace {
    pub(super) fn new(random: Random, direction: Direction) -> Self {
        Self { random, direction }
    }

    /// When each copy of a datagram arrives: none, one or two times.
    pub(super) fn copies(
        &mut self,
        now: Micros,
        treatment: &Treatment,
        bytes: usize,
        line_free: &mut LineFree,
    ) -> [Option<Micros>; 2] {
        let Shape { way, loss_percent, duplication_percent, .. } = treatment.shape();
        let (loss, twice) = match way.concerns(self.direction) {
            true => (loss_percent, duplication_percent),
            false => (0, 0),
        };
        // Both are drawn in any case: a seed gives the same choices, whatever came of the first.
        let [is_lost, is_twice] = [loss, twice].map(|percent| self.is_of(percent));
        if is_lost {
            return [None, None];
        }
        let mut arrives = || self.due(now, treatment, bytes, line_free).arrives;
        let first = arrives();
        [Some(first), is_twice.then(arrives)]
    }

    fn is_of(&mut self, percent: u8) -> bool {
        self.random.below(100) < u64::from(percent)
    }

    /// When bytes that were read now arrive, whatever was before them: who passes them on keeps their order.
    pub(super) fn due(
        &mut self,
        now: Micros,
        treatment: &Treatment,
        bytes: usize,
        line_free: &mut LineFree,
    ) -> Due {
        let shape = treatment.shape();
        if !shape.way.concerns(self.direction) {
            return Due { sent: now, arrives: now };
        }
        let jitter_us = u64::try_from(shape.jitter.as_micros()).unwrap_or(u64::MAX - 1);
        let jitter = Duration::from_micros(self.random.below(jitter_us + 1));
        let sent = match shape.bytes_per_s {
            None => now,
            Some(per_s) => line_free.take(now, treatment.number, bytes, per_s),
        };
        Due { sent, arrives: sent + shape.delay + jitter }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Conduct;
    use super::*;

    const NOW: Micros = Micros(1_000_000);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn pace(direction: Direction) -> Pace {
        Pace::new(Random::new(7), direction)
    }

    fn slow(shape: Shape) -> Treatment {
        Treatment { conduct: Conduct::Slow(shape), number: 1 }
    }

    #[test]
    fn delay_and_jitter_are_within_their_bounds() {
        let shape = slow(Shape { delay: ms(50), jitter: ms(20), ..Shape::default() });
        let mut pace = pace(Direction::Up);
        let mut due = |_| pace.due(NOW, &shape, 10, &mut LineFree::default()).arrives;
        let dues: Vec<Micros> = (0..200).map(&mut due).collect();
        assert!(dues.iter().all(|due| (NOW + ms(50)..=NOW + ms(70)).contains(due)));
        assert!(dues.iter().any(|due| *due != dues[0]), "there is jitter");
    }

    #[test]
    fn a_line_sends_no_more_than_its_bandwidth() {
        let shape = Shape { bytes_per_s: Some(1_000), delay: ms(5), ..Shape::default() };
        let shape = slow(shape);
        let (mut one, mut other) = (pace(Direction::Up), pace(Direction::Up));
        let mut line_free = LineFree::default();
        let due = |sent, arrives| Due { sent, arrives };
        let first = one.due(NOW, &shape, 100, &mut line_free);
        assert_eq!(first, due(NOW + ms(100), NOW + ms(105)));
        let second = other.due(NOW, &shape, 200, &mut line_free);
        assert_eq!(second, due(NOW + ms(300), NOW + ms(305)), "it is shared");
        let later = NOW + ms(900);
        let third = one.due(later, &shape, 100, &mut line_free);
        assert_eq!(third, due(later + ms(100), later + ms(105)), "it was free");
    }

    #[test]
    fn a_line_is_free_when_it_is_narrow_again() {
        let shape = Shape { bytes_per_s: Some(1), ..Shape::default() };
        let (mut pace, mut line_free) = (pace(Direction::Up), LineFree::default());
        let mut sent = |number| {
            let treatment = Treatment { number, ..slow(shape) };
            pace.due(NOW, &treatment, 100, &mut line_free).sent
        };
        assert_eq!(sent(1), NOW + ms(100_000));
        assert_eq!(sent(1), NOW + ms(200_000));
        assert_eq!(sent(2), NOW + ms(100_000), "what was on it before is not");
    }

    #[test]
    fn the_other_direction_is_as_ever() {
        let way = Way::To;
        let shape = Shape { delay: ms(50), loss_percent: 100, way, ..Shape::default() };
        let mut down = pace(Direction::Down);
        let mut free = LineFree::default();
        let due = down.due(NOW, &slow(shape), 10, &mut free);
        assert_eq!(due, Due { sent: NOW, arrives: NOW });
        assert_eq!(down.copies(NOW, &slow(shape), 10, &mut free), [Some(NOW), None]);
        let from = slow(Shape { way: Way::From, ..shape });
        assert_eq!(down.copies(NOW, &from, 10, &mut free), [None, None]);
    }

    #[test]
    fn datagrams_are_lost_and_repeated_as_often_as_said_and_again_with_the_seed() {
        let shape = Shape { loss_percent: 30, duplication_percent: 10, ..Shape::default() };
        let shape = slow(shape);
        let run = || {
            let mut pace = pace(Direction::Up);
            let copies =
                |_| pace.copies(NOW, &shape, 10, &mut LineFree::default()).iter().flatten().count();
            (0..10_000).map(copies).collect::<Vec<_>>()
        };
        let copies = run();
        let times = |count| copies.iter().filter(|copies| **copies == count).count();
        assert!((2_800..3_200).contains(&times(0)), "{}", times(0));
        assert!((600..800).contains(&times(2)), "{}", times(2));
        assert_eq!(copies, run());
    }
}
