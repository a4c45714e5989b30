//! DEBUG: what tests and the desperate need. The names and replies are those of stock servers, whose test suite asks them.
//!
//! Subcommands stand in a table, from which HELP is made too. Knows no connection but the caller's.

use std::sync::atomic::Ordering::Relaxed;

use crate::base::{Error, clock, glob, log, number};
use crate::config::parse_memory;
use crate::ds::list::set_giant_bytes;
use crate::exec::block;
use crate::exec::call::{Call, Flow, SessionCommand};
use crate::exec::engine::Engine;
use crate::exec::gate::{AllGates, step_aside};
use crate::exec::{client_memory, describe, digest};
use crate::keyspace::{Data, Entry, EventClass, ExpirePolicy, KeepTtl, Key, Keyspace, Unit, ValueRef};
use crate::persist::load::{self, Expired};
use crate::persist::save::rdb_path;
use crate::persist::{Aof, Saver, aof};
use crate::rdb::WriteOptions;
use crate::repl::Repl;
use crate::resp::encode_command;
use crate::spec::prelude::*;

pub const DEBUG: Row = Row {
    name: "debug",
    arity: -2,
    flags: ADMIN.or(NOSCRIPT).or(LOADING).or(STALE).or(PROTECTED).or(EXCLUSIVE).or(LONG),
    complexity: "That of the subcommand",
    summary: "Does things that only tests and the desperate need.",
    doc: Doc::System,
    ..Row::EMPTY
};

pub const COMMANDS: &[SessionCommand] = &[SessionCommand { row: &DEBUG, run: debug }];

