//! The slow log: the last commands that took longer than the threshold. Knows no command.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// Longer argument lists are cut, as stock cuts them.
const ARGS_MAX: usize = 32;
const ARG_BYTES_MAX: usize = 128;

#[derive(Clone, Debug)]
pub struct Slow {
    pub id: u64,
    pub at_s: i64,
    pub took_us: u64,
    pub argv: Vec<Vec<u8>>,
    pub client: String,
    pub client_name: Vec<u8>,
}

#[derive(Default)]
struct Entries {
    next_id: u64,
    list: VecDeque<Slow>,
}

#[derive(Default)]
pub struct SlowLog {
    entries: Mutex<Entries>,
}

impl SlowLog {
    pub fn push<'a>(
        &self,
        argv: impl ExactSizeIterator<Item = &'a [u8]>,
        at_s: i64,
        took_us: u64,
        client: &str,
        client_name: &[u8],
        keep: usize,
    ) {
        let total = argv.len();
        let shown = if total > ARGS_MAX { ARGS_MAX - 1 } else { total };
        let mut words: Vec<Vec<u8>> = argv.take(shown).map(cut).collect();
        if total > shown {
            words.push(format!("... ({} more arguments)", total - shown).into_bytes());
        }
        let mut e = self.entries.lock();
        let id = e.next_id;
        e.next_id += 1;
        e.list.push_front(Slow {
            id,
            at_s,
            took_us,
            argv: words,
            client: client.to_owned(),
            client_name: client_name.to_vec(),
        });
        e.list.truncate(keep);
    }

    /// The latest `count`, newest first.
    pub fn latest(&self, count: usize) -> Vec<Slow> {
        self.entries.lock().list.iter().take(count).cloned().collect()
    }

    pub fn len(&self) -> usize {
        self.entries.lock().list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn reset(&self) {
        self.entries.lock().list.clear();
    }
}

fn cut(arg: &[u8]) -> Vec<u8> {
    if arg.len() <= ARG_BYTES_MAX {
        return arg.to_vec();
    }
    let mut out = arg[..ARG_BYTES_MAX].to_vec();
    out.extend_from_slice(format!("... ({} more bytes)", arg.len() - ARG_BYTES_MAX).as_bytes());
    out
}
