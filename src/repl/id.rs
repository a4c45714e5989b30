//! What history of writes a data set belongs to: replication ids and offsets.
//!
//! Knows neither the log nor the network. The rule everything else rests on: two nodes with the same id and the same
//! offset hold the same data. So whatever makes a node's data leave the history it shares gives it a new id, and the
//! old one stays good only for what lies before that point.
//!
//! ```text
//!   id A  |-----------------------------|          the master that died
//!   id A  |----------------------|                 its replica, promoted here: shift()
//!   id B                         |---------->      replid = B, replid2 = A up to second_offset
//!                                 ^ second_offset: the first byte that A and B may differ in
//! ```

use std::fmt;

/// An offset in the replication stream: that of the last byte held, unless a name says otherwise. The first byte of a
/// history has offset 1.
pub type ReplOffset = i64;

/// The name of a history: 40 characters, random hexadecimal ones where we draw them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplId([u8; 40]);

impl ReplId {
    pub const LEN: usize = 40;

    /// The id that names nothing: 40 zeros.
    pub const NONE: Self = Self([b'0'; 40]);

    /// From [`crate::base::rand::hex_id`].
    pub const fn new(hex: [u8; 40]) -> Self {
        Self(hex)
    }

    /// An id as a peer or a file gives it. Stock servers take any 40 characters; ones that would break a line of the
    /// protocol or of INFO are refused.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let id: [u8; 40] = text.try_into().ok()?;
        id.iter().all(u8::is_ascii_graphic).then_some(Self(id))
    }

    /// Whether a request names this id. Case does not matter, as in stock servers.
    pub fn matches(&self, asked: &[u8]) -> bool {
        self.0.eq_ignore_ascii_case(asked)
    }

    pub fn as_bytes(&self) -> &[u8; 40] {
        &self.0
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for ReplId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ReplId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A point in a history: this node holds the data after byte `offset` of `replid`. With it a replica asks to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    pub replid: ReplId,
    pub offset: ReplOffset,
}

/// An id that a history went by before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Former {
    pub replid: ReplId,
    /// The first byte for which it is no longer good.
    pub until: ReplOffset,
}

/// How many former ids are remembered beside the second one. Who was away for more promotions and restarts than that gets
/// everything anew.
const OLDER: usize = 6;

/// The ids a node answers to: the two that stock servers know, and older ones, which are of use only if the backlog still
/// reaches back to their time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `master_replid`: the history the data belongs to.
    pub replid: ReplId,
    /// `master_replid2`: the history it belonged to before, or [`ReplId::NONE`].
    pub replid2: ReplId,
    /// `second_repl_offset`: the first byte for which `replid2` is no longer good; -1 if there is no second id.
    pub second_offset: ReplOffset,
    /// What the history was called before that, the latest first. Each is good up to a byte no later than the one before.
    older: [Option<Former>; OLDER],
}

impl Identity {
    pub const fn new(replid: ReplId) -> Self {
        Self { replid, replid2: ReplId::NONE, second_offset: -1, older: [None; OLDER] }
    }

    /// All former ids, the latest first: what a saved data set is to remember.
    pub fn former(&self) -> impl Iterator<Item = Former> + use<> {
        let second = Former { replid: self.replid2, until: self.second_offset };
        let second = (self.replid2 != ReplId::NONE).then_some(second);
        second.into_iter().chain(self.older.into_iter().flatten())
    }

    /// With former ids as a file tells them. They are good no further than what came after them.
    pub fn with_former(mut self, former: impl IntoIterator<Item = Former>) -> Self {
        let mut bound = if self.replid2 == ReplId::NONE { ReplOffset::MAX } else { self.second_offset };
        let mut older = former.into_iter().map(|mut former| {
            former.until = former.until.min(bound);
            bound = former.until;
            former
        });
        self.older = std::array::from_fn(|_| older.next());
        self
    }

    /// A history of its own, unlike any other: a backlog made from nothing, one given up, `DEBUG CHANGE-REPL-ID`.
    pub fn start_new(&mut self, fresh: ReplId) {
        *self = Self::new(fresh);
    }

    /// A replica becomes a master at `offset`. Those who followed the same master may go on with us up to here.
    pub fn shift(&mut self, fresh: ReplId, offset: ReplOffset) {
        let mut former = self.former();
        self.older = std::array::from_fn(|_| former.next());
        self.replid2 = self.replid;
        // The first byte a replica asks for is the one behind the last it has.
        self.second_offset = offset + 1;
        self.replid = fresh;
    }