struct Sub {
    name: &'static str,
    /// Words behind the subcommand's name, at least and at most.
    words: (usize, usize),
    usage: &'static str,
    help: &'static str,
    run: fn(&mut Call<'_>) -> Result<(), Error>,
}

const fn sub(
    name: &'static str,
    words: (usize, usize),
    usage: &'static str,
    help: &'static str,
    run: fn(&mut Call<'_>) -> Result<(), Error>,
) -> Sub {
    Sub { name, words, usage, help, run }
}

/// A little below what a listpack can hold at all.
const MAX_PACKED_BYTES: usize = (1 << 32) - (1 << 20);

const SUBS: &[Sub] = &[
    sub("AOF-FLUSH-SLEEP", (1, 1), "<microsec>", "Rests before the append-only file is written.", aof_flush_sleep),
    sub("ASSERT", (0, 0), "", "Ends the process as a failed assertion would.", assert),
    sub("CHANGE-REPL-ID", (0, 0), "", "Begins a replication history of a new name.", change_repl_id),
    sub("CLIENT-EVICTION", (0, 0), "", "Tells of the eviction of clients.", client_eviction),
    sub("CONFIG-REWRITE-FORCE-ALL", (0, 0), "", "CONFIG REWRITE, with every directive.", rewrite_all),
    sub("DICT-RESIZING", (1, 1), "<0|1>", "Taken, and without effect: tables grow by segments.", nothing),
    sub("DIGEST", (0, 0), "", "Tells a fingerprint of the whole data set.", digest_all),
    sub("DIGEST-VALUE", (0, usize::MAX), "[<key> ...]", "Tells a fingerprint of each value.", digest_values),
    sub("ERROR", (1, 1), "<string>", "Answers with this error.", error),
    sub("HELP", (0, 0), "", "Prints this help.", help),
    sub("HTSTATS", (1, 2), "<dbid> [full]", "Tells the size of a database's tables.", htstats),
    sub("JMAP", (0, 0), "", "Taken, and without effect.", nothing),
    sub("LISTPACK", (1, 1), "<key>", "Writes the elements of a value that is a listpack to the log.", listpack),
    sub("LOADAOF", (0, 0), "", "Empties the data set and loads the append-only file.", load_aof),
    sub("LOG", (1, 1), "<message>", "Writes a line to the log.", log_line),
    sub("OBJECT", (1, 1), "<key>", "Tells how a value is kept.", object),
    sub("PANIC", (0, 0), "", "Ends the process as a panic would.", panic),
    sub("PAUSE-CRON", (1, 1), "<0|1>", "Stops what happens by itself, or lets it go on.", pause_cron),
    sub("POPULATE", (1, 3), "<count> [<prefix>] [<size>]", "Makes keys, without telling replicas.", populate),
    sub("PROTOCOL", (1, 1), "<type>", "Answers with a sample of a type of the protocol.", protocol),
    sub("QUICKLIST", (1, 2), "<key> [<0|1>]", "Writes the shape of a large list to the log.", quicklist),
    sub(
        "QUICKLIST-PACKED-THRESHOLD",
        (1, 1),
        "<size>",
        "Gives list elements of this size and more a node to themselves; 0: as it was.",
        packed_threshold,
    ),
    sub("RELOAD", (0, 3), "[NOSAVE] [NOFLUSH] [MERGE]", "Saves the data set and loads it again.", reload),
    sub("REPLICATE", (1, usize::MAX), "<word> [<word> ...]", "Tells replicas a command that is not run.", replicate),
    sub("REPLYBUFFER", (2, 2), "PEAK-RESET-TIME|RESIZING <value>", "Taken, and without effect.", reply_buffer),
    sub("SEGFAULT", (0, 0), "", "Ends the process as a wild pointer would.", segfault),
    sub("SET-ACTIVE-EXPIRE", (1, 1), "<0|1>", "Stops the expiry cycle, or lets it go on.", set_active_expire),
    sub("SET-DISABLE-DENY-SCRIPTS", (1, 1), "<0|1>", "Taken, and without effect: there are no scripts.", nothing),
    sub("SET-SKIP-CHECKSUM-VALIDATION", (1, 1), "<0|1>", "Takes payloads with a wrong checksum.", skip_checksum),
    sub("SLEEP", (1, 1), "<seconds>", "Lets the whole server stand still.", sleep),
    sub("STRINGMATCH-LEN", (2, 2), "<pattern> <text>", "Tells whether a pattern matches.", string_match),
];

fn debug(call: &mut Call<'_>) -> Result<Flow, Error> {
    let (name, words) = (call.argv.word(1), call.argv.len() - 2);
    let found = SUBS.iter().find(|s| s.name.as_bytes().eq_ignore_ascii_case(name));
    match found.filter(|s| (s.words.0..=s.words.1).contains(&words)) {
        Some(sub) => (sub.run)(call).map(|()| Flow::Done),
        None => Err(unknown(name)),
    }
}

fn unknown(name: &[u8]) -> Error {
    let shown = String::from_utf8_lossy(&name[..name.len().min(128)]);
    Error::Text(format!("ERR unknown subcommand or wrong number of arguments for '{shown}'. Try DEBUG HELP.").into())
}

fn help(call: &mut Call<'_>) -> Result<(), Error> {
    call.out.array(1 + 2 * SUBS.len());
    call.out.simple("DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
    for sub in SUBS {
        call.out.simple(format!("{} {}", sub.name, sub.usage).trim_end());
        call.out.simple(&format!("    {}", sub.help));
    }
    Ok(())
}

/// The first word behind the subcommand's name.
fn word<'a>(call: &Call<'a>) -> &'a [u8] {
    call.argv.word(2)
}

/// A switch, read as C's `atoi` reads it: whatever is no number is off.
fn switch(call: &mut Call<'_>, set: impl FnOnce(&Call<'_>, bool)) {
    let on = number::parse_i64(word(call)).is_some_and(|n| n != 0);
    set(call, on);
    call.out.ok();
}

fn nothing(call: &mut Call<'_>) -> Result<(), Error> {
    call.out.ok();
    Ok(())
}

