//! The ports as callers see them, well-meaning and hostile ones, and a real Prometheus.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use standin_config::{KernelUse, TlsAuthorities, TlsCalls, TlsConfig, TlsPort};
use standin_metrics::{Admit, Answer, Endpoint, Group, Listener, Status, metrics};
use standin_protocol::counters::{Figure, FigureKind, Sample, SampleValue};
use standin_testkit::{
    Authority, Issued, Prometheus, Scratch, prometheus, read_some, skip, wait_until,
};
use standin_tls::{Acceptor, Connector};

const WITHIN: Duration = Duration::from_secs(60);
const REQUESTS: Figure =
    Figure { name: "requests", kind: FigureKind::Counter, labels: &[], help: "Requests." };

fn serve(admit: Option<Admit>) -> Endpoint {
    let listener =
        Listener::bind(([127, 0, 0, 1], 0).into(), "metrics").expect("loopback has ports");
    let figures = || vec![Group { prefix: "standin", samples: vec![Sample::new(REQUESTS, 3)] }];
    listener.serve(metrics(Box::new(figures)), admit).expect("a thread")
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(WITHIN)).expect("a timeout");
    stream
}

/// Everything that comes back for these bytes, until the other side closes.
fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(address);
    // It may be closed before all is sent.
    let _ = stream.write_all(bytes);
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    String::from_utf8(reply).expect("text")
}

fn get(address: SocketAddr, path: &str, headers: &str) -> String {
    exchange(address, format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes())
}

#[test]
fn a_caller_gets_the_format_that_it_asks_for() {
    let endpoint = serve(None);
    let text = get(endpoint.address(), "/metrics", "");
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\n# HELP standin_requests_total Requests.\n# TYPE standin_requests_total counter\nstandin_requests_total 3\n"), "{text}");
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let text = get(endpoint.address(), "/metrics?x=y", accept);
    assert!(text.contains("content-type: application/openmetrics-text; version=1.0.0"), "{text}");
    assert!(text.ends_with("standin_requests_total 3\n# EOF\n"), "{text}");
}

#[test]
fn what_is_no_request_for_metrics_is_answered_and_harms_nothing() {
    let endpoint = serve(None);
    let address = endpoint.address();
    let long_head = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(1 << 20));
    let long_uri = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 17));
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(1_000));
    for (bytes, wanted) in [
        (&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], "200"),
        (b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        (b"GET /metrics/../x HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", "405"),
        (b"DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "405"),
        (b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "200"),
        (b"GET /metrics HTTP/1.0\r\n\r\n", "200"),
        (b"GET /metrics HTTP/1.1\r\nAccept: \xff\xfe\r\n\r\n", "200"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "400"),
        (b"nonsense\r\n\r\n", "400"),
        (many.as_bytes(), "431"),
        // Two requests at once: the connection ends after the first.
        (b"GET / HTTP/1.1\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n", "200"),
    ] {
        let reply = exchange(address, bytes);
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]);
        let status = reply.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
        assert_eq!(status, Some(wanted), "{shown:?}: {reply:?}");
        assert!(reply.matches("HTTP/1.").count() <= 1, "{shown:?}: {reply:?}");
    }
    for endless in [long_head, long_uri] {
        // The reply may be lost, because the other side closes before it has read everything.
        let reply = exchange(address, endless.as_bytes());
        assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 4"), "{reply:?}");
    }
    assert!(get(address, "/metrics", "").contains("standin_requests_total 3"));
}

#[test]
fn callers_that_say_nothing_do_not_keep_others_out() {
    let endpoint = serve(None);
    let mut silent: Vec<TcpStream> = (0..200).map(|_| connect(endpoint.address())).collect();
    for stream in &mut silent {
        // The oldest are closed by now.
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nX: ");
    }
    assert!(get(endpoint.address(), "/metrics", "").contains("standin_requests_total 3"));
    // All are closed, at the latest when their time is over.
    for mut stream in silent {
        let mut reply = Vec::new();
        let ended = stream.read_to_end(&mut reply);
        let is_open = ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!is_open, "a connection is kept open");
    }
}

#[test]
fn with_passwords_only_users_get_the_metrics() {
    let admit: Admit = Box::new(|user, password| (user, password) == (b"ann", b"a:secret"));
    let endpoint = serve(Some(admit));
    // ann:a:secret
    let right = "Authorization: Basic YW5uOmE6c2VjcmV0\r\n";
    assert!(get(endpoint.address(), "/metrics", right).contains("standin_requests_total 3"));
    for wrong in [
        "",
        // ann:other
        "Authorization: Basic YW5uOm90aGVy\r\n",
        "Authorization: Basic YW5u\r\n",
        "Authorization: Basic !!!\r\n",
        "Authorization: Bearer YW5uOmE6c2VjcmV0\r\n",
        "Authorization: \r\n",
    ] {
        let reply = get(endpoint.address(), "/metrics", wrong);
        assert!(reply.starts_with("HTTP/1.1 401"), "{wrong}: {reply}");
        assert!(reply.contains("www-authenticate: Basic"), "{wrong}: {reply}");
        assert!(!reply.contains("standin_requests"), "{wrong}: {reply}");
        assert!(get(endpoint.address(), "/other", wrong).starts_with("HTTP/1.1 401"), "{wrong}");
    }
}

