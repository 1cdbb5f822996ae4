//! The head of a model: its own tensor if the folder stores one, otherwise the embedding.

use mlx_serving::error::Code;
use mlx_serving::executor::mlx::{AttentionKind, MlxBackend};
use mlx_serving::executor::{Backend, Executor};
use mlx_serving::hub::ModelFolder;
use mlx_serving::request::SamplingParams;
use serde_json::Value;

use super::driver::generate;
use super::folders::{expected, folder};

fn says_tied(mut folder: ModelFolder, value: Option<bool>) -> ModelFolder {
    folder.config["tie_word_embeddings"] = value.map_or(Value::Null, Value::Bool);
    folder
}

#[test]
fn a_stored_head_is_used_even_if_config_json_omits_it_or_calls_it_tied() {
    // Dense, dense in a quantized model, quantized.
    for case in ["base", "q-mixed", "q8-g32"] {
        for (said, kind) in [None, Some(true)].into_iter().zip([AttentionKind::Auto, AttentionKind::Composed]) {
            let backend = MlxBackend::new().expect("a backend").with_attention(kind);
            let mut executor = { backend }.open_mlx(&says_tied(folder(case), said)).expect("a model");
            let expected = &expected(case)[1];
            let tokens = generate(&mut executor, &expected.prompt, SamplingParams::GREEDY);
            assert_eq!(tokens, expected.tokens, "{case}, tie_word_embeddings is {said:?}");
        }
    }
}

#[test]
fn the_embedding_is_the_head_if_none_is_stored_and_config_json_omits_it() {
    let case = "rope-linear";
    let backend = MlxBackend::new().expect("a backend");
    let mut executor = backend.open_mlx(&says_tied(folder(case), None)).expect("a model");
    let expected = &expected(case)[1];
    assert_eq!(generate(&mut executor, &expected.prompt, SamplingParams::GREEDY), expected.tokens);
}

#[test]
fn a_stored_head_that_does_not_fit_is_an_error_that_names_it() {
    let refused = |change: fn(&mut ModelFolder)| {
        let mut folder = says_tied(folder("base"), Some(true));
        change(&mut folder);
        let error = MlxBackend::new().expect("a backend").open_mlx(&folder).map(drop).expect_err("a bad head");
        assert_eq!(error.code(), Code::ModelLoadError);
        assert!(error.message().contains("lm_head"), "{error}");
    };
    refused(|folder| folder.tensors.get_mut("lm_head.weight").expect("a head").shape[0] += 8);
    refused(|folder| {
        let header = folder.tensors["model.norm.weight"].clone();
        folder.tensors.insert("lm_head.bias".to_owned(), header);
    });
    refused(|folder| {
        let header = folder.tensors.remove("lm_head.weight").expect("a head");
        folder.tensors.insert("lm_head.scales".to_owned(), header);
    });
    let mut folder = says_tied(folder("base"), Some(false));
    folder.tensors.remove("lm_head.weight");
    let error = MlxBackend::new().expect("a backend").open_mlx(&folder).map(drop).expect_err("no head");
    assert!(error.message().contains("lm_head.weight"), "{error}");
}

/// The copy of a tied embedding that products read was not counted.
#[test]
fn weights_count_a_head_that_lies_beside_the_embedding_it_equals() {
    let folder = says_tied(folder("rope-linear"), None);
    let embedding = &folder.tensors["model.embed_tokens.weight"].shape;
    let second = 4 * (embedding[0] * embedding[1]) as u64;
    for (kind, expected) in
        [(AttentionKind::Auto, folder.weight_bytes + second), (AttentionKind::Composed, folder.weight_bytes)]
    {
        let backend = MlxBackend::new().expect("a backend").with_attention(kind);
        assert_eq!(backend.weight_bytes(&folder, None).expect("a known model"), expected, "{kind:?}");
        let executor = backend.open_mlx(&folder).expect("a model");
        assert_eq!(executor.limits().weight_bytes, expected, "{kind:?}");
    }
}