/// Every gate, unless EXEC holds them already.
fn gates<'a>(call: &Call<'a>) -> Option<AllGates<'a>> {
    (!call.in_exec).then(|| call.engine.gates.take_all())
}

/// A unit that sees what is there, expired or not.
fn looking(call: &Call<'_>) -> Unit {
    Unit { now_ms: call.now_ms, policy: ExpirePolicy::Ignore, ..Unit::default() }
}

// ---- data ----

fn digest_all(call: &mut Call<'_>) -> Result<(), Error> {
    let digest = step_aside(|| {
        let _gates = gates(call);
        let mut unit = looking(call);
        digest::of_all(&mut Data::lock_alone(&call.engine.ks, call.session.db, &mut unit))
    });
    call.out.simple(&digest.hex());
    Ok(())
}

/// What `f` makes of a key's entry.
fn with_entry<R>(call: &Call<'_>, key: &[u8], f: impl FnOnce(&Entry) -> R) -> Option<R> {
    let (key, mut unit) = (Key::new(key), looking(call));
    Data::lock_one(&call.engine.ks, key.hash, call.session.db, &mut unit).peek(key).map(f)
}

fn digest_values(call: &mut Call<'_>) -> Result<(), Error> {
    let keys = call.argv.skip(2);
    call.out.array(keys.len());
    for key in keys.iter() {
        let digest = with_entry(call, key, digest::of_value).unwrap_or_default();
        call.out.simple(&digest.hex());
    }
    Ok(())
}

fn object(call: &mut Call<'_>) -> Result<(), Error> {
    let now_s = call.now_ms / 1000;
    let options = WriteOptions { compress: call.engine.settings().rdbcompression, ..WriteOptions::default() };
    let line = with_entry(call, word(call), |entry| {
        let mut dump = Vec::new();
        crate::rdb::dump(&mut dump, entry.value().into(), &options);
        // Without the type, the version and the checksum.
        let serialized = dump.len() - 11;
        let lru = entry.access();
        let idle_s = (now_s as u32).wrapping_sub(lru) & 0x00ff_ffff;
        format!(
            "Value at:{:p} refcount:1 encoding:{} serializedlength:{} lru:{lru} lru_seconds_idle:{idle_s}{}",
            entry.key().as_ptr(),
            entry.value().encoding(entry.is_edited()),
            serialized,
            list_shape(entry.value()).unwrap_or_default(),
        )
    });
    call.out.simple(&line.ok_or(Error::NoSuchKey)?);
    Ok(())
}

/// The fields of a large list, each behind a blank.
fn list_shape(value: ValueRef<'_>) -> Option<String> {
    let ValueRef::List(list) = value else { return None };
    let shape = list.shape()?;
    Some(format!(
        " ql_nodes:{} ql_avg_node:{:.2} ql_listpack_max:{} ql_compressed:{} ql_uncompressed_size:{}",
        shape.nodes,
        list.len() as f64 / shape.nodes as f64,
        shape.size,
        u8::from(shape.compressed),
        shape.bytes,
    ))
}

fn listpack(call: &mut Call<'_>) -> Result<(), Error> {
    let text = with_entry(call, word(call), |entry| {
        let value = entry.value();
        matches!(value.encoding(entry.is_edited()), "listpack" | "listpackex").then(|| match value {
            ValueRef::List(list) => format!("{:?}", list.as_pack()),
            other => format!("{other:?}"),
        })
    });
    let text = text.ok_or(Error::NoSuchKey)?.ok_or(Error::text("ERR Not a listpack encoded object."))?;
    log::raw(&format!("{text}\n"));
    call.out.simple("Listpack structure printed on stdout");
    Ok(())
}

fn quicklist(call: &mut Call<'_>) -> Result<(), Error> {
    let text = with_entry(call, word(call), |entry| list_shape(entry.value()));
    let text = text.ok_or(Error::NoSuchKey)?.ok_or(Error::text("ERR Not a quicklist encoded object."))?;
    log::raw(&format!("{}\n", text.trim_start()));
    call.out.simple("Quicklist structure printed on stdout");
    Ok(())
}

