//! One snapshot for all replicas that wait for one: begun when it is due, cut, sent to a file or to their sockets.
//!
//! The cut gives every replica its cursor in the log: with all gates held nothing lies between the data and the stream.
//! When a snapshot is due and for whom stands in [`super::master`]; the sockets are the feeds'.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;

use super::fanout::Fanout;
use super::feed::{Order, Stream};
use super::master::{Phase, Running, Start, Target};
use super::note::Note;
use super::psync;
use super::restart;
use super::spill::Spill;
use super::state::{Repl, log};
use super::upkeep::master_config;
use crate::base::{clock, rand};
use crate::exec::Engine;
use crate::persist::history::Standing;
use crate::persist::temp::TempFile;
use crate::persist::walk::{Cut, walk};

/// Begins a snapshot if one is due. Often: whenever a replica asked, a snapshot ended, time passed.
pub fn look(engine: &Arc<Engine>, repl: &Arc<Repl>, now_ms: i64) {
    // Whoever asked while the role changed is refused late: our data is about to be given up.
    if repl.waits_for_own_master(engine) {
        repl.drop_syncing_replicas(engine);
        return;
    }
    let start = {
        let replicas = repl.replicas();
        let Some(start) = replicas.due(now_ms, repl.running(), &master_config(engine)) else { return };
        repl.set_running(Running::Snapshot(start.target));
        start
    };
    log(Note::notice(start.describe()));
    let (engine, repl) = (engine.clone(), repl.clone());
    let target = start.target;
    let job = {
        let (engine, repl) = (engine.clone(), repl.clone());
        move || match target {
            Target::Disk => to_disk(&engine, &repl, &start),
            Target::Sockets => to_sockets(&engine, &repl, &start),
        }
    };
    if let Err(e) = std::thread::Builder::new().name("sync".into()).spawn(job) {
        log(Note::warning(format!("Can't save in background: {e}")));
        done(&engine, &repl, target, None);
    }
}

/// With every gate held: the replicas get their place in the stream.
fn cut(engine: &Arc<Engine>, repl: &Repl, start: &Start, fanout: Option<&Arc<Fanout>>) -> Cut {
    let offset = engine.log.end_offset();
    let identity = repl.identity();
    let stream_db = if engine.state.is_replica() {
        engine.log.with(|log| log.selected_db()).map_or(0, |db| db.max(0) as u32)
    } else {
        // The stream behind the cut says its database itself.
        engine.log.forget_selected_db();
        0
    };
    // Whoever is fed from here on may fall behind.
    engine.state.log_watched_at.store(0, Relaxed);
    let watched = Arc::downgrade(engine);
    let behind = Spill::new(engine.log.attach_end(), move || {
        if let Some(engine) = watched.upgrade() {
            engine.state.caught_up(&engine.state.spill_behind);
            engine.state.log_watched_at.store(0, Relaxed);
        }
    });
    // Whoever leaves before its replicas are said to wait must not take this with it.
    let mut replicas = repl.replicas();
    repl.set_behind(Some(behind.clone()));
    replicas.started(start, offset);
    for replica in replicas.iter().filter(|r| start.ids.contains(&r.id)) {
        let Some(feed) = repl.feed(replica.id) else { continue };
        let line = if replica.greeting.rdb_channel {
            Some(psync::end_offset_line(&identity, offset, stream_db, replica.id))
        } else {
            (!replica.pre_psync).then(|| psync::full_resync_line(&identity, offset))
        };
        let Some(tail) = behind.join(replica.id) else { continue };
        feed.order(Order::Begin { line, stream: Stream::Behind(Box::new(tail)) });
        if let Some(fanout) = fanout {
            feed.order(Order::Lanes(fanout.clone()));
        }
    }
    Cut { replid: identity.replid.as_str().to_owned(), offset, stream_db, former: Vec::new() }
}

/// Where a snapshot that no replica waits for stands in the stream: nowhere, unless somebody could go on from there.
/// With every gate held.
pub fn cut_here(engine: &Engine) -> Option<Cut> {
    engine.log.backlog()?;
    let Standing { replid, offset, stream_db, former } = restart::standing(engine);
    Some(Cut { replid, offset, stream_db: u32::try_from(stream_db).unwrap_or(0), former })
}

