//! Allocation of slots to sequences, and moves of KV between slots.

use super::super::attention::kinds::{Full, KvKind, Window};
use super::super::attention::pool::{Growth, Move, Pool};
use crate::request::SequenceId;

/// A pool whose slabs have `(slots, positions)` in place of memory.
type Slabs = Pool<(i32, i32)>;

fn grow(pool: &mut Slabs, sequences: &[(u64, i32, i32)]) -> Vec<Move<(i32, i32)>> {
    let growth = |&(id, start, end)| Growth { sequence: SequenceId(id), start, end };
    let growths: Vec<_> = sequences.iter().map(growth).collect();
    pool.grow(&growths, |slots, positions| Ok((slots, positions))).expect("room")
}

fn compact(pool: &mut Slabs) -> Vec<Move<(i32, i32)>> {
    pool.compact(|slots, positions| Ok((slots, positions))).expect("room")
}

fn full() -> Slabs {
    Pool::new(Box::new(Full), 1)
}

fn slots(pool: &Slabs, ids: impl Iterator<Item = u64>) -> Vec<(u32, i32)> {
    ids.map(|id| pool.slot(SequenceId(id)).map(|slot| (slot.slab, slot.index)).expect("a slot")).collect()
}

#[test]
fn sequences_that_join_together_get_neighbouring_slots() {
    let mut pool = full();
    let joining: Vec<_> = (0..20).map(|id| (id, 0, 100)).collect();
    assert_eq!(grow(&mut pool, &joining), []);
    let expected: Vec<_> = (0..20).map(|slot| (0, slot)).collect();
    assert_eq!(slots(&pool, 0..20), expected);
}

#[test]
fn joining_and_leaving_moves_no_other_sequence() {
    let mut pool = full();
    grow(&mut pool, &[(0, 0, 100), (1, 0, 100), (2, 0, 100)]);
    let before = slots(&pool, [0, 2].into_iter());
    pool.release(SequenceId(1));
    let moves = grow(&mut pool, &[(0, 100, 101), (2, 100, 101), (3, 0, 100), (4, 0, 700)]);
    assert!(moves.iter().all(|moved| moved.from.is_none()), "{moves:?}");
    assert_eq!(slots(&pool, [0, 2].into_iter()), before);
    assert_eq!(slots(&pool, [3].into_iter()), [(0, 1)], "in the slot that became free");
}

#[test]
fn a_long_sequence_gets_its_own_slab_and_does_not_grow_slots_of_short_ones() {
    let mut pool = full();
    let short: Vec<_> = (0..31).map(|id| (id, 0, 100)).collect();
    grow(&mut pool, &short);
    let before = pool.bytes();
    grow(&mut pool, &[(99, 0, 20_000)]);
    assert_eq!(pool.bytes() - before, 32_768);
}

#[test]
fn a_sequence_that_outgrows_its_slot_moves_with_its_kv() {
    let mut pool = full();
    grow(&mut pool, &[(0, 0, 256), (1, 0, 10)]);
    let moves = grow(&mut pool, &[(0, 256, 257), (1, 10, 11)]);
    let [outgrown] = &moves[..] else { panic!("{moves:?}") };
    let from = outgrown.from.as_ref().expect("a copy");
    assert_eq!((from.memory.1, outgrown.to.memory.1, outgrown.count), (256, 512, 256));
}

#[test]
fn slots_of_a_windowed_layer_stop_growing_at_the_window() {
    let mut pool: Slabs = Pool::new(Box::new(Window(1000)), 1);
    grow(&mut pool, &[(0, 0, 600)]);
    assert_eq!(pool.bytes(), 1000);
    assert_eq!(grow(&mut pool, &[(0, 600, 5000)]), []);
    assert_eq!(pool.bytes(), 1000);
}

#[test]
fn slabs_are_merged_by_one_move_at_a_time() {
    let mut pool = full();
    for id in 0..32 {
        grow(&mut pool, &[(id, 0, 100)]);
        compact(&mut pool);
    }
    while let Some(moved) = compact(&mut pool).pop() {
        assert_eq!((moved.from.is_some(), moved.count), (true, 100));
    }
    let slabs: std::collections::BTreeSet<_> = slots(&pool, 0..32).into_iter().map(|(slab, _)| slab).collect();
    assert_eq!((slabs.len(), pool.bytes()), (1, 32 * 256));
}

