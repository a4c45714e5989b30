//! From one process to the next: what history a data set on disk belongs to, and how far its replicas may lag behind.
//!
//! Whatever keeps a data set (the snapshot, the append-only file) asks [`standing`] where it stands, keeps the backlog
//! beside it (`persist::history`), and hands both to [`take_up`] when it comes back. Must not know files.

use super::id::{Former, Identity, ReplId, ReplOffset, Resume};
use super::state::Repl;
use crate::base::rand;
use crate::exec::{Engine, expire_cycle};
use crate::persist::history::{Kept, Standing};

/// Where the data of this node stands. Exact behind all gates.
pub fn standing(engine: &Engine) -> Standing {
    let identity = Repl::of(engine).identity();
    let former = identity.former().map(|f| (f.replid.as_str().to_owned(), f.until)).collect();
    let selected = engine.log.with(|log| log.selected_db()).unwrap_or(0);
    Standing {
        replid: identity.replid.as_str().to_owned(),
        offset: engine.log.end_offset(),
        stream_db: selected.max(0).into(),
        former,
    }
}

/// The same for files that are to tell where they stand. `None` without a backlog, as then nobody can go on from it.
pub fn known(engine: &Engine) -> Option<Standing> {
    engine.log.backlog()?;
    Some(standing(engine))
}

/// Where a data set on disk stands.
#[derive(Clone, Debug)]
pub struct Point {
    pub replid: ReplId,
    pub offset: ReplOffset,
    /// The database that the stream has selected there.
    pub stream_db: i64,
}

impl Point {
    /// From what a file says. Former servers wrote -1 where they did not know.
    pub fn parse(replid: &str, offset: i64, stream_db: i64) -> Option<Self> {
        let replid = ReplId::parse(replid.as_bytes())?;
        (offset >= 0 && stream_db >= 0).then_some(Self { replid, offset, stream_db })
    }
}

/// The log goes on behind the data set. A replica is where its master was then; a master goes on with a history of its own,
/// but replicas that were no further than the point may follow it, as far back as `kept` reaches; if that goes on behind the
/// point, it is what came since, of which nobody knows whom else it was told. Gives the point from
/// which a replica may ask its master to go on. Before anybody is let in.
pub fn take_up(engine: &Engine, point: &Point, kept: Option<&Kept>, replica: bool) -> Option<Resume> {
    let saved = Resume { replid: point.replid, offset: point.offset };
    engine.log.create_backlog();
    match kept {
        Some(kept) => {
            engine.log.reset(kept.first - 1);
            for piece in kept.bytes.chunks(64 << 10) {
                engine.log.append(piece);
            }
            debug_assert!(engine.log.end_offset() >= saved.offset);
        }
        None => engine.log.reset(saved.offset),
    }
    let former = kept.iter().flat_map(|kept| &kept.standing.former);
    let former = former.filter_map(|(id, until)| Some(Former { replid: ReplId::parse(id.as_bytes())?, until: *until }));
    let repl = Repl::of(engine);
    repl.note_kept(engine.log.end_offset());
    if replica {
        repl.set_identity(Identity::new(point.replid).with_former(former));
        engine.log.with(|log| log.set_selected_db(i32::try_from(point.stream_db).unwrap_or(0)));
        return Some(saved);
    }
    expire_cycle::rest(engine);
    repl.set_identity(Identity::restored(ReplId::new(rand::hex_id()), saved).with_former(former));
    None
}
