//! The log against a `Vec<u8>`, alone and under concurrent readers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;

/// Byte `offset` of every test's stream, so that any reader can check any byte by itself.
fn byte_at(offset: i64) -> u8 {
    (offset.wrapping_mul(31) >> 3) as u8 ^ offset as u8
}

fn stream(first_offset: i64, len: usize) -> Vec<u8> {
    (first_offset..first_offset + len as i64).map(byte_at).collect()
}

fn read_all(cursor: &mut Cursor, max: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let chunks = cursor.read(max);
        if chunks.is_empty() {
            return out;
        }
        for chunk in &chunks {
            assert_eq!(chunk.offset(), cursor.next_offset(), "chunks continue at the cursor");
            out.extend_from_slice(chunk.as_ref());
            cursor.advance(chunk.len());
        }
    }
}

#[test]
fn an_unfollowed_log_stands_still() {
    let log = Log::new(100);
    assert_eq!(log.append(b"abc"), 100);
    assert!(log.with(|_| ()).is_none());
    assert!(log.backlog().is_none());
    assert!(log.attach(101).is_none());
    assert_eq!(log.memory_bytes(), 0);
}

#[test]
fn a_new_backlog_begins_at_the_next_byte() {
    let log = Log::new(100);
    log.create_backlog();
    assert_eq!(log.backlog(), Some(Backlog { first_byte_offset: 101, histlen: 0 }));
    assert_eq!(log.append(b"hello"), 105);
    assert_eq!(log.backlog(), Some(Backlog { first_byte_offset: 101, histlen: 5 }));
    assert!(log.attach(100).is_none());
    assert!(log.attach(107).is_none());
    assert_eq!(read_all(&mut log.attach(101).unwrap(), 99), b"hello");
    assert_eq!(read_all(&mut log.attach(104).unwrap(), 1), b"lo");
    assert_eq!(read_all(&mut log.attach(106).unwrap(), 1), b"");
    log.free_backlog();
    assert_eq!((log.is_active(), log.end_offset(), log.memory_bytes()), (false, 105, 0));
}

#[test]
fn the_window_keeps_its_size_and_is_trimmed_by_blocks() {
    let log = Log::new(0);
    log.set_backlog_limit_bytes(1);
    assert_eq!(log.backlog_limit_bytes(), MIN_BACKLOG_BYTES);
    log.create_backlog();
    for i in 0..1000 {
        log.append(&stream(1 + i * 1000, 1000));
        let backlog = log.backlog().unwrap();
        assert_eq!(backlog.first_byte_offset + backlog.histlen - 1, log.end_offset());
        assert!(backlog.histlen as usize >= MIN_BACKLOG_BYTES.min((i + 1) as usize * 1000));
        assert!(backlog.histlen as usize <= MIN_BACKLOG_BYTES * 3);
    }
    assert!(log.memory_bytes() < 5 * MIN_BACKLOG_BYTES);
    let first = log.backlog().unwrap().first_byte_offset;
    let got = read_all(&mut log.attach(first).unwrap(), 5000);
    assert_eq!(got, stream(first, got.len()));
}

#[test]
fn a_slow_reader_holds_the_window_open_until_it_leaves() {
    let log = Log::new(0);
    log.set_backlog_limit_bytes(MIN_BACKLOG_BYTES);
    log.create_backlog();
    let mut slow = log.attach(1).unwrap();
    log.append(&stream(1, 10_000_000));
    log.append(&stream(10_000_001, 1));
    assert_eq!(log.backlog().unwrap().first_byte_offset, 1);
    assert_eq!(slow.lag_bytes(), 10_000_001);
    assert!(slow.pinned_bytes() >= 10_000_001 && slow.pinned_bytes() <= log.memory_bytes());
    let chunk = slow.read(10).remove(0);
    assert_eq!(read_all(&mut slow, 100_000), stream(1, 10_000_001));
    drop(chunk);
    drop(slow);
    log.append(&stream(10_000_002, 40_000));
    let backlog = log.backlog().unwrap();
    assert!(backlog.histlen < 60_000, "{backlog:?}");
    assert!(log.memory_bytes() < 100_000, "{}", log.memory_bytes());
}

