//! The dashboard in a real browser, and its data as a caller gets it, while servers are killed, stopped and
//! return.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;
use standin_config::{ClusterConfig, HttpConfig};
use standin_protocol::map::ServerState::{Offline, Online};
use standin_testkit::wait::poll_for;
use standin_testkit::{Browser, free_ports};

use crate::common::{Cluster, Load, PAIR, TWO_PAIRS, WITHIN};

fn with_dashboard(config: &mut ClusterConfig) {
    let address = ([127, 0, 0, 1], free_ports(1)[0]).into();
    config.master.dashboard = Some(HttpConfig { address, passwords: None });
}

fn dashboard(cluster: &Cluster) -> SocketAddr {
    cluster.config.master.dashboard.as_ref().expect("it has one").address
}

/// The head and the body of the answer to a request.
fn exchange(address: SocketAddr, request: &str) -> Option<(String, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(WITHIN)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).ok()?;
    reply.split_once("\r\n\r\n").map(|(head, body)| (head.to_owned(), body.to_owned()))
}

fn get(address: SocketAddr, path: &str) -> Option<(String, String)> {
    exchange(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n"))
}

fn state(address: SocketAddr) -> Option<Value> {
    let (head, body) = get(address, "/state.json")?;
    head.starts_with("HTTP/1.1 200 ").then(|| serde_json::from_str(&body).expect("it is JSON"))
}

/// Waits until the data are as wanted.
#[track_caller]
fn wait_state(address: SocketAddr, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let found = poll_for(WITHIN, || {
        last = state(address)?;
        is_so(&last).then(|| last.clone())
    });
    found.unwrap_or_else(|| panic!("{what} does not come about: {last:#}"))
}

fn server<'a>(state: &'a Value, name: &str) -> &'a Value {
    let groups = state["groups"].as_array().expect("groups");
    let mut servers = groups.iter().flat_map(|group| group["servers"].as_array().expect("servers"));
    servers.find(|server| server["name"] == name).unwrap_or_else(|| panic!("no {name}: {state}"))
}

/// An expression that is true if the row of a server has this state, and its text has these parts.
fn row(name: &str, state: &str, parts: &[&str]) -> String {
    let parts = serde_json::to_string(parts).expect("texts");
    format!(
        "(() => {{ const row = document.querySelector('tr[data-server=\"{name}\"]'); return !!row && \
         row.dataset.state === '{state}' && {parts}.every(part => row.innerText.includes(part)); }})()"
    )
}

/// An expression that is true if an event of this kind has these parts in its text.
fn event(kind: &str, parts: &[&str]) -> String {
    let parts = serde_json::to_string(parts).expect("texts");
    format!(
        "[...document.querySelectorAll('#events li[data-kind=\"{kind}\"]')].some(it => \
         {parts}.every(part => it.innerText.includes(part)))"
    )
}

/// Pictures at the width of a phone and of a desk, in both colours.
pub(crate) fn pictures(browser: &Browser, name: &str) {
    for (device, width, height) in [("desk", 1440, 900), ("phone", 390, 844)] {
        browser.resize(width, height);
        for scheme in ["light", "dark"] {
            browser.prefer(scheme);
            browser.picture(&format!("{name}-{device}-{scheme}"));
        }
    }
    browser.resize(1440, 900);
}

/// Whether the page is wider than its screen.
pub(crate) const OVERFLOWS: &str =
    "document.documentElement.scrollWidth > document.documentElement.clientWidth";

/// The widths of a phone, a tablet, a small and a large screen.
const WIDTHS: [u32; 4] = [360, 768, 1_300, 1_920];

