//! SAVE, BGSAVE, LASTSAVE and BGREWRITEAOF.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::aof::{Aof, Begun};
use super::save::Saver;
use crate::base::Error;
use crate::exec::call::{Call, Flow, SessionCommand};
use crate::exec::gate::step_aside;
use crate::spec::prelude::*;

pub const BGREWRITEAOF: Row = Row {
    name: "bgrewriteaof",
    arity: 1,
    flags: ADMIN.or(NOSCRIPT).or(NO_ASYNC_LOADING).or(SESSION),
    complexity: "O(1)",
    summary: "Starts writing the append-only file anew, in the background.",
    ..Row::EMPTY
};

pub const BGSAVE: Row = Row {
    name: "bgsave",
    arity: -1,
    syntax: "[schedule:SCHEDULE@3.2.2]",
    flags: ADMIN.or(NOSCRIPT).or(NO_ASYNC_LOADING).or(SESSION),
    complexity: "O(1)",
    summary: "Starts saving the data set to its file, in the background.",
    ..Row::EMPTY
};

pub const LASTSAVE: Row = Row {
    name: "lastsave",
    arity: 1,
    flags: LOADING.or(STALE).or(FAST).or(SESSION),
    cats: ADMIN_CAT.or(DANGEROUS),
    tips: &["nondeterministic_output"],
    complexity: "O(1)",
    summary: "Tells the Unix time of the last successful save.",
    ..Row::EMPTY
};

pub const SAVE: Row = Row {
    name: "save",
    arity: 1,
    flags: ADMIN.or(NOSCRIPT).or(NO_ASYNC_LOADING).or(NO_MULTI).or(LONG).or(SESSION),
    complexity: "O(N), N being the number of keys in all databases",
    summary: "Saves the data set to its file before it answers.",
    ..Row::EMPTY
};

pub const COMMANDS: &[SessionCommand] = &[
    SessionCommand { row: &BGREWRITEAOF, run: bgrewriteaof },
    SessionCommand { row: &BGSAVE, run: bgsave },
    SessionCommand { row: &LASTSAVE, run: lastsave },
    SessionCommand { row: &SAVE, run: save },
];

const IN_PROGRESS: Error = Error::text("ERR Background save already in progress");

fn save(call: &mut Call<'_>) -> Result<Flow, Error> {
    let saver: Arc<Saver> = call.engine.part();
    if saver.must_wait(call.engine) {
        return Err(IN_PROGRESS);
    }
    step_aside(|| saver.save(call.engine)).map_err(|_| Error::text("ERR"))?;
    call.out.ok();
    Ok(Flow::Done)
}

fn bgsave(call: &mut Call<'_>) -> Result<Flow, Error> {
    // SCHEDULE waits for rewrites of the append-only file, never for another save.
    let known = match call.argv.get(1) {
        None => true,
        Some(word) => call.argv.len() == 2 && word.eq_ignore_ascii_case(b"schedule"),
    };
    if !known {
        return Err(Error::Syntax);
    }
    let saver: Arc<Saver> = call.engine.part();
    if call.engine.part::<Aof>().rewrite_runs() && !saver.in_progress() {
        if call.argv.len() == 1 && !call.in_exec {
            return Err(Error::text(
                "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to \
                 schedule a BGSAVE whenever possible.",
            ));
        }
        saver.schedule();
        call.out.simple("Background saving scheduled");
        return Ok(Flow::Done);
    }
    if saver.must_wait(call.engine) {
        return Err(IN_PROGRESS);
    }
    // Inside EXEC the gates are held, which the cut needs: the cron begins it in a moment.
    if call.in_exec {
        saver.schedule();
        call.out.simple("Background saving scheduled");
        return Ok(Flow::Done);
    }
    saver.save_in_background(call.engine).map_err(|_| IN_PROGRESS)?;
    call.out.simple("Background saving started");
    Ok(Flow::Done)
}

fn lastsave(call: &mut Call<'_>) -> Result<Flow, Error> {
    call.out.int(call.engine.state.last_save_s.load(Relaxed));
    Ok(Flow::Done)
}

fn bgrewriteaof(call: &mut Call<'_>) -> Result<Flow, Error> {
    let aof: Arc<Aof> = call.engine.part();
    match aof.rewrite(call.engine, call.in_exec) {
        Begun::Yes => call.out.simple("Background append only file rewriting started"),
        Begun::Later => call.out.simple("Background append only file rewriting scheduled"),
        Begun::Runs => {
            return Err(Error::text("ERR Background append only file rewriting already in progress"));
        }
        Begun::Failed => {
            return Err(Error::text(
                "ERR Can't execute an AOF background rewriting. Please check the server logs for more information.",
            ));
        }
    }
    Ok(Flow::Done)
}
