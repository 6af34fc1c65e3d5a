//! The `postern` program.

use std::process::ExitCode;

/// Memory goes back to the system, and small allocations from many threads do not wait for each other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    postern::cli::main()
}
