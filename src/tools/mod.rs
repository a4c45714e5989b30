//! Floor 8: the programs beside the server: `up`, `tree`, `check-rdb`, `check-aof`; and who is meant by a command line.
//!
//! What is not a subcommand of ours belongs to the server, with every argument untouched: it has a grammar of its own
//! (a file, `--directive value`, `-`), which clap must never see.

mod check;
mod check_aof;
mod draw;
mod moment;
mod probe;
mod tree;
mod up;
pub mod version;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// Runs the tool that `args` (with the program's name first) asks for. `None` if they are for the server itself.
pub fn run(args: &[OsString]) -> Option<ExitCode> {
    let name = args.first().and_then(|a| Path::new(a).file_name()).and_then(|n| n.to_str()).unwrap_or_default();
    match name {
        "redis-check-rdb" | "valkey-check-rdb" => return Some(check::run(args)),
        "redis-check-aof" | "valkey-check-aof" => return Some(check_aof::run(args)),
        "redis-sentinel" | "valkey-sentinel" => return Some(unsupported("Sentinel is")),
        _ => {}
    }
    let first = args.get(1).and_then(|a| a.to_str())?;
    // A subcommand's own name for clap's messages stands where the program's was.
    let rest = &args[1..];
    Some(match first {
        "up" => up::run(rest),
        "tree" => tree::run(rest),

        "check-rdb" => check::run(rest),
        "check-aof" => check_aof::run(rest),
        "--version" | "-v" => print(&version::line(name == "redis-server" || name == "valkey-server")),
        "--help" | "-h" => print(HELP),
        _ => return None,
    })
}

const HELP: &str = "\
Usage: pando-server [FILE] [--DIRECTIVE VALUE...]   run a server
       pando-server - [--DIRECTIVE VALUE...]        the same, configuration from standard input
       pando-server up FILE...                      run a whole tree, a server for each file, and draw it
       pando-server tree HOST:PORT                  draw the tree a running server is part of
       pando-server check-rdb FILE                  check a snapshot file
       pando-server check-aof FILE                  check an append-only file or its manifest, or repair it
       pando-server --version | --help

A FILE is a redis.conf. Any of its directives can be given on the command line with two dashes before it:

  pando-server --port 6402 --replicaof 127.0.0.1 6401
  pando-server /etc/redis/redis.conf --loglevel verbose

On the command line alone, --aof-restore-to TIME (Unix seconds or 2026-11-21T15:40:00Z) first cuts off what was written to
the append-only file after that time.

Each subcommand tells more with --help. Through a link named redis-server, redis-check-rdb or
redis-check-aof it is that program.";

fn print(text: &str) -> ExitCode {
    println!("{text}");
    ExitCode::SUCCESS
}

fn unsupported(what: &str) -> ExitCode {
    eprintln!("pando-server: {what} not supported yet");
    ExitCode::FAILURE
}

/// A command line clap did not take (or took as `--help`): its message, and the exit code that goes with it.
fn usage(e: &clap::Error) -> ExitCode {
    let _ = e.print();
    ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(1))
}