#[test]
fn wrong_passwords_are_counted_and_no_password_is_not() {
    let admit: Admit = Box::new(|user, password| (user, password) == (b"ann", b"a:secret"));
    let endpoint = serve(Some(admit));
    let failed = || {
        let groups = standin_metrics::process::groups("test");
        let mut samples = groups.iter().flat_map(|group| &group.samples);
        let sample = samples.find(|sample| sample.figure.name == "http_auth_failures");
        match sample.expect("every process has it").value {
            SampleValue::Number(number) => number,
            _ => unreachable!("it is a counter"),
        }
    };
    let before = failed();
    // ann:other
    let wrong = "Authorization: Basic YW5uOm90aGVy\r\n";
    for _ in 0..3 {
        assert!(get(endpoint.address(), "/metrics", wrong).starts_with("HTTP/1.1 401"));
    }
    // Other tests of this process have wrong passwords, too.
    assert!(failed() >= before + 3);
}

const CELLS: Figure = Figure {
    name: "wait_us",
    kind: FigureKind::Histogram,
    labels: &["calls"],
    help: "Time, with a \\ in it.",
};
const BYTES: Figure =
    Figure { name: "held_bytes", kind: FigureKind::Gauge, labels: &["whose"], help: "Bytes." };

/// A label that only a parser of the format reads right.
const ODD: &str = "a \"quoted\" \\ path\nin two lines, {x=\"y\"} # and ü";

/// A real Prometheus, which asks for OpenMetrics, and its `promtool`, which reads the other format, understand all kinds
/// of figures, units, and labels with any text in them.
#[test]
fn a_real_prometheus_reads_every_kind_of_figure_as_it_was_given() {
    if let Err(missing) = Prometheus::available() {
        return skip("every kind of figure", "STANDIN_REQUIRE_PROMETHEUS", missing);
    }
    let histogram = SampleValue::Histogram {
        buckets: vec![(1_000, 2), (250_000, 1)],
        beyond: 4,
        sum: 9_500_000,
    };
    let labelled =
        |figure, label: &str, value| Sample { figure, labels: vec![label.to_owned()], value };
    let figures = move || {
        let samples = vec![
            Sample::new(REQUESTS, 1 << 52),
            labelled(BYTES, ODD, SampleValue::Number(4_096)),
            labelled(BYTES, "", SampleValue::Number(0)),
            labelled(CELLS, "read", histogram.clone()),
        ];
        vec![Group { prefix: "standin", samples }]
    };
    let listener =
        Listener::bind(([127, 0, 0, 1], 0).into(), "metrics").expect("loopback has ports");
    let endpoint = listener.serve(metrics(Box::new(figures)), None).expect("a thread");
    let reply = get(endpoint.address(), "/metrics", "");
    let text = reply.split_once("\r\n\r\n").expect("a head and a body").1;
    let scratch = Scratch::new("metrics-real");
    prometheus::promtool(&["check", "metrics"], scratch.path(), text)
        .unwrap_or_else(|said| panic!("{said}\n{text}"));

    let rules = scratch.file("rules.yml");
    std::fs::write(&rules, "groups: []\n").expect("the folder is ours");
    let real = Prometheus::start(&[endpoint.address()], &rules);
    wait_until(WITHIN, "a scrape without a mistake", || real.reads_all(1));
    let value = |series: &Value| series["value"][1].as_str().and_then(|it| it.parse::<f64>().ok());
    let one = |query: &str| {
        let found = real.query(query).unwrap_or_default();
        assert!(found.len() <= 1, "{query}: {found:?}");
        found.first().and_then(value)
    };
    let wait = "standin_wait_seconds";
    for (query, expected) in [
        ("standin_requests_total".to_owned(), (1_u64 << 52) as f64),
        ("sum(standin_held_bytes)".to_owned(), 4_096.0),
        (format!("{wait}_bucket{{le=\"0.001\",calls=\"read\"}}"), 2.0),
        (format!("{wait}_bucket{{le=\"0.25\"}}"), 3.0),
        (format!("{wait}_bucket{{le=\"+Inf\"}}"), 7.0),
        (format!("{wait}_count"), 7.0),
        (format!("{wait}_sum"), 9.5),
        (format!("histogram_quantile(0.4, {wait}_bucket)"), 0.25 * 0.8 + 0.001 * 0.2),
    ] {
        wait_until(WITHIN, &query, || one(&query).is_some());
        let found = one(&query).expect("it is there");
        assert!((found - expected).abs() <= expected * 1e-9, "{query}: {found}, not {expected}");
    }
    let series = real.query("standin_held_bytes").expect("it answers");
    let whose = |wanted: &str| {
        let is_it = |one: &&Value| one["metric"]["whose"].as_str().unwrap_or_default() == wanted;
        series.iter().find(is_it).and_then(value)
    };
    assert_eq!((whose(ODD), whose("")), (Some(4_096.0), Some(0.0)), "{series:?}");
    let kinds = real.ask("/api/v1/metadata").expect("it answers");
    for (name, kind) in
        [("standin_requests", "counter"), ("standin_held_bytes", "gauge"), (wait, "histogram")]
    {
        assert_eq!(kinds["data"][name][0]["type"], kind, "{kinds}");
    }
    assert_eq!(kinds["data"][wait][0]["help"], CELLS.help);
}

