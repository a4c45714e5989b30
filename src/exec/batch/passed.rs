//! What of the master's stream is not in our own log yet. It is appended before the gate, behind which it was applied, is
//! left: so a cut finds data and offset in step. Knows no command but by its flags.

use smallvec::SmallVec;

use crate::base::clock;
use crate::exec::engine::Engine;
use crate::exec::session::Session;
use crate::spec::{Flags, flag};

#[derive(Default)]
pub struct Passed {
    bytes: Vec<u8>,
    /// So much of it is applied; the rest is a transaction that still lacks its EXEC, or the request being carried out.
    applied: usize,
    /// The database selected behind that.
    db: usize,
    /// Where in `bytes` there is no data: from and to.
    asides: SmallVec<[(usize, usize); 2]>,
}

impl Passed {
    pub fn is_due(&self) -> bool {
        self.applied > 0
    }

    /// What is applied and not in the log yet.
    pub(super) fn due_bytes(&self) -> usize {
        self.applied
    }

    /// A request is about to be carried out.
    pub(super) fn take_in(&mut self, wire: &[u8], flags: Flags) {
        // Pings and messages are no data, and neither are line ends before a request.
        let aside = if flags.has(flag::PUBSUB.or(flag::TELLS_HEALTH)) {
            wire.len()
        } else {
            wire.iter().position(|c| *c == b'*').unwrap_or(wire.len())
        };
        self.push(wire, aside);
    }

    /// A request asks nothing of the data.
    pub(super) fn take_aside(&mut self, wire: &[u8]) {
        self.push(wire, wire.len());
    }

    fn push(&mut self, wire: &[u8], aside: usize) {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(wire);
        if aside > 0 {
            self.asides.push((at, at + aside));
        }
    }

    /// The request that was taken in last will come again.
    pub(super) fn take_back(&mut self, wire: &[u8]) {
        let at = self.bytes.len() - wire.len();
        self.bytes.truncate(at);
        self.asides.retain(|(from, _)| *from < at);
    }

    /// What was received up to here is carried out, unless it is the beginning of a transaction.
    pub(super) fn applied(&mut self, session: &Session) {
        if session.multi.is_none() {
            self.applied = self.bytes.len();
        }
        self.db = session.db;
    }

    /// Appends what was applied. The caller holds a gate and knows the role to be the same.
    pub(super) fn append(&mut self, engine: &Engine) {
        let Self { bytes, applied, db, asides } = self;
        if *applied == 0 {
            return;
        }
        let moment_s = engine.durable.wants_moments().then(|| clock::now_ms() / 1000);
        let end = engine.log.with(|log| {
            if let Some(unix_s) = moment_s {
                log.moment(unix_s);
            }
            let first = log.offset() + 1;
            log.write(&bytes[..*applied]);
            for (from, to) in asides.iter().filter(|(_, to)| to <= applied) {
                log.aside(first + *from as i64, first + *to as i64 - 1);
            }
            // Whoever goes on from here, a file's reader or we ourselves, must know it.
            log.set_selected_db(*db as i32);
            log.offset()
        });
        if let Some(end) = end {
            engine.watch_log(end);
        }
        bytes.drain(..*applied);
        asides.retain(|(from, _)| from >= applied);
        asides.iter_mut().for_each(|(from, to)| (*from, *to) = (*from - *applied, *to - *applied));
        *applied = 0;
    }
}
