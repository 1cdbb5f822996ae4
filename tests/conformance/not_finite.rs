//! A row with NaN or infinite logits gets no token. Rows in the same step and in later steps get the same tokens as alone.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use mlx_serving::config::Precision;
use mlx_serving::executor::mlx::{AttentionKind, MlxBackend, MlxExecutor};
use mlx_serving::hub::open_folder;
use mlx_serving::request::{SamplingParams, TokenId};
use mlx_serving::text::{ModelText, StructuredOutput};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize_to_file};
use tempfile::TempDir;

use super::driver::{ANSWER, Driver};
use super::folders::{expected, path};

const EMBEDDING: &str = "model.embed_tokens";
const HOT: SamplingParams = SamplingParams { temperature: 0.8, seed: 5, ..SamplingParams::GREEDY };

/// The same model, except that the embedding of one token is NaN. The head is unchanged.
fn with_nan_token(model: &Path, token: TokenId) -> TempDir {
    let place = tempfile::tempdir().expect("a folder");
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(model.join(name), place.path().join(name)).expect("a copy");
    }
    let bytes = std::fs::read(model.join("model.safetensors")).expect("weights");
    let weights = SafeTensors::deserialize(&bytes).expect("tensors");
    let mut tensors: HashMap<String, (Dtype, Vec<usize>, Vec<u8>)> = HashMap::new();
    for (name, tensor) in weights.iter() {
        let head = name.replace(EMBEDDING, "lm_head");
        if weights.tensor("lm_head.weight").is_err() {
            tensors.insert(head, (tensor.dtype(), tensor.shape().to_vec(), tensor.data().to_vec()));
        }
        let mut data = tensor.data().to_vec();
        if name == format!("{EMBEDDING}.weight") || name == format!("{EMBEDDING}.scales") {
            let width = data.len() / tensor.shape()[0];
            let row = &mut data[token as usize * width..][..width];
            match tensor.dtype() {
                Dtype::F32 => row.as_chunks_mut().0.fill(f32::NAN.to_le_bytes()),
                Dtype::F16 => row.as_chunks_mut().0.fill(0x7e00_u16.to_le_bytes()),
                Dtype::BF16 => row.as_chunks_mut().0.fill(0x7fc0_u16.to_le_bytes()),
                _ => {}
            }
        }
        tensors.insert(name.to_owned(), (tensor.dtype(), tensor.shape().to_vec(), data));
    }
    let views = tensors.iter().map(|(name, (dtype, shape, data))| {
        (name, TensorView::new(*dtype, shape.clone(), data).expect("a tensor as it was"))
    });
    serialize_to_file(views, None, &place.path().join("model.safetensors")).expect("a file");
    place
}

fn open(model: &Path, token: TokenId, attention: AttentionKind, precision: Precision) -> (TempDir, MlxExecutor) {
    let place = with_nan_token(model, token);
    let folder = open_folder(place.path()).expect("a model folder");
    let backend = MlxBackend::new().expect("a backend").with_attention(attention).precision(precision, None);
    let executor = { backend }.open_mlx(&folder).expect("a model");
    (place, executor)
}

/// Fused and composed attention, chained and separate layers, every kind of weights.
const PATHS: [(&str, AttentionKind, Precision); 7] = [
    ("base", AttentionKind::Auto, Precision::Auto),
    ("base", AttentionKind::Composed, Precision::Auto),
    ("f16", AttentionKind::Auto, Precision::Auto),
    ("f16", AttentionKind::Auto, Precision::Model),
    ("bf16", AttentionKind::Auto, Precision::Model),
    ("q8-g32", AttentionKind::Auto, Precision::Auto),
    ("q8-g32", AttentionKind::Auto, Precision::Model),
];

#[test]
fn rows_that_read_nan_get_no_tokens_and_other_rows_get_theirs() {
    for (case, attention, precision) in PATHS {
        // The longest prompt of some cases has every token of the vocabulary.
        let expected = &expected(case)[..3];
        let used: BTreeSet<_> = expected.iter().flat_map(|it| it.prompt.iter().chain(&it.tokens)).collect();
        let nan = (0..96).find(|token| !used.contains(token)).expect("a token that is not used");
        let (_place, mut executor) = open(&path(case), nan, attention, precision);
        let prompt = |len: usize| -> Vec<TokenId> { (0..len).map(|at| if at == len / 2 { nan } else { 3 }).collect() };
        let mut driver = Driver::new(&mut executor).with_chunk(7);
        let mut broken = BTreeSet::new();
        let mut neighbours = HashMap::new();
        for (id, expected) in (0..).step_by(10).zip(expected) {
            driver.add(id + 1, &prompt(5), SamplingParams::GREEDY);
            driver.add(id + 2, &prompt(300), HOT);
            driver.ask_logprobs(3);
            driver.add_biased(id + 3, &prompt(1), SamplingParams { top_p: 0.9, ..HOT }, &[(3, 20.0)]);
            broken.extend([id + 1, id + 2, id + 3]);
            driver.add(id, &expected.prompt, SamplingParams::GREEDY);
            neighbours.insert(id, &expected.tokens);
        }
        driver.run_ahead(ANSWER / 2);
        let about = format!("{case}, {attention:?}, {precision:?}");
        assert_eq!(driver.not_finite, broken, "{about}");
        // Other rows take their places.
        for id in broken {
            assert!(driver.remove(id).is_empty(), "{about}: {id} has tokens");
        }
        for (id, expected) in (1000..).zip(expected.iter().rev()) {
            driver.add(id, &expected.prompt, SamplingParams::GREEDY);
            neighbours.insert(id, &expected.tokens);
        }
        driver.run_ahead(ANSWER);
        for (id, tokens) in neighbours {
            assert_eq!(&driver.remove(id), tokens, "{about}: {id}");
        }
    }
}

#[test]
fn constrained_row_with_invalid_logits_has_no_token_and_other_rows_continue() {
    let demo = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    let text = ModelText::open(&open_folder(&demo).expect("a folder")).expect("a tokenizer");
    let constraint =
        text.constraint(&StructuredOutput::Choices(vec!["Once upon a time".to_owned()])).expect("a constraint");
    let [nan, sound] = ["Zebra", "Once"].map(|word| text.encode_rendered(word).expect("tokens"));
    let token = *nan.iter().find(|token| !sound.contains(token)).expect("another token");
    let (_place, mut executor) = open(&demo, token, AttentionKind::Auto, Precision::Auto);
    let mut driver = Driver::new(&mut executor);
    driver.add_constrained(1, &nan, HOT, &constraint);
    driver.add_constrained(2, &sound, HOT, &constraint);
    driver.run_ahead(3);
    assert_eq!(driver.not_finite, BTreeSet::from([1]));
    assert!(driver.remove(1).is_empty());
    let said = text.decode(&driver.remove(2)).expect("a text");
    assert!(!said.is_empty() && "Once upon a time".starts_with(&said), "{said}");
}
