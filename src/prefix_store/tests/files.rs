//! A file is used only if it is whole and has the expected key and layout.

use super::super::file::{decode, encode};
use super::*;

fn file() -> (BlockKey, Vec<u8>) {
    let key = keys(1, 1)[0];
    (key, encode(key, &layout(), &block(5)).expect("a block of the layout"))
}

#[test]
fn a_file_is_read_as_it_was_written() {
    let (key, bytes) = file();
    assert_eq!(decode(key, &layout(), &bytes), Some(block(5)));
    safetensors::SafeTensors::deserialize(&bytes).expect("other programs can read it");
}

#[test]
fn a_file_with_any_bit_changed_is_refused() {
    let (key, mut bytes) = file();
    for at in 0..bytes.len() {
        for bit in [0, 7] {
            bytes[at] ^= 1 << bit;
            assert_eq!(decode(key, &layout(), &bytes), None, "byte {at}");
            bytes[at] ^= 1 << bit;
        }
    }
}

#[test]
fn a_file_that_was_cut_or_extended_is_refused() {
    let (key, bytes) = file();
    for len in 0..bytes.len() {
        assert_eq!(decode(key, &layout(), &bytes[..len]), None, "{len} bytes");
    }
    assert_eq!(decode(key, &layout(), &[&bytes[..], &[0]].concat()), None);
}

#[test]
fn a_file_of_another_key_or_layout_is_refused() {
    let (key, bytes) = file();
    assert_eq!(decode(keys(2, 1)[0], &layout(), &bytes), None);
    let change = |change: fn(&mut KvLayout)| {
        let mut layout = (*layout()).clone();
        change(&mut layout);
        decode(key, &layout, &bytes)
    };
    assert_eq!(change(|_| ()), Some(block(5)));
    assert_eq!(change(|layout| layout.element = KvElement::Bf16), None);
    assert_eq!(change(|layout| drop(layout.tensors.pop())), None);
    assert_eq!(change(|layout| layout.tensors[0].name.push('x')), None);
    assert_eq!(change(|layout| layout.tensors[0].shape = vec![BLOCK, 2, 3]), None);
    assert_eq!(change(|layout| layout.tensors.swap(0, 1)), None);
}

#[test]
fn a_block_of_another_size_is_not_written() {
    assert_eq!(encode(keys(1, 1)[0], &layout(), &KvBlock(vec![0; 7])), None);
}
