//! The binary: hands the command line to the tool or the server it is for.

use std::ffi::OsString;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: pando::stats::memory::Counting = pando::stats::memory::Counting;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    match pando::tools::run(&args) {
        Some(code) => code,
        None => pando::server::run(args.into_iter().skip(1).collect()),
    }
}