#[test]
fn a_reader_that_leaves_far_behind_is_let_go_at_once() {
    let log = Log::new(0);
    log.set_backlog_limit_bytes(MIN_BACKLOG_BYTES);
    log.create_backlog();
    let slow = log.attach(1).unwrap();
    for i in 0..3000 {
        log.append(&stream(1 + i * 9000, 9000));
    }
    assert!(log.memory_bytes() > 27_000_000);
    drop(slow);
    assert!(log.memory_bytes() < 100_000);
}

#[test]
fn a_cursor_alone_keeps_the_log_active() {
    let log = Log::new(7);
    let mut aof = log.attach_end();
    log.append(b"one");
    assert!(log.backlog().is_none());
    log.append(&stream(11, 500_000));
    assert_eq!(read_all(&mut aof, 1 << 20).len(), 500_003);
    log.append(&stream(500_011, 100));
    log.create_backlog();
    assert_eq!(log.backlog().unwrap(), Backlog { first_byte_offset: 500_111, histlen: 0 });
    assert!(log.attach(500_110).is_none(), "bytes older than the backlog are not offered");
    log.free_backlog();
    assert!(log.is_active());
    assert_eq!(read_all(&mut aof, 1 << 20).len(), 100);
    drop(aof);
    assert_eq!((log.is_active(), log.memory_bytes()), (false, 0));
}

#[test]
fn blocks_that_are_let_go_leave_their_memory_to_others() {
    let log = Log::new(0);
    let mut cursor = log.attach_end();
    for i in 0..200 {
        log.append(&stream(1 + i * 70_000, 70_000));
        assert_eq!(read_all(&mut cursor, 1 << 20), stream(1 + i * 70_000, 70_000));
        assert!(log.memory_bytes() < 8 << 16, "{} bytes", log.memory_bytes());
    }
    drop(cursor);
    assert_eq!(log.memory_bytes(), 0);
}

#[test]
fn another_history_makes_cursors_stale() {
    let log = Log::new(0);
    log.create_backlog();
    log.append(&stream(1, 1_000_000));
    let mut old = log.attach(1).unwrap();
    log.reset(5_000);
    assert!(old.is_stale());
    assert_eq!((old.lag_bytes(), old.pinned_bytes(), log.readers()), (0, 0, 0));
    assert_eq!(log.backlog(), Some(Backlog { first_byte_offset: 5001, histlen: 0 }));
    log.append(b"new");
    assert_eq!(read_all(&mut old, 1 << 22), stream(1, 1_000_000), "what it held stays readable, nothing is added");
    let current = log.attach(5001).unwrap();
    drop(old);
    assert_eq!(log.readers(), 1);
    drop(current);
}

#[test]
fn a_panic_leaves_no_half_effect() {
    let log = Log::new(0);
    log.create_backlog();
    log.append(b"ok");
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        log.with(|w| {
            w.set_selected_db(3);
            w.write(&vec![b'x'; 300_000]);
            panic!("our own bug");
        })
    }));
    assert!(caught.is_err());
    assert_eq!(log.end_offset(), 2);
    log.with(|w| {
        assert_eq!(w.selected_db(), -1);
        w.write(b"!!");
        assert_eq!(w.offset(), 4);
    });
    assert_eq!(read_all(&mut log.attach(1).unwrap(), 99), b"ok!!");
}

#[test]
fn the_selected_database_is_kept_between_appends() {
    let log = Log::new(0);
    log.create_backlog();
    log.with(|w| w.set_selected_db(5));
    assert_eq!(log.with(|w| w.selected_db()), Some(5));
    log.forget_selected_db();
    assert_eq!(log.with(|w| w.selected_db()), Some(-1));
}

