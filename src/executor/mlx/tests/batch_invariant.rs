//! Measuring which numbers of rows give equal products, and cutting products into these.

use mlx_rs::ops::{add, matmul};
use mlx_rs::random::{key, normal};
use mlx_rs::{Array, Dtype};

use super::super::batch_invariant::InvariantBlocks;
use super::super::failure::Mlx;

const SIZE: [i32; 2] = [64, 96];

/// A product whose results differ slightly if `differs` is true for its number of rows.
fn product(differs: fn(i32) -> bool) -> impl Fn(&Array) -> Mlx<Array> {
    let weight = normal::<f32>(&SIZE, None, None, &key(1).expect("a key")).expect("a weight");
    move |x| {
        let bias = if differs(x.dim(0)) { 1e-6 } else { 0.0 };
        add(matmul(x, &weight)?, Array::from_f32(bias))
    }
}

fn measured(differs: fn(i32) -> bool) -> InvariantBlocks {
    InvariantBlocks::measure(SIZE, Dtype::Float32, product(differs)).expect("a measurement")
}

#[test]
fn block_sizes_are_the_largest_range_with_equal_results() {
    assert_eq!(measured(|_| false), InvariantBlocks(vec![4, 8, 16, 32, 64, 128, 256, 512, 1024]));
    assert_eq!(measured(|rows| !(16..256).contains(&rows)), InvariantBlocks(vec![16, 32, 64, 128]));
    assert_eq!(measured(|rows| rows == 64 || rows == 16), InvariantBlocks(vec![32]));
}

/// A product in which the results at two places differ if `kind` of the places differs.
fn measured_by_place(kind: fn(i32) -> i32) -> InvariantBlocks {
    let by_place = |x: &Array| {
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let kinds: Vec<_> = (0..x.dim(0)).map(|row| kind(row) as f32).collect();
        add(x, Array::from_slice(&kinds, &[x.dim(0), 1]))
    };
    InvariantBlocks::measure([8, 8], Dtype::Float32, by_place).expect("a measurement")
}

#[test]
fn blocks_are_small_enough_that_all_places_give_equal_results() {
    assert_eq!(measured_by_place(|row| row / 16), InvariantBlocks(vec![4, 8, 16]));
    assert_eq!(measured_by_place(|row| row / 12), InvariantBlocks(vec![4, 8]));
    assert_eq!(measured_by_place(|row| row), InvariantBlocks(vec![1]));
}

#[test]
fn a_cut_product_equals_the_whole_product_for_any_number_of_rows() {
    let (blocks, product) = (InvariantBlocks(vec![8, 32, 64]), product(|_| false));
    let x = normal::<f32>(&[200, SIZE[0]], None, None, &key(2).expect("a key")).expect("rows");
    for rows in [1, 8, 9, 31, 33, 64, 97, 200] {
        let of_rows = mlx_rs::ops::indexing::take_axis(&x, Array::arange::<_, i32>(None, rows, None).expect("rows"), 0);
        let of_rows = of_rows.expect("rows");
        let cut = blocks.apply(&of_rows, &product).expect("a product");
        assert_eq!(cut.shape(), [rows, SIZE[1]]);
        assert!(cut.all_close(product(&of_rows).expect("a product"), 1e-4, 1e-4, false).expect("close"), "{rows} rows");
    }
}

#[test]
fn rows_are_cut_into_few_products_that_waste_little() {
    let blocks = InvariantBlocks(vec![8, 16, 32, 64, 128]);
    let cases: [(i32, &[i32]); 9] = [
        (1, &[8]),
        (9, &[16]),
        (20, &[16, 8]),
        (31, &[32]),
        (33, &[32, 8]),
        (60, &[64]),
        (100, &[64, 32, 8]),
        (128, &[128]),
        (300, &[128, 128, 32, 16]),
    ];
    for (rows, expected) in cases {
        assert_eq!(blocks.cut(rows), expected, "{rows} rows");
    }
    assert_eq!(InvariantBlocks(vec![32]).cut(65), [32, 32, 32], "with one block size");
}
