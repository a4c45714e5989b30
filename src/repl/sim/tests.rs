//! Some hundred seeds in storm, some in fair weather.

use super::world::{Outcome, Weather, World};

/// Says which seed failed, on the way out of a panic.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}; replay with SIM_SEED={}", self.0, self.0);
        }
    }
}

fn run(seeds: std::ops::Range<u64>, weather: Weather) -> Vec<Outcome> {
    let chosen = std::env::var("SIM_SEED").ok().and_then(|seed| seed.parse().ok());
    // A long run: as many seeds as are wished for.
    let wished = std::env::var("SIM_SEEDS").ok().and_then(|n| n.parse::<u64>().ok());
    let seeds = wished.map_or(seeds.clone(), |n| seeds.start..seeds.start + n);
    let seeds = chosen.map_or(seeds, |seed| seed..seed + 1);
    seeds
        .map(|seed| {
            let _named = Named(seed);
            World::new(seed, weather, chosen.is_some()).run()
        })
        .collect()
}

#[test]
fn a_tree_comes_through_any_storm_with_one_history() {
    let outcomes = run(0..300, Weather::Storm);
    let total = |of: fn(&Outcome) -> usize| outcomes.iter().map(of).sum::<usize>();
    let (partial, missed) = (total(|o| o.stats.partial), total(|o| o.stats.missed));
    let fenced = total(|o| o.stats.fenced);
    println!("{} full, {partial} partial, {missed} missed, {fenced} fenced", total(|o| o.stats.full));
    assert!(missed * 10 <= partial, "too many partial resyncs are missed: {missed} of {partial}");
    assert!(fenced > 0, "no master lost its data");
}

#[test]
fn cut_links_and_orderly_restarts_need_no_full_resync() {
    for outcome in run(1000..1100, Weather::Fair) {
        assert_eq!(outcome.stats.full, outcome.nodes - 1, "{outcome:?}");
        assert!(outcome.stats.partial > 0);
    }
}
