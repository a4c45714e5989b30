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

pub(super) fn write(rows: Vec<Row>) -> Completion {
    Box::new(move |_: &mut Session, out: &mut Reply| {
        out.array(rows.len());
        rows.iter().for_each(|row| write_row(row, out));
    })
}

enum Field<'a> {
    Text(&'a [u8]),
    Number(i64),
}

fn write_row(row: &Row, out: &mut Reply) {
    let mut fields = vec![("replica", Field::Text(row.replica.as_bytes()))];
    match &row.verdict {
        Verdict::Identical { offset, keys } => {
            fields.push(("result", Field::Text(b"identical")));
            fields.push(("offset", Field::Number(*offset)));
            fields.push(("keys", Field::Number(*keys as i64)));
        }
        Verdict::Differs { offset, keys, replica_keys, parts, first } => {
            fields.push(("result", Field::Text(b"differs")));
            fields.push(("offset", Field::Number(*offset)));
            fields.push(("keys", Field::Number(*keys as i64)));
            fields.push(("replica-keys", Field::Number(*replica_keys as i64)));
            fields.push(("differing-parts", Field::Number(*parts as i64)));
            match first {
                Ok(first) => {
                    fields.push(("db", Field::Number(first.db.into())));
                    fields.push(("key", Field::Text(&first.key)));
                    fields.push(("difference", Field::Text(first.what.as_bytes())));
                    fields.push(("seen-at-offset", Field::Number(first.offset)));
                }
                Err(reason) => fields.push(("difference", Field::Text(reason.as_bytes()))),
            }
        }
        Verdict::Unverified { reason } => {
            fields.push(("result", Field::Text(b"unverified")));
            fields.push(("reason", Field::Text(reason.as_bytes())));
        }
    }
    out.map(fields.len());
    for (name, value) in fields {
        out.bulk(name.as_bytes());
        match value {
            Field::Text(text) => out.bulk(text),
            Field::Number(n) => out.int(n),
        }
    }
}
