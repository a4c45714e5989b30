//! `pando-server tree HOST:PORT`: draws the replication tree a server is part of, whichever make its servers are.
//!
//! Only the command line and the loop of `--watch` are here.

pub mod forest;
pub mod json;
pub mod lag;
pub mod survey;

use std::ffi::OsString;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;

use super::draw::{Screen, shape};
use super::probe::{Address, Login, Logins};
use survey::Survey;

/// Between two drawings of `--watch`.
const INTERVAL: Duration = Duration::from_secs(1);

/// Draws the replication tree a server is part of: upwards to its root, and downwards to every replica.
/// Works with every server that speaks the Redis protocol.
#[derive(Debug, Parser)]
#[command(name = "pando-server tree", bin_name = "pando-server tree")]
struct Args {
    /// Any server of the tree; several to draw several trees, or one with a gap in it
    #[arg(required = true, value_name = "HOST:PORT")]
    servers: Vec<Address>,
    /// The user to log in as, at every server
    #[arg(long, requires = "password")]
    user: Option<String>,
    /// The password for every server (or put it into the environment as REDISCLI_AUTH)
    #[arg(short = 'a', long)]
    password: Option<String>,
    /// Keep the drawing fresh until interrupted
    #[arg(long)]
    watch: bool,
    /// JSON instead of a drawing; with --watch a line every second
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand. Fails when none of the servers named could be asked.
pub fn run(args: &[OsString]) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(e) => return super::usage(&e),
    };
    let password = args.password.clone().or_else(|| std::env::var("REDISCLI_AUTH").ok());
    let everywhere = Login { user: args.user.clone(), password };
    let mut survey = Survey::new(Logins { everywhere, ..Logins::default() });
    let mut screen = Screen::stdout();
    let mut last_shape = String::new();
    loop {
        let forest = survey.look(&args.servers);
        let news = shape(&forest);
        if args.json {
            screen.say(&json::to_json(&forest));
        } else if screen.is_terminal() || news != last_shape {
            screen.show(&forest, &[]);
        }
        last_shape = news;
        if !args.watch {
            let answered = args.servers.iter().any(|s| forest.find(s).is_some_and(|n| n.state.is_ok()));
            return if answered { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        thread::sleep(INTERVAL);
    }
}
