//! Compares what our rows declare with what stock servers answer to COMMAND INFO and COMMAND DOCS.
//!
//! `tests/data/commands-*.json` were asked of running servers. We say we are 7.2, which lies between Redis 7.0 and 8.0:
//! whatever a row declares must be what one of those two answers. A command that neither has must be as in Valkey. What
//! differs on purpose is listed, with the reason, in `DELIBERATE`.

use std::collections::{BTreeMap, BTreeSet};

use pando::spec::syntax::{self, Arg};
use pando::spec::{BeginSearch, Doc, FindKeys, KeySpec, Row};
use serde_json::{Map, Value, json};

/// Command, what of it differs, and why.
const DELIBERATE: &[(&str, &str, &str)] = &[
    ("bitop", "arguments", "has DIFF, DIFF1, ANDOR and ONE, as Redis 8.2"),
    ("client|kill", "arguments", "as in 7.2: after the names of 7.0 changed and before 7.4 added MAXAGE"),
    ("quit", "replaced_by", "says the same in other words"),
    ("set", "arguments", "has IFEQ, as Valkey 8.1"),
    ("wait", "flags", "neither noscript, as until 7.0, nor blocking, as from 7.4"),
    ("waitaof", "acl", "not yet blocking in 7.2"),
    ("waitaof", "flags", "not yet blocking in 7.2"),
    ("xadd", "arguments", "has KEEPREF, DELREF and ACKED, as Redis 8.2"),
    ("xtrim", "arguments", "has KEEPREF, DELREF and ACKED, as Redis 8.2"),
];

/// Commands of Redis 8.2 and 8.4, which were not asked.
const NEWER: &[&str] = &["delex", "digest", "xackdel", "xdelex"];

/// Commands of ours.
const OWN: &[&str] = &["replica", "replica|cut", "replica|help", "replica|verify"];

type Facts = BTreeMap<String, Value>;

fn facts(json: &str) -> Facts {
    let Value::Object(commands) = serde_json::from_str(json).unwrap() else { panic!("not an object") };
    let mut all = Facts::new();
    for (name, mut command) in commands {
        if let Some(Value::Object(subcommands)) = command.as_object_mut().unwrap().remove("subcommands") {
            all.extend(subcommands);
        }
        all.insert(name, command);
    }
    all
}

fn rows() -> Vec<&'static Row> {
    pando::server::commands::table().rows().collect()
}

