//! A radix tree of token ids: finds sequences that begin with the same tokens as a prompt. The label of a node has the tokens
//! between its parent and itself, and every sequence ends at a node. Each scope has a tree of its own, so that a look-up never
//! sees the tokens of another scope. `retained` decides which sequences are in it.

use std::collections::HashMap;

use rustc_hash::FxHashMap;

use crate::request::{PrefixScope, SequenceId, TokenId};

/// Tokens that are compared at a time.
const STRIDE: usize = 64;

/// The node at which a sequence ends. It is valid until the sequence is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeId(usize);

/// The sequences of all scopes.
#[derive(Debug, Default)]
pub(super) struct PrefixTree {
    nodes: Vec<Node>,
    /// Nodes that are not in use.
    free: Vec<usize>,
    roots: HashMap<PrefixScope, usize>,
}

#[derive(Debug, Default)]
struct Node {
    /// The tokens after the parent's.
    label: Vec<TokenId>,
    /// Absent for a root.
    parent: Option<usize>,
    /// Number of tokens from the root to the end of the label.
    depth: usize,
    /// By the first token of their labels.
    children: FxHashMap<TokenId, usize>,
    /// The sequences that end here.
    ends: Vec<SequenceId>,
}

/// How many positions a look-up may return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    /// At least this many: fewer are not worth a copy.
    pub(super) least: usize,
    /// At most this many.
    pub(super) most: usize,
}

/// The result of a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Found {
    /// The usable sequence with the longest common beginning, and how many positions of it are wanted.
    pub(super) source: Option<(SequenceId, usize)>,
    /// The longest common beginning with any sequence of the scope.
    pub(super) num_common: usize,
}

impl PrefixTree {
    /// Adds a sequence.
    pub(super) fn insert(&mut self, scope: &PrefixScope, tokens: &[TokenId], id: SequenceId) -> NodeId {
        let mut at = self.root(scope);
        loop {
            let Some(first) = tokens.get(self.nodes[at].depth) else {
                self.nodes[at].ends.push(id);
                return NodeId(at);
            };
            at = match self.nodes[at].children.get(first) {
                Some(&child) => self.enter(child, tokens),
                None => self.add_leaf(at, tokens),
            };
        }
    }

    /// Removes a sequence that ends at a node.
    pub(super) fn remove(&mut self, NodeId(at): NodeId, id: SequenceId) {
        self.nodes[at].ends.retain(|end| *end != id);
        self.tidy(at);
    }

    /// Finds the sequence of a scope with the longest common beginning, for which `usable(sequence, number of positions)` holds.
    pub(super) fn find(
        &self,
        scope: &PrefixScope,
        tokens: &[TokenId],
        Wanted { least, most }: Wanted,
        mut usable: impl FnMut(SequenceId, usize) -> bool,
    ) -> Found {
        let path = self.path(scope, tokens);
        let mut found = Found { source: None, num_common: path.last().map_or(0, |(_, common)| *common) };
        let mut below = None;
        for &(at, common) in path.iter().rev() {
            let num_positions = common.min(most);
            if num_positions < least.max(1) {
                break;
            }
            if let Some(id) = self.under(at, below).find(|id| usable(*id, num_positions)) {
                found.source = Some((id, num_positions));
                break;
            }
            below = Some(at);
        }
        found
    }

    /// Number of tokens at the end of a sequence that no other sequence has in common with it.
    pub(super) fn num_own(&self, NodeId(at): NodeId) -> usize {
        let node = &self.nodes[at];
        if node.ends.len() > 1 || !node.children.is_empty() { 0 } else { node.label.len() }
    }

    /// The other sequences whose tokens are a prefix of those of the sequence that ends at a node.
    pub(super) fn prefixes_of(&self, NodeId(at): NodeId) -> impl Iterator<Item = SequenceId> {
        let above = std::iter::successors(self.nodes[at].parent, |at| self.nodes[*at].parent);
        above.flat_map(|at| self.nodes[at].ends.iter().copied())
    }

    /// The sequences that begin with all tokens of the sequence that ends at a node, itself included.
    pub(super) fn continuations_of(&self, NodeId(at): NodeId) -> impl Iterator<Item = SequenceId> {
        self.under(at, None)
    }

    /// The sequences that end at a node.
    pub(super) fn ends_at(&self, NodeId(at): NodeId) -> impl Iterator<Item = SequenceId> {
        self.nodes[at].ends.iter().copied()
    }

