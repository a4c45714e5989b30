//! INFO held against the field list of a stock server, and how sections are chosen.

use std::any::Any;
use std::collections::BTreeSet;

use super::*;
use crate::config::Config;
use crate::persist::disk::FileSystem;
use crate::persist::{Aof, Saver};
use crate::repl::Repl;
use crate::server::commands::table;

fn engine() -> Arc<Engine> {
    let engine = Engine::new(Config::default(), table(), 2);
    engine.extend([
        Repl::new() as Arc<dyn Any + Send + Sync>,
        Arc::new(Saver::new(Arc::new(FileSystem), Box::new(|_| None))),
        Arc::new(Aof::default()),
    ]);
    engine
}

fn asked(engine: &Arc<Engine>, names: &[&str]) -> String {
    page(engine, names.iter().map(|n| n.as_bytes()))
}

fn titles(text: &str) -> Vec<&str> {
    text.lines().filter_map(|l| l.strip_prefix("# ")).collect()
}

/// (section, field) of each line that tells of no single command.
fn fields(text: &str) -> BTreeSet<(String, String)> {
    let mut section = "";
    let mut all = BTreeSet::new();
    for line in text.lines() {
        let name = line.split(':').next().unwrap_or_default();
        match line.strip_prefix("# ") {
            Some(title) => section = title,
            None if !name.is_empty() && !name.starts_with("cmdstat_") && !name.starts_with("latency_percentiles") => {
                all.insert((section.to_owned(), name.to_owned()));
            }
            None => {}
        }
    }
    all
}

#[test]
fn every_stock_field_is_there() {
    let stock = include_str!("../../../tests/data/info-fields-redis-7.0.15.txt");
    let ours = asked(&engine(), &["everything"]);
    let absent: Vec<_> = fields(stock).difference(&fields(&ours)).cloned().collect();
    assert_eq!(absent, []);
    assert_eq!(titles(stock), titles(&ours));
}

#[test]
fn sections_are_chosen_as_stock_servers_choose_them() {
    let engine = engine();
    let default = asked(&engine, &[]);
    assert!(!titles(&default).contains(&"Commandstats") && titles(&default).contains(&"Errorstats"));
    assert_eq!(titles(&asked(&engine, &["DEFAULT"])), titles(&default));
    assert_eq!(titles(&asked(&engine, &["default", "commandstats"])).len(), titles(&default).len() + 1);
    assert_eq!(titles(&asked(&engine, &["cpu", "nonsense", "Server"])), ["Server", "CPU"]);
    assert_eq!(asked(&engine, &["nonsense"]), "");
    let shown = SECTIONS.iter().filter(|s| !s.hidden).count();
    assert_eq!(titles(&asked(&engine, &["all"])).len(), shown);
    assert_eq!(titles(&asked(&engine, &["debug"])), ["Debug"]);
}

#[test]
fn lines_end_and_sections_part_as_in_stock_servers() {
    let text = asked(&engine(), &["cluster", "keyspace"]);
    assert_eq!(text, "# Cluster\r\ncluster_enabled:0\r\n\r\n# Keyspace\r\n");
}

#[test]
fn bytes_are_told_for_people() {
    for (bytes, text) in [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (1_163_472, "1.11M"), (25_276_502_016, "23.54G")]
    {
        assert_eq!(human(bytes), text);
    }
}