fn positive(word: &[u8]) -> Result<u64, Error> {
    let n = number::parse_i64(word).ok_or(Error::NotInteger)?;
    u64::try_from(n).map_err(|_| Error::NotPositive)
}

fn populate(call: &mut Call<'_>) -> Result<(), Error> {
    let count = positive(word(call))?;
    let prefix = call.argv.get(3).unwrap_or(b"key");
    let size = call.argv.get(4).map_or(Ok(0), positive)? as usize;
    step_aside(|| {
        let _gates = gates(call);
        let mut unit = Unit { now_ms: call.now_ms, ..Unit::default() };
        let mut data = Data::lock_alone(&call.engine.ks, call.session.db, &mut unit);
        let (mut name, mut value) = (Vec::new(), Vec::new());
        for n in 0..count {
            name.clear();
            name.extend_from_slice(prefix);
            name.push(b':');
            number::push_u64(&mut name, n);
            let key = Key::new(&name);
            if data.exists(key) {
                continue;
            }
            value.clear();
            value.extend_from_slice(b"value:");
            number::push_u64(&mut value, n);
            if size != 0 {
                value.resize(size, 0);
            }
            data.set_string(key, &value, None, KeepTtl::Replace(None));
            data.changed(key, EventClass::GENERIC, "set");
        }
        drop(data);
        call.engine.free_later(unit.garbage.drain(..));
    });
    call.out.ok();
    Ok(())
}

/// NOSAVE: loads the file that is there. NOFLUSH: what is in memory stays; a key of both is an error, or with MERGE the
/// file's wins. Whatever fails, the data is what it was.
fn reload(call: &mut Call<'_>) -> Result<(), Error> {
    let mut a = call.args();
    a.skip(1);
    let (mut save, mut flush, mut merge) = (true, true, false);
    while !a.is_at_end() {
        if a.flag("NOSAVE") {
            save = false;
        } else if a.flag("NOFLUSH") {
            flush = false;
        } else if a.flag("MERGE") {
            merge = true;
        } else {
            return Err(Error::text("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options."));
        }
    }
    if call.in_exec {
        // The cut of a snapshot needs the gates that EXEC holds.
        return Err(Error::text("ERR DEBUG RELOAD inside MULTI is not supported"));
    }
    let engine = call.engine;
    step_aside(|| {
        let saver = engine.part::<Saver>();
        // From the cut until the loaded data is in place nothing may be written, for it would be lost. Who comes meanwhile
        // is told so.
        let turn = engine.turns.wait();
        let gates = engine.gates.take_all();
        if save {
            saver.save_alone(engine, &turn, &gates).map_err(|_| Error::text("ERR"))?;
        }
        drop(turn);
        let _loading = Loading::begin(engine);
        let failed = |e: &dyn std::fmt::Display| {
            log::warning!("DEBUG RELOAD failed: {e}");
            Error::text("ERR Error trying to load the RDB dump, check server logs.")
        };
        let file = std::fs::File::open(rdb_path(&engine.settings())).map_err(|e| failed(&e))?;
        let (second, replica) = (load::second(engine), engine.state.is_replica());
        let expired = if replica { Expired::Keep } else { Expired::Drop };
        let progress = |bytes| load::note_progress(engine, bytes);
        let loading = load::Loading::of(engine, expired);
        let loaded = load::load_with(&second, file, &loading, progress).map_err(|e| failed(&e))?;
        saver.note_loaded(&loaded);
        if flush {
            let garbage = engine.ks.replace(second, crate::base::clock::now_ms());
            block::serve_all(engine, &gates);
            drop(gates);
            engine.free_later(garbage.into_iter());
        } else {
            add_all(engine, &second, merge, call.now_ms)
                .map_err(|key| failed(&format!("key '{key}' is there already")))?;
            block::serve_all(engine, &gates);
        }
        Ok::<_, Error>(())
    })?;
    log::notice!("DB reloaded by DEBUG RELOAD");
    call.out.ok();
    Ok(())
}

