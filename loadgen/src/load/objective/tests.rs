//! Which conditions there are, and when they are kept.

use super::figure::{Measured, OriginReads};
use super::*;
use crate::observer::told::Risen;
use crate::recorder::{Window, histogram};

fn objective(text: &str) -> Objective {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn each_condition_is_judged_by_its_figure() {
    let mut latency = histogram();
    latency.record_n(100, 990).unwrap();
    latency.record_n(1_000, 9).unwrap();
    latency.record(5_000).unwrap();
    let mut failures = [0; FAILURE_KINDS];
    failures[FailureKind::DeadlineExceeded as usize] = 1;
    failures[FailureKind::OriginUnavailable as usize] = 1;
    let counts = Counts {
        requests: 1_000,
        checked: 200,
        failed: 2,
        failures,
        stale: 1,
        hits: 90,
        reads_answered: 100,
        ..Counts::default()
    };
    let service = &histogram();
    let (latency, counts) = (&latency, &counts);
    let origin = OriginReads { peak: Some(386.0), before: Some(190.0) };
    let by = |server: &str, by| (server.to_owned(), by);
    let risen =
        &Risen::from([("Evicted_keys".to_owned(), [by("a1", 3), by("10.0.0.9:11211", 0)].into())]);
    let measured =
        Measured::Run { latency, service, counts, late_p99_us: 150, offline: 2, origin, risen };
    for (text, is_kept) in [
        ("p50<101us", true),
        ("p50 < 100us", false),
        ("p50<=100us", true),
        ("p99<=100us,p99.9<=1ms,p999<=1ms", true),
        ("p99.99<1ms", false),
        ("max<5ms", false),
        ("max<6ms", true),
        ("late<200us,lateness<200us", true),
        ("late<=149us", false),
        ("failed=0", false),
        ("failed<=2", true),
        ("failed<2", false),
        ("failed<0.3%", true),
        ("failed<0.2%", false),
        ("stale=0", false),
        ("stale<0.5%", false),
        ("stale<=0.5%", true),
        ("wrong==0,stale_beyond=0", true),
        ("hits>=90%", true),
        ("hits>90%", false),
        ("offline<=2", true),
        ("offline=0", false),
        ("failed:overloaded+refused=0", true),
        ("failed:overloaded+deadline_exceeded=0", false),
        ("failed:deadline_exceeded<=0.1%", true),
        ("failed:-origin_unavailable=0", false),
        ("failed:-origin_unavailable-deadline_exceeded=0", true),
        ("origin_reads<387/s", true),
        ("origin_reads<386/s", false),
        ("origin_reads<=2.1x", true),
        ("origin_reads<=2x", false),
        ("server:Evicted_keys<=3", true),
        ("server:Evicted_keys=0", false),
        ("server:Evicted_keys=3", true),
        ("server:Evicted_keys@10.0.0.9:11211=0", true),
        ("server:Evicted_keys@a1>=1", true),
        ("server:Evicted_keys@a2=0", false),
        ("server:evicted_keys=0", false),
    ] {
        let misses = objective(text).misses(measured);
        assert_eq!(misses.is_empty(), is_kept, "{text}: {misses:?}");
    }
    let misses = objective("p50<50us,failed=0,max<1s").misses(measured);
    let texts: Vec<_> = misses.iter().map(|miss| miss.text.as_str()).collect();
    assert_eq!(texts, ["p50<50us: 0.10 ms", "failed=0: 2"]);
    let misses =
        objective("origin_reads<=2x,server:none=0,server:Evicted_keys@a2=0").misses(measured);
    let texts: Vec<_> = misses.iter().map(|miss| miss.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "origin_reads<=2x: 2.03x (386/s, and 190/s before)",
            "server:none=0: no server has told it",
            "server:Evicted_keys@a2=0: that server has not told it",
        ]
    );
    let of_reads = objective("p50<50us,failed=0,stale=0,wrong=0").misses_of_reads(counts);
    assert_eq!(of_reads, ["stale=0: 1"]);
    assert!(objective("stale=0").is_about_reads() && !objective("max<1s").is_about_reads());
}

