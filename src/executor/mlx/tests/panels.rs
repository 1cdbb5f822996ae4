//! Panels give the results of the whole weight.

use mlx_rs::Array;
use mlx_rs::ops::matmul;

use super::super::panels::Panels;

fn pattern(len: i32) -> Vec<f32> {
    #[allow(clippy::cast_possible_truncation)]
    (0..len).map(|at| (f64::from(at * 7919 % 1009) / 504.5 - 1.0) as f32).collect()
}

#[test]
fn panels_give_the_same_bits_as_the_whole_weight() {
    let (outputs, inputs) = (1536, 96);
    let weight = Array::from_slice(&pattern(outputs * inputs), &[outputs, inputs]);
    let panels = Panels::cut(&weight).expect("panels");
    for rows in 1..=8 {
        let x = Array::from_slice(&pattern(rows * inputs), &[rows, inputs]);
        let cut = panels.apply(&x).expect("so many rows use panels").expect("a product");
        let whole = matmul(&x, weight.t()).expect("a product");
        assert_eq!(cut.shape(), whole.shape());
        let bits = |array: Array| -> Vec<u32> {
            array.to_vec_exact::<f32>().expect("values").into_iter().map(f32::to_bits).collect()
        };
        assert_eq!(bits(cut), bits(whole), "{rows} rows");
    }
}

#[test]
fn small_weights_and_many_rows_are_left_whole() {
    let whole = |outputs, rows| {
        let weight = Array::from_slice(&pattern(outputs * 8), &[outputs, 8]);
        let x = Array::from_slice(&pattern(rows * 8), &[rows, 8]);
        Panels::cut(&weight).expect("panels").apply(&x).is_none()
    };
    assert!(whole(1024, 1) && whole(128, 8), "small weights");
    assert!(whole(1 << 12, 9), "many rows");
    assert!(whole(2039, 1), "a prime number of outputs");
}