fn aof_flush_sleep(call: &mut Call<'_>) -> Result<(), Error> {
    let us = number::parse_i64(word(call)).and_then(|us| u64::try_from(us).ok()).ok_or(Error::NotInteger)?;
    call.engine.part::<Aof>().rest_us.store(us, Relaxed);
    call.out.ok();
    Ok(())
}

fn load_aof(call: &mut Call<'_>) -> Result<(), Error> {
    if call.in_exec {
        // Emptying the data set needs the gates that EXEC holds.
        return Err(Error::text("ERR DEBUG LOADAOF inside MULTI is not supported"));
    }
    let engine = call.engine;
    step_aside(|| {
        // No rewrite changes the list meanwhile.
        let _turn = engine.turns.wait();
        let gates = engine.gates.take_all();
        let writer = engine.part::<Aof>();
        if writer.mode() != aof::Mode::Off && !writer.flush() {
            return Err(Error::text("ERR Error trying to load the AOF files, check server logs."));
        }
        let _loading = Loading::begin(engine);
        drop(gates);
        load::empty(engine);
        let loaded = aof::files::read_manifest(&engine.settings())
            .and_then(|mut list| aof::load::load(engine, &mut list))
            .and_then(|loaded| loaded.ok_or_else(|| "There is no append only file".to_owned()));
        block::serve_all(engine, &engine.gates.take_all());
        loaded.map_err(|e| {
            log::warning!("{e}");
            Error::text("ERR Error trying to load the AOF files, check server logs.")
        })
    })?;
    log::notice!("Append Only File loaded by DEBUG LOADAOF");
    call.out.ok();
    Ok(())
}

/// While it lives the server is loading.
struct Loading<'e>(&'e Engine);

impl<'e> Loading<'e> {
    fn begin(engine: &'e Engine) -> Self {
        engine.state.loading_start_s.store(clock::now_ms() / 1000, Relaxed);
        engine.state.loading.store(true, Relaxed);
        Self(engine)
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        self.0.state.loading.store(false, Relaxed);
    }
}

/// Copies what `from` holds into the engine's keyspace, whose gates the caller holds. An error names a key of both.
fn add_all(engine: &Engine, from: &Keyspace, merge: bool, now_ms: i64) -> Result<(), String> {
    let unit = || Unit { now_ms, policy: ExpirePolicy::Ignore, ..Unit::default() };
    let (mut source_unit, mut target_unit) = (unit(), unit());
    let mut source = Data::lock_alone(from, 0, &mut source_unit);
    let mut target = Data::lock_alone(&engine.ks, 0, &mut target_unit);
    for pass in [Pass::Look, Pass::Copy] {
        for db in 0..from.databases() {
            (source.db, target.db) = (db, db);
            let mut twice = None;
            source.for_each(|entry| {
                let key = Key::new(entry.key());
                match pass {
                    Pass::Look if !merge && target.exists(key) => twice = Some(key.bytes.to_vec()),
                    Pass::Look => {}
                    Pass::Copy => target.put(key, entry.copied(key.bytes)),
                }
            });
            if let Some(key) = twice {
                return Err(String::from_utf8_lossy(&key).into_owned());
            }
        }
    }
    drop(target);
    engine.free_later(target_unit.garbage.drain(..));
    Ok(())
}

/// Nothing is copied unless everything can be.
enum Pass {
    Look,
    Copy,
}