/// A function that returns the texts which overlap others, or touch those of another cell. Lines of one text are close
/// to each other, so that a third of their height counts.
const COLLISIONS: &str = "function collisions() { \
    const boxes = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT); \
    const cell = node => { let it = node.parentElement; \
        while (it && getComputedStyle(it).display.startsWith('inline')) it = it.parentElement; return it; }; \
    const isClipped = it => { for (; it; it = it.parentElement) { \
        if (getComputedStyle(it).clipPath !== 'none') return true; } return false; }; \
    for (let node; (node = walker.nextNode());) { \
        const parent = node.parentElement; \
        if (!node.data.trim() || ['SCRIPT', 'STYLE', 'NOSCRIPT'].includes(parent.tagName) || isClipped(parent)) continue; \
        const list = parent.closest('#timeline ol'), seen = list && list.getBoundingClientRect(); \
        const range = document.createRange(); range.selectNodeContents(node); \
        for (const it of range.getClientRects()) { \
            const top = seen ? Math.max(it.top, seen.top) : it.top; \
            const bottom = seen ? Math.min(it.bottom, seen.bottom) : it.bottom; \
            if (it.width > 1 && bottom - top > 1) { \
                boxes.push({ node, cell: cell(node), left: it.left, right: it.right, top, bottom, text: node.data.trim() }); } } } \
    const found = []; \
    boxes.forEach((a, i) => boxes.slice(i + 1).forEach(b => { \
        if (a.node === b.node) return; \
        const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top); \
        const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left); \
        if (high > Math.min(a.bottom - a.top, b.bottom - b.top) / 3 && wide > (a.cell === b.cell ? 1 : -3)) { \
            found.push(a.text + ' | ' + b.text); } })); \
    if (!boxes.length) found.push('there is no text'); \
    return found; }";

/// Shows what is known with figures as wide as they come: an IPv6 address, large numbers, long states.
const WIDE: &str = "const view = structuredClone(newest); \
    view.groups[0].servers.forEach(server => { server.address = '[2001:db8:1234:5678:9abc:def0:1234:5678]:65535'; \
        server.name = 'database-cache-17'; server.state = 'returning'; server.is_stale = true; server.age_ms = 3599000; \
        server.moving = 1000; server.stood_in_by = [{ server: 'database-cache-18', partitions: 1024 }]; \
        const f = server.figures; if (!f) return; \
        Object.assign(f, { requests_per_s: 1234567, hit_ratio: 1, refused_per_s: 123456, items_bytes: 1.5e12, \
            memory_bytes: 2e12, busy: 1, loop_lag_us: 123456, uptime_ms: 9e9, is_leased: false }); \
        for (const of of ['hit', 'miss', 'write']) f[of] = { p50_us: 1234567, p99_us: 9876543 }; \
        f.database = { up: true, reads_per_s: 123456, writes_per_s: 123456, read: { p99_us: 1234567 }, write: { p99_us: 1234567 } }; });";

/// No two texts of the page overlap or touch, on any screen.
#[track_caller]
fn assert_no_texts_collide(browser: &Browser, when: &str) {
    for width in WIDTHS {
        browser.resize(width, 900);
        for (what, show) in [("as it is", ""), ("with wide figures", "show(view);")] {
            // In one expression, because the page draws itself again each second.
            let wide = if show.is_empty() { "" } else { WIDE };
            let expression =
                format!("(() => {{ {wide} {show} {COLLISIONS} return collisions(); }})()");
            let found = browser.value(&expression);
            assert_eq!(found, serde_json::json!([]), "{when}, {what}, at {width} pixels");
        }
        assert_eq!(browser.value(OVERFLOWS), false, "{when}, at {width} pixels");
    }
    browser.resize(1440, 900);
}

