//! Files that match a shell pattern, for `include`.
//! Knows `*`, `?` and `[…]` within each part of a path; a leading dot has to be written out.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// The existing paths that match, sorted.
pub fn matching(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let Component::Normal(name) = part else {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        };
        found = found.into_iter().flat_map(|dir| in_directory(dir, name)).collect();
    }
    found.sort();
    found
}

fn in_directory(dir: PathBuf, name: &OsStr) -> Vec<PathBuf> {
    let pattern = name.as_bytes();
    if !pattern.iter().any(|c| b"*?[\\".contains(c)) {
        let path = dir.join(name);
        return if path.exists() { vec![path] } else { Vec::new() };
    }
    let listed = if dir.as_os_str().is_empty() { Path::new(".") } else { &dir };
    let Ok(entries) = std::fs::read_dir(listed) else {
        return Vec::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let fits = |name: &OsStr| {
        let bytes = name.as_bytes();
        (!bytes.starts_with(b".") || pattern.starts_with(b".")) && matches(pattern, bytes)
    };
    names.filter(|name| fits(name)).map(|name| dir.join(name)).collect()
}

fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], _) => text.is_empty(),
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|skip| matches(rest, &text[skip..])),
        ([b'?', rest @ ..], [_, tail @ ..]) => matches(rest, tail),
        ([b'\\', c, rest @ ..], [first, tail @ ..]) => c == first && matches(rest, tail),
        ([b'[', rest @ ..], [first, tail @ ..]) => match class(rest, *first) {
            Some((fits, rest)) => fits && matches(rest, tail),
            None => *first == b'[' && matches(rest, tail),
        },
        ([c, rest @ ..], [first, tail @ ..]) => c == first && matches(rest, tail),
        (_, []) => false,
    }
}

/// Whether the class that begins at `pattern` (behind its bracket) holds `c`, and what follows it.
/// `None`: it never closes, so the bracket stands for itself.
fn class(pattern: &[u8], c: u8) -> Option<(bool, &[u8])> {
    let (negated, body) = match pattern {
        [b'!' | b'^', rest @ ..] => (true, rest),
        _ => (false, pattern),
    };
    // A bracket in the first place is a member.
    let end = 1 + body.get(1..)?.iter().position(|c| *c == b']')?;
    let mut members = &body[..end];
    let mut found = false;
    while let [low, rest @ ..] = members {
        if let [b'-', high, after @ ..] = rest {
            found |= (*low..=*high).contains(&c);
            members = after;
        } else {
            found |= *low == c;
            members = rest;
        }
    }
    Some((found != negated, &body[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_a_shell() {
        for (pattern, text, expect) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.confx", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a-c]1", "b1", true),
            ("[!a-c]1", "b1", false),
            ("[]x]", "]", true),
            ("[a", "[a", true),
            ("\\*", "*", true),
            ("*a*b*", "xxaxxbxx", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expect, "{pattern} {text}");
        }
    }

    #[test]
    fn only_existing_files_are_found_in_order() {
        let dir = tempfile::tempdir().expect("directory");
        for name in ["b.conf", "a.conf", ".hidden.conf", "c.txt"] {
            std::fs::write(dir.path().join(name), "").expect("file");
        }
        let found = matching(&dir.path().join("*.conf"));
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.conf", "b.conf"]);
        assert!(matching(&dir.path().join("none/*.conf")).is_empty());
    }
}