fn htstats(call: &mut Call<'_>) -> Result<(), Error> {
    let n = number::parse_i64(word(call)).ok_or(Error::NotInteger)?;
    let ks = &call.engine.ks;
    let db = usize::try_from(n).ok().filter(|db| *db < ks.databases());
    let db = db.ok_or(Error::text("ERR Out of range database"))?;
    let (keys, expiring) = ks.count(db);
    let text = format!(
        "[Dictionary HT]\nHash table 0 stats (main hash table):\n number of elements: {keys}\n table bytes: {}\n\
         [Expires HT]\n number of elements: {expiring}\n",
        ks.table_bytes(db)
    );
    call.out.verbatim("txt", text.as_bytes());
    Ok(())
}

// ---- switches ----

fn set_active_expire(call: &mut Call<'_>) -> Result<(), Error> {
    switch(call, |call, on| call.engine.state.active_expire_off.store(!on, Relaxed));
    Ok(())
}

fn pause_cron(call: &mut Call<'_>) -> Result<(), Error> {
    switch(call, |call, on| call.engine.state.cron_paused.store(on, Relaxed));
    Ok(())
}

fn skip_checksum(call: &mut Call<'_>) -> Result<(), Error> {
    switch(call, |_, on| crate::rdb::SKIP_CHECKSUM.store(on, Relaxed));
    Ok(())
}

fn packed_threshold(call: &mut Call<'_>) -> Result<(), Error> {
    let size = parse_memory(word(call)).and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= MAX_PACKED_BYTES);
    match size {
        Some(size) => set_giant_bytes(size),
        None => return Err(Error::text("ERR argument must be a memory value bigger than 1 and smaller than 4gb")),
    }
    call.out.ok();
    Ok(())
}

fn reply_buffer(call: &mut Call<'_>) -> Result<(), Error> {
    let (what, value) = (word(call).to_ascii_lowercase(), call.argv.word(3));
    match what.as_slice() {
        b"peak-reset-time" => {
            let named = ["never", "reset"].iter().any(|w| w.as_bytes().eq_ignore_ascii_case(value));
            if !named {
                number::parse_i64(value).ok_or(Error::NotInteger)?;
            }
        }
        b"resizing" => {}
        _ => return Err(unknown(call.argv.word(1))),
    }
    call.out.ok();
    Ok(())
}

// ---- replies and the log ----

fn error(call: &mut Call<'_>) -> Result<(), Error> {
    Err(Error::Text(String::from_utf8_lossy(word(call)).into_owned().into()))
}

fn log_line(call: &mut Call<'_>) -> Result<(), Error> {
    log::warning!("DEBUG LOG: {}", String::from_utf8_lossy(word(call)));
    call.out.ok();
    Ok(())
}

fn client_eviction(call: &mut Call<'_>) -> Result<(), Error> {
    let clients = &call.engine.clients;
    let limit = clients.limit_bytes.load(Relaxed);
    if limit == 0 {
        return Err(Error::text("ERR maxmemory-clients is disabled."));
    }
    // Stock keeps clients in buckets by size; here they are weighed when the limit is reached.
    client_memory::check(call.engine);
    let sum: usize = clients.list().iter().map(|c| describe::memory_bytes(c)).sum();
    call.out.verbatim("txt", format!("Limit: {limit} Clients: {} Memory: {sum}\n", clients.len()).as_bytes());
    Ok(())
}

fn rewrite_all(call: &mut Call<'_>) -> Result<(), Error> {
    call.engine.config.rewrite(true)?;
    call.out.ok();
    Ok(())
}

fn string_match(call: &mut Call<'_>) -> Result<(), Error> {
    call.out.int(i64::from(glob::matches(word(call), call.argv.word(3), false)));
    Ok(())
}

