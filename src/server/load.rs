//! The data set at boot: the append-only file, or the file of the last save and the replication history it belongs to.
//!
//! Knows the order of things; the file's format is `persist`'s, the meaning of a history `repl`'s.

use std::sync::Arc;

use crate::base::{log, os_reason};
use crate::exec::engine::Engine;
use crate::persist::aof::LoadedAof;
use crate::persist::history::{Kept, Standing, Wanted};
use crate::persist::load::{Expired, load_file};
use crate::persist::save::rdb_path;
use crate::persist::{Aof, Loaded, Saver, aof, history};
use crate::repl::Resume;
use crate::repl::restart::{Point, take_up};

/// Loads the files, if there are any, and takes up its history. Gives the point from which a replica may ask its master to
/// go on. The caller has set `loading`, and lets clients in afterwards. What was written to
/// the append-only file after `restore_to_s` is cut off first.
pub fn load(engine: &Arc<Engine>, restore_to_s: Option<i64>) -> Result<Option<Resume>, String> {
    let settings = engine.settings();
    // Looked at even if it is not used: one that cannot be read is nothing to go on with.
    let mut list = aof::files::read_manifest(&settings)?;
    let aof = engine.part::<Aof>();
    if let Some(unix_s) = restore_to_s {
        if !settings.appendonly {
            return Err("--aof-restore-to needs an append only file, but appendonly is no".into());
        }
        aof::restore::restore_to(&settings, &list, unix_s)?;
    }
    if settings.appendonly {
        let loaded = aof::load::load(engine, &mut list)?;
        let tail = aof::tail_on_disk(&settings, &list);
        aof.take_up(list);
        if loaded.is_none() && rdb_path(&settings).is_file() {
            log::warning!(
                "There is no append only file, so the server starts empty: appendonly is yes, and {} is not loaded.",
                rdb_path(&settings).display()
            );
        }
        let Some(loaded) = loaded else { return Ok(None) };
        let kept = tail.and_then(|tail| history_at_end(engine, &tail)).or_else(|| history_in_file(engine, &loaded));
        return Ok(kept.and_then(|kept| history_of_file(engine, &kept)));
    }
    aof.take_up(list);
    let replica = settings.replicaof.is_some();
    let expired = if replica { Expired::Keep } else { Expired::Tell };
    let Some(loaded) = load_file(engine, &rdb_path(&settings), expired)? else { return Ok(None) };
    engine.part::<Saver>().note_loaded(&loaded);
    Ok(take_up_history(engine, &loaded, replica))
}

/// What an orderly end has kept of the append-only file's history, if that is as it was left.
fn history_at_end(engine: &Engine, tail: &[u8]) -> Option<Kept> {
    let settings = engine.settings();
    let limit = engine.log.backlog_limit_bytes();
    history::load(&aof::history_path(&settings), Wanted::Tagged(tail), limit)
}

/// What the file tells of it.
fn history_in_file(engine: &Engine, loaded: &LoadedAof) -> Option<Kept> {
    let limit = engine.log.backlog_limit_bytes();
    let position = loaded.position.as_ref()?;
    match position.rebuild(&loaded.paths, limit, loaded.db as i64) {
        Ok(kept) => {
            let mut kept = kept?;
            let (Standing { replid, offset, .. }, first) = (&kept.standing, kept.first);
            log::notice!(
                "The append only file stands at offset {offset} of the history {replid}: a backlog of {} bytes from offset \
                 {first} is taken from it",
                kept.bytes.len()
            );
            // The file may have been begun lately: what was before is beside it.
            let room = limit.saturating_sub(kept.bytes.len());
            let wanted = Wanted::Before { replid: position.first_replid(), offset: kept.first - 1 };
            let path = aof::history_path(&engine.settings());
            if room > 0
                && let Some(before) = history::load(&path, wanted, room)
            {
                kept.first = before.first;
                kept.bytes.splice(..0, before.bytes);
            }
            Some(kept)
        }
        Err(e) => {
            log::warning!("The replication backlog cannot be had from the append only file: {}", os_reason(&e));
            None
        }
    }
}

/// The log begins behind the file's data. A replica goes on from there only if all of that is its master's.
fn history_of_file(engine: &Engine, kept: &Kept) -> Option<Resume> {
    let (at, replica) = (&kept.standing, engine.settings().replicaof.is_some());
    let (point, end) = (Point::parse(&at.replid, at.offset, at.stream_db)?, kept.first + kept.bytes.len() as i64 - 1);
    if end > at.offset {
        let more = end - at.offset;
        log::notice!("The append only file goes on for {more} bytes behind offset {} of its history", at.offset);
        if replica {
            return None;
        }
    }
    take_up(engine, &point, Some(kept), replica)
}

/// The log begins behind the file's cut.
fn take_up_history(engine: &Engine, loaded: &Loaded, replica: bool) -> Option<Resume> {
    let point = Point::parse(loaded.repl_id.as_ref()?, loaded.repl_offset?, loaded.repl_stream_db?)?;
    let path = history::beside(&rdb_path(&engine.settings()));
    let wanted = Wanted::At { replid: point.replid.as_str(), offset: point.offset };
    let kept = history::load(&path, wanted, engine.log.backlog_limit_bytes());
    let resume = take_up(engine, &point, kept.as_ref(), replica);
    // Whoever goes on from the file still has what was left out of it.
    if let Some(db) = loaded.farewell_db.filter(|_| !replica) {
        engine.log.with(|log| {
            log.write(&loaded.farewell);
            log.set_selected_db(db as i32);
        });
    }
    resume
}
