use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::request::PrefixScope;
use crate::scheduler::prefix_tree::{NodeId, PrefixTree, Wanted, common_prefix};

const ANY: Wanted = Wanted { least: 1, most: usize::MAX };

fn scope(name: &str) -> PrefixScope {
    PrefixScope(Some(name.into()))
}

#[test]
fn a_look_up_finds_the_sequence_with_the_longest_common_beginning() {
    let mut tree = PrefixTree::default();
    for (id, tokens) in [(1, &[1, 2, 3, 4][..]), (2, &[1, 2, 5]), (3, &[9])] {
        tree.insert(&scope("a"), tokens, seq(id));
    }
    let find = |tokens: &[u32]| tree.find(&scope("a"), tokens, ANY, |_, _| true);
    assert_eq!(find(&[1, 2, 3, 4, 5]).source, Some((seq(1), 4)));
    assert_eq!(find(&[1, 2, 3, 9]).source, Some((seq(1), 3)), "the common tokens end inside a label");
    assert_eq!(find(&[1, 2, 5, 5]).source, Some((seq(2), 3)));
    assert_eq!((find(&[7]).source, find(&[7]).num_common), (None, 0));
}

#[test]
fn a_look_up_skips_unusable_sequences_and_finds_one_with_less_in_common() {
    let mut tree = PrefixTree::default();
    tree.insert(&scope("a"), &[1, 2, 3, 4], seq(1));
    tree.insert(&scope("a"), &[1, 2], seq(2));
    let found = tree.find(&scope("a"), &[1, 2, 3, 4, 5], ANY, |id, _| id == seq(2));
    assert_eq!((found.source, found.num_common), (Some((seq(2), 2)), 4));
    let limited = tree.find(&scope("a"), &[1, 2, 3, 4, 5], Wanted { least: 3, most: 3 }, |id, _| id == seq(2));
    assert_eq!(limited.source, None, "too short");
}

#[test]
fn tokens_of_another_scope_are_not_found() {
    let mut tree = PrefixTree::default();
    tree.insert(&scope("a"), &[1, 2, 3], seq(1));
    for other in [scope("b"), PrefixScope::default()] {
        assert_eq!(tree.find(&other, &[1, 2, 3], ANY, |_, _| true).num_common, 0);
    }
}

/// The common beginning is compared in strides and then by tokens.
#[test]
fn the_common_beginning_is_exact_at_every_length() {
    for len in [0, 1, 63, 64, 65, 127, 128, 129, 300] {
        let one: Vec<u32> = (0..len).collect();
        let other: Vec<u32> = one.iter().copied().chain([7_000, 1]).collect();
        assert_eq!(common_prefix(&one, &other), len as usize);
        let differing: Vec<u32> = one.iter().copied().chain([9_000]).collect();
        assert_eq!(common_prefix(&differing, &other), len as usize);
    }
}

/// A call to the tree.
#[derive(Debug, Clone)]
enum Call {
    Insert(u8, Vec<u32>),
    /// The index of a stored sequence, modulo their number.
    Remove(usize),
    Find {
        scope: u8,
        tokens: Vec<u32>,
        least: usize,
        most: usize,
        modulus: u64,
    },
}

fn tokens() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(prop_oneof![4 => Just(1_u32), 1 => 2..4_u32], 1..40)
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        4 => (0..3_u8, tokens()).prop_map(|(scope, tokens)| Call::Insert(scope, tokens)),
        3 => any::<usize>().prop_map(Call::Remove),
        4 => (0..3_u8, tokens(), 1..6_usize, 1..50_usize, 1..4_u64)
            .prop_map(|(scope, tokens, least, most, modulus)| Call::Find { scope, tokens, least, most, modulus }),
    ]
}

/// The stored sequences, in a list.
#[derive(Default)]
struct Reference(Vec<(u8, Vec<u32>, SequenceId, NodeId)>);

impl Reference {
    fn longest(&self, scope: u8, tokens: &[u32], is_usable: impl Fn(SequenceId) -> bool) -> usize {
        let of_scope = self.0.iter().filter(|(of, _, id, _)| *of == scope && is_usable(*id));
        of_scope.map(|(_, stored, ..)| stored.iter().zip(tokens).take_while(|(a, b)| a == b).count()).max().unwrap_or(0)
    }

    fn num_own(&self, index: usize) -> usize {
        let (scope, tokens, id, _) = &self.0[index];
        tokens.len() - self.longest(*scope, tokens, |other| other != *id)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_tree_agrees_with_a_list_of_sequences(calls in prop::collection::vec(call(), 0..300)) {
        let (mut tree, mut reference) = (PrefixTree::default(), Reference::default());
        let names: HashMap<u8, PrefixScope> = (0..3).map(|at| (at, scope(&at.to_string()))).collect();
        for (number, call) in calls.into_iter().enumerate() {
            match call {
                Call::Insert(scope, tokens) => {
                    let id = seq(number as u64);
                    let node = tree.insert(&names[&scope], &tokens, id);
                    reference.0.push((scope, tokens, id, node));
                }
                Call::Remove(index) if !reference.0.is_empty() => {
                    let (_, _, id, node) = reference.0.swap_remove(index % reference.0.len());
                    tree.remove(node, id);
                }
                Call::Remove(_) => {}
                Call::Find { scope, tokens, least, most, modulus } => {
                    let is_usable = |id: SequenceId| id.0.is_multiple_of(modulus);
                    let found = tree.find(&names[&scope], &tokens, Wanted { least, most }, |id, _| is_usable(id));
                    prop_assert_eq!(found.num_common, reference.longest(scope, &tokens, |_| true));
                    let longest = reference.longest(scope, &tokens, is_usable).min(most);
                    prop_assert_eq!(found.source.map_or(0, |(_, num)| num), if longest >= least { longest } else { 0 });
                    if let Some((id, num_positions)) = found.source {
                        let stored = reference.0.iter().find(|(of, _, other, _)| *of == scope && *other == id);
                        prop_assert!(stored.is_some_and(|(_, stored, ..)| stored[..num_positions] == tokens[..num_positions]));
                    }
                }
            }
            for index in 0..reference.0.len() {
                prop_assert_eq!(tree.num_own(reference.0[index].3), reference.num_own(index));
            }
        }
        for (_, _, id, node) in reference.0 {
            tree.remove(node, id);
        }
        prop_assert_eq!(tree.num_nodes(), 0, "nothing is left");
    }
}