/// KV left by a released sequence is masked for the next one, but masked NaN still makes the result NaN.
#[test]
fn a_used_slot_is_cleared_before_another_sequence_gets_it() {
    for (mut pool, kept) in [(full(), 200), (Pool::new(Box::new(Window(150)), 1), 150)] {
        grow(&mut pool, &[(0, 0, 100), (1, 0, 190)]);
        grow(&mut pool, &[(1, 190, 200)]);
        pool.release(SequenceId(1));
        let moves = grow(&mut pool, &[(2, 0, 10)]);
        let [Move { from: None, to, count }] = &moves[..] else { panic!("{moves:?}") };
        assert_eq!((to.index, *count), (1, kept));
        assert_eq!(grow(&mut pool, &[(2, 10, 11), (3, 0, 5)]), [], "an unused slot has zeros");
    }
    let mut pool = full();
    grow(&mut pool, &[(0, 0, 100), (1, 0, 256)]);
    assert_eq!(grow(&mut pool, &[(1, 256, 257)]).len(), 1, "the sequence outgrows its slot and leaves its KV there");
    let moves = grow(&mut pool, &[(2, 0, 10)]);
    assert!(matches!(&moves[..], [Move { from: None, count: 256, .. }]), "{moves:?}");
}

#[test]
fn empty_slabs_are_freed() {
    let mut pool = full();
    grow(&mut pool, &[(0, 0, 100), (1, 0, 300), (2, 0, 300)]);
    pool.release(SequenceId(0));
    assert_eq!(pool.bytes(), 2 * 512);
    pool.release(SequenceId(2));
    pool.release(SequenceId(1));
    pool.release(SequenceId(1));
    assert_eq!(pool.bytes(), 0);
}

#[test]
fn large_slots_are_allocated_one_by_one() {
    let mut pool: Slabs = Pool::new(Box::new(Full), 100_000);
    for id in 0..3 {
        grow(&mut pool, &[(id, 0, 8_000)]);
    }
    assert_eq!(pool.bytes(), 3 * 8192 * 100_000);
}

/// A new sequence took the slot that a move to a larger slab had just freed, so it had to move as well.
#[test]
fn a_new_sequence_gets_no_slot_of_a_slab_that_is_being_emptied() {
    let mut pool = full();
    let mut num_moves = 0;
    for id in 0..24 {
        grow(&mut pool, &[(id, 0, 100)]);
        num_moves += compact(&mut pool).len();
    }
    num_moves += std::iter::from_fn(|| compact(&mut pool).pop()).count();
    assert!(num_moves <= 32, "{num_moves} moves");
    assert_eq!(pool.bytes(), 32 * 256);
}

#[test]
fn slabs_shrink_if_free_slots_exceed_the_spare_bytes() {
    let mut pool = full();
    pool.set_spare_bytes(4 * 256);
    let joining: Vec<_> = (0..16).map(|id| (id, 0, 100)).collect();
    grow(&mut pool, &joining);
    assert!(pool.bytes() <= (16 + 4) * 256, "{}", pool.bytes());
    (1..16).for_each(|id| pool.release(SequenceId(id)));
    for _ in 0..16 {
        compact(&mut pool);
    }
    assert!(pool.bytes() <= (1 + 4) * 256, "{}", pool.bytes());
}

/// Free slots were kept as long as one sequence of their slab ran, up to 512 MB in each slab.
#[test]
fn growth_adds_no_free_slots_beyond_the_spare_bytes() {
    let mut chance = 12345_u64;
    let mut below = |limit: u64| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (chance >> 33) % limit
    };
    let spare = 3000;
    let mut pool = full();
    pool.set_spare_bytes(spare);
    let mut lengths: std::collections::BTreeMap<u64, i32> = std::collections::BTreeMap::new();
    for id in 0..2000 {
        let ids: Vec<u64> = lengths.keys().copied().collect();
        if below(3) == 0 || ids.is_empty() {
            let end = i32::try_from(1 + below(1500)).expect("few");
            lengths.insert(id, end);
            let before = pool.bytes();
            grow(&mut pool, &[(id, 0, end)]);
            let held: u64 = lengths.values().map(|end| u64::from(Full.capacity(*end).unsigned_abs())).sum();
            assert!(pool.bytes() <= before.max(held + spare), "{} of {held} held", pool.bytes());
        } else if below(2) == 0 {
            let gone = ids[usize::try_from(below(ids.len() as u64)).expect("few")];
            pool.release(SequenceId(gone));
            lengths.remove(&gone);
        } else {
            let of = ids[usize::try_from(below(ids.len() as u64)).expect("few")];
            let start = lengths[&of];
            lengths.insert(of, start + 90);
            grow(&mut pool, &[(of, start, start + 90)]);
        }
        compact(&mut pool);
        let names: std::collections::BTreeSet<_> = slots(&pool, lengths.keys().copied()).into_iter().collect();
        assert_eq!(names.len(), lengths.len(), "each has a slot of its own");
    }
}

