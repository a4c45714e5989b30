//! A sort of the first few of many, which leaves equal items in the order in which stock servers leave them.
//!
//! This is the quicksort of Bentley and McIlroy ("Engineering a sort function", 1993) with ranges left alone that are not
//! asked for. It is not stable, but which of several equal items are among the first is the same on every node, and so
//! is what is stored of them. Knows nothing of what it sorts.

use std::cmp::Ordering;
use std::ops::Range;

/// Fewer items are sorted by insertion.
const SMALL: usize = 7;
/// More items have their middle taken from nine.
const LARGE: usize = 40;

/// Sorts so far that the first `wanted` items are in their places; the others follow in any order.
pub fn sort_first<T>(items: &mut [T], wanted: usize, order: impl Fn(&T, &T) -> Ordering) {
    // A list instead of recursion: hostile items make it long, but cannot overflow the stack.
    let mut parts: Vec<Range<usize>> = std::iter::once(0..items.len()).collect();
    while let Some(part) = parts.pop() {
        let (start, end) = (part.start, part.end);
        let (less, greater) = partition(&mut items[part], &order);
        let both = [start..start + less, end - greater..end];
        parts.extend(both.into_iter().filter(|part| part.len() > 1 && part.start < wanted));
    }
}

/// Parts the items by one of them; how many are less and how many greater. Few are sorted at once, and none are left.
fn partition<T>(items: &mut [T], order: &impl Fn(&T, &T) -> Ordering) -> (usize, usize) {
    let len = items.len();
    if len < SMALL {
        for end in 1..len {
            let mut at = end;
            while at > 0 && order(&items[at - 1], &items[at]).is_gt() {
                items.swap(at, at - 1);
                at -= 1;
            }
        }
        return (0, 0);
    }
    items.swap(0, middle(items, order));
    // The pivot stands first. Items equal to it gather at both ends:
    //   [ equal | less | not looked at | greater | equal ]
    //           equal_left  low        high  equal_right
    let (mut equal_left, mut low, mut high, mut equal_right) = (1, 1, len - 1, len - 1);
    loop {
        while low <= high {
            match order(&items[low], &items[0]) {
                Ordering::Greater => break,
                Ordering::Equal => {
                    items.swap(equal_left, low);
                    equal_left += 1;
                }
                Ordering::Less => {}
            }
            low += 1;
        }
        while low <= high {
            match order(&items[high], &items[0]) {
                Ordering::Less => break,
                Ordering::Equal => {
                    items.swap(high, equal_right);
                    equal_right -= 1;
                }
                Ordering::Greater => {}
            }
            high -= 1;
        }
        if low > high {
            break;
        }
        items.swap(low, high);
        low += 1;
        high -= 1;
    }
    let (less, greater) = (low - equal_left, equal_right - high);
    // The equal ones go to the middle.
    let moved = equal_left.min(less);
    (0..moved).for_each(|i| items.swap(i, low - moved + i));
    let moved = greater.min(len - 1 - equal_right);
    (0..moved).for_each(|i| items.swap(low + i, len - moved + i));
    (less, greater)
}

/// Where an item stands that is likely to be near the middle.
fn middle<T>(items: &[T], order: &impl Fn(&T, &T) -> Ordering) -> usize {
    let of_three = |a: usize, b: usize, c: usize| {
        let before = |x: usize, y: usize| order(&items[x], &items[y]).is_lt();
        match before(a, b) {
            true if before(b, c) => b,
            true if before(a, c) => c,
            true => a,
            false if order(&items[b], &items[c]).is_gt() => b,
            false if before(a, c) => a,
            false => c,
        }
    };
    let (mut first, mut mid, mut last) = (0, items.len() / 2, items.len() - 1);
    if items.len() == SMALL {
        return mid;
    }
    if items.len() > LARGE {
        let step = items.len() / 8;
        first = of_three(first, first + step, first + 2 * step);
        mid = of_three(mid - step, mid, mid + step);
        last = of_three(last - 2 * step, last - step, last);
    }
    of_three(first, mid, last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_are_those_of_a_whole_sort(
            items in proptest::collection::vec(0u16..300, 0..400), wanted in 0usize..400,
        ) {
            let (mut sorted, mut partly) = (items.clone(), items);
            sorted.sort_unstable();
            sort_first(&mut partly, wanted, Ord::cmp);
            let wanted = wanted.min(sorted.len());
            prop_assert_eq!(&partly[..wanted], &sorted[..wanted]);
            partly.sort_unstable();
            prop_assert_eq!(partly, sorted);
        }

        #[test]
        fn many_equal_items_are_no_trouble(items in proptest::collection::vec(0u8..3, 0..200), wanted in 1usize..50) {
            let mut partly = items.clone();
            sort_first(&mut partly, wanted, |a, b| b.cmp(a));
            let wanted = wanted.min(items.len());
            let mut sorted = items;
            sorted.sort_unstable_by(|a, b| b.cmp(a));
            prop_assert_eq!(&partly[..wanted], &sorted[..wanted]);
        }
    }
}
