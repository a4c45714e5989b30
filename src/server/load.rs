//! The data set at boot: the append-only file, or the file of the last save and the replication history it belongs to.
//!
//! Knows the order of things; the file's format is `persist`'s, the meaning of a history `repl`'s.

use std::sync::Arc;

use crate::base::{log, rand};
use crate::exec::engine::Engine;
use crate::persist::load::{Expired, load_file};
use crate::persist::save::rdb_path;
use crate::persist::{Loaded, Saver, aof};
use crate::repl::{Identity, Repl, ReplId, Resume};

/// Loads the files, if there are any, and takes up its history. Gives the point from which a replica may ask its master to
/// go on. The caller has set `loading`, and lets clients in afterwards.
pub fn load(engine: &Arc<Engine>) -> Result<Option<Resume>, String> {
    let settings = engine.settings();
    // Looked at even if it is not used: one that cannot be read is nothing to go on with.
    let mut list = aof::files::read_manifest(&settings)?;
    if settings.appendonly {
        if aof::load::load(engine, &mut list)?.is_none() && rdb_path(&settings).is_file() {
            log::warning!(
                "There is no append only file, so the server starts empty: appendonly is yes, and {} is not loaded.",
                rdb_path(&settings).display()
            );
        }
        return Ok(None);
    }
    let replica = settings.replicaof.is_some();
    let expired = if replica { Expired::Keep } else { Expired::Tell };
    let Some(loaded) = load_file(engine, &rdb_path(&settings), expired)? else { return Ok(None) };
    engine.part::<Saver>().note_loaded(&loaded);
    Ok(take_up_history(engine, &loaded, replica))
}

/// The log begins behind the file's cut. A replica is where its master was then; a master goes on with a history of its
/// own, but replicas that were no further than the file may follow it.
fn take_up_history(engine: &Engine, loaded: &Loaded, replica: bool) -> Option<Resume> {
    let (id, offset, db) = (loaded.repl_id.as_ref()?, loaded.repl_offset?, loaded.repl_stream_db?);
    let replid = ReplId::parse(id.as_bytes())?;
    // Former servers wrote -1 where they did not know.
    if offset < 0 || db < 0 {
        return None;
    }
    let saved = Resume { replid, offset };
    engine.log.create_backlog();
    engine.log.reset(offset);
    let repl = Repl::of(engine);
    if !replica {
        repl.set_identity(Identity::restored(ReplId::new(rand::hex_id()), saved));
        // Whoever goes on from the file still has what was left out of it.
        if let Some(db) = loaded.farewell_db {
            engine.log.with(|log| {
                log.write(&loaded.farewell);
                log.set_selected_db(db as i32);
            });
        }
        return None;
    }
    repl.set_identity(Identity::new(replid));
    engine.log.with(|log| log.set_selected_db(i32::try_from(db).unwrap_or(0)));
    Some(saved)
}
