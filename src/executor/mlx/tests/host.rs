//! KV of composed attention that goes to the host and comes back, also while moves of it have not run.

use super::super::attention::{Attention, Composed};
use super::composed::{Harness, PLAIN, windowed};
use crate::host_kv::{KvBlock, KvElement};
use crate::request::SequenceId;

const BLOCK: usize = 256;

impl Harness {
    fn retain(&mut self, id: u64) {
        self.attention.retain(SequenceId(id)).expect("retained");
    }

    fn export(&mut self, id: u64, num_blocks: usize) -> Vec<KvBlock> {
        (0..num_blocks)
            .map(|block| KvBlock(self.attention.export(SequenceId(id), block).expect("whole blocks")))
            .collect()
    }

    /// Adds a sequence that begins with exported blocks of another one.
    fn import(&mut self, blocks: &[KvBlock], from: &Self, of: u64, to: u64) {
        let (imported, count) = (SequenceId(1 << 63 | to), blocks.len() * BLOCK);
        self.attention.import(imported, blocks).expect("blocks of the layout");
        self.add(to);
        let positions = i32::try_from(count).expect("few");
        self.attention.take_over(imported, positions, SequenceId(to)).expect("taken over");
        self.sequences.insert(to, from.sequences[&of][..count].to_vec());
        self.next_seed = self.next_seed.max(from.next_seed);
    }
}

fn harness() -> Harness {
    Harness::new(vec![windowed(600), PLAIN, windowed(600)])
}

#[test]
fn another_attention_goes_on_with_exported_blocks() {
    let mut first = harness();
    first.add(0);
    first.step(&[(0, 530)]);
    let blocks = first.export(0, 2);
    let layout = first.attention.layout();
    assert_eq!((layout.element, layout.block_bytes()), (KvElement::F32, blocks[0].0.len()));
    let mut second = harness();
    second.import(&blocks, &first, 0, 1);
    second.import(&blocks[..1], &first, 0, 2);
    second.add(3);
    second.step(&[(1, 1), (2, 30), (3, 5)]);
    second.step(&[(1, 200), (2, 1), (3, 1)]);
    second.step(&[(1, 1), (2, 300), (3, 1)]);
}

#[test]
fn kv_whose_move_to_other_slots_has_not_run_is_exported() {
    let mut first = harness();
    (0..5).for_each(|id| first.add(id));
    first.step(&[(0, 300), (1, 301), (2, 302), (3, 303), (4, 20)]);
    (0..4).for_each(|id| first.retain(id));
    // The slots that they left are given to others.
    (5..9).for_each(|id| first.copy(3, 300, id));
    first.retain(7);
    first.remove(0);
    let mut second = harness();
    for of in [1, 2, 3, 5, 6, 7, 8] {
        let blocks = first.export(of, 1);
        second.import(&blocks, &first, of, of);
    }
    second.step(&[(1, 1), (2, 1), (3, 1), (5, 1), (6, 9), (7, 1), (8, 1)]);
    // The export has changed nothing.
    first.step(&[(4, 1), (5, 1), (6, 1), (8, 1)]);
    for of in [1, 5, 7] {
        let blocks = first.export(of, 1);
        second.import(&blocks, &first, of, 10 + of);
    }
    second.step(&[(11, 1), (15, 1), (17, 1)]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut first = harness();
    first.add(0);
    first.step(&[(0, 300)]);
    for (id, block) in [(0, 1 << 20), (0, 2), (9, 0)] {
        assert!(first.attention.export(SequenceId(id), block).is_err(), "block {block} of {id}");
    }
    let block = first.export(0, 1).remove(0);
    let refused = |attention: &mut Composed, blocks: &[KvBlock]| {
        attention.import(SequenceId(5), blocks).expect_err("it does not fit").what().to_owned()
    };
    assert!(refused(&mut first.attention, &[KvBlock(block.0[1..].to_vec())]).contains("size"));
    assert!(refused(&mut first.attention, &vec![block; 3]).contains("window"));
}