#[test]
fn remarks_are_for_a_reader_that_wants_them() {
    let log = Log::new(0);
    let marks = |log: &Log, upto| {
        let mut list = VecDeque::new();
        log.take_marks(upto, &mut list);
        Vec::from(list)
    };
    log.create_backlog();
    log.append_aside(b"ping");
    assert_eq!(marks(&log, 100), []);
    let mut cursor = log.attach_end_with_marks();
    log.append(b"set");
    log.append_aside(b"ping");
    log.with(|w| {
        w.moment(70);
        w.write(b"a");
        w.moment(70);
        w.write(b"b");
    });
    log.append_aside(b"");
    log.append_aside(b"pong");
    assert_eq!(read_all(&mut cursor, 99), b"setpingabpong");
    assert_eq!(marks(&log, 7), []);
    assert_eq!(marks(&log, 8), [Mark::Aside { first: 8, last: 11 }]);
    assert_eq!(marks(&log, 13), [Mark::Moment { first: 12, unix_s: 70 }]);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        log.with(|w| {
            w.aside(1, 2);
            panic!("our own bug");
        })
    }));
    assert!(caught.is_err());
    assert_eq!(marks(&log, 100), [Mark::Aside { first: 14, last: 17 }]);
    log.append_aside(b"more");
    log.reset(50);
    assert_eq!(marks(&log, 100), []);
}

