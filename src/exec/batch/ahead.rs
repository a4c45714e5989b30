//! What is known of requests before their turn: their commands and their keys' hashes, and what of the keyspace they will
//! touch, which the processor fetches meanwhile. Carries nothing out.

use smallvec::SmallVec;

use super::{BATCH_MAX, Command, Runner};
use crate::base::hash::hash;
use crate::exec::block;
use crate::exec::call::Handler;
use crate::exec::engine::Engine;
use crate::resp::Argv;

/// Keys of requests with several keys that are fetched ahead in one batch: more would push each other out of the cache.
const KEYS_AHEAD: usize = 512;

/// A request that was looked up.
#[derive(Clone, Copy)]
pub struct Prepared<'e> {
    /// `None`: an unknown command; the error is made when its turn comes.
    pub(super) found: Option<&'e Command>,
    /// Hash of word 1, if it is the only key.
    pub(super) hash: Option<u64>,
    /// Hash of the element that it looks for first in the key's value.
    pub(super) element: Option<u64>,
    /// The request behind it has a single key of the same shard.
    pub(super) same_shard_next: bool,
}

/// The hash of the only key that a request can touch. Requests of other keys may then overtake it.
pub fn only_key(engine: &Engine, argv: Argv<'_>) -> Option<u64> {
    let command = engine.table.resolve(&argv).ok()?;
    let single =
        command.first_key_fast && matches!(command.handler, Handler::Data(_)) && !command.row.runs_alone(&argv);
    argv.get(1).filter(|_| single).map(hash)
}

impl Prepared<'_> {
    /// There is such a command.
    pub fn is_known(&self) -> bool {
        self.found.is_some()
    }
}

pub type PreparedList<'e> = SmallVec<[Prepared<'e>; BATCH_MAX]>;

impl<'e> Runner<'e> {
    /// Looks requests up and asks the processor for what they will touch.
    pub fn prepare<'a>(&mut self, db: usize, requests: impl Iterator<Item = Argv<'a>>) -> PreparedList<'e> {
        // Below, one lock is taken after the other.
        self.held = None;
        self.plain = false;
        let mut list = PreparedList::new();
        let mut many = SmallVec::<[u64; BATCH_MAX]>::new();
        let mut last: Option<(&[u8], &'e Command)> = None;
        for argv in requests {
            let name = argv.word(0);
            let found = match last {
                // Most often it is the command before once more.
                Some((same, command)) if same == name => Some(command),
                _ => self.engine.table.resolve(&argv).ok(),
            };
            // Which subcommand is called, the name alone does not say.
            last =
                found.filter(|command| command.container().is_none() && !command.has_subcommands()).map(|c| (name, c));
            let single = found.filter(|c| c.first_key_fast);
            let key = single.and_then(|_| argv.get(1)).map(hash);
            let element = single.filter(|c| c.row.element != 0).and_then(|c| argv.get(usize::from(c.row.element)));
            list.push(Prepared { found, hash: key, element: element.map(hash), same_shard_next: false });
            if let Some(several) = found.filter(|c| !c.first_key_fast && c.row.has_keys())
                && many.len() < KEYS_AHEAD
            {
                many.extend(block::declared(several.row, argv));
            }
        }
        if list.len() + many.len() > 1 {
            let ks = &self.engine.ks;
            let shard = |p: &Prepared<'_>| p.hash.map(|h| ks.shard_of(h));
            for i in 1..list.len() {
                list[i - 1].same_shard_next = list[i].hash.is_some() && shard(&list[i - 1]) == shard(&list[i]);
            }
            let hashes = || list.iter().filter_map(|p| p.hash).chain(many.iter().copied());
            hashes().for_each(|h| ks.prefetch_bucket(db, h));
            hashes().for_each(|h| ks.prefetch_entry(db, h));
            for run in list.chunk_by(|a, b| a.hash == b.hash).filter(|run| run.len() > 1) {
                if let (Some(hash), Some(_)) = (run[0].hash, run[0].element) {
                    ks.prefetch_elements(db, hash, run.iter().filter_map(|p| p.element));
                }
            }
        }
        list
    }
}