    /// Number of nodes; zero without sequences.
    #[cfg(test)]
    pub(super) fn num_nodes(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    /// The nodes whose labels have tokens in common with `tokens`, and the number of common tokens from the root.
    fn path(&self, scope: &PrefixScope, tokens: &[TokenId]) -> Vec<(usize, usize)> {
        let (mut path, mut next) = (Vec::new(), self.roots.get(scope).copied());
        while let Some(at) = next {
            let node = &self.nodes[at];
            let before = node.depth - node.label.len();
            let common = before + common_prefix(&node.label, &tokens[before..]);
            path.push((at, common));
            let is_whole = common == node.depth;
            next = tokens.get(common).filter(|_| is_whole).and_then(|first| node.children.get(first)).copied();
        }
        path
    }

    /// The sequences that end at a node or below it, except those below the child `skipped`.
    fn under(&self, at: usize, skipped: Option<usize>) -> impl Iterator<Item = SequenceId> {
        let mut waiting = vec![at];
        let nodes = std::iter::from_fn(move || {
            let at = waiting.pop()?;
            waiting.extend(self.nodes[at].children.values().filter(|child| Some(**child) != skipped));
            Some(at)
        });
        nodes.flat_map(|at| self.nodes[at].ends.iter().copied())
    }

    fn root(&mut self, scope: &PrefixScope) -> usize {
        if let Some(&root) = self.roots.get(scope) {
            return root;
        }
        let root = self.add(Node::default());
        self.roots.insert(scope.clone(), root);
        root
    }

    fn add(&mut self, node: Node) -> usize {
        if let Some(at) = self.free.pop() {
            self.nodes[at] = node;
            return at;
        }
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn add_leaf(&mut self, parent: usize, tokens: &[TokenId]) -> usize {
        let label = tokens[self.nodes[parent].depth..].to_vec();
        let first = label[0];
        let leaf = self.add(Node { label, parent: Some(parent), depth: tokens.len(), ..Node::default() });
        self.nodes[parent].children.insert(first, leaf);
        leaf
    }

    /// The node at which the common beginning of `tokens` and a child's tokens ends. The child is split if that is inside of its
    /// label; it stays the node of the sequences that end at it.
    fn enter(&mut self, child: usize, tokens: &[TokenId]) -> usize {
        let node = &mut self.nodes[child];
        let before = node.depth - node.label.len();
        let num_common = common_prefix(&node.label, &tokens[before..]);
        if num_common == node.label.len() {
            return child;
        }
        let rest = node.label.split_off(num_common);
        let label = std::mem::replace(&mut node.label, rest);
        let (parent, first, second) = (node.parent, label[0], node.label[0]);
        let depth = before + num_common;
        let upper = self.add(Node {
            label,
            parent,
            depth,
            children: FxHashMap::from_iter([(second, child)]),
            ends: Vec::new(),
        });
        self.nodes[child].parent = Some(upper);
        if let Some(parent) = parent {
            self.nodes[parent].children.insert(first, upper);
        }
        upper
    }

    /// Removes a node that no sequence needs: one without children, or one with a single child, which takes over its label.
    fn tidy(&mut self, at: usize) {
        let node = &self.nodes[at];
        if !node.ends.is_empty() || node.children.len() > 1 {
            return;
        }
        let child = node.children.values().next().copied();
        match (node.parent, child) {
            (Some(parent), None) => {
                let node = self.discard(at);
                self.nodes[parent].children.remove(&node.label[0]);
                self.tidy(parent);
            }
            (Some(parent), Some(child)) => {
                let mut label = self.discard(at).label;
                self.nodes[parent].children.insert(label[0], child);
                label.append(&mut self.nodes[child].label);
                (self.nodes[child].label, self.nodes[child].parent) = (label, Some(parent));
            }
            (None, None) => {
                self.discard(at);
                self.roots.retain(|_, root| *root != at);
            }
            (None, Some(_)) => {}
        }
    }

    fn discard(&mut self, at: usize) -> Node {
        self.free.push(at);
        std::mem::take(&mut self.nodes[at])
    }
}

/// Number of tokens with which both begin.
pub(super) fn common_prefix(one: &[TokenId], other: &[TokenId]) -> usize {
    let strides = one.chunks_exact(STRIDE).zip(other.chunks_exact(STRIDE));
    let whole = strides.take_while(|(one, other)| one == other).count() * STRIDE;
    whole + one[whole..].iter().zip(&other[whole..]).take_while(|(one, other)| one == other).count()
}
