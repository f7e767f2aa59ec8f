//! `cargo sim`: see `cargo sim --help`.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    standin_sim::cli::main()
}
