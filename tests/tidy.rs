//! Reads the source tree and fails on a broken floor, an over-long file, a stray `unsafe`, a banned call.
//!
//! Knows the text of the files only, never what they mean: whatever needs types is clippy's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Which floor a top-level module stands on (ARCHITECTURE.md draws the house).
const FLOORS: &[(u8, &[&str])] = &[
    (0, &["base"]),
    (1, &["resp", "ds"]),
    (2, &["keyspace"]),
    (3, &["rdb", "spec", "config", "acl", "stats", "oplog"]),
    (4, &["cmd"]),
    (5, &["exec"]),
    (6, &["persist", "repl"]),
    (7, &["cluster", "sentinel"]),
    (8, &["server", "tools"]),
];

/// Imports between two modules of one floor that are meant: (from, to, why).
const SIDEWAYS: &[(&str, &str, &str)] = &[(
    "repl",
    "persist",
    "a full sync is a snapshot whose sink is a socket, and a received one is loaded like a file",
)];

/// Files that may hold `unsafe`, each block with its `// SAFETY:` (clippy sees to that).
const UNSAFE_FILES: &[&str] = &[
    "src/base/clock.rs",
    "src/base/log.rs",
    "src/base/slab.rs",
    "src/ds/bits.rs",
    "src/ds/btree/entry.rs",
    "src/ds/btree/member.rs",
    "src/ds/btree/mod.rs",
    "src/ds/btree/node.rs",
    "src/ds/dict/directory.rs",
    "src/ds/dict/grow.rs",
    "src/ds/dict/segment.rs",
    "src/ds/dict/slot.rs",
    "src/ds/dict/table.rs",
    "src/ds/dict/tests.rs",
    "src/ds/dict/thin.rs",
    "src/ds/dict/walk.rs",
    "src/ds/hash/field.rs",
    "src/ds/member.rs",
    "src/keyspace/entry.rs",
    "src/oplog/block.rs",
    "src/server/daemon.rs",
    "src/server/limits.rs",
    "src/server/proc_title.rs",
    "src/stats/memory.rs",
];

/// Tables of data, whose length is the number of things they list.
const TABLES: &[&str] = &[];

/// Calls that have one home: (text, the file or folder it may stand in, what to use elsewhere).
const BANNED: &[(&str, &[&str], &str)] = &[
    ("Instant::now(", &["src/base/"], "base::clock, so that tests can replace the time"),
    ("SystemTime::now(", &["src/base/"], "base::clock, so that tests can replace the time"),
    ("rand::rng(", &["src/base/"], "base::rand, so that a seed replays a run"),
    ("rand::random", &["src/base/"], "base::rand, so that a seed replays a run"),
    ("dbg!(", &[], "the log"),
    ("todo!(", &[], "the code"),
    ("unimplemented!(", &[], "the code"),
    ("#[ignore", &[], "a test that runs"),
];

const MAX_LINES: usize = 900;

/// One source file: its text, and the same text with comments and literals blanked out.
struct Source {
    path: String,
    text: String,
    code: String,
}

impl Source {
    /// The module path below the crate: `src/repl/link.rs` is `["repl", "link"]`.
    fn module(&self) -> Vec<&str> {
        let inner = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let mut parts: Vec<&str> = inner.split('/').collect();
        if matches!(parts.last(), Some(&"mod" | &"lib" | &"main")) {
            parts.pop();
        }
        parts
    }

