//! KV between arrays and bytes of the host, in blocks of [heads, positions, head dim].

use std::ops::Range;

use mlx_rs::ops::indexing::TryIndexOp;
use mlx_rs::transforms::eval;
use mlx_rs::{Array, Dtype};

use super::KV_BLOCK;
use crate::executor::mlx::failure::Mlx;
use crate::host_kv::{KvBlock, KvElement};

/// Keys or values of one sequence in one layer: [1, heads, capacity, head dim].
#[derive(Debug, Clone, Copy)]
pub(super) struct HostShape {
    pub(super) heads: i32,
    pub(super) capacity: i32,
    pub(super) head_dim: i32,
    pub(super) dtype: Dtype,
}

/// The type of the numbers on the host.
pub(super) fn element_of(dtype: Dtype) -> KvElement {
    match dtype {
        Dtype::Float16 => KvElement::F16,
        Dtype::Bfloat16 => KvElement::Bf16,
        _ => KvElement::F32,
    }
}

/// The bytes of a block of slots of slabs, [slots, heads, positions, head dim] each.
pub(super) fn export<'a>(slots: impl Iterator<Item = (&'a Array, i32)>, block: usize) -> Mlx<Vec<u8>> {
    let start = i32::try_from(block * KV_BLOCK).map_err(|_| "a block behind all positions")?;
    let end = start + i32::try_from(KV_BLOCK).map_err(|_| "a block of too many positions")?;
    let part = |(slab, slot): (&Array, i32)| {
        if slot >= slab.dim(0) || end > slab.dim(2) {
            return Err("a block behind the end of its slot".into());
        }
        let is_half = slab.dtype() != Dtype::Float32;
        let part = slab.try_index((slot, .., start..end, ..))?.contiguous()?;
        part.view_dtype(if is_half { Dtype::Uint16 } else { Dtype::Uint32 })
    };
    let parts = slots.map(part).collect::<Mlx<Vec<_>>>()?;
    eval(&parts)?;
    let mut bytes = Vec::with_capacity(parts.iter().map(Array::nbytes).sum());
    for part in &parts {
        let failed = |_| "KV that cannot be read";
        if part.dtype() == Dtype::Uint16 {
            bytes.extend(part.try_as_slice::<u16>().map_err(failed)?.iter().flat_map(|number| number.to_le_bytes()));
        } else {
            bytes.extend(part.try_as_slice::<u32>().map_err(failed)?.iter().flat_map(|number| number.to_le_bytes()));
        }
    }
    Ok(bytes)
}

/// An array with the same part of each block. Positions behind the blocks are zeros.
pub(super) fn import(blocks: &[KvBlock], part: &Range<usize>, shape: HostShape) -> Mlx<Array> {
    let HostShape { heads, capacity, head_dim, dtype } = shape;
    let [num_heads, num_positions, dim] = [heads, capacity, head_dim].map(|size| size.unsigned_abs() as usize);
    let position = dim * if dtype == Dtype::Float32 { 4 } else { 2 };
    let (row, run) = (num_positions * position, KV_BLOCK * position);
    if part.len() != num_heads * run || blocks.len() * KV_BLOCK > num_positions {
        return Err("KV of another size is imported".into());
    }
    let mut bytes = vec![0; num_heads * row];
    for (index, block) in blocks.iter().enumerate() {
        let block = block.0.get(part.clone()).ok_or("a block of another size is imported")?;
        for (head, run_bytes) in block.chunks_exact(run).enumerate() {
            let start = head * row + index * run;
            bytes[start..start + run].copy_from_slice(run_bytes);
        }
    }
    let shape = [1, heads, capacity, head_dim];
    if dtype == Dtype::Float32 {
        return Ok(Array::from_slice(&f32_of_bytes(&bytes), &shape));
    }
    let (pairs, _) = bytes.as_chunks::<2>();
    let numbers: Vec<u16> = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
    // Evaluated here, so that the array has memory of its own before a step writes it.
    let array = Array::from_slice(&numbers, &shape).view_dtype(dtype)?;
    array.eval()?;
    Ok(array)
}

pub(super) fn bytes_of_f32(numbers: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; size_of_val(numbers)];
    let (words, _) = bytes.as_chunks_mut::<4>();
    words.iter_mut().zip(numbers).for_each(|(word, number)| *word = number.to_le_bytes());
    bytes
}

pub(super) fn f32_of_bytes(bytes: &[u8]) -> Vec<f32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_goes_to_the_host_and_back_as_it_is() {
        for dtype in [Dtype::Float16, Dtype::Bfloat16, Dtype::Float32] {
            let numbers: Vec<f32> = (0..2 * 3 * 512 * 4).map(|at| (at as f32 * 0.37).sin()).collect();
            let slab = Array::from_slice(&numbers, &[2, 3, 512, 4]).as_dtype(dtype).expect("numbers");
            let blocks: Vec<_> = (0..2)
                .map(|block| KvBlock(export(std::iter::once((&slab, 1)), block).expect("a whole block")))
                .collect();
            let shape = HostShape { heads: 3, capacity: 1024, head_dim: 4, dtype };
            let bytes = 0..blocks[0].0.len();
            let size = if dtype == Dtype::Float32 { 4 } else { 2 };
            assert_eq!(bytes.len(), 3 * 256 * 4 * size);
            let back = import(&blocks, &bytes, shape).expect("it fits");
            assert_eq!((back.dtype(), back.shape()), (dtype, &[1, 3, 1024, 4][..]));
            let read = |array: &Array| {
                array.as_dtype(Dtype::Float32).expect("numbers").to_vec_exact::<f32>().expect("numbers")
            };
            let (expected, found) = (read(&slab), read(&back));
            for head in 0..3 {
                let expected = &expected[(3 + head) * 512 * 4..][..512 * 4];
                let (found, rest) = found[head * 1024 * 4..][..1024 * 4].split_at(512 * 4);
                assert_eq!(found, expected);
                assert!(rest.iter().all(|number| *number == 0.0));
            }
        }
    }
}