#[test]
fn a_miss_of_lateness_alone_is_told_apart() {
    let (mut latency, mut service) = (histogram(), histogram());
    latency.record_n(240, 100).unwrap();
    service.record_n(90, 100).unwrap();
    let counts = Counts { requests: 100, failed: 1, ..Counts::default() };
    let (latency, service) = (&latency, &service);
    let counts = &counts;
    let (origin, risen) = (OriginReads::default(), &Risen::new());
    let measured =
        Measured::Run { latency, service, counts, late_p99_us: 150, offline: 0, origin, risen };
    for (text, is_by_lateness) in [
        ("p99<200us", true),
        ("max<=100us", true),
        ("p99<90us", false),
        ("late<100us", true),
        ("failed=0", false),
    ] {
        let misses = objective(text).misses(measured);
        assert_eq!(misses.len(), 1, "{text}");
        assert_eq!(misses[0].is_by_lateness, is_by_lateness, "{text}");
    }
}

#[test]
fn a_percentile_needs_requests_beyond_it() {
    let objective = objective("p50<1s,p99<1s,p99.99<1s,max<1s");
    assert_eq!(objective.too_fine_for(10), ["p99<1s", "p99.99<1s"]);
    assert_eq!(objective.too_fine_for(9_900), ["p99.99<1s"]);
    assert!(objective.too_fine_for(10_000).is_empty());
}

#[test]
fn what_is_no_objective_is_refused_with_what_there_is() {
    for (text, what) in [
        ("", "no condition"),
        ("p99<1ms,", "no condition"),
        ("p99", "no condition"),
        ("p99>1ms", "only <"),
        ("p99=1ms", "write <"),
        ("p99<1", "no unit"),
        ("p99<x", "no unit"),
        ("p99<0ms", "below 0"),
        ("p100<1ms", "not known"),
        ("p0<1ms", "not known"),
        ("pinf<1ms", "not known"),
        ("latency<1ms", "not known"),
        ("<1ms", "not known"),
        ("failed=-1", "no number"),
        ("failed=0.5", "no number"),
        ("failed=2", "write <="),
        ("stale=1%", "write <="),
        ("failed<101%", "no number"),
        ("failed<0", "below 0"),
        ("hits<90%", "write >"),
        ("hits>90", "percent"),
        ("hits>100%", "above 100%"),
        ("offline=1", "write <="),
        ("first_good=1s", "write <"),
        ("failed:lost=0", "the kinds are overloaded, "),
        ("failed:=0", "no kind \"\""),
        ("failed:-=0", "no kind \"\""),
        ("failed:refused>0", "only <"),
        ("origin_reads<500", "write a rate"),
        ("origin_reads<twox", "no number"),
        ("server:=0", "has no name"),
        ("server:evictions@=0", "has no name"),
        ("server:evictions<5%", "no number"),
    ] {
        let error = text.parse::<Objective>().unwrap_err();
        assert!(error.contains(what) && error.contains("p99.9<"), "{text:?}: {error}");
    }
}

