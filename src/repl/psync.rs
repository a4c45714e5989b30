//! A master's answer to PSYNC: may this replica go on from where it is, or does it need everything?
//!
//! Decides, and says why in the stock words; sends nothing and attaches nobody.

use super::id::{Identity, ReplOffset};
use super::note::Note;
use super::printable;
use crate::oplog::Backlog;

/// What the node that was asked holds.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    pub identity: Identity,
    pub backlog: Option<Backlog>,
    /// `master_repl_offset`.
    pub end_offset: ReplOffset,
}

/// What was asked: `PSYNC <replid> <offset>`.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `?` when the replica wants a full resync.
    pub replid: &'a [u8],
    /// The first byte the replica lacks.
    pub first_byte: ReplOffset,
    /// Who asks, for the log: see [`super::master::Replica::name`].
    pub name: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Send what follows from `first_byte` on, after [`continue_line`].
    Continue { first_byte: ReplOffset, backlog_bytes: i64 },
    /// A full resync, which the replica asked for itself.
    FullAsked,
    /// A full resync because going on is not possible: INFO counts it as `sync_partial_err`.
    FullNeeded,
}

pub fn decide(standing: &Standing, request: &Request<'_>, notes: &mut Vec<Note>) -> Decision {
    let Request { replid, first_byte, name } = *request;
    let identity = &standing.identity;
    if !identity.shares(replid, first_byte) {
        if replid.first() == Some(&b'?') {
            notes.push(Note::notice(format!("Full resync requested by replica {name}")));
            return Decision::FullAsked;
        }
        notes.push(Note::notice(if identity.replid2.matches(replid) {
            format!(
                "Partial resynchronization not accepted: Requested offset for second ID was {first_byte}, but I can \
                 reply up to {}",
                identity.second_offset
            )
        } else {
            format!(
                "Partial resynchronization not accepted: Replication ID mismatch (Replica asked for '{}', my \
                 replication IDs are '{}' and '{}')",
                printable(replid),
                identity.replid,
                identity.replid2
            )
        }));
        return Decision::FullNeeded;
    }
    let backlog_bytes = standing.backlog.and_then(|backlog| {
        // One past the window is fine: the replica has everything and waits for the next byte.
        let end = backlog.first_byte_offset + backlog.histlen;
        (backlog.first_byte_offset..=end).contains(&first_byte).then(|| end - first_byte)
    });
    let Some(backlog_bytes) = backlog_bytes else {
        notes.push(Note::notice(format!(
            "Unable to partial resync with replica {name} for lack of backlog (Replica request was: {first_byte})."
        )));
        if first_byte > standing.end_offset {
            notes.push(Note::warning(format!(
                "Warning: replica {name} tried to PSYNC with an offset that is greater than the master replication \
                 offset."
            )));
        }
        return Decision::FullNeeded;
    };
    notes.push(Note::notice(format!(
        "Partial resynchronization request from {name} accepted. Sending {backlog_bytes} bytes of backlog starting \
         from offset {first_byte}."
    )));
    Decision::Continue { first_byte, backlog_bytes }
}

/// The line that accepts a partial resync. A replica with the `psync2` capability learns our id, which is another than
/// it asked for if we were promoted meanwhile.
pub fn continue_line(identity: &Identity, psync2: bool) -> String {
    if psync2 { format!("+CONTINUE {}\r\n", identity.replid) } else { "+CONTINUE\r\n".into() }
}

/// The line that begins a full resync whose snapshot was cut at `offset`.
pub fn full_resync_line(identity: &Identity, offset: ReplOffset) -> String {
    format!("+FULLRESYNC {} {offset}\r\n", identity.replid)
}

/// The line on a connection that is for the snapshot alone: where the stream begins that is to be asked for on the other,
/// naming this one.
pub fn end_offset_line(identity: &Identity, offset: ReplOffset, db: u32, client_id: u64) -> String {
    format!("$ENDOFF:{offset} {} {db} {client_id}\r\n", identity.replid)
}

