//! The way of a key by DUMP and RESTORE.

use super::client::{Client, Reply};
use super::group::converge;
use super::server::Server;

/// Restores at `to`, under `name`, what `from` dumps of a key, with its expiry. Gives the payload; `None` if there is no key.
#[track_caller]
pub fn carry(from: &mut Client, to: &mut Client, key: &str, name: &str) -> Option<Vec<u8>> {
    let Reply::Bulk(payload) = from.call(&["DUMP", key]) else { return None };
    let at = from.call(&["PEXPIRETIME", key]).int().max(0).to_string();
    let restored = to.call(&[&b"RESTORE"[..], name.as_bytes(), at.as_bytes(), &payload, b"REPLACE", b"ABSTTL"]);
    assert_eq!(restored.to_string(), "+OK", "{key}");
    Some(payload)
}

/// Makes each key of the master anew from what its replica dumps of it: afterwards both hold the same as before, and the
/// master does after a reload as well.
#[track_caller]
pub fn carry_back(master: &Server, replica: &Server) {
    let before = master.digest();
    let (mut to, mut from) = (master.client(), replica.client());
    for name in to.run("keys *").items().iter().map(Reply::text) {
        assert!(carry(&mut from, &mut to, &name, &name).is_some(), "the replica lacks {name}");
    }
    converge(&[master, replica]);
    assert_eq!(master.digest(), before);
    master.check("debug reload", "+OK");
    assert_eq!(master.digest(), before);
}
