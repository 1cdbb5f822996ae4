//! On a CPU, half-precision and quantized models are computed in float32 unless `precision` is `'model'`.

use mlx_serving::config::Precision;
use mlx_serving::executor::Executor;
use mlx_serving::executor::mlx::{MlxBackend, MlxExecutor};
use mlx_serving::request::SamplingParams;

use super::driver::{ANSWER, Driver, generate};
use super::folders::{expected, folder};

/// Cases whose fixture says that float32 arithmetic on the same weights chooses the same tokens.
const HALF: [&str; 4] = ["f16", "bf16", "q8-g32", "q-mixed"];
/// Memory into which the dequantized weights of these small models fit, and memory that is too small.
const MEMORY: [Option<u64>; 3] = [None, Some(1 << 30), Some(1 << 10)];

fn open(case: &str, precision: Precision, memory: Option<u64>) -> MlxExecutor {
    let backend = MlxBackend::new().expect("a backend");
    backend.precision(precision, memory).open_mlx(&folder(case)).expect("a model")
}

#[test]
fn a_cpu_computes_in_float32_with_the_tokens_of_mlx_lm_alone_and_in_a_ragged_batch() {
    for (case, memory) in HALF.iter().flat_map(|case| MEMORY.map(|memory| (case, memory))) {
        let mut executor = open(case, Precision::Auto, memory);
        assert_eq!(executor.limits().compute_type, "float32", "{case}");
        let expected = expected(case);
        for expected in &expected {
            let tokens = generate(&mut executor, &expected.prompt, SamplingParams::GREEDY);
            assert_eq!(tokens, expected.tokens, "{case}, {memory:?}, prompt of {}", expected.prompt.len());
        }
        let mut driver = Driver::new(&mut executor);
        for (id, expected) in (0..).zip(&expected) {
            driver.add(id, &expected.prompt, SamplingParams::GREEDY);
        }
        driver.run_ahead(ANSWER);
        for (id, expected) in (0..).zip(&expected) {
            assert_eq!(driver.remove(id), expected.tokens, "{case}, {memory:?}, prompt of {}", expected.prompt.len());
        }
    }
}

#[test]
fn the_precision_of_the_model_is_used_on_request() {
    for (case, compute_type) in [("f16", "float16"), ("bf16", "bfloat16"), ("q4-g64", "bfloat16"), ("base", "float32")]
    {
        let executor = open(case, Precision::Model, None);
        assert_eq!(executor.limits().compute_type, compute_type, "{case}");
    }
}

#[test]
fn weights_are_counted_by_their_size_in_memory() {
    let bytes = |memory| open("q4-g64", Precision::Auto, memory).limits().weight_bytes;
    let stored = open("q4-g64", Precision::Model, None).limits().weight_bytes;
    let (dense, quantized) = (bytes(None), bytes(Some(1 << 10)));
    assert!(stored < quantized && 5 * quantized < 6 * stored, "{stored} {quantized}: only scales and norms grow");
    assert!(dense > 6 * stored, "{stored} {dense}");
}
