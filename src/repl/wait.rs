//! Clients that wait for their writes to be acknowledged: WAIT and WAITAOF.
//!
//! Knows tokens, not clients; time-outs are the caller's, as for every blocked client.

use super::id::ReplOffset;
use super::master::Replicas;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// WAIT: so many replicas have applied it.
    Applied { replicas: usize },
    /// WAITAOF: so many replicas have it on disk, and so have we if `local`.
    OnDisk { local: bool, replicas: usize },
}

/// What a satisfied or timed-out client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    Applied { replicas: usize },
    OnDisk { local: bool, replicas: usize },
}

/// How it stands with everything up to `offset`, and whether that is enough. `own_disk` is how far our own file is.
pub fn tally(need: Need, offset: ReplOffset, replicas: &Replicas, own_disk: ReplOffset) -> (Tally, bool) {
    match need {
        Need::Applied { replicas: wanted } => {
            let have = replicas.count_acked(offset);
            (Tally::Applied { replicas: have }, have >= wanted)
        }
        Need::OnDisk { local: wanted_local, replicas: wanted } => {
            let (local, have) = (own_disk >= offset, replicas.count_on_disk(offset));
            (Tally::OnDisk { local, replicas: have }, have >= wanted && (local || !wanted_local))
        }
    }
}

/// Those who wait, in the order they came.
#[derive(Debug)]
pub struct WaitList<T> {
    list: Vec<(T, ReplOffset, Need)>,
}

impl<T> Default for WaitList<T> {
    fn default() -> Self {
        Self { list: Vec::new() }
    }
}

impl<T: PartialEq> WaitList<T> {
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn add(&mut self, token: T, offset: ReplOffset, need: Need) {
        self.list.push((token, offset, need));
    }

    /// Timed out, unblocked or gone.
    pub fn remove(&mut self, token: &T) -> Option<(ReplOffset, Need)> {
        let at = self.list.iter().position(|(t, ..)| t == token)?;
        let (_, offset, need) = self.list.remove(at);
        Some((offset, need))
    }

    /// After an acknowledgement: takes out those who have what they wait for.
    pub fn satisfied(&mut self, replicas: &Replicas, own_disk: ReplOffset) -> Vec<(T, Tally)> {
        let mut done = Vec::new();
        for (token, offset, need) in std::mem::take(&mut self.list) {
            match tally(need, offset, replicas, own_disk) {
                (tally, true) => done.push((token, tally)),
                (_, false) => self.list.push((token, offset, need)),
            }
        }
        done
    }
}
