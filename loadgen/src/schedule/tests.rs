//! Tests of the schedule.

use super::profile::{Phase, Shape};
use super::*;

fn due_before(schedule: Schedule, end: Duration) -> Vec<Duration> {
    schedule.take_while(|due| *due < end).collect()
}

#[test]
fn constant_arrivals_of_several_workers_interleave_to_the_rate() {
    let mut all: Vec<Duration> = (0..3)
        .flat_map(|w| {
            let schedule = Schedule::new(Arrivals::Constant, 1_000, w, 3, 1);
            due_before(schedule, Duration::from_secs(2))
        })
        .collect();
    all.sort_unstable();
    let expected: Vec<Duration> = (0..2_000).map(Duration::from_millis).collect();
    assert_eq!(all, expected);
}

#[test]
fn an_odd_rate_does_not_drift() {
    let schedule = Schedule::new(Arrivals::Constant, 7, 0, 1, 1);
    assert_eq!(due_before(schedule, Duration::from_secs(1_000)).len(), 7_000);
}

#[test]
fn poisson_arrivals_have_the_rate_and_the_spread() {
    let end = Duration::from_secs(100);
    let counts: Vec<usize> = (0..2)
        .map(|w| due_before(Schedule::new(Arrivals::Poisson, 2_000, w, 2, 9), end).len())
        .collect();
    let total: usize = counts.iter().sum();
    // 200,000 expected; a standard deviation is 447.
    assert!((198_000..202_000).contains(&total), "{counts:?}");

    let due = due_before(Schedule::new(Arrivals::Poisson, 2_000, 0, 1, 9), end);
    assert!(due.is_sorted());
    let gaps: Vec<f64> = due.windows(2).map(|w| (w[1] - w[0]).as_secs_f64()).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
    let spread = variance.sqrt() / mean;
    assert!(
        (0.97..1.03).contains(&spread),
        "exponential gaps spread as far as their mean: {spread}"
    );
}

#[test]
fn the_seed_decides() {
    let take =
        |seed| Schedule::new(Arrivals::Poisson, 100, 0, 1, seed).take(50).collect::<Vec<_>>();
    assert_eq!(take(1), take(1));
    assert_ne!(take(1), take(2));
}

fn phased(shapes: Vec<Shape>) -> Rates {
    let phases: Vec<Phase> =
        shapes.into_iter().map(|shape| Phase { name: "p".to_owned(), shape }).collect();
    Rates::Phased(Arc::new(Profile::new(&phases).unwrap()))
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A steady rate as a phase is the steady rate, to the microsecond and for each worker.
#[test]
fn a_steady_phase_has_the_times_of_a_steady_rate() {
    for (rate, workers) in [(1_000, 3), (7, 2), (150_000, 2), (9_973, 1)] {
        let length = secs(20);
        let shape = Shape::Ramp { length, from: f64::from(rate), to: f64::from(rate) };
        for worker in 0..workers {
            let steady = Schedule::new(Arrivals::Constant, rate, worker, workers, 1);
            let ours =
                Schedule::new(Arrivals::Constant, phased(vec![shape.clone()]), worker, workers, 1);
            assert!(ours.eq(steady.take_while(|due| *due < length)), "{rate}/s, {workers} workers");
        }
    }
}

/// A ramp from 0 to r in t seconds has its n-th request at t·√(2n/(r·t)).
#[test]
fn a_ramp_rises_and_workers_interleave() {
    let ramp = phased(vec![Shape::Ramp { length: secs(10), from: 0.0, to: 1_000.0 }]);
    let mut all: Vec<Duration> = (0..3)
        .flat_map(|worker| Schedule::new(Arrivals::Constant, ramp.clone(), worker, 3, 1))
        .collect();
    all.sort_unstable();
    let expected: Vec<Duration> = (0..5_000)
        .map(|number| 10.0 * (2.0 * f64::from(number) / 10_000.0).sqrt())
        .map(|time_s| Duration::from_micros(((time_s + ROUNDING_S) * 1e6) as u64))
        .collect();
    assert_eq!(all, expected);
}

/// Counts of many seeds in each tenth of a ramp are those of a Poisson process of that rate.
#[test]
fn poisson_arrivals_follow_the_rate() {
    let runs = 200;
    let shape = vec![
        Shape::Ramp { length: secs(5), from: 0.0, to: 400.0 },
        Shape::Ramp { length: secs(1), from: 0.0, to: 0.0 },
        Shape::Ramp { length: secs(4), from: 400.0, to: 100.0 },
    ];
    let rates = phased(shape);
    let mut counts = vec![[0_u32; 10]; runs];
    for (seed, counts) in (0..).zip(&mut counts) {
        for worker in 0..2 {
            for due in Schedule::new(Arrivals::Poisson, rates.clone(), worker, 2, seed) {
                counts[due.as_secs() as usize] += 1;
            }
        }
    }
    for second in 0..10 {
        let expected = rates.requests_until(secs(second + 1)) - rates.requests_until(secs(second));
        let of: Vec<f64> = counts.iter().map(|run| f64::from(run[second as usize])).collect();
        let mean = of.iter().sum::<f64>() / runs as f64;
        let variance = of.iter().map(|n| (n - mean).powi(2)).sum::<f64>() / (runs - 1) as f64;
        // Five standard errors of the mean, and of the variance.
        let error = (expected / runs as f64).sqrt() * 5.0;
        assert!((mean - expected).abs() <= error, "second {second}: {mean} of {expected}");
        let spread = expected * (2.0 / runs as f64).sqrt() * 5.0 + 1e-9;
        assert!((variance - expected).abs() <= spread * 1.2, "second {second}: {variance}");
    }
}

#[test]
fn each_request_knows_its_phase() {
    let steady = |rate| Shape::Ramp { length: secs(1), from: rate, to: rate };
    let rates = phased(vec![steady(3.0), steady(0.0), steady(2.0)]);
    let mut schedule = Schedule::new(Arrivals::Constant, rates.clone(), 0, 1, 1);
    let mut seen = Vec::new();
    while let Some(due) = schedule.next() {
        seen.push((due.as_millis(), schedule.phase()));
    }
    assert_eq!(seen, [(0, 0), (333, 0), (666, 0), (2_000, 2), (2_500, 2)]);
    assert_eq!(rates.spans().len(), 3);
}
