//! A forest as JSON: one object with the list of trees, each node with its replicas inside it.
//!
//! Written by hand: the shape is small and fixed, and a JSON library would be a dependency of the server.

use std::fmt::Write as _;

use super::forest::{Forest, Node};
use crate::tools::probe::Trouble;

/// The forest on one line. A number that is not known is `null`; no field is ever missing.
pub fn to_json(forest: &Forest) -> String {
    let mut out = String::from("{\"trees\":");
    list(&mut out, forest, &forest.roots);
    out.push('}');
    out
}

fn list(out: &mut String, forest: &Forest, places: &[usize]) {
    out.push('[');
    for (i, at) in places.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        node(out, forest, &forest.nodes[*at]);
    }
    out.push(']');
}

fn node(out: &mut String, forest: &Forest, n: &Node) {
    let info = n.state.as_ref().ok();
    out.push('{');
    text(out, "address", Some(&n.address.to_string()));
    text(out, "host", Some(&n.address.host));
    number(out, "port", Some(n.address.port.into()));
    text(out, "run_id", info.map(|i| i.run_id.as_str()));
    text(out, "role", n.role().map(|r| r.name()));
    text(out, "link", n.parent.map(|_| n.link_kind()).or(info.and_then(|i| i.master.as_ref()).map(|_| n.link_kind())));
    let reachable = !matches!(n.state, Err(Trouble::Unreachable(_) | Trouble::Silent | Trouble::Elsewhere(_)));
    field(out, "reachable", if reachable { "true" } else { "false" });
    number(out, "offset", n.offset());
    number(out, "lag_bytes", n.lag.map(|l| l.bytes));
    number(out, "lag_ms", n.lag.map(|l| l.delay.parts().0));
    number(out, "hop_lag_ms", n.listed.as_ref().and_then(|l| l.lag_ms));
    text(out, "lag_ms_is", n.lag.map(|l| l.delay.parts().1));
    number(out, "keys", info.map(|i| i.keys));
    number(out, "memory_bytes", info.and_then(|i| i.memory_bytes));
    text(out, "server", info.map(|i| i.product.as_str()));
    text(out, "version", info.map(|i| i.version.as_str()));
    text(out, "problem", n.state.as_ref().err().map(|t| t.to_string()).or(n.note.clone()).as_deref());
    out.push_str("\"replicas\":");
    list(out, forest, &n.children);
    out.push('}');
}

fn field(out: &mut String, name: &str, value: &str) {
    let _ = write!(out, "\"{name}\":{value},");
}

fn number(out: &mut String, name: &str, value: Option<u64>) {
    match value {
        Some(n) => field(out, name, itoa::Buffer::new().format(n)),
        None => field(out, name, "null"),
    }
}

fn text(out: &mut String, name: &str, value: Option<&str>) {
    match value {
        Some(s) => field(out, name, &quoted(s)),
        None => field(out, name, "null"),
    }
}

fn quoted(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_comes_back_from_its_quotes() {
        for s in ["", "plain", "a\"b\\c\n\u{1}\u{7f}\u{85}é", "\u{2028}😀"] {
            assert_eq!(serde_json::from_str::<String>(&quoted(s)).unwrap(), s);
        }
    }
}
