//! Both forms against a plain array of registers, and bytes that nobody should have sent.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// The registers as a plain array would have them.
fn model(elements: &[u32]) -> Vec<u8> {
    let mut ranks = vec![0; REGISTERS];
    for e in elements {
        let p = place(&e.to_le_bytes());
        ranks[p.register] = p.rank.max(ranks[p.register]);
    }
    ranks
}

fn ranks_of(value: &[u8]) -> Vec<u8> {
    let mut registers = Registers::default();
    registers.raise_to(value).unwrap();
    registers.ranks().to_vec()
}

fn filled(elements: &[u32], limit: usize) -> Vec<u8> {
    let mut value = empty();
    elements.iter().for_each(|e| {
        let place = place(&e.to_le_bytes());
        let rises = improves(&value, place).unwrap();
        assert_eq!(add(&mut value, place, limit), Ok(rises));
    });
    value
}

#[test]
fn the_hash_is_the_one_that_everybody_uses() {
    for (text, hash) in [
        ("", 0xd8df_ea65_85bc_9732_u64),
        ("a", 0x53d2_470a_9b43_b1a7),
        ("hello world", 0xa919_bc30_51f6_24b7),
        ("12345678", 0x95eb_b863_8913_2953),
    ] {
        assert_eq!(murmur::murmur64a(text.as_bytes(), SEED), hash, "{text}");
    }
}

#[test]
fn an_empty_one_counts_nothing_and_says_so() {
    let value = empty();
    assert_eq!(value, b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff");
    assert_eq!((count(&value), cached(&value), form(&value)), (Ok(0), Some(0), Some(Form::Sparse)));
    assert_eq!(decode(&value).as_deref(), Ok("Z:16384"));
}

#[test]
fn the_selftest_passes() {
    let mut n = 0u64;
    let random = || {
        n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        n >> 20
    };
    assert_eq!(selftest(random, 3000, 20_000), Ok(()));
}

proptest! {
    // Each case looks at all registers several times.
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn both_forms_hold_what_a_plain_array_holds(elements in vec(0u32..5000, 0..1500), limit in 0usize..3000) {
        let (sparse, mixed) = (filled(&elements, usize::MAX), filled(&elements, limit));
        prop_assert_eq!(form(&sparse), Some(Form::Sparse));
        prop_assert!(form(&mixed) == Some(Form::Dense) || mixed.len() <= limit.max(18));
        let expect = model(&elements);
        prop_assert_eq!(&ranks_of(&sparse), &expect);
        prop_assert_eq!(&ranks_of(&mixed), &expect);
        prop_assert_eq!(count(&sparse), count(&mixed));
        let mut dense = sparse.clone();
        to_dense(&mut dense).unwrap();
        prop_assert_eq!(&ranks_of(&dense), &expect);
        prop_assert_eq!(cached(&dense), cached(&sparse));
    }

    #[test]
    fn a_union_has_seen_what_either_has(a in vec(0u32..3000, 0..600), b in vec(0u32..3000, 0..600), limit in 100usize..4000) {
        let (left, right) = (filled(&a, limit), filled(&b, limit));
        let mut registers = Registers::default();
        registers.raise_to(&left).unwrap();
        registers.raise_to(&right).unwrap();
        let mut stored = left.clone();
        registers.store(&mut stored, limit).unwrap();
        let expect = model(&[a, b].concat());
        prop_assert_eq!(registers.ranks(), &expect[..]);
        prop_assert_eq!(&ranks_of(&stored), &expect);
        prop_assert_eq!(count(&stored), Ok(registers.count()));
        // A place near the last one is found no differently from the beginning.
        let mut slow = left;
        for (register, rank) in expect.iter().copied().enumerate().filter(|(_, rank)| *rank > 0) {
            add(&mut slow, Place { register, rank }, limit).unwrap();
        }
        invalidate(&mut slow);
        prop_assert_eq!(slow, stored);
    }

    #[test]
    fn any_bytes_are_read_without_harm(body in vec(any::<u8>(), 0..200), dense in any::<bool>(), element in any::<u32>()) {
        let mut value = b"HYLL".to_vec();
        value.extend([u8::from(!dense), 0, 0, 0]);
        value.extend([0; 8]);
        value.extend(body);
        let place = place(&element.to_le_bytes());
        let _ = (count(&value), decode(&value), improves(&value, place));
        let _ = Registers::default().raise_to(&value);
        let mut changed = value.clone();
        let _ = add(&mut changed, place, 100);
        let _ = to_dense(&mut value);
    }
}
