//! INFO: the state of the server and its counters, section by section, in the order and the formats of stock servers.
//!
//! Knows the sections and who writes each; what a field means is known where its state lives.

mod commands;
mod data;
mod memory;
mod server;
mod stats;

use std::fmt::{Display, Write};
use std::sync::Arc;

use crate::base::Error;
use crate::exec::call::{Call, Flow, SessionCommand};
use crate::exec::engine::Engine;
use crate::repl;
use crate::spec::prelude::*;

pub use memory::{Overhead, human, overhead};

pub const INFO: Row = Row {
    name: "info",
    arity: -1,
    syntax: "[section...]",
    flags: LOADING.or(STALE).or(SENTINEL).or(SESSION),
    cats: DANGEROUS,
    tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
    complexity: "O(1)",
    summary: "Tells the state of the server and its counters, section by section.",
    ..Row::EMPTY
};

pub const COMMANDS: &[SessionCommand] = &[SessionCommand { row: &INFO, run: info }];

/// What sections write their fields into.
#[derive(Default)]
pub struct Page {
    text: String,
}

impl Page {
    pub fn put(&mut self, field: &str, value: impl Display) {
        // Writing into a String does not fail.
        let _ = write!(self.text, "{field}:{value}\r\n");
    }

    /// With two decimals, as stock servers write ratios and rates.
    pub fn put_ratio(&mut self, field: &str, value: f64) {
        self.put(field, format_args!("{value:.2}"));
    }

    fn begin(&mut self, title: &str) {
        if !self.text.is_empty() {
            self.text.push_str("\r\n");
        }
        let _ = write!(self.text, "# {title}\r\n");
    }
}

struct Section {
    title: &'static str,
    /// Told when nobody asks for a section by name.
    default: bool,
    /// Told by its name alone, not even by ALL.
    hidden: bool,
    write: fn(&Arc<Engine>, &mut Page),
}

const fn section(title: &'static str, default: bool, write: fn(&Arc<Engine>, &mut Page)) -> Section {
    Section { title, default, hidden: false, write }
}

/// A section is asked for by its title in any case.
const SECTIONS: &[Section] = &[
    section("Server", true, server::server),
    section("Clients", true, server::clients),
    section("Memory", true, memory::memory),
    section("Persistence", true, data::persistence),
    section("Stats", true, stats::stats),
    section("Replication", true, |engine, page| repl::report::info(engine).iter().for_each(|(f, v)| page.put(f, v))),
    section("CPU", true, server::cpu),
    // There are none.
    section("Modules", true, |_, _| {}),
    section("Commandstats", false, commands::calls),
    section("Errorstats", true, commands::errors),
    section("Latencystats", false, commands::latencies),
    section("Cluster", true, server::cluster),
    section("Keyspace", true, data::keyspace),
    Section { title: "Debug", default: false, hidden: true, write: stats::debug },
];

fn is_word(word: &[u8], any: &[&str]) -> bool {
    any.iter().any(|w| w.as_bytes().eq_ignore_ascii_case(word))
}

/// The page for these section names; unknown ones are passed over, none at all means the default ones.
pub fn page<'a>(engine: &Arc<Engine>, names: impl Iterator<Item = &'a [u8]> + Clone) -> String {
    let defaults = names.clone().next().is_none() || names.clone().any(|n| is_word(n, &["default"]));
    let all = names.clone().any(|n| is_word(n, &["all", "everything"]));
    let mut page = Page::default();
    for s in SECTIONS {
        if (all && !s.hidden) || (defaults && s.default) || names.clone().any(|n| is_word(n, &[s.title])) {
            page.begin(s.title);
            (s.write)(engine, &mut page);
        }
    }
    page.text
}

fn info(call: &mut Call<'_>) -> Result<Flow, Error> {
    let names: Vec<&[u8]> = call.argv.skip(1).iter().collect();
    let text = page(call.engine, names.into_iter());
    call.out.verbatim("txt", text.as_bytes());
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests;
