//! When a proxy passes on what it has read: delay, jitter and bandwidth; and the fate of datagrams. Pure.

use std::time::Duration;

use serde::Serialize;
use standin_protocol::time::Micros;

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

/// The random choices for one direction of a connection, or of all datagrams.
#[derive(Debug)]
pub(super) struct Pace {
    random: Random,
    direction: Direction,
    /// When the bytes before arrive.
    last: Micros,
}

impl Pace {
    pub(super) fn new(random: Random, direction: Direction) -> Self {
        Self { random, direction, last: Micros(0) }
    }

    /// When bytes of a connection that were read now arrive. `line_free` is when the line has sent what was before them.
    pub(super) fn due(
        &mut self,
        now: Micros,
        shape: &Shape,
        bytes: usize,
        line_free: &mut Micros,
    ) -> Micros {
        let due = self.unordered(now, shape, bytes, line_free);
        self.last = self.last.max(due);
        self.last
    }

    /// When each copy of a datagram arrives: none, one or two times.
    pub(super) fn copies(
        &mut self,
        now: Micros,
        shape: &Shape,
        bytes: usize,
        line_free: &mut Micros,
    ) -> [Option<Micros>; 2] {
        let (loss, twice) = match shape.way.concerns(self.direction) {
            true => (shape.loss_percent, shape.duplication_percent),
            false => (0, 0),
        };
        // Both are drawn in any case: a seed gives the same choices, whatever came of the first.
        let [is_lost, is_twice] = [loss, twice].map(|percent| self.is_of(percent));
        if is_lost {
            return [None, None];
        }
        let first = self.unordered(now, shape, bytes, line_free);
        let second = is_twice.then(|| self.unordered(now, shape, bytes, line_free));
        [Some(first), second]
    }

    fn is_of(&mut self, percent: u8) -> bool {
        self.random.below(100) < u64::from(percent)
    }

    fn unordered(
        &mut self,
        now: Micros,
        shape: &Shape,
        bytes: usize,
        line_free: &mut Micros,
    ) -> Micros {
        if !shape.way.concerns(self.direction) {
            return now;
        }
        let jitter_us = u64::try_from(shape.jitter.as_micros()).unwrap_or(u64::MAX - 1);
        let jitter = Duration::from_micros(self.random.below(jitter_us + 1));
        let sent = match shape.bytes_per_s {
            None => now,
            Some(per_s) => {
                let takes = Duration::from_secs_f64(bytes as f64 / f64::from(per_s.max(1)));
                *line_free = now.max(*line_free) + takes;
                *line_free
            }
        };
        sent + shape.delay + jitter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(1_000_000);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn pace(direction: Direction) -> Pace {
        Pace::new(Random::new(7), direction)
    }

    #[test]
    fn delay_and_jitter_keep_the_order_of_a_connection() {
        let shape = Shape { delay: ms(50), jitter: ms(20), ..Shape::default() };
        let mut pace = pace(Direction::Up);
        let dues: Vec<Micros> =
            (0..200).map(|_| pace.due(NOW, &shape, 10, &mut Micros(0))).collect();
        assert!(dues.is_sorted());
        assert!(dues.iter().all(|due| (NOW + ms(50)..=NOW + ms(70)).contains(due)));
        assert!(dues[0] < dues[199], "there is jitter");
    }

    #[test]
    fn a_line_sends_no_more_than_its_bandwidth() {
        let shape = Shape { bytes_per_s: Some(1_000), delay: ms(5), ..Shape::default() };
        let (mut one, mut other) = (pace(Direction::Up), pace(Direction::Up));
        let mut line_free = Micros(0);
        assert_eq!(one.due(NOW, &shape, 100, &mut line_free), NOW + ms(105));
        assert_eq!(other.due(NOW, &shape, 200, &mut line_free), NOW + ms(305), "it is shared");
        let later = NOW + ms(900);
        assert_eq!(one.due(later, &shape, 100, &mut line_free), later + ms(105), "it was free");
    }

    #[test]
    fn the_other_direction_is_as_ever() {
        let way = Way::To;
        let shape = Shape { delay: ms(50), loss_percent: 100, way, ..Shape::default() };
        let mut down = pace(Direction::Down);
        assert_eq!(down.due(NOW, &shape, 10, &mut Micros(0)), NOW);
        assert_eq!(down.copies(NOW, &shape, 10, &mut Micros(0)), [Some(NOW), None]);
        let from = Shape { way: Way::From, ..shape };
        assert_eq!(down.copies(NOW, &from, 10, &mut Micros(0)), [None, None]);
    }

    #[test]
    fn datagrams_are_lost_and_repeated_as_often_as_said_and_again_with_the_seed() {
        let shape = Shape { loss_percent: 30, duplication_percent: 10, ..Shape::default() };
        let run = || {
            let mut pace = pace(Direction::Up);
            let copies = |_| pace.copies(NOW, &shape, 10, &mut Micros(0)).iter().flatten().count();
            (0..10_000).map(copies).collect::<Vec<_>>()
        };
        let copies = run();
        let times = |count| copies.iter().filter(|copies| **copies == count).count();
        assert!((2_800..3_200).contains(&times(0)), "{}", times(0));
        assert!((600..800).contains(&times(2)), "{}", times(2));
        assert_eq!(copies, run());
    }
}