#[test]
fn the_page_names_a_killed_server_and_its_stand_in_until_it_is_back() {
    let Some(browser) = Browser::start_or_skip("the dashboard in a browser") else { return };
    let mut cluster = Cluster::with("dashboard", TWO_PAIRS, with_dashboard);
    cluster.start();
    let address = dashboard(&cluster);
    wait_state(address, "a first look", |state| state["severity"] == "ok");
    let load = Load::start(&cluster, 2);
    browser.open(&format!("http://{address}/"), 1440, 900);
    for name in ["a1", "a2", "b1", "b2"] {
        browser.wait(name, &row(name, "online", &["partitions"]));
    }
    browser.wait("health", "document.getElementById('state').innerText.includes('all is well')");
    browser.wait("rates", "/^[1-9]/.test(document.querySelector('.tile .value').innerText)");
    pictures(&browser, "1-well");
    for width in [1440, 1000, 800, 390, 320] {
        browser.resize(width, 900);
        assert_eq!(browser.value(OVERFLOWS), false, "at {width} pixels");
    }
    assert_no_texts_collide(&browser, "all is well");

    cluster.kill("a1");
    browser.wait("a1 is offline", &row("a1", "offline", &["offline", "a2 stands in: "]));
    browser.wait("a2 stands in", &row("a2", "online", &["online", "stands in for a1: "]));
    browser.wait(
        "the finding",
        "[...document.querySelectorAll('#findings li.warn')].some(it => \
         it.innerText.includes('WARNING') && it.innerText.includes('a1 is offline since epoch'))",
    );
    browser.wait("the title", "document.title.startsWith('warning')");
    browser.wait("the verdict", &event("offline", &["a1 does not answer: offline"]));
    browser.wait("the stand-in", &event("stands_in", &["a2 stands in for a1"]));
    browser.wait("b1 is untouched", &row("b1", "online", &[]));
    pictures(&browser, "2-killed");
    assert_no_texts_collide(&browser, "a1 is killed");

    cluster.start_server("a1");
    cluster.wait_all(Online);
    browser.wait("a1 is back", &row("a1", "online", &["online", "partitions"]));
    let stands_in = "document.getElementById('groups').innerText.includes('stands in')";
    browser.wait("nobody stands in", &format!("!{stands_in}"));
    browser.wait("health", "document.getElementById('state').innerText.includes('all is well')");
    browser.wait("the return", &event("online", &["a1 is online as of epoch"]));
    browser.wait("the end", &event("stood_down", &["a2 no longer stands in for a1"]));
    for (kind, parts) in [("offline", ["a1"].as_slice()), ("stands_in", &["a1", "a2"])] {
        assert_eq!(browser.value(&event(kind, parts)), true, "{kind} is still in the timeline");
    }
    pictures(&browser, "3-back");
    assert_eq!(load.finish().failures, Vec::<String>::new());
    assert_eq!(browser.complaints(), Vec::<String>::new());

    // Names, reasons and texts are shown as they are, whatever they look like. The page is looked at before its
    // next poll.
    let text = "<img src=x onerror=\"document.title='run'\"><script>1</script>&amp;";
    let text = serde_json::to_string(text).expect("a text");
    let shown = browser.value(&format!(
        "(() => {{ const view = structuredClone(newest), evil = {text}; view.cluster = evil; \
         view.findings = [{{ severity: evil, text: evil }}]; view.epoch = evil; \
         view.events = [{{ at_ms: 1, severity: evil, kind: evil, server: evil, text: evil }}]; \
         view.groups[0].name = evil; const server = view.groups[0].servers[0]; \
         for (const name of ['name', 'address', 'state', 'problem']) server[name] = evil; \
         server.stands_in_for = [{{ server: evil, partitions: 1 }}]; \
         server.figures.database = {{ up: false, down_ms: 1, reason: evil }}; show(view); \
         return {{ made: document.querySelectorAll('img, li script, td script').length, \
         texts: document.body.textContent.split(evil).length - 1 }}; }})()"
    ));
    assert_eq!(shown["made"], 0, "{shown}");
    assert!(shown["texts"].as_u64() >= Some(10), "{shown}");
    // The policy of the page refuses what the test adds.
    browser.value("document.body.append(Object.assign(document.createElement('script'), { text: 'document.title = \"run\"' }))");
    assert_ne!(browser.value("document.title"), "run");
    assert!(browser.complaints().concat().contains("Content Security Policy"));

    // Without its master, the page says so.
    cluster.kill("master");
    browser.wait(
        "no figures",
        "document.getElementById('lost').innerText.includes('gives no figures')",
    );
    pictures(&browser, "4-no-master");
}

