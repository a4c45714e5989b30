//! A tree against a sorted vector.

use super::*;
use crate::ds::dict::Keyed;
use proptest::prelude::*;

/// The same members in a sorted vector.
#[derive(Default)]
struct Model(Vec<Member>);

fn score(m: &Member) -> (f64, &[u8]) {
    (m.score(), m.key())
}

impl Model {
    fn rank(&self, s: f64, bytes: &[u8]) -> usize {
        self.0.partition_point(|m| score(m) < (s, bytes))
    }

    fn find(&self, bytes: &[u8]) -> Option<usize> {
        self.0.iter().position(|m| m.key() == bytes)
    }

    fn check(&self, tree: &Tree) {
        assert_eq!(tree.len(), self.0.len());
        assert!(tree.iter(0..usize::MAX).map(|i| i.bytes()).eq(self.0.iter().map(Keyed::key)), "forwards");
        assert!(tree.iter(0..usize::MAX).rev().map(|i| i.bytes()).eq(self.0.iter().rev().map(Keyed::key)), "backwards");
        well_formed(tree.root.as_ref());
    }
}

/// Every first entry and every count is exact, and nothing is empty or too deep.
fn well_formed(node: Child<'_>) -> (usize, u16) {
    match node {
        Child::Leaf(leaf) => (leaf.len(), 0),
        Child::Inner(inner) => {
            assert!(inner.len() > 0);
            for i in 0..inner.len() {
                let (count, level) = well_formed(inner.child(i));
                assert!(count > 0 && count == inner.count_of(i) && level + 1 == inner.level());
                let first = match inner.child(i) {
                    Child::Leaf(leaf) => leaf.get(0),
                    Child::Inner(child) => child.first(0),
                };
                assert_eq!((first.hi, first.word), (inner.first(i).hi, inner.first(i).word));
                assert_eq!(first.order(), Entry::of(first.member()).order());
            }
            (inner.count(), inner.level())
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Adds so many, in order or not, around a score.
    Add(usize, u32, bool),
    /// Gives the member at a share of the ranks another score.
    Move(f64, f64),
    Remove(f64),
    RemoveRange(f64, f64),
}

fn scores() -> impl Strategy<Value = f64> {
    prop_oneof![
        (-50i32..50).prop_map(f64::from),
        (-3i32..3).prop_map(f64::from),
        any::<f64>().prop_filter("a number", |f| !f.is_nan()),
        // Alike in their upper 48 bits.
        (0u64..64).prop_map(|n| f64::from_bits(1f64.to_bits() + n * 1000)),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(-0.0),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1usize..400, 0u32..2000, any::<bool>()).prop_map(|(n, at, ordered)| Step::Add(n, at, ordered)),
        3 => (0.0..1.0, scores()).prop_map(|(at, s)| Step::Move(at, s)),
        2 => (0.0..1.0).prop_map(Step::Remove),
        1 => (0.0..1.0, 0.0..0.4).prop_map(|(at, n)| Step::RemoveRange(at, n)),
    ];
    proptest::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_tree_keeps_the_order_of_a_sorted_vector(steps in steps(), asked in proptest::collection::vec(scores(), 1..8)) {
        let (mut tree, mut model, mut made) = (Tree::default(), Model::default(), 0u32);
        for step in &steps {
            let len = model.0.len();
            match *step {
                Step::Add(n, around, ordered) => for i in 0..n as u32 {
                    made += 1;
                    let mixed = made.wrapping_mul(0x9e37_79b9);
                    let s = f64::from(if ordered { around + i } else { around + mixed % 97 });
                    let bytes = format!("{mixed:x}").into_bytes();
                    let m = Member::new(&bytes, s);
                    tree.insert(m.pointer(), &bytes);
                    let at = model.rank(s, &bytes);
                    model.0.insert(at, m);
                },
                Step::Move(at, s) if len > 0 => {
                    let mut m = model.0.remove((at * len as f64) as usize);
                    let (p, bytes) = (m.pointer(), m.key().to_vec());
                    tree.move_to(p, &bytes, s, || m.set_score(s));
                    let at = model.rank(s, &bytes);
                    model.0.insert(at, m);
                }
                Step::Remove(at) if len > 0 => {
                    let m = model.0.remove((at * len as f64) as usize);
                    tree.remove(m.score(), m.key());
                }
                Step::RemoveRange(at, n) => {
                    let from = (at * len as f64) as usize;
                    let to = (from + (n * len as f64) as usize).min(len);
                    let mut gone = Vec::new();
                    tree.remove_range(from..to, |m| gone.push(m));
                    let expect: Vec<_> = model.0.drain(from..to).collect();
                    assert!(gone.iter().copied().eq(expect.iter().map(Member::pointer)));
                }
                Step::Move(..) | Step::Remove(_) => {}
            }
            model.check(&tree);
        }
        for s in asked {
            prop_assert_eq!(tree.rank_of(&AtScore::before(s)), model.0.partition_point(|m| m.score() < s));
            prop_assert_eq!(tree.rank_of(&AtScore::behind(s)), model.0.partition_point(|m| m.score() <= s));
        }
        for m in model.0.iter().step_by(7) {
            let rank = model.find(m.key()).unwrap();
            prop_assert_eq!(tree.rank_of(&At::new(m.score(), m.key())), rank);
            prop_assert_eq!(tree.iter(rank..rank + 1).next().map(|i| i.bytes()), Some(m.key()));
        }
        let built = Tree::from_members(&model.0.iter().rev().map(Member::pointer).collect::<Vec<_>>());
        model.check(&built);
    }

    #[test]
    fn members_of_one_score_are_found_by_their_bytes(n in 0usize..500, asked in "[0-9a-f]{0,4}") {
        let mut members: Vec<Member> = (0..n as u32).map(|i| Member::new(format!("{:x}", i * 7).as_bytes(), 1.5)).collect();
        members.sort_by(|a, b| a.key().cmp(b.key()));
        let tree = Tree::from_members(&members.iter().map(Member::pointer).collect::<Vec<_>>());
        let asked = asked.as_bytes();
        prop_assert_eq!(tree.rank_of(&AtBytes::before(asked)), members.partition_point(|m| m.key() < asked));
        prop_assert_eq!(tree.rank_of(&AtBytes::behind(asked)), members.partition_point(|m| m.key() <= asked));
    }
}

#[test]
fn long_members_keep_their_bytes() {
    for len in [0, 1, 254, 255, 256, 70_000] {
        let bytes = vec![b'x'; len];
        let m = Member::new(&bytes, -1.0);
        assert_eq!((m.key(), m.score()), (&bytes[..], -1.0));
    }
}

#[test]
fn scores_keep_their_order_in_48_bits() {
    let rising = [f64::NEG_INFINITY, f64::MIN, -1.0, -1e-300, -0.0, 1e-300, 0.5, 1.0, 2e9, f64::MAX, f64::INFINITY];
    for pair in rising.windows(2) {
        assert!(entry::order_of(pair[0]) < entry::order_of(pair[1]), "{pair:?}");
    }
    assert_eq!(entry::order_of(-0.0), entry::order_of(0.0));
}

/// What the tree takes per member: in order, both ways, and at random.
#[test]
fn leaves_stay_well_filled() {
    for (name, most) in [("rising", 13.0), ("falling", 13.0), ("random", 15.0)] {
        let n = 50_000u32;
        let mut tree = Tree::default();
        let members: Vec<Member> = (0..n)
            .map(|i| match name {
                "rising" => i,
                "falling" => n - i,
                _ => i.wrapping_mul(0x9e37_79b9),
            })
            .map(|s| Member::new(b"m", f64::from(s)))
            .collect();
        for m in &members {
            tree.insert(m.pointer(), b"m");
        }
        let each = tree.memory_bytes() as f64 / f64::from(n);
        assert!(each < most, "{name}: {each} bytes a member");
    }
}