#[test]
fn what_follows_an_event_is_judged_by_its_own_figures() {
    let mut failures = [0; FAILURE_KINDS];
    failures[FailureKind::ConnectionLost as usize] = 4;
    let bad = Window {
        requests: 100,
        failed: 4,
        stale: 3,
        stale_beyond: 1,
        reads: 90,
        checked: 90,
        hits: 60,
        max_us: 900_000,
        last_bad_us: Some(700_000),
        first_good_us: Some(250_000),
        all_answered_us: Some(260_000),
        failures,
        ..Window::default()
    };
    let since = |window, announced_us| {
        let silence_us = announced_us;
        let origin = OriginReads { peak: Some(30.0), before: Some(0.0) };
        Measured::Since { window, announced_us, silence_us, offline: 1, origin }
    };
    let kept = |text: &str, measured| objective(text).misses(measured).is_empty();
    for (text, is_kept) in [
        ("failed<=4,failed<=4%,stale<=3,stale_beyond<=1,wrong=0", true),
        ("failed<4%", false),
        ("stale_beyond=0", false),
        ("max<1s,hits>66%,offline<=1", true),
        ("max<900ms", false),
        ("offline=0", false),
        ("first_good<=250ms,last_bad<701ms,announced<=300ms", true),
        ("first_good<250ms", false),
        ("last_bad<700ms", false),
        ("announced<300ms", false),
        ("silence<301ms", true),
        ("silence<300ms", false),
        ("failed:connection_lost<=4,failed:-connection_lost=0", true),
        ("all_answered<=260ms", true),
        ("all_answered<260ms", false),
        ("origin_reads<=30/s", true),
        ("origin_reads<1000x", false),
    ] {
        assert_eq!(kept(text, since(&bad, Some(300_000))), is_kept, "{text}");
    }
    let good = Window::default();
    let all = "first_good<1ms,last_bad<1ms,failed=0";
    assert!(kept(all, since(&good, None)), "nothing has happened that could have ended late");
    assert!(!kept("announced<1s", since(&good, None)) && !kept("hits>1%", since(&good, None)));
    // Where nothing was judged, nothing is known to be fresh.
    for (text, checked, is_kept) in [
        ("stale=0", 0, false),
        ("stale_beyond=0", 0, false),
        ("wrong<=5", 0, false),
        ("stale=0,stale_beyond=0,wrong=0", 1, true),
    ] {
        let window = Window { reads: 1, checked, ..good };
        let misses = |measured: Measured<'_>| objective(text).misses(measured);
        let origin = OriginReads::default();
        let (announced_us, silence_us) = (None, None);
        let since =
            Measured::Since { window: &window, announced_us, silence_us, offline: 0, origin };
        assert_eq!(misses(since).is_empty(), is_kept, "{text} of {checked}");
        let (latency, service, risen) = (&histogram(), &histogram(), &Risen::new());
        let counts = &Counts { checked, ..Counts::default() };
        let run =
            Measured::Run { latency, service, counts, late_p99_us: 0, offline: 0, origin, risen };
        let said = misses(run);
        assert_eq!(said.is_empty(), is_kept, "{text} of {checked}");
        assert!(is_kept || said[0].text.ends_with(": no read was judged"), "{said:?}");
    }
    let dead = Window { failed: 1, ..good };
    assert!(!kept("first_good<1h", since(&dead, None)), "there was none");
    let without_one = Window { unanswered: 1, ..bad };
    assert!(!kept("all_answered<1h", since(&without_one, None)), "one thread had none");
    assert!(!kept("all_answered<1h", since(&good, None)), "nobody has asked");
    let text = objective("announced<1s").misses(since(&good, None))[0].text.clone();
    assert_eq!(text, "announced<1s: never");
}

#[test]
fn figures_are_of_a_run_or_of_an_event() {
    let objective = objective("failed=0,max<1s,p99<1s,last_bad<1s");
    assert_eq!(objective.only_of_runs(), Some("p99<1s"));
    assert_eq!(objective.only_of_events(), Some("last_bad<1s"));
    assert!(objective.is_about_faults());
    let objective = self::objective("failed<1%,stale<=1%,hits>50%");
    assert_eq!((objective.only_of_runs(), objective.only_of_events()), (Some("stale<=1%"), None));
    assert!(!objective.is_about_faults() && self::objective("offline=0").is_about_faults());
    let of_runs = self::objective("origin_reads<2x,server:evictions=0");
    assert_eq!(of_runs.only_of_runs(), Some("server:evictions=0"));
    assert!(of_runs.compares() && of_runs.is_about_others() && of_runs.is_about_databases());
    assert_eq!(of_runs.counters().collect::<Vec<_>>(), ["evictions"]);
}
