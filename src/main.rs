//! The binary: hands the command line to the tool or the server it is for.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = pando::tools::run(&args) {
        return code;
    }
    ExitCode::FAILURE
}