#[test]
fn waiters_are_called_once_for_each_arming() {
    let log = Log::new(0);
    log.create_backlog();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let waiter = log.waiter(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    log.notify_readers();
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    waiter.arm();
    log.notify_readers();
    log.notify_readers();
    assert_eq!((calls.load(Ordering::Relaxed), log.wake_generation()), (1, 1));
    waiter.arm();
    drop(waiter);
    log.notify_readers();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

/// Writers, readers that sleep until woken, readers that come and go, and a slow one, all at once.
#[test]
fn concurrent_readers_see_the_stream_and_miss_no_wake_up() {
    const TOTAL: i64 = 4_000_000;
    let log = Log::new(0);
    log.set_backlog_limit_bytes(MIN_BACKLOG_BYTES);
    log.create_backlog();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for max in [100, 4096, 1 << 20] {
            let mut cursor = log.attach(1).unwrap();
            let log = &log;
            scope.spawn(move || {
                let (wake, woken) = std::sync::mpsc::channel();
                let waiter = log.waiter(move || wake.send(()).unwrap_or_default());
                while cursor.next_offset() <= TOTAL {
                    let chunks = cursor.read(max);
                    if chunks.is_empty() {
                        waiter.arm();
                        if cursor.lag_bytes() == 0 {
                            woken.recv_timeout(std::time::Duration::from_secs(60)).expect("a wake-up was lost");
                        }
                        continue;
                    }
                    for chunk in &chunks {
                        let bytes: &[u8] = chunk.as_ref();
                        let first = chunk.offset();
                        assert!(bytes.iter().enumerate().all(|(i, b)| *b == byte_at(first + i as i64)));
                        cursor.advance(bytes.len());
                    }
                }
            });
        }
        let (log, done) = (&log, &done);
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                let Some(backlog) = log.backlog() else { return };
                let Some(mut cursor) = log.attach(backlog.first_byte_offset + backlog.histlen / 2) else { continue };
                let first = cursor.next_offset();
                let got: Vec<u8> = cursor.read(50_000).iter().flat_map(|c| c.as_ref().to_vec()).collect();
                assert_eq!(got, stream(first, got.len()));
            }
        });
        // The closure looks at its own offset, as two writers' appends may come in either order.
        let writer = move || {
            let mut size = 1;
            while log.end_offset() < TOTAL {
                size = (size * 7 + 13) % 3001;
                log.with(|w| w.write(&stream(w.offset() + 1, size)));
                log.notify_readers();
            }
        };
        let other = scope.spawn(writer);
        writer();
        other.join().unwrap();
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(log.readers(), 0);
    assert!(log.memory_bytes() < 5 * MIN_BACKLOG_BYTES);
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Batch(Vec<usize>),
    Attach(u16),
    AttachEnd,
    Read { cursor: usize, max: usize, take: u8 },
    Detach(usize),
    Limit(usize),
    Create,
    Free,
    Reset(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![0usize..200, 10_000usize..40_000, 100_000usize..200_000];
    prop_oneof![
        6 => size.clone().prop_map(Step::Append),
        2 => prop::collection::vec(size, 0..5).prop_map(Step::Batch),
        3 => any::<u16>().prop_map(Step::Attach),
        1 => Just(Step::AttachEnd),
        6 => (0usize..8, 0usize..100_000, any::<u8>()).prop_map(|(cursor, max, take)| Step::Read { cursor, max, take }),
        2 => (0usize..8).prop_map(Step::Detach),
        1 => (0usize..400_000).prop_map(Step::Limit),
        2 => Just(Step::Create),
        1 => Just(Step::Free),
        1 => (0i64..1_000_000).prop_map(Step::Reset),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_a_vector_with_a_window(steps in prop::collection::vec(step(), 1..60)) {
        let log = Log::new(0);
        // The model: offset of the last byte, the window's first byte if there is a backlog, what each cursor is due.
        let (mut end, mut window) = (0i64, None::<i64>);
        let mut cursors: Vec<(Cursor, i64)> = Vec::new();
        let mut limit = log.backlog_limit_bytes();
        for step in steps {
            let active = window.is_some() || cursors.iter().any(|(c, _)| !c.is_stale());
            prop_assert_eq!(log.is_active(), active);
            match step {
                Step::Append(n) => {
                    log.append(&stream(end + 1, n));
                    end += if active { n as i64 } else { 0 };
                }
                Step::Batch(sizes) => {
                    let whole = stream(end + 1, sizes.iter().sum());
                    let mut rest = &whole[..];
                    let pieces: Vec<&[u8]> = sizes.iter().map(|n| { let (a, b) = rest.split_at(*n); rest = b; a }).collect();
                    log.append_batch(&pieces);
                    end += if active { whole.len() as i64 } else { 0 };
                }
                Step::Attach(at) => {
                    let first = window.unwrap_or(end);
                    let offset = first - 2 + at as i64 * (end - first + 6) / 65536;
                    let got = log.attach(offset);
                    prop_assert_eq!(got.is_some(), window.is_some_and(|first| offset >= first && offset <= end + 1));
                    cursors.extend(got.map(|c| (c, offset)));
                }
                Step::AttachEnd => cursors.push((log.attach_end(), end + 1)),
                Step::Read { cursor, max, take } => if let Some((cursor, next)) = cursors.get_mut(cursor) {
                    let chunks = cursor.read(max);
                    let got: Vec<u8> = chunks.iter().flat_map(|c| c.as_ref().to_vec()).collect();
                    if !cursor.is_stale() {
                        prop_assert_eq!(got.len(), max.min((end + 1 - *next) as usize));
                        prop_assert_eq!(cursor.lag_bytes(), (end + 1 - *next) as usize);
                    }
                    prop_assert_eq!(&got, &stream(*next, got.len()));
                    let n = got.len() * take as usize / 255;
                    cursor.advance(n);
                    *next += n as i64;
                    prop_assert_eq!(cursor.next_offset(), *next);
                },
                Step::Detach(i) => if i < cursors.len() {
                    cursors.swap_remove(i);
                },
                Step::Limit(n) => {
                    log.set_backlog_limit_bytes(n);
                    limit = n.max(MIN_BACKLOG_BYTES);
                }
                Step::Create => {
                    log.create_backlog();
                    window = window.or(Some(end + 1));
                }
                Step::Free => {
                    log.free_backlog();
                    window = None;
                }
                Step::Reset(offset) => {
                    log.reset(offset);
                    end = offset;
                    window = window.map(|_| offset + 1);
                }
            }
            prop_assert_eq!(log.end_offset(), end);
            let backlog = log.backlog();
            prop_assert_eq!(backlog.is_some(), window.is_some());
            if let (Some(backlog), Some(first)) = (backlog, window) {
                prop_assert_eq!(backlog.first_byte_offset + backlog.histlen, end + 1);
                prop_assert!(backlog.first_byte_offset >= first, "the window never grows backwards");
                let oldest_need = cursors.iter().filter(|(c, _)| !c.is_stale()).map(|(_, next)| *next).min();
                prop_assert!(oldest_need.is_none_or(|need| backlog.first_byte_offset <= need.max(first)));
                prop_assert!(backlog.histlen >= (end + 1 - first).min(limit as i64), "the window keeps its size");
                window = Some(backlog.first_byte_offset);
            }
        }
        drop(cursors);
        log.free_backlog();
        prop_assert_eq!(log.memory_bytes(), 0);
    }
}
