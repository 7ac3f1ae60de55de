//! The program: parse, run, exit code.

/// Gives back what runs have used once they are parked; glibc's allocator keeps most of it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    fastagency::cli::main()
}