#[test]
fn a_server_that_hangs_is_shown_with_the_age_of_its_figures_and_delays_no_others() {
    let mut cluster = Cluster::with("dashboard-hangs", PAIR, with_dashboard);
    cluster.start();
    let address = dashboard(&cluster);
    let is_fresh = |server: &Value| server["is_stale"] == false && server["answers"] == true;
    let both = |state: &Value| is_fresh(server(state, "a1")) && is_fresh(server(state, "a2"));
    wait_state(address, "figures of both", both);
    cluster.freeze_anywhere("a2");
    let stale = wait_state(address, "the age of a2's figures", |state| {
        let hung = server(state, "a2");
        hung["age_ms"].as_u64() > Some(3_000) && hung["is_stale"] == true
    });
    let (hung, other) = (server(&stale, "a2"), server(&stale, "a1"));
    assert_eq!(hung["answers"], false, "{hung}");
    assert!(hung["figures"]["uptime_ms"].as_u64() > Some(0), "the last figures stay: {hung}");
    assert!(is_fresh(other), "{other}");
    // Each look ended in time.
    let next = wait_state(address, "a later look", |state| state["at_ms"] != stale["at_ms"]);
    let took = next["at_ms"].as_u64().unwrap() - stale["at_ms"].as_u64().unwrap();
    assert!(took < 5_000, "{took} ms for a look");
    assert_eq!(next["partitions"]["total"], 64);
    wait_state(address, "the verdict", |state| {
        server(state, "a2")["state"] == "offline"
            && server(state, "a1")["stands_in_for"][0]["server"] == "a2"
            && state["partitions"]["stood_in"].as_u64() > Some(0)
    });
    cluster.thaw("a2");
    wait_state(address, "a2 again", |state| {
        both(state) && state["severity"] == "ok" && state["partitions"]["stood_in"] == 0
    });
}

#[test]
fn the_port_answers_only_its_own_page_and_its_data() {
    let cluster = &mut Cluster::with("dashboard-port", PAIR, with_dashboard);
    cluster.start();
    let address = dashboard(cluster);
    let state = wait_state(address, "a first look", |state| state["severity"] == "ok");
    assert_eq!(state["cluster"], "dashboard-port");
    assert_eq!(state["history"]["step_ms"], 1_000);
    let (head, page) = get(address, "/").expect("it answers");
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"), "{page}");
    for header in [
        "content-security-policy: default-src 'none'; script-src 'sha256-",
        "x-frame-options: DENY",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
    ] {
        assert!(head.contains(header), "{header}: {head}");
    }
    for (request, wanted) in [
        (format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n"), "404"),
        (format!("POST /state.json HTTP/1.1\r\nHost: {address}\r\n\r\n"), "405"),
        ("GET /state.json HTTP/1.1\r\nHost: evil.example:80\r\n\r\n".to_owned(), "403"),
        (
            format!("GET / HTTP/1.1\r\nHost: {address}\r\nOrigin: http://evil.example\r\n\r\n"),
            "403",
        ),
        ("GET /state.json HTTP/1.1\r\n\r\n".to_owned(), "403"),
    ] {
        let (head, body) = exchange(address, &request).expect("it answers");
        assert!(head.starts_with(&format!("HTTP/1.1 {wanted} ")), "{request}: {head}");
        assert!(!body.contains("dashboard-port"), "{request}: {body}");
    }
    cluster.wait_states(&[("a1", Online), ("a2", Online)]);
    cluster.kill("a1");
    cluster.wait_states(&[("a1", Offline)]);
    wait_state(address, "the finding", |state| {
        state["findings"].to_string().contains("a1 is offline since epoch")
    });
}
