//! `cargo sim`: see `cargo sim --help`.

fn main() -> std::process::ExitCode {
    standin_sim::cli::main()
}
