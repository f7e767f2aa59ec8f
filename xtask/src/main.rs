//! `cargo xtask`: the project's own checks and longer runs, in one place.
//!
//! ```text
//! test.rs             the list of steps of `cargo xtask test`: read this first
//! report.rs           runs steps, one line each; the summary
//! process.rs          one command with a log file and a time limit
//! meanwhile.rs        steps that run while another leaves processors idle
//! counts.rs           what the test runners printed, counted
//! prerequisites/      programs that the tests need, found or installed
//! architecture/       allowed dependencies; licences, versions and reasons of others' crates
//! deny.rs             cargo-deny, which also knows vulnerabilities
//! tidy/               rules for source files and documents
//! demo.rs, seeds.rs   the demo and its report; ten of them in a row
//! bench.rs, fuzz.rs   the benches and the fuzz targets
//! virtual_machine.rs  a virtual machine whose kernel has TLS, and which can count instructions
//! kernel_tls/         the tests of TLS in the kernel, on it
//! instructions.rs     what counting and TLS cost a GET, on it
//! machines/           machines with systemd in namespaces
//! operations.rs       docs/OPERATIONS.md, followed to the letter on such machines
//! package/            the static program and the Debian package
//! container.rs        the container image, built and run by buildah
//! chaos.rs            faults on a real cluster, on its peers, and under client libraries of other languages;
//!                     incidents, and where they are named: programs of chaos/, benches/
//! ```
//!
//! Nothing here is shipped, and nothing that is shipped depends on it.

mod architecture;
mod bench;
mod chaos;
mod container;
mod counts;
mod demo;
mod deny;
mod fuzz;
mod instructions;
mod kernel_tls;
mod machines;
mod meanwhile;
mod operations;
mod options;
mod package;
mod prerequisites;
mod process;
mod report;
mod seeds;
mod test;
mod tidy;
mod virtual_machine;
mod workspace;

use std::process::ExitCode;

use options::Options;
use package::Made;
use workspace::Workspace;

const HELP: &str = "\
The project's checks and longer runs.

  cargo xtask test                   every check; the last line is `N passed, M failed`
      --fast                         leaves out documentation, real processes and demos
  cargo xtask tidy                   only the checks that compile nothing; takes seconds
  cargo xtask deny                   known vulnerabilities in dependencies, and once more their
                                     licences, versions and sources (cargo-deny, the network)
  cargo xtask bench [NAME] [ARGS]    the benchmarks of benches/, or one of them
  cargo xtask fuzz [TARGET]          the fuzz targets, or one of them (nightly, cargo-fuzz)
      --seconds N                    for each target; default 60
  cargo xtask demo-seeds [N]         the demo with seeds 1 to N in a row; default 10
      --seconds N                    length of each; default 12
      --origin sqlite|postgres       default sqlite; postgres starts a server for the run
  cargo xtask chaos [OPTIONS]        faults on a real cluster under load, one table; as root
                                     with cut links too; --help for its options
  cargo xtask incidents [OPTIONS]    PostgreSQL locked, a server stopped, a client that leaks
                                     connections: seconds until an alert, the dashboard and a
                                     log name the cause; --help for its options
  cargo xtask peers [OPTIONS]        a server's death, pause and return in Standin, Redis Cluster
                                     and twemproxy under the same load; --help for its options
  cargo xtask clients [OPTIONS]      client libraries of other languages through a server's
                                     death and return; --help for its options
  cargo xtask package                the static program and the Debian package, in
                                     target/package (musl-gcc, dpkg-deb)
      --revision N                   Debian's revision, instead of that of its changelog
      --program FILE                 a program that has been built already
      --try                          installs it on a machine in namespaces, upgrades it under
                                     load, removes and purges it (root, debootstrap,
                                     systemd-nspawn; the first time some minutes)
  cargo xtask container              the image of packaging/container, and a cluster of containers
                                     from it (root, buildah); --program as above
  cargo xtask operations             follows docs/OPERATIONS.md to the letter, on four such
                                     machines; --program as above
  cargo xtask kernel-tls             the tests of TLS in the kernel, in a virtual machine with a
                                     kernel of Debian's (root, qemu-system-x86; some minutes)
  cargo xtask instructions           what counting requests, TLS, and TLS in the kernel cost a
                                     GET in instructions, in such a machine (half an hour)
  cargo xtask help                   this text
";

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("cargo xtask: {message}");
            ExitCode::from(2)
        }
    }
}

/// Runs a command. Returns whether it succeeded, or an error if it could not be run.
fn run(mut arguments: Vec<String>) -> Result<bool, String> {
    if arguments.is_empty() {
        arguments.push("help".to_owned());
    }
    let command = arguments.remove(0);
    match command.as_str() {
        "test" => {
            let mut options = Options::new(arguments);
            let fast = options.flag("--fast");
            options.end()?;
            test::run(&Workspace::find()?, fast)
        }
        "tidy" => {
            Options::new(arguments).end()?;
            Ok(test::run_tidy(&Workspace::find()?))
        }
        "deny" => {
            Options::new(arguments).end()?;
            deny::run(&Workspace::find()?)
        }
        "bench" => bench::run(&Workspace::find()?, arguments),
        "fuzz" => {
            let mut options = Options::new(arguments);
            let seconds = options.number("--seconds")?.unwrap_or(60);
            let target = options.word();
            options.end()?;
            fuzz::run(&Workspace::find()?, target.as_deref(), seconds)
        }
        "chaos" => chaos::run(&Workspace::find()?, arguments),
        "incidents" => chaos::run_incidents(&Workspace::find()?, arguments),
        "peers" => chaos::run_peers(&Workspace::find()?, arguments),
        "clients" => chaos::run_clients(&Workspace::find()?, arguments),
        "package" => {
            let mut options = Options::new(arguments);
            let revision = options.number("--revision")?;
            let program = options.value("--program")?.map(Into::into);
            let is_tried = options.flag("--try");
            options.end()?;
            match (is_tried, revision) {
                (false, _) => package::run(&Workspace::find()?, &Made { revision, program }),
                (true, None) => package::trial::run(&Workspace::find()?, program),
                (true, Some(_)) => Err("--try chooses the revisions itself".to_owned()),
            }
        }
        "container" => {
            let mut options = Options::new(arguments);
            let program = options.value("--program")?.map(Into::into);
            options.end()?;
            container::run(&Workspace::find()?, program)
        }
        "kernel-tls" => {
            Options::new(arguments).end()?;
            kernel_tls::run(&Workspace::find()?)
        }
        "instructions" => {
            Options::new(arguments).end()?;
            instructions::run(&Workspace::find()?)
        }
        "operations" => {
            let mut options = Options::new(arguments);
            let program = options.value("--program")?.map(Into::into);
            options.end()?;
            operations::run(&Workspace::find()?, program)
        }
        "demo-seeds" => {
            let mut options = Options::new(arguments);
            let seconds = options.number("--seconds")?.unwrap_or(12);
            let origin = options.value("--origin")?.unwrap_or_else(|| "sqlite".to_owned());
            let count = options.word().map_or(Ok(10), |word| {
                word.parse().map_err(|_| format!("demo-seeds takes a number, not {word:?}"))
            })?;
            options.end()?;
            seeds::run(&Workspace::find()?, count, seconds, &origin)
        }
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(true)
        }
        other => Err(format!("unknown command {other:?}; `cargo xtask help` lists the commands")),
    }
}