/// Said instead of beginning a full resync: ask for the snapshot on a connection of its own.
pub const SECOND_CHANNEL: &str = "DUALCHANNELSYNC";

/// What `PSYNC … FAILOVER` asks of the node it reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailoverRequest {
    /// Become master first, then answer the PSYNC.
    Promote,
    Refuse(&'static str),
}

pub fn failover_request(is_replica: bool, identity: &Identity, replid: &[u8]) -> FailoverRequest {
    if !is_replica {
        FailoverRequest::Refuse("ERR PSYNC FAILOVER can't be sent to a master.")
    } else if identity.replid.matches(replid) {
        FailoverRequest::Promote
    } else {
        FailoverRequest::Refuse("ERR PSYNC FAILOVER replid must match my replid.")
    }
}

/// Why SYNC or PSYNC cannot be served now, as an error line without its dash; `None` if it can.
pub fn refusal(failing_over: bool, waits_for_own_master: bool) -> Option<&'static str> {
    if failing_over {
        Some("NOMASTERLINK Can't SYNC while failing over")
    } else if waits_for_own_master {
        Some("NOMASTERLINK Can't SYNC while not connected with my master")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::id::ReplId;
    use super::*;

    const A: ReplId = ReplId::new([b'a'; 40]);
    const B: ReplId = ReplId::new([b'b'; 40]);

    /// A node promoted at byte 100 that now stands at 200 and keeps the last 150 bytes.
    fn standing() -> Standing {
        let mut identity = Identity::new(A);
        identity.shift(B, 100);
        Standing { identity, backlog: Some(Backlog { first_byte_offset: 51, histlen: 150 }), end_offset: 200 }
    }

    fn check(replid: &[u8], first_byte: i64, expect: Decision, said: &str) {
        let mut notes = Vec::new();
        let decision = decide(&standing(), &Request { replid, first_byte, name: "replica" }, &mut notes);
        assert_eq!(decision, expect);
        assert!(notes.iter().any(|note| note.text.contains(said)), "{notes:?}");
    }

    #[test]
    fn what_is_in_the_window_can_be_continued() {
        let go_on = |first_byte, backlog_bytes| Decision::Continue { first_byte, backlog_bytes };
        check(B.as_bytes(), 51, go_on(51, 150), "Sending 150 bytes");
        check(B.as_bytes(), 201, go_on(201, 0), "accepted");
        check(&[b'B'; 40], 150, go_on(150, 51), "accepted");
        check(A.as_bytes(), 101, go_on(101, 100), "accepted");
    }

    #[test]
    fn what_is_not_needs_everything() {
        check(B.as_bytes(), 50, Decision::FullNeeded, "lack of backlog");
        check(B.as_bytes(), 202, Decision::FullNeeded, "greater than the master replication offset");
        check(A.as_bytes(), 102, Decision::FullNeeded, "Requested offset for second ID was 102");
        check(&[b'c'; 40], 60, Decision::FullNeeded, "Replication ID mismatch");
        check(b"\x1b[2J", 60, Decision::FullNeeded, "asked for '?[2J'");
        check(b"?", -1, Decision::FullAsked, "Full resync requested");
        let mut none = standing();
        none.backlog = None;
        let request = Request { replid: B.as_bytes(), first_byte: 201, name: "r" };
        assert_eq!(decide(&none, &request, &mut Vec::new()), Decision::FullNeeded);
    }

    #[test]
    fn only_a_replica_of_the_same_history_takes_a_failover() {
        let identity = Identity::new(A);
        assert_eq!(failover_request(true, &identity, A.as_bytes()), FailoverRequest::Promote);
        assert!(matches!(failover_request(false, &identity, A.as_bytes()), FailoverRequest::Refuse(_)));
        assert!(matches!(failover_request(true, &identity, B.as_bytes()), FailoverRequest::Refuse(_)));
    }
}
