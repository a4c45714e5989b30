//! The list of tests of Redis' own suite that are not asked of this server: it can be read, and says why of each.

use std::path::Path;

use toml::{Table, Value};

#[test]
fn every_test_that_is_skipped_has_its_reason() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/skips.toml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    // A test that is there twice is refused by the reader.
    let units: Table = text.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(!units.is_empty());
    let mut names: Vec<&str> = Vec::new();
    for (unit, tests) in &units {
        assert!(unit.starts_with("unit/") || unit.starts_with("integration/"), "{unit} is no unit");
        let Value::Table(tests) = tests else { panic!("{unit} is no table") };
        assert!(!tests.is_empty(), "{unit} skips nothing: take it out");
        assert!(!tests.contains_key("*") || tests.len() == 1, "{unit} is skipped as a whole and in part");
        for (test, reason) in tests {
            let reason = reason.as_str().unwrap_or_else(|| panic!("{unit}: {test}: the reason is a text"));
            assert!(reason.split_whitespace().count() >= 3, "{unit}: {test}: '{reason}' is no reason");
        }
        names.push(unit);
    }
    // In the file's order, which is the one a reader searches by.
    let heads: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("[\"")?.strip_suffix("\"]")).collect();
    assert!(heads.is_sorted(), "the units stand in order");
    assert_eq!(heads.len(), names.len());
}
