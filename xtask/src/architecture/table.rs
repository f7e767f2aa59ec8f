//! Who may depend on whom. This is the picture of docs/ARCHITECTURE.md as a table; a
//! change here is a change of the architecture, and belongs in both.
//!
//! ```text
//! protocol ◄── config ◄─┬─ client ◄── loadgen ◄── cli
//!                       ├─ server ◄──────────────┤
//!                       └─ master ◄──────────────┘
//! ```
//!
//! The roles (client, server, master) do not know each other. The helpers of the tests are
//! for tests; programs that are not shipped (benches, chaos, sim, model, xtask) may use them too.

/// One of our crates and those of ours that it may depend on.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) package: &'static str,
    /// For what is shipped.
    pub(super) may_use: &'static [&'static str],
    /// For its tests only, besides those above.
    pub(super) tests_may_use: &'static [&'static str],
}

const PROTOCOL: &str = "standin-protocol";
const CONFIG: &str = "standin-config";
const CLIENT: &str = "standin-client";
const SERVER: &str = "standin-server";
const MASTER: &str = "standin-master";
const LOADGEN: &str = "standin-loadgen";
const TESTKIT: &str = "standin-testkit";

#[rustfmt::skip]
pub(super) const ALLOWED: &[Row] = &[
    row(PROTOCOL,          &[],                                                 &[TESTKIT]),
    row(CONFIG,            &[PROTOCOL],                                         &[TESTKIT]),
    row(CLIENT,            &[PROTOCOL, CONFIG],                                 &[TESTKIT]),
    row(SERVER,            &[PROTOCOL, CONFIG],                                 &[TESTKIT]),
    row(MASTER,            &[PROTOCOL, CONFIG],                                 &[TESTKIT]),
    row(LOADGEN,           &[PROTOCOL, CONFIG, CLIENT],                         &[TESTKIT]),
    row("standin",         &[PROTOCOL, CONFIG, CLIENT, SERVER, MASTER, LOADGEN], &[TESTKIT]),
    row("standin-chaos",   &[PROTOCOL, CONFIG, CLIENT, LOADGEN, TESTKIT],       &[]),
    row("standin-sim",     &[PROTOCOL, CONFIG, CLIENT, SERVER, MASTER],         &[]),
    row("standin-model",   &[PROTOCOL],                                         &[SERVER]),
    row("standin-benches", &[PROTOCOL, CONFIG, CLIENT, SERVER, LOADGEN, TESTKIT], &[]),
    row(TESTKIT,           &[],                                                 &[]),
    row("xtask",           &[TESTKIT],                                          &[]),
];

const fn row(
    package: &'static str,
    may_use: &'static [&'static str],
    tests_may_use: &'static [&'static str],
) -> Row {
    Row { package, may_use, tests_may_use }
}
