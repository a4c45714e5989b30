//! The stream behind a cut, read by replicas of different pace, compared byte by byte.

use std::task::Waker;

use super::*;
use crate::oplog::Log;

fn bytes(from: i64, to: i64) -> Vec<u8> {
    (from..to).map(|offset| (offset.wrapping_mul(31) >> 3) as u8 ^ offset as u8).collect()
}

struct Bench {
    log: Arc<Log>,
    spill: Arc<Spill>,
    dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

/// A replica and what it got so far.
struct Reader {
    tail: Option<Tail>,
    cursor: Option<Cursor>,
    next: i64,
}

impl Bench {
    fn new() -> Self {
        let log = Log::new(100);
        log.create_backlog();
        log.set_backlog_limit_bytes(64 << 10);
        Self {
            spill: Spill::new(log.attach_end(), || {}),
            log,
            dir: tempfile::tempdir().unwrap(),
            runtime: tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap(),
        }
    }

    fn join(&self, id: u64) -> Reader {
        let tail = self.spill.join(id).expect("nobody has gone on");
        Reader { next: tail.next_offset(), tail: Some(tail), cursor: None }
    }

    fn append(&self, n: i64) {
        let end = self.log.end_offset();
        self.log.append(&bytes(end + 1, end + 1 + n));
    }

    /// Until what was begun is written.
    fn look(&self, budget_bytes: u64) -> Look {
        let look = self.spill.look(self.log.end_offset(), budget_bytes, self.dir.path().to_str().unwrap());
        while self.spill.writing.load(Relaxed) {
            std::thread::yield_now();
        }
        look
    }

    /// Lets a replica take so much, in steps.
    fn read(&self, reader: &mut Reader, mut n: i64, step: usize) {
        while n > 0 && reader.next <= self.log.end_offset() {
            let Some(tail) = &mut reader.tail else {
                let cursor = reader.cursor.as_mut().expect("one or the other");
                for chunk in cursor.read(step) {
                    assert_eq!(chunk.as_ref(), bytes(reader.next, reader.next + chunk.len() as i64));
                    reader.next += chunk.len() as i64;
                    n -= chunk.len() as i64;
                    cursor.advance(chunk.len());
                }
                continue;
            };
            let got = self.runtime.block_on(std::future::poll_fn(|cx| tail.poll_next(cx, true))).unwrap();
            let taken = match got {
                Next::Disk => tail.ahead()[..step.min(tail.ahead().len())].to_vec(),
                Next::Log(chunks) => chunks[0].as_ref()[..step.min(chunks[0].len())].to_vec(),
                Next::Stale => panic!("the history did not change"),
                Next::CaughtUp(cursor) => {
                    assert_eq!(cursor.next_offset(), reader.next);
                    (reader.tail, reader.cursor) = (None, Some(cursor));
                    continue;
                }
            };
            assert_eq!(taken, bytes(reader.next, reader.next + taken.len() as i64));
            tail.advance(taken.len());
            reader.next += taken.len() as i64;
            n -= taken.len() as i64;
        }
    }
}

#[test]
fn replicas_of_different_pace_get_every_byte_from_disk_and_log() {
    let bench = Bench::new();
    let (mut fast, mut slow) = (bench.join(1), bench.join(2));
    let budget = 1 << 20;
    for round in 0..60 {
        bench.append(700_001);
        bench.look(budget);
        bench.read(&mut fast, 650_000, 100_000);
        bench.read(&mut slow, if round < 40 { 300_000 } else { 4 << 20 }, 77_777);
    }
    assert!(bench.spill.next.load(Relaxed) > 10 << 20, "most of it was on disk");
    assert!(bench.spill.kept_from.load(Relaxed) > 8 << 20, "what both have read was given back");
    let end = bench.log.end_offset();
    bench.read(&mut fast, i64::MAX, 1 << 20);
    bench.read(&mut slow, i64::MAX, 1 << 20);
    assert_eq!((fast.next, slow.next), (end + 1, end + 1));
    assert!(fast.tail.is_none() && slow.tail.is_none(), "both went on to the log");
    assert_eq!(bench.dir.path().read_dir().unwrap().count(), 0, "the file has no name");
    drop(bench.spill);
    assert_eq!(bench.log.readers(), 2);
}

#[test]
fn memory_stays_within_the_budget_and_its_limit_counts_only_what_exceeds_it() {
    let bench = Bench::new();
    let tail = bench.spill.join(1).unwrap();
    let budget = 1 << 20;
    assert_eq!(bench.look(budget).again_at, 100 + budget as i64, "to be looked at when it is used up");
    for _ in 0..50 {
        bench.append(budget as i64 / 4);
        bench.look(budget);
        assert!(bench.log.memory_bytes() < 2 << 20);
    }
    let end = bench.log.end_offset();
    let held = bench.spill.held(tail.next_offset(), end);
    assert_eq!(held.memory_bytes + held.disk_bytes, 50 * budget / 4);
    assert!(held.memory_bytes <= budget && held.disk_bytes > 10 << 20);
    assert!(bench.spill.counted_from(tail.next_offset(), budget) > end);
    assert_eq!(bench.look(0), Look { again_at: i64::MAX, is_behind: false });
    assert_eq!(bench.spill.counted_from(tail.next_offset(), 0), end + 1 - held.memory_bytes as i64);
}

#[test]
fn without_a_disk_it_stays_in_memory_and_counts() {
    let bench = Bench::new();
    let mut reader = bench.join(1);
    std::fs::remove_dir(bench.dir.path()).unwrap();
    bench.append(5 << 20);
    bench.look(1 << 20);
    assert!(bench.spill.refused.load(Relaxed));
    assert_eq!(bench.spill.counted_from(101, 1 << 20), 101);
    assert_eq!(bench.look(1 << 20).again_at, i64::MAX, "it is not tried again");
    bench.read(&mut reader, i64::MAX, 1 << 20);
    assert_eq!(reader.next, bench.log.end_offset() + 1);
}

#[test]
fn a_new_history_ends_it() {
    let bench = Bench::new();
    let mut tail = bench.spill.join(1).unwrap();
    bench.append(1000);
    bench.log.reset(5000);
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(matches!(tail.poll_next(cx, true), Poll::Ready(Ok(Next::Stale))));
}

#[test]
fn who_comes_late_is_refused_once_the_beginning_is_gone() {
    let bench = Bench::new();
    let mut first = bench.join(1);
    bench.append(20 << 20);
    bench.look(1 << 20);
    let late = bench.spill.join(2);
    assert!(late.is_some());
    drop(late);
    bench.read(&mut first, 10 << 20, 1 << 20);
    assert!(bench.spill.join(3).is_none());
}