fn protocol(call: &mut Call<'_>) -> Result<(), Error> {
    let out = &mut *call.out;
    match call.argv.word(2).to_ascii_lowercase().as_slice() {
        b"string" => out.bulk(b"Hello World"),
        b"integer" => out.int(12345),
        b"double" => out.double_text(b"3.141"),
        b"bignum" => out.big_number(b"1234567999999999999999999999999999999"),
        b"null" => out.null(),
        b"array" => {
            out.array(3);
            (0..3).for_each(|n| out.int(n));
        }
        b"set" => {
            out.set(3);
            (0..3).for_each(|n| out.int(n));
        }
        b"map" => {
            out.map(3);
            for n in 0..3 {
                out.int(n);
                out.bool(n == 1);
            }
        }
        b"attrib" => {
            if out.attribute(1) {
                out.bulk(b"key-popularity");
                out.array(2);
                out.bulk(b"key:123");
                out.int(90);
            }
            // An attribute is no reply of its own.
            out.bulk(b"Some real reply following the attribute");
        }
        b"push" => {
            if out.proto() < 3 {
                return Err(Error::text("ERR RESP2 is not supported by this command"));
            }
            out.push(2);
            out.bulk(b"server-cpu-usage");
            out.int(42);
            // Nor is a push.
            out.bulk(b"Some real reply following the push reply");
        }
        b"true" => out.bool(true),
        b"false" => out.bool(false),
        b"verbatim" => out.verbatim("txt", b"This is a verbatim\nstring"),
        _ => {
            return Err(Error::text(
                "ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(())
}

// ---- replication ----

fn change_repl_id(call: &mut Call<'_>) -> Result<(), Error> {
    log::notice!("Changing replication IDs after receiving DEBUG change-repl-id");
    let _gates = gates(call);
    Repl::of(call.engine).start_new_history();
    Repl::of(call.engine).tell_names(call.engine);
    call.out.ok();
    Ok(())
}

fn replicate(call: &mut Call<'_>) -> Result<(), Error> {
    let gates = gates(call);
    call.engine.log.with(|log| {
        let mut bytes = Vec::new();
        encode_command(&mut bytes, call.argv.skip(2).iter());
        log.write(&bytes);
    });
    drop(gates);
    call.engine.log.notify_readers();
    call.out.ok();
    Ok(())
}

// ---- standing still, and ending badly ----

fn sleep(call: &mut Call<'_>) -> Result<(), Error> {
    let seconds = number::parse_f64(word(call)).filter(|s| s.is_finite()).unwrap_or(0.0).max(0.0);
    let gates = (!call.in_exec).then_some(&call.engine.gates);
    call.engine.standstill.hold(gates, (seconds * 1e6) as u64);
    call.out.ok();
    Ok(())
}

const REPORT_BEGIN: &str = "\n\n=== REDIS BUG REPORT START: Cut & paste starting from here ===\n";
const REPORT_END: &str = "\n=== REDIS BUG REPORT END. ===\n\n";

/// Writes a report in the frame of stock servers' ones, and ends the process by a signal.
fn crash(line: &str, signal: rustix::process::Signal) -> ! {
    log::raw(REPORT_BEGIN);
    log::warning!("{line}");
    log::raw(&format!("\n------ STACK TRACE ------\n{}\n", std::backtrace::Backtrace::force_capture()));
    log::raw(REPORT_END);
    let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
    // The signal may be on its way to another thread.
    std::process::abort()
}

fn segfault(_: &mut Call<'_>) -> Result<(), Error> {
    crash("Redis crashed by signal: 11, si_code: 1", rustix::process::Signal::SEGV)
}

fn panic(_: &mut Call<'_>) -> Result<(), Error> {
    let line = format!("Guru Meditation: DEBUG PANIC called at Unix time {}", clock::now_ms() / 1000);
    log::warning!("------------------------------------------------");
    log::warning!("!!! Software Failure. Press left mouse button to continue");
    crash(&line, rustix::process::Signal::ABORT)
}

fn assert(_: &mut Call<'_>) -> Result<(), Error> {
    log::warning!("=== ASSERTION FAILED CLIENT CONTEXT ===");
    crash("==> DEBUG ASSERT is not true", rustix::process::Signal::ABORT)
}