#[test]
fn rows_declare_what_stock_servers_answer() {
    let redis70 = facts(include_str!("data/commands-redis-7.0.15.json"));
    let redis80 = facts(include_str!("data/commands-redis-8.0.6.json"));
    let valkey = facts(include_str!("data/commands-valkey-9.1.2.json"));
    let rows = rows();
    let listed = DELIBERATE.iter().filter(|(name, ..)| rows.iter().any(|row| row.name == *name));
    let mut expected: BTreeSet<(String, String)> =
        listed.map(|(name, field, _)| (name.to_string(), field.to_string())).collect();
    let mut surprises = Vec::new();
    for row in &rows {
        let ours = told(row);
        let mut stock: Vec<&Value> = [&redis70, &redis80].iter().filter_map(|f| f.get(row.name)).collect();
        if stock.is_empty() {
            stock.extend(valkey.get(row.name));
        }
        if stock.is_empty() && !NEWER.contains(&row.name) && !OWN.contains(&row.name) {
            surprises.push(format!("{}: no stock server has it", row.name));
        }
        for (field, mine) in &ours {
            let same = stock.is_empty() || stock.iter().any(|s| normal(field, &s[field]) == *mine);
            if !same && !expected.remove(&(row.name.to_owned(), field.clone())) {
                let theirs: Vec<Value> = stock.iter().map(|s| normal(field, &s[field])).collect();
                surprises.push(format!("{} {field}\n   ours:  {mine}\n   stock: {theirs:?}", row.name));
            }
        }
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
    assert!(expected.is_empty(), "listed as different, but are not: {expected:?}");
}

#[test]
fn every_row_is_documented_and_its_syntax_parses() {
    for row in rows() {
        assert!(row.summary.ends_with('.') && !row.summary.contains('\n'), "{}: summary", row.name);
        assert!(syntax::parse(row.syntax).is_ok(), "{}: {:?}", row.name, syntax::parse(row.syntax));
        assert_eq!(row.name, row.name.to_ascii_lowercase());
    }
}

/// What a row declares, in the shape of the facts.
fn told(row: &Row) -> Map<String, Value> {
    let (range, _) = row.legacy_range();
    let (flags, since, replaced) = match row.doc {
        Doc::Current => (json!([]), Value::Null, Value::Null),
        Doc::System => (json!(["syscmd"]), Value::Null, Value::Null),
        Doc::Deprecated { since, replaced_by } => (json!(["deprecated"]), json!(since), json!(replaced_by)),
    };
    let all = json!({
        "arity": row.arity,
        "flags": sorted(row.all_flags().words()),
        "first_key": range.first,
        "last_key": range.last,
        "step": range.step,
        "acl": sorted(row.all_categories().words().map(|c| format!("@{c}"))),
        "tips": sorted(row.tips.iter().copied()),
        "key_specs": row.keys.iter().map(key_spec).collect::<Vec<_>>(),
        "since": row.since,
        "group": row.group.as_str(),
        "arguments": syntax::parse(row.syntax).unwrap().iter().map(argument).collect::<Vec<_>>(),
        "doc_flags": flags,
        "deprecated_since": since,
        "replaced_by": replaced,
    });
    let Value::Object(all) = all else { unreachable!() };
    all
}

fn sorted<W: Into<Value>>(words: impl IntoIterator<Item = W>) -> Value {
    let mut words: Vec<Value> = words.into_iter().map(Into::into).collect();
    words.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    Value::Array(words)
}

fn key_spec(spec: &KeySpec) -> Value {
    let begin = match spec.begin {
        BeginSearch::Index(index) => json!({"type": "index", "spec": {"index": index}}),
        BeginSearch::Keyword { word, start_from } => {
            json!({"type": "keyword", "spec": {"keyword": word, "startfrom": start_from}})
        }
        BeginSearch::Unknown => json!({"type": "unknown", "spec": {}}),
    };
    let find = match spec.find {
        FindKeys::Range { last, step, limit } => {
            json!({"type": "range", "spec": {"lastkey": last, "keystep": step, "limit": limit}})
        }
        FindKeys::KeyNum { num_index, first_key, step } => {
            json!({"type": "keynum", "spec": {"keynumidx": num_index, "firstkey": first_key, "keystep": step}})
        }
        FindKeys::Unknown => json!({"type": "unknown", "spec": {}}),
    };
    json!({
        "flags": sorted(spec.flags.words()),
        "begin_search": begin,
        "find_keys": find,
        // Ours are in our own words; that there is one is the fact.
        "notes": !spec.notes.is_empty(),
    })
}

fn argument(arg: &Arg<'_>) -> Value {
    let flags: Vec<&str> =
        [(arg.optional, "optional"), (arg.multiple, "multiple"), (arg.multiple_token, "multiple_token")]
            .iter()
            .filter(|(set, _)| *set)
            .map(|(_, word)| *word)
            .collect();
    json!({
        "name": arg.name,
        "type": arg.kind.word(),
        "token": arg.token,
        "key_spec_index": arg.key_spec,
        "since": arg.since,
        "deprecated_since": arg.deprecated_since,
        "flags": sorted(flags),
        "arguments": arg.kind.children().map(|c| c.iter().map(argument).collect::<Vec<_>>()),
    })
}

/// A stock answer without what is not compared: absent and empty are one, sets have no order.
fn normal(field: &str, value: &Value) -> Value {
    match field {
        "flags" | "acl" | "tips" | "doc_flags" => sorted(value.as_array().into_iter().flatten().cloned()),
        "key_specs" => value
            .as_array()
            .unwrap()
            .iter()
            .map(|spec| {
                json!({
                    "flags": normal("flags", &spec["flags"]),
                    "begin_search": spec["begin_search"],
                    "find_keys": spec["find_keys"],
                    "notes": spec.get("notes").is_some(),
                })
            })
            .collect(),
        "arguments" => Value::Array(
            value
                .as_array()
                .into_iter()
                .flatten()
                .map(|arg| {
                    json!({
                        "name": arg["name"],
                        "type": arg["type"],
                        "token": arg["token"],
                        "key_spec_index": arg["key_spec_index"],
                        "since": arg["since"],
                        "deprecated_since": arg["deprecated_since"],
                        "flags": normal("flags", &arg["flags"]),
                        "arguments": arg.get("arguments").map(|a| normal("arguments", a)),
                    })
                })
                .collect(),
        ),
        _ => value.clone(),
    }
}