fn to_sockets(engine: &Arc<Engine>, repl: &Arc<Repl>, start: &Start) {
    let fanout = Arc::new(Fanout::default());
    let mark = rand::hex_id();
    let mut head = b"$EOF:".to_vec();
    head.extend_from_slice(&mark);
    head.extend_from_slice(b"\r\n");
    let mut head = Some(Bytes::from(head));
    let left = || io::Error::other("nobody is left");
    let over = &engine.state.shutting_down;
    let put = |piece: Bytes| {
        if let Some(head) = head.take()
            && !fanout.put(&head, over)
        {
            return Err(left());
        }
        if fanout.put(&piece, over) { Ok(()) } else { Err(left()) }
    };
    let wanted = || fanout.taking_part() > 0;
    let cut = || Some(cut(engine, repl, start, Some(&fanout)));
    let result = walk(engine, !start.filter.without_data, start.dialect, wanted, cut, put);
    let ok = result.is_ok() && fanout.put(&Bytes::copy_from_slice(&mark), over);
    fanout.end(ok, over);
    if ok {
        let up = fanout.taking_part();
        log(Note::notice(format!("Diskless rdb transfer, done reading from pipe, {up} replicas still up.")));
        log(Note::notice("Background RDB transfer terminated with success"));
    } else {
        log(Note::notice("Diskless rdb transfer, last replica dropped, killing fork child."));
    }
    done(engine, repl, Target::Sockets, ok.then(PathBuf::new).as_deref());
}

fn to_disk(engine: &Arc<Engine>, repl: &Arc<Repl>, start: &Start) {
    let dir = PathBuf::from(&engine.settings().dir);
    let name = format!("temp-sync-{}-{}.rdb", std::process::id(), rand::below(u64::MAX));
    // Whoever is still being sent it when it goes holds it open.
    let temp = TempFile::new(dir.join(name));
    let path = temp.path();
    let result = write_file(engine, repl, start, path);
    match &result {
        Ok(bytes) => log(Note::notice(format!("Background saving terminated with success: {bytes} bytes"))),
        Err(e) => {
            log(Note::warning(format!("Background saving error: {e}")));
            log(Note::notice("With repl-diskless-sync yes a full sync needs no room on this disk"));
        }
    }
    done(engine, repl, Target::Disk, result.is_ok().then_some(path));
}

fn write_file(engine: &Arc<Engine>, repl: &Arc<Repl>, start: &Start, path: &Path) -> io::Result<u64> {
    // A file that cannot be made is known only after the cut: those who wait are then told by losing their connection.
    let file = File::create(path);
    let mut out = file.as_ref().ok().map(|file| BufWriter::with_capacity(1 << 20, file));
    // Unlike stock's it is no saved file as well, so that it is of no use to anybody else.
    let wanted = || repl.replicas().anybody_waits_for_snapshot();
    let put = |piece: Bytes| match &mut out {
        Some(out) => out.write_all(&piece),
        None => Err(io::Error::other("it could not be created")),
    };
    let written = walk(engine, true, start.dialect, wanted, || Some(cut(engine, repl, start, None)), put);
    let flushed = out.as_mut().map_or(Ok(()), Write::flush);
    drop(out);
    file?;
    let bytes = written?;
    flushed?;
    Ok(bytes)
}

/// The snapshot has ended; `made`: well, and for files where it lies.
fn done(engine: &Arc<Engine>, repl: &Arc<Repl>, target: Target, made: Option<&Path>) {
    let now_ms = clock::now_ms();
    let mut notes = Vec::new();
    let mut disconnect;
    {
        let mut replicas = repl.replicas();
        let receivers: Vec<u64> = replicas.iter().filter(|r| r.phase == Phase::WaitEnd).map(|r| r.id).collect();
        disconnect = replicas.finished(target, made.is_some(), now_ms, &mut notes);
        repl.set_running(Running::Nothing);
        repl.set_behind(None);
        if let (Target::Disk, Some(path)) = (target, made) {
            for id in receivers {
                let opened = File::open(path).and_then(|file| file.metadata().map(|m| (file, m.len())));
                match (repl.feed(id), opened) {
                    (Some(feed), Ok((file, bytes))) => feed.order(Order::File { file, bytes }),
                    (None, _) => {}
                    (Some(_), Err(e)) => {
                        notes.push(Note::warning(format!("Can't open the DB for replica after BGSAVE: {e}")));
                        disconnect.push(id);
                    }
                }
            }
        }
    }
    notes.into_iter().for_each(log);
    repl.count_good_replicas(engine);
    for client in disconnect.into_iter().filter_map(|id| engine.clients.get(id)) {
        client.kill();
    }
    look(engine, repl, now_ms);
}
