//! Latency spikes: when an event took longer than `latency-monitor-threshold`, and how long. Knows no event by name.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// Samples kept of one event.
const KEPT: usize = 160;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    pub at_s: i64,
    pub took_ms: u64,
}

/// One event's samples, oldest first, and the longest ever.
#[derive(Clone, Debug, Default)]
pub struct Spiked {
    pub samples: Vec<Sample>,
    pub max_ms: u64,
}

#[derive(Default)]
pub struct Spikes {
    events: Mutex<BTreeMap<&'static str, Spiked>>,
}

impl Spikes {
    /// One sample a second: the longest of it.
    pub fn add(&self, event: &'static str, at_s: i64, took_ms: u64) {
        let mut events = self.events.lock();
        let e = events.entry(event).or_default();
        e.max_ms = e.max_ms.max(took_ms);
        match e.samples.last_mut() {
            Some(last) if last.at_s == at_s => last.took_ms = last.took_ms.max(took_ms),
            _ => {
                if e.samples.len() == KEPT {
                    e.samples.remove(0);
                }
                e.samples.push(Sample { at_s, took_ms });
            }
        }
    }

    pub fn of(&self, event: &str) -> Option<Spiked> {
        self.events.lock().get(event).cloned()
    }

    pub fn all(&self) -> Vec<(&'static str, Spiked)> {
        self.events.lock().iter().map(|(name, e)| (*name, e.clone())).collect()
    }

    /// Forgets these events, or all if none is named; gives how many there were.
    pub fn reset(&self, names: &[String]) -> usize {
        let mut events = self.events.lock();
        let before = events.len();
        events.retain(|name, _| !names.is_empty() && !names.iter().any(|n| n == name));
        before - events.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_keeps_its_longest_and_an_event_its_last_samples() {
        let spikes = Spikes::default();
        for (at_s, took_ms) in [(1, 10), (1, 30), (1, 20), (2, 5)] {
            spikes.add("command", at_s, took_ms);
        }
        let e = spikes.of("command").unwrap();
        assert_eq!(e.samples, [Sample { at_s: 1, took_ms: 30 }, Sample { at_s: 2, took_ms: 5 }]);
        assert_eq!(e.max_ms, 30);
        (3..1000).for_each(|at_s| spikes.add("command", at_s, 1));
        assert_eq!(spikes.of("command").unwrap().samples.len(), KEPT);
        assert_eq!(spikes.reset(&["other".into()]), 0);
        assert_eq!(spikes.reset(&[]), 1);
        assert!(spikes.all().is_empty());
    }
}
