//! The `podgate` command; everything it does is in the library beside it.

use std::process::ExitCode;

/// Configured in `.cargo/config.toml`.
#[cfg(all(target_env = "musl", target_arch = "x86_64"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    podgate::cli::run()
}
