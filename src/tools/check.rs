//! `pando-server check-rdb FILE`, also under the name redis-check-rdb: opens the file; the judging is `rdb`'s.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::base::clock;
use crate::rdb;

/// Reads a whole snapshot file and tells whether it is sound, and if not, where it is damaged.
#[derive(Debug, Parser)]
#[command(name = "check-rdb")]
struct Args {
    /// The snapshot, usually called dump.rdb
    file: PathBuf,
}

/// Runs the subcommand. Fails if the file is damaged or cannot be read.
pub fn run(args: &[OsString]) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(e) => return super::usage(&e),
    };
    match check(&args.file) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("{}: {e}", args.file.display());
            ExitCode::FAILURE
        }
    }
}

fn check(file: &Path) -> io::Result<bool> {
    let source = BufReader::with_capacity(64 << 10, File::open(file)?);
    let mut out = io::stdout().lock();
    let verdict = rdb::check(source, &file.display().to_string(), clock::now_ms(), &mut out)?;
    out.flush()?;
    Ok(verdict.is_ok())
}