#[test]
fn a_panic_while_figures_are_collected_costs_one_scrape() {
    let listener =
        Listener::bind(([127, 0, 0, 1], 0).into(), "metrics").expect("loopback has ports");
    let endpoint = listener.serve(metrics(Box::new(|| panic!("a bug"))), None).expect("a thread");
    for _ in 0..2 {
        let reply = get(endpoint.address(), "/metrics", "");
        assert!(reply.starts_with("HTTP/1.1 500"), "{reply}");
    }
}

#[test]
fn an_address_that_is_taken_or_of_another_machine_is_refused_with_a_remedy() {
    let endpoint = serve(None);
    let taken = Listener::check(endpoint.address(), "metrics").expect("it is taken");
    assert!(taken.is_taken(), "{taken}");
    // An address of TEST-NET-1, which no machine has.
    let foreign =
        Listener::bind(([192, 0, 2, 1], 9_100).into(), "metrics").expect_err("of no machine");
    assert!(!foreign.is_taken() && foreign.to_string().contains("`metrics` must be"), "{foreign}");
    let address = endpoint.address();
    drop(endpoint);
    assert!(TcpStream::connect(address).is_err(), "a port that has ended refuses");
}

#[test]
fn a_site_for_browsers_answers_no_page_of_another_site() {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into(), "dashboard").expect("a port");
    let site = |_: &standin_metrics::Asked<'_>| {
        Answer::new(Status::Ok, "text/html", "figures").with("x-frame-options", "DENY")
    };
    let endpoint = listener.for_browsers().serve(Box::new(site), None).expect("a thread");
    let address = endpoint.address();
    for (headers, wanted) in [
        (format!("Host: {address}\r\n"), "200"),
        ("Host: localhost:1\r\nOrigin: http://localhost:1\r\n".to_owned(), "200"),
        (format!("Host: {address}\r\nOrigin: http://example.org\r\n"), "403"),
        ("Host: example.org\r\n".to_owned(), "403"),
        (String::new(), "403"),
    ] {
        let reply = exchange(address, format!("GET / HTTP/1.1\r\n{headers}\r\n").as_bytes());
        assert!(reply.starts_with(&format!("HTTP/1.1 {wanted}")), "{headers}: {reply}");
        assert_eq!(reply.contains("figures"), wanted == "200", "{headers}: {reply}");
        assert_eq!(reply.contains("x-frame-options: DENY"), wanted == "200", "{reply}");
    }
    let post = format!("POST / HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n");
    assert!(exchange(address, post.as_bytes()).starts_with("HTTP/1.1 405"));
}

#[test]
fn with_tls_the_same_is_answered_and_nothing_without() {
    let scratch = Scratch::new("metrics-tls");
    let authority = Authority::new(scratch.path(), "root");
    let Issued { certificate, key } = authority.issue("server", "IP:127.0.0.1");
    let files = TlsConfig {
        ports: vec![TlsPort::Http],
        cert_file: certificate,
        key_file: key,
        client_ca_file: None,
        kernel: KernelUse::default(),
        is_certificate_enough: false,
        ca_file: None,
        name: None,
    };
    let acceptor = Arc::new(Acceptor::new(&files).expect("our files"));
    let listener = Listener::bind(([127, 0, 0, 1], 0).into(), "metrics").expect("a port");
    let figures = || vec![Group { prefix: "standin", samples: vec![Sample::new(REQUESTS, 3)] }];
    let endpoint = listener.with_tls(acceptor).serve(metrics(Box::new(figures)), None);
    let endpoint = endpoint.expect("a thread");
    assert!(endpoint.has_tls());
    let plain = get(endpoint.address(), "/metrics", "");
    assert!(!plain.contains("standin_requests"), "{plain}");

    let authorities = TlsAuthorities::File(authority.root.certificate.clone());
    let calls = TlsCalls { authorities, name: None, own: None };
    let mut tls = Connector::new(&calls).expect("our files").connect(endpoint.address());
    let mut stream = connect(endpoint.address());
    let mut request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    let (mut reply, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let mut sending = Vec::new();
        tls.seal(&mut request, &mut sending);
        stream.write_all(&sending).expect("it reads");
        let count = read_some(&mut stream, &mut chunk).expect("it answers");
        tls.receive(&chunk[..count], &mut reply).expect("it is right");
        if tls.has_ended() || count == 0 {
            break;
        }
    }
    let reply = String::from_utf8(reply).expect("text");
    assert!(
        reply.starts_with("HTTP/1.1 200 OK") && reply.contains("standin_requests_total 3"),
        "{reply}"
    );
}