fn retain(pool: &mut Slabs, id: u64) -> Vec<Move<(i32, i32)>> {
    pool.retain(SequenceId(id), |slots, positions| Ok((slots, positions))).expect("room")
}

fn take_over(pool: &mut Slabs, from: u64, num_positions: i32, to: u64) -> Vec<Move<(i32, i32)>> {
    let make = |slots, positions| Ok((slots, positions));
    pool.take_over(SequenceId(from), num_positions, SequenceId(to), make).expect("room")
}

#[test]
fn retained_sequences_free_their_slots_for_new_rows() {
    let mut pool = full();
    let joining: Vec<_> = (0..8).map(|id| (id, 0, 100)).collect();
    grow(&mut pool, &joining);
    for id in [1, 3, 5] {
        let moves = retain(&mut pool, id);
        let last = moves.last().expect("a copy");
        assert_eq!((last.from.is_some(), last.count), (true, 100));
    }
    grow(&mut pool, &[(10, 0, 100), (11, 0, 100), (12, 0, 100)]);
    let rows: std::collections::BTreeSet<_> =
        slots(&pool, [0, 2, 4, 6, 7, 10, 11, 12].into_iter()).into_iter().collect();
    assert_eq!(rows, (0..8).map(|slot| (0, slot)).collect(), "new rows get the slots of retained ones");
    while compact(&mut pool).pop().is_some() {}
    assert!(slots(&pool, [1, 3, 5].into_iter()).iter().all(|(slab, _)| *slab != 0));
}

#[test]
fn a_long_sequence_is_retained_and_taken_over_without_a_copy() {
    for (mut pool, end) in
        [(Pool::new(Box::new(Full), 100_000), 8_000), (Pool::new(Box::new(Window(8_000)), 100_000), 9_000)]
    {
        grow(&mut pool, &[(0, 0, end)]);
        let before = (pool.bytes(), pool.slot(SequenceId(0)));
        assert_eq!(retain(&mut pool, 0), []);
        assert_eq!(take_over(&mut pool, 0, end, 1), []);
        assert_eq!((pool.bytes(), pool.slot(SequenceId(1))), before);
        assert_eq!(pool.slot(SequenceId(0)), None);
        assert_eq!(grow(&mut pool, &[(1, end, end + 1)]), []);
        pool.release(SequenceId(1));
        assert_eq!(pool.bytes(), 0);
    }
}

#[test]
fn a_short_sequence_that_is_taken_over_joins_the_rows() {
    let mut pool = full();
    grow(&mut pool, &[(0, 0, 100), (1, 0, 100), (2, 0, 100), (3, 0, 100)]);
    (1..4).for_each(|id| drop(retain(&mut pool, id)));
    while compact(&mut pool).pop().is_some() {}
    let others = slots(&pool, 2..4);
    take_over(&mut pool, 1, 90, 4);
    while compact(&mut pool).pop().is_some() {}
    let rows = slots(&pool, [0, 4].into_iter());
    assert_eq!(rows[0].0, rows[1].0, "one slab");
    assert!(others.iter().all(|(slab, _)| *slab != rows[0].0));
    assert_eq!(pool.slot(SequenceId(1)), None);
}

#[test]
fn a_window_that_has_moved_cannot_be_taken_over_in_part() {
    let mut pool = Pool::new(Box::new(Window(150)), 1);
    grow(&mut pool, &[(0, 0, 200)]);
    retain(&mut pool, 0);
    assert!(pool.take_over(SequenceId(0), 190, SequenceId(1), |slots, positions| Ok((slots, positions))).is_err());
}