    /// A full resync replaced the data by the master's.
    pub fn adopt(&mut self, master: ReplId) {
        *self = Self::new(master);
    }

    /// A partial resync was accepted under another id than the one asked for: the master was itself promoted. True if
    /// the id is new, in which case our own replicas have to learn of it.
    pub fn continue_as(&mut self, master: ReplId, offset: ReplOffset) -> bool {
        let changed = master != self.replid;
        if changed {
            self.shift(master, offset);
        }
        changed
    }

    /// A master that starts from a file that a history `saved` had been written to up to `offset`: what comes from now on
    /// is a history of its own, but replicas that were not further than the file may go on.
    pub fn restored(fresh: ReplId, saved: Resume) -> Self {
        let mut identity = Self::new(saved.replid);
        identity.shift(fresh, saved.offset);
        identity
    }

    /// Whether our data up to the byte before `first_byte` is the history `asked`: the half of the PSYNC decision that
    /// is about identity.
    pub fn shares(&self, asked: &[u8], first_byte: ReplOffset) -> bool {
        let before = self.former().any(|former| former.replid.matches(asked) && first_byte <= former.until);
        before || self.replid.matches(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(c: u8) -> ReplId {
        ReplId::new([c; 40])
    }

    #[test]
    fn an_id_is_forty_characters_that_fit_a_line() {
        assert_eq!(ReplId::parse(&[b'a'; 40]), Some(id(b'a')));
        assert_eq!(ReplId::parse(&[b'a'; 39]), None);
        assert_eq!(ReplId::parse(&[b'\n'; 40]), None);
        assert_eq!(ReplId::parse(&[0xff; 40]), None);
        assert!(id(b'a').matches(&[b'A'; 40]));
        assert!(!id(b'a').matches(b"?"));
    }

    #[test]
    fn a_promoted_replica_shares_its_past_only() {
        let mut identity = Identity::new(id(b'a'));
        identity.shift(id(b'b'), 50);
        assert!(identity.shares(id(b'a').as_bytes(), 51));
        assert!(!identity.shares(id(b'a').as_bytes(), 52));
        assert!(identity.shares(id(b'b').as_bytes(), 1000));
        assert!(!identity.shares(id(b'c').as_bytes(), 1));
    }

    #[test]
    fn continuing_under_the_same_id_changes_nothing() {
        let mut identity = Identity::new(id(b'a'));
        identity.shift(id(b'b'), 10);
        let before = identity;
        assert!(!identity.continue_as(id(b'b'), 20));
        assert_eq!(identity, before);
        assert!(identity.continue_as(id(b'c'), 20));
        assert_eq!((identity.replid, identity.replid2, identity.second_offset), (id(b'c'), id(b'b'), 21));
        identity.adopt(id(b'd'));
        assert_eq!(identity, Identity::new(id(b'd')));
    }

    #[test]
    fn who_was_away_for_several_promotions_is_known_still() {
        let mut identity = Identity::new(id(b'a'));
        for (n, fresh) in (b'b'..).take(4).enumerate() {
            identity.shift(id(fresh), 10 * (n as i64 + 1));
        }
        assert!(identity.shares(id(b'a').as_bytes(), 11) && !identity.shares(id(b'a').as_bytes(), 12));
        assert!(identity.shares(id(b'b').as_bytes(), 21) && !identity.shares(id(b'b').as_bytes(), 22));
        let saved: Vec<_> = identity.former().collect();
        assert_eq!(saved.len(), 4);
        // Across a restart of a replica, and of a master.
        assert_eq!(Identity::new(identity.replid).with_former(saved.clone()).former().collect::<Vec<_>>(), saved);
        let point = Resume { replid: identity.replid, offset: 50 };
        let again = Identity::restored(id(b'z'), point).with_former(saved);
        assert!(again.shares(id(b'a').as_bytes(), 11) && !again.shares(id(b'a').as_bytes(), 12));
        assert!(again.shares(identity.replid.as_bytes(), 51) && !again.shares(identity.replid.as_bytes(), 52));
        identity.adopt(id(b'z'));
        assert_eq!(identity.former().count(), 0);
    }

    #[test]
    fn no_second_id_shares_nothing() {
        let identity = Identity::new(id(b'a'));
        assert!(!identity.shares(ReplId::NONE.as_bytes(), -1 - 1), "the id of nothing is nobody's history");
    }
}