    fn is_test_file(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// The code above the first inline test module.
    fn shipped(&self) -> &str {
        if self.is_test_file() {
            return "";
        }
        let mut from = 0;
        while let Some(found) = self.code[from..].find("#[cfg(test)]") {
            let at = from + found;
            let rest = self.code[at + "#[cfg(test)]".len()..].trim_start();
            // `#[cfg(test)] mod tests;` points at a sibling; only a body ends the shipped part.
            if rest.starts_with("mod ") && rest.find('{') < rest.find(';') {
                return &self.code[..at];
            }
            from = at + 1;
        }
        &self.code
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    walk(&root().join("src"), &mut files);
    files.sort();
    assert!(!files.is_empty(), "no source files under {}", root().display());
    files
        .into_iter()
        .map(|file| {
            let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            let path = file.strip_prefix(root()).expect("below the root").to_string_lossy().replace('\\', "/");
            let code = blank(&text);
            Source { path, text, code }
        })
        .collect()
}

fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
        let path = entry.expect("a readable directory").path();
        if path.is_dir() {
            walk(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

/// Replaces what stands in comments, strings and character literals by spaces; newlines stay.
fn blank(text: &str) -> String {
    let b = text.as_bytes();
    let mut out = b.to_vec();
    let mut erase = |from: usize, to: usize| {
        for c in &mut out[from..to] {
            if *c != b'\n' {
                *c = b' ';
            }
        }
    };
    let mut i = 0;
    while i < b.len() {
        let word_before = i > 0 && (b[i - 1].is_ascii_alphanumeric() || b[i - 1] == b'_');
        match b[i] {
            b'/' if b.get(i + 1) == Some(&b'/') => {
                let end = text[i..].find('\n').map_or(b.len(), |n| i + n);
                erase(i, end);
                i = end;
            }
            b'/' if b.get(i + 1) == Some(&b'*') => {
                let (mut depth, mut j) = (1, i + 2);
                while j < b.len() && depth > 0 {
                    match (b[j], b.get(j + 1)) {
                        (b'/', Some(b'*')) => (depth, j) = (depth + 1, j + 2),
                        (b'*', Some(b'/')) => (depth, j) = (depth - 1, j + 2),
                        _ => j += 1,
                    }
                }
                erase(i, j);
                i = j;
            }
            b'r' if !word_before || b[i - 1] == b'b' => {
                let hashes = b[i + 1..].iter().take_while(|c| **c == b'#').count();
                if b.get(i + 1 + hashes) == Some(&b'"') {
                    let close = format!("\"{}", "#".repeat(hashes));
                    let from = i + 2 + hashes;
                    let end = text[from..].find(&close).map_or(b.len(), |n| from + n);
                    erase(from, end);
                    i = end + close.len();
                } else {
                    i += 1;
                }
            }
            b'"' => {
                let mut j = i + 1;
                while j < b.len() && b[j] != b'"' {
                    j += if b[j] == b'\\' { 2 } else { 1 };
                }
                let end = j.min(b.len());
                erase(i + 1, end);
                i = end + 1;
            }
            // A character literal, not a lifetime: the closing quote follows one (escaped) character.
            b'\'' => {
                let body = match b.get(i + 1) {
                    Some(b'\\') => {
                        text[i + 2..].char_indices().skip(1).find(|(_, c)| *c == '\'').map(|(n, _)| n + i + 2)
                    }
                    Some(_) => {
                        let n = text[i + 1..].chars().next().map_or(1, char::len_utf8);
                        (b.get(i + 1 + n) == Some(&b'\'')).then_some(i + 1 + n)
                    }
                    None => None,
                };
                match body {
                    Some(end) => {
                        erase(i + 1, end);
                        i = end + 1;
                    }
                    None => i += 1,
                }
            }
            _ => i += 1,
        }
    }
    String::from_utf8(out).expect("whole characters were blanked")
}

/// The top-level modules a piece of code names through `crate::`, `super::` or the library's name, with their lines.
fn imports(code: &str, module: &[&str]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for root in ["crate::", "pando::", "super::"] {
        let mut from = 0;
        while let Some(n) = code[from..].find(root) {
            let at = from + n;
            from = at + root.len();
            let before = code[..at].trim_end().as_bytes().last().copied().unwrap_or(b' ');
            if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') || before == b':' {
                continue;
            }
            let mut rest = &code[at..];
            if root == "super::" {
                let mut ups = 0;
                while let Some(shorter) = rest.strip_prefix("super::") {
                    rest = shorter;
                    ups += 1;
                }
                // Only as many `super`s as the module is deep reach the crate's root.
                if ups < module.len() {
                    continue;
                }
            } else {
                rest = &rest[root.len()..];
            }
            let line = code[..at].matches('\n').count() + 1;
            found.extend(heads(rest).into_iter().map(|head| (line, head)));
        }
    }
    found
}

/// The first word of a path, or of each path of a `{…}` group.
fn heads(rest: &str) -> Vec<String> {
    let word =
        |s: &str| -> String { s.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let Some(group) = rest.strip_prefix('{') else { return vec![word(rest)] };
    let (mut depth, mut start, mut out) = (0, 0, Vec::new());
    for (i, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                out.push(word(&group[start..i]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                out.push(word(&group[start..i]));
                start = i + 1;
            }
            _ => {}
        }
    }
    out
}

/// Lines of code without the rows that describe commands: those are a table, which stands where its handlers do.
fn lines_but_rows(code: &str) -> usize {
    let mut in_row = false;
    let mut count = 0;
    for line in code.lines() {
        in_row |= line.contains("const ") && line.ends_with(": Row = Row {");
        count += usize::from(!in_row);
        in_row &= line != "};";
    }
    count
}

fn floor_of(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(_, names)| names.contains(&module)).map(|(floor, _)| *floor)
}

fn why_sideways(from: &str, to: &str) -> Option<&'static str> {
    SIDEWAYS.iter().find(|(a, b, _)| *a == from && *b == to).map(|(_, _, why)| *why)
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Fails with all complaints at once: one run shows everything there is to mend.
fn report(what: &str, complaints: &BTreeSet<String>) {
    let mut text = String::new();
    for c in complaints {
        let _ = write!(text, "\n  {c}");
    }
    assert!(complaints.is_empty(), "{what}:{text}\n");
}

#[test]
fn a_module_imports_only_from_lower_floors() {
    let mut bad = BTreeSet::new();
    let sources = sources();
    for s in &sources {
        let module = s.module();
        // The crate's root and the binary stand above the house.
        let Some(own) = module.first() else { continue };
        let Some(own_floor) = floor_of(own) else {
            bad.insert(format!("{}: module `{own}` stands on no floor; add it to FLOORS and ARCHITECTURE.md", s.path));
            continue;
        };
        for (line, other) in imports(s.shipped(), &module) {
            let Some(floor) = floor_of(&other) else { continue };
            if other == *own || floor < own_floor {
                continue;
            }
            if floor == own_floor {
                if why_sideways(own, &other).is_none() {
                    bad.insert(format!(
                        "{}:{line}: `{own}` and `{other}` stand on one floor ({floor}); move what is shared down",
                        s.path
                    ));
                }
            } else {
                bad.insert(format!(
                    "{}:{line}: `{own}` (floor {own_floor}) reaches up to `{other}` (floor {floor})",
                    s.path
                ));
            }
        }
    }
    report("broken floors", &bad);
}

#[test]
fn every_sideways_exception_is_still_used() {
    let mut used = BTreeSet::new();
    let mut modules = BTreeSet::new();
    let sources = sources();
    for s in &sources {
        let module = s.module();
        let Some(own) = module.first() else { continue };
        modules.insert(own.to_string());
        used.extend(imports(s.shipped(), &module).into_iter().map(|(_, other)| (own.to_string(), other)));
    }
    let mut bad = BTreeSet::new();
    for (from, to, _) in SIDEWAYS {
        assert_eq!(floor_of(from), floor_of(to), "{from} -> {to} is not sideways");
        // Where one of the two is still a lone facade file there is nothing to except yet.
        let has_body = [from, to].iter().all(|m| sources.iter().filter(|s| s.module().first() == Some(m)).count() > 1);
        if has_body && !used.contains(&(from.to_string(), to.to_string())) {
            bad.insert(format!("{from} -> {to}"));
        }
    }
    report("exceptions nobody uses; delete them from SIDEWAYS", &bad);
}

#[test]
fn architecture_draws_the_same_floors() {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let mut drawn: BTreeMap<u8, String> = BTreeMap::new();
    for line in page.lines() {
        let mut cells = line.split('|').map(str::trim).skip(1);
        if let (Some(Ok(floor)), Some(text)) = (cells.next().map(str::parse), cells.next()) {
            drawn.insert(floor, text.to_owned());
        }
    }
    let mut bad = BTreeSet::new();
    let sources = sources();
    for (floor, names) in FLOORS {
        for name in *names {
            let exists = sources.iter().any(|s| s.module().first() == Some(name));
            if exists && !drawn.get(floor).is_some_and(|text| text.contains(&format!("`{name}`"))) {
                bad.insert(format!("`{name}` is missing from floor {floor}"));
            }
        }
    }
    report("ARCHITECTURE.md and tests/tidy.rs disagree", &bad);
}

#[test]
fn files_stay_readable_in_one_sitting() {
    let mut bad = BTreeSet::new();
    for s in sources() {
        let lines = lines_but_rows(s.shipped());
        if lines > MAX_LINES && !TABLES.contains(&s.path.as_str()) {
            bad.insert(format!("{}: {lines} lines without its tests (at most {MAX_LINES}); split it", s.path));
        }
    }
    report("over-long files", &bad);
}

#[test]
fn every_file_says_what_it_does() {
    let mut bad = BTreeSet::new();
    for s in sources() {
        let first = s.text.lines().find(|l| !l.trim().is_empty()).unwrap_or("");
        if !first.starts_with("//!") {
            bad.insert(format!("{}: starts without a `//!` header", s.path));
        }
    }
    report("files without a header", &bad);
}

#[test]
fn unsafe_stands_only_in_the_listed_files() {
    let mut bad = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for s in sources() {
        for (at, _) in s.code.match_indices("unsafe") {
            let edge = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            if !edge(s.code[..at].chars().next_back()) || !edge(s.code[at + 6..].chars().next()) {
                continue;
            }
            match UNSAFE_FILES.iter().find(|listed| s.path.starts_with(**listed)) {
                Some(listed) => drop(seen.insert(*listed)),
                None => drop(bad.insert(format!("{}:{}: unsafe outside UNSAFE_FILES", s.path, line_of(&s.code, at)))),
            }
        }
    }
    for listed in UNSAFE_FILES {
        if !seen.contains(*listed) {
            bad.insert(format!("{listed} is listed in UNSAFE_FILES and holds none; delete the entry"));
        }
    }
    report("stray unsafe", &bad);
}

#[test]
fn banned_calls_stay_in_their_homes() {
    let mut bad = BTreeSet::new();
    for s in sources() {
        let shipped = s.shipped();
        for (call, homes, instead) in BANNED {
            if homes.iter().any(|home| s.path.starts_with(home)) {
                continue;
            }
            // A skipped test is no better for standing in a test file.
            let code = if *call == "#[ignore" { s.code.as_str() } else { shipped };
            for (at, _) in code.match_indices(call) {
                bad.insert(format!("{}:{}: `{call}`; use {instead}", s.path, line_of(code, at)));
            }
        }
        for (at, _) in s.text.match_indices("FIXME") {
            bad.insert(format!(
                "{}:{}: FIXME; mend it, or write a TODO that names the missing behaviour",
                s.path,
                line_of(&s.text, at)
            ));
        }
    }
    report("banned calls", &bad);
}

#[test]
fn the_reader_of_imports_sees_groups_supers_and_paths() {
    let seen = |code: &str, module: &[&str]| -> Vec<String> {
        imports(&blank(code), module).into_iter().map(|(_, head)| head).collect()
    };
    assert_eq!(seen("use crate::base::Error;", &["ds"]), ["base"]);
    assert_eq!(seen("use crate::{base::{a, b}, ds, resp::X};", &["cmd"]), ["base", "ds", "resp"]);
    assert_eq!(seen("fn f() -> crate::repl::Id {}", &["ds"]), ["repl"]);
    assert_eq!(seen("use super::super::server::x;", &["ds", "dict"]), ["server"]);
    assert_eq!(seen("use super::dict;", &["ds", "list"]), [""; 0]);
    assert_eq!(seen("// crate::repl\nlet s = \"crate::repl\"; let r = r#\"crate::\"repl\"#;", &["ds"]), [""; 0]);
    assert_eq!(seen("fn f<'a>(c: char) -> bool { c == '\"' } use crate::base; // '", &["ds"]), ["base"]);
}
