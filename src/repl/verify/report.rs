//! The replies of REPLICA VERIFY and of REPLICA CUT AT.

use super::compare::{Row, Verdict};
use crate::exec::Session;
use crate::exec::call::Completion;
use crate::persist::census::Census;
use crate::resp::Reply;

/// A census on its way to the master: offset, keys, the sums of all parts as one string, and the keys asked for.
pub(super) fn write_census(census: &Census, out: &mut Reply) {
    out.array(4);
    out.int(census.offset);
    out.int(census.keys as i64);
    out.bulk(&census.parts.iter().flat_map(|sum| sum.to_be_bytes()).collect::<Vec<u8>>());
    let Some(list) = &census.list else { return out.null_array() };
    out.array(list.len());
    for listed in list {
        out.bulk(&[&listed.db.to_be_bytes()[..], &listed.sum.to_be_bytes(), &listed.key].concat());
    }
}

/// What is said of one replica, field by field.
pub(super) type Told = Vec<(String, Value)>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(Vec<u8>),
    Number(i64),
}

pub(super) fn write(rows: Vec<Row>) -> Completion {
    Box::new(move |_: &mut Session, out: &mut Reply| {
        out.array(rows.len());
        rows.iter().for_each(|row| write_row(row, out));
    })
}

fn write_row(row: &Row, out: &mut Reply) {
    let fields = told(row);
    out.map(fields.len());
    for (name, value) in fields {
        out.bulk(name.as_bytes());
        match value {
            Value::Text(text) => out.bulk(&text),
            Value::Number(n) => out.int(n),
        }
    }
}

fn told(row: &Row) -> Told {
    let mut fields: Told = Vec::new();
    let mut put = |name: &str, value: Value| fields.push((name.to_owned(), value));
    let text = |text: &str| Value::Text(text.into());
    let count = |n: u64| Value::Number(n as i64);
    put("replica", text(&row.replica));
    match &row.verdict {
        Verdict::Identical { offset, keys } => {
            put("result", text("identical"));
            put("offset", Value::Number(*offset));
            put("keys", count(*keys));
        }
        Verdict::Differs { offset, keys, replica_keys, parts, first } => {
            put("result", text("differs"));
            put("offset", Value::Number(*offset));
            put("keys", count(*keys));
            put("replica-keys", count(*replica_keys));
            put("differing-parts", count(*parts as u64));
            match first {
                Ok(first) => {
                    put("db", count(first.db.into()));
                    put("key", Value::Text(first.key.clone()));
                    put("difference", text(first.what));
                    put("seen-at-offset", Value::Number(first.offset));
                }
                Err(reason) => put("difference", text(reason)),
            }
        }
        Verdict::Unverified { reason } => {
            put("result", text("unverified"));
            put("reason", text(reason));
        }
        // Its own words, and whose replica it is unless they say so already.
        Verdict::Below { master, told } => {
            let own = told.iter().filter(|(name, _)| name != "replica");
            if told.iter().all(|(name, _)| name != "master") {
                put("master", text(master));
            }
            own.for_each(|(name, value)| put(name, value.clone()));
        }
    }
    if let Some(reason) = &row.below_unverified {
        put("below-unverified", text(reason));
    }
    fields
}
