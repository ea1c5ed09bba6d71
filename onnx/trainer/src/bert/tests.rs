use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use autotag::{Encoder, Interpolation, LabelVocabulary, Selection};
use autotag_onnx::bundle::{FORMAT_VERSION, InputKind};
use autotag_onnx::graph::{Dim, GraphBuilder};
use autotag_onnx::proto::ElementType;
use autotag_onnx::{BundleConfig, BundleDraft, Device, ModelInput, OnnxOptions};
use half::{bf16, f16};
use ndarray::Array2;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use tokenizers::Tokenizer;

use super::*;
use crate::rows::RowMajor as _;

pub(crate) const N_TOKENS: usize = 24;

pub(crate) fn tiny_config() -> BertConfig {
    BertConfig {
        model_type: Architecture::Bert,
        hidden_size: 8,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 16,
        vocab_size: N_TOKENS,
        max_position_embeddings: 12,
        type_vocab_size: 2,
        layer_norm_eps: 1e-12,
        hidden_act: "gelu".to_owned(),
    }
}

/// The same as MPNet, with 40 positions.
pub(crate) fn tiny_mpnet() -> BertConfig {
    BertConfig {
        model_type: Architecture::Mpnet,
        max_position_embeddings: 42,
        type_vocab_size: 0,
        ..tiny_config()
    }
}

/// A tokenizer of whole words: [PAD] 0, [CLS] 1, [SEP] 2, [UNK] 3, w4, w5 ...
pub(crate) fn words(n_tokens: usize) -> Tokenizer {
    let special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"];
    let name = |id: usize| special.get(id).map_or_else(|| format!("w{id}"), ToString::to_string);
    let ids: serde_json::Map<String, Value> =
        (0..n_tokens).map(|id| (name(id), id.into())).collect();
    let part = |token: &str| json!({"SpecialToken": {"id": token, "type_id": 0}});
    let known = |token: &str, id| json!({"id": token, "ids": [id], "tokens": [token]});
    let text = json!({
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [part("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, part("[SEP]")],
            "pair": [],
            "special_tokens": {"[CLS]": known("[CLS]", 1), "[SEP]": known("[SEP]", 2)},
        },
        "model": {"type": "WordLevel", "vocab": ids, "unk_token": "[UNK]"},
    });
    text.to_string().parse().unwrap()
}

/// Writes a tiny random encoder.
fn write_tiny(folder: &Path, pooling: Option<Pooling>) -> BertFolder {
    write_tiny_of(tiny_config(), folder, pooling)
}

fn write_tiny_of(config: BertConfig, folder: &Path, pooling: Option<Pooling>) -> BertFolder {
    let tokenizer = words(N_TOKENS);
    let weights = BertWeights::random(&config, 7);
    let tiny = BertFolder { tokenizer, config, weights, pooling };
    tiny.write(folder).unwrap();
    tiny
}

/// Computes what the encoder says of one text, value by value.
fn naive(config: &BertConfig, weights: &BertWeights, ids: &[u32], pooling: Pooling) -> Vec<f32> {
    let row = |name: &str, row: usize| weights.get(name).row_slice(row).to_vec();
    let is_mpnet = config.model_type == Architecture::Mpnet;
    let mut x: Vec<Vec<f32>> = Vec::new();
    for (position, &id) in ids.iter().enumerate() {
        let word = row("embeddings.word_embeddings.weight", id as usize);
        let position = if is_mpnet { position + 2 } else { position };
        let place = row("embeddings.position_embeddings.weight", position);
        let segment = match is_mpnet {
            true => vec![0.0; config.hidden_size],
            false => row("embeddings.token_type_embeddings.weight", 0),
        };
        let sum = (0..config.hidden_size).map(|i| word[i] + place[i] + segment[i]).collect();
        x.push(sum);
    }
    normalize(&mut x, config, weights, "embeddings");
    for layer in 0..config.num_hidden_layers {
        let name = format!("encoder.layer.{layer}");
        let attended = attend(config, weights, &name, &x);
        let attended = dense(weights, &format!("{name}.attention.output.dense"), &attended);
        add(&mut x, &attended);
        normalize(&mut x, config, weights, &format!("{name}.attention.output"));
        let mut inner = dense(weights, &format!("{name}.intermediate.dense"), &x);
        inner.iter_mut().flatten().for_each(|y| *y = gelu(*y));
        let inner = dense(weights, &format!("{name}.output.dense"), &inner);
        add(&mut x, &inner);
        normalize(&mut x, config, weights, &format!("{name}.output"));
    }
    match pooling {
        Pooling::Cls => x[0].clone(),
        Pooling::Mean => (0..config.hidden_size)
            .map(|i| x.iter().map(|token| token[i]).sum::<f32>() / x.len() as f32)
            .collect(),
    }
}

fn attend(
    config: &BertConfig,
    weights: &BertWeights,
    layer: &str,
    x: &[Vec<f32>],
) -> Vec<Vec<f32>> {
    let part = |name: &str| dense(weights, &format!("{layer}.attention.self.{name}"), x);
    let (queries, keys, values) = (part("query"), part("key"), part("value"));
    let size = config.head_size();
    let mut attended = vec![vec![0.0; config.hidden_size]; x.len()];
    for head in 0..config.num_attention_heads {
        let columns = head * size..(head + 1) * size;
        for (i, (query, attended)) in queries.iter().zip(&mut attended).enumerate() {
            let score = |(j, key): (usize, &Vec<f32>)| {
                let dot: f32 = columns.clone().map(|i| query[i] * key[i]).sum();
                (dot / (size as f32).sqrt() + relative(config, weights, i, j, head)).exp()
            };
            let scores: Vec<f32> = keys.iter().enumerate().map(score).collect();
            let total: f32 = scores.iter().sum();
            for (value, score) in values.iter().zip(&scores) {
                columns.clone().for_each(|i| attended[i] += score / total * value[i]);
            }
        }
    }
    attended
}

/// Returns what MPNet adds to the attention of token i to token j.
fn relative(config: &BertConfig, weights: &BertWeights, i: usize, j: usize, head: usize) -> f32 {
    if config.model_type == Architecture::Bert {
        return 0.0;
    }
    let row = match i.abs_diff(j) {
        distance @ 0..8 => distance,
        8..12 => 8,
        12..16 => 9,
        16..23 => 10,
        23..32 => 11,
        32..46 => 12,
        distance => panic!("no tiny text is {distance} tokens long"),
    };
    let row = if j > i { 16 + row } else { row };
    weights.get("encoder.relative_attention_bias.weight").row_slice(row)[head]
}

fn dense(weights: &BertWeights, name: &str, x: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let matrix = weights.get(&format!("{name}.weight"));
    let bias = weights.get(&format!("{name}.bias")).values();
    let unit = |x: &[f32], row: usize| {
        bias[row] + matrix.row_slice(row).iter().zip(x).map(|(w, x)| w * x).sum::<f32>()
    };
    x.iter().map(|x| (0..matrix.nrows()).map(|row| unit(x, row)).collect()).collect()
}

fn add(x: &mut [Vec<f32>], other: &[Vec<f32>]) {
    x.iter_mut().flatten().zip(other.iter().flatten()).for_each(|(x, other)| *x += other);
}

fn normalize(x: &mut [Vec<f32>], config: &BertConfig, weights: &BertWeights, part: &str) {
    let scale = weights.get(&format!("{part}.LayerNorm.weight")).values();
    let bias = weights.get(&format!("{part}.LayerNorm.bias")).values();
    for token in x {
        let n = token.len() as f32;
        let mean = token.iter().sum::<f32>() / n;
        let variance = token.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / n;
        let root = (variance + config.layer_norm_eps).sqrt();
        token
            .iter_mut()
            .enumerate()
            .for_each(|(i, x)| *x = scale[i] * (*x - mean) / root + bias[i]);
    }
}

/// gelu(y) = y Phi(y), Phi being the integral of the normal density, here summed in small steps.
fn gelu(y: f32) -> f32 {
    let n_steps = 2000;
    let step = f64::from(y) / f64::from(n_steps);
    let density = |t: f64| (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let integral: f64 = (0..n_steps).map(|i| density((f64::from(i) + 0.5) * step) * step).sum();
    (f64::from(y) * (0.5 + integral)) as f32
}

/// Runs texts through ONNX Runtime as one batch.
pub(crate) fn exported(tiny: &BertFolder, pooling: Pooling, batch: &[Vec<u32>]) -> Vec<Vec<f32>> {
    let config = &tiny.config;
    let mut graph = GraphBuilder::new("encoder");
    let pooled = write_encoder(&mut graph, config, &tiny.weights, pooling);
    let shape = [Dim::Symbol("batch"), Dim::Fixed(config.hidden_size)];
    graph.output("embedding", &pooled, ElementType::Float, &shape);
    let folder = tempfile::tempdir().unwrap();
    let bundle_config = BundleConfig {
        format_version: FORMAT_VERSION,
        architecture: "test".to_owned(),
        input: InputKind::TokenIds,
        special_tokens: true,
        prefix: String::new(),
        max_length: NonZeroUsize::new(config.n_positions()).unwrap(),
        dimensions: NonZeroUsize::new(config.hidden_size).unwrap(),
        n_labels: 0,
        normalized: false,
        interpolation: Interpolation::default(),
        mix: None,
        selection: Selection::default(),
        training: Value::Null,
    };
    let labels = LabelVocabulary::default();
    let target = folder.path().join("bundle");
    let lexicon = &tiny.tokenizer;
    let draft =
        BundleDraft::create(&target, bundle_config, &labels, lexicon, graph.finish()).unwrap();
    let mut options = OnnxOptions::default();
    options.device = Device::Cpu;
    let encoder = draft.encoder(&options).unwrap();
    let inputs: Vec<ModelInput> =
        batch.iter().map(|ids| ModelInput { ids: ids.clone(), ..ModelInput::default() }).collect();
    let encoded = encoder.encode(&inputs);
    encoded.outcomes().map(|encoded| encoded.unwrap().embedding.values().to_vec()).collect()
}

fn assert_close(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    let largest = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(largest < tolerance, "{largest}: {a:?} {b:?}");
}

/// Texts of 2 tokens, of all positions, and between.
pub(crate) fn texts() -> Vec<Vec<u32>> {
    vec![
        vec![1, 2],
        vec![1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 2],
        vec![1, 20, 23, 2],
        vec![1, 4, 4, 4, 2],
    ]
}

/// A tiny encoder of each architecture, with texts that it reads.
fn each_architecture() -> [(BertFolder, Vec<Vec<u32>>); 2] {
    let folder = tempfile::tempdir().unwrap();
    let long: Vec<u32> = (0..40).map(|position| 3 + position * 7 % 20).collect();
    let mpnet_texts = texts().into_iter().chain([long]).collect();
    [
        (write_tiny(folder.path(), None), texts()),
        (write_tiny_of(tiny_mpnet(), folder.path(), None), mpnet_texts),
    ]
}

#[test]
fn the_exported_encoder_says_what_the_equations_say() {
    for (tiny, texts) in each_architecture() {
        for pooling in [Pooling::Mean, Pooling::Cls] {
            let found = exported(&tiny, pooling, &texts);
            for (ids, found) in texts.iter().zip(found) {
                assert_close(&found, &naive(&tiny.config, &tiny.weights, ids, pooling), 1e-4);
            }
        }
    }
}

#[test]
fn a_text_s_answer_does_not_depend_on_its_batch() {
    for (tiny, texts) in each_architecture() {
        for pooling in [Pooling::Mean, Pooling::Cls] {
            let together = exported(&tiny, pooling, &texts);
            for (ids, together) in texts.iter().cloned().zip(together) {
                let alone = exported(&tiny, pooling, &[ids]);
                assert_close(&together, &alone[0], 1e-6);
            }
        }
    }
}

#[test]
fn a_written_folder_reads_as_it_was() {
    for pooling in [None, Some(Pooling::Cls), Some(Pooling::Mean)] {
        let folder = tempfile::tempdir().unwrap();
        let tiny = write_tiny(folder.path(), pooling);
        let read = BertFolder::read(folder.path()).unwrap();
        assert_eq!(read.config, tiny.config);
        assert_eq!(read.weights, tiny.weights);
        assert_eq!(read.pooling, pooling);
        assert_eq!(read.tokenizer.encode("w5", true).unwrap().get_ids(), [1, 5, 2]);
    }
}

#[test]
fn an_mpnet_folder_has_the_names_of_its_checkpoints_and_reads_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = write_tiny_of(tiny_mpnet(), folder.path(), None);
    let bytes = fs::read(folder.path().join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let in_layer =
        ["attn.q.weight", "attn.k.bias", "attn.v.bias", "attn.o.weight", "LayerNorm.bias"];
    for name in in_layer {
        file.tensor(&format!("encoder.layer.1.attention.{name}")).unwrap();
    }
    assert_eq!(file.tensor("encoder.relative_attention_bias.weight").unwrap().shape(), [32, 2]);
    assert!(!file.names().iter().any(|name| name.contains("token_type")));
    let read = BertFolder::read(folder.path()).unwrap();
    assert_eq!((read.config, read.weights), (tiny.config, tiny.weights));
}

/// Writes a tiny encoder's weights again, each tensor changed: its name, type and bytes.
fn rewrite(folder: &Path, change: impl Fn(&str, &Array2<f32>) -> (String, Dtype, Vec<u8>)) {
    let (config, weights) = (tiny_config(), BertWeights::random(&tiny_config(), 7));
    let changed: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = BertWeights::shapes(&config)
        .map(|(name, shape)| {
            let (new_name, dtype, bytes) = change(&name, weights.get(&name));
            (new_name, dtype, shape, bytes)
        })
        .collect();
    let views = changed.iter().map(|(name, dtype, shape, bytes)| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    fs::write(folder.join("model.safetensors"), safetensors::serialize(views, None).unwrap())
        .unwrap();
}

fn f32_bytes(matrix: &Array2<f32>) -> Vec<u8> {
    matrix.values().iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn prefixed_names_old_names_and_half_precision_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = write_tiny(folder.path(), None);
    rewrite(folder.path(), |name, matrix| {
        let old = name.replace("LayerNorm.weight", "LayerNorm.gamma");
        let old = old.replace("LayerNorm.bias", "LayerNorm.beta");
        (format!("bert.{old}"), Dtype::F32, f32_bytes(matrix))
    });
    assert_eq!(BertFolder::read(folder.path()).unwrap().weights, tiny.weights);
    let half = |value: &f32| f16::from_f32(*value).to_le_bytes();
    let brain = |value: &f32| bf16::from_f32(*value).to_le_bytes();
    for (dtype, bytes) in [(Dtype::F16, &half as &dyn Fn(&f32) -> [u8; 2]), (Dtype::BF16, &brain)] {
        rewrite(folder.path(), |name, matrix| {
            (name.to_owned(), dtype, matrix.values().iter().flat_map(bytes).collect())
        });
        let read = BertFolder::read(folder.path()).unwrap().weights;
        let name = "encoder.layer.1.output.dense.weight";
        assert_close(read.get(name).values(), tiny.weights.get(name).values(), 1e-2);
    }
}

#[test]
fn weights_that_do_not_fit_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = "encoder.layer.1.intermediate.dense.bias";
    let refused = || BertFolder::read(folder.path()).unwrap_err().to_string();
    write_tiny(folder.path(), None);
    rewrite(folder.path(), |name, matrix| {
        let name = if name == missing { "other" } else { name };
        (name.to_owned(), Dtype::F32, f32_bytes(matrix))
    });
    let message = refused();
    assert!(message.contains(&format!("no tensor {missing}")), "{message}");
    rewrite(folder.path(), |name, matrix| {
        let bytes = if name == missing { vec![0xff; 64] } else { f32_bytes(matrix) };
        (name.to_owned(), Dtype::F32, bytes)
    });
    let message = refused();
    assert!(message.contains(missing) && message.contains("not finite"), "{message}");
    rewrite(folder.path(), |name, matrix| {
        let dtype = if name == missing { Dtype::I32 } else { Dtype::F32 };
        (name.to_owned(), dtype, f32_bytes(matrix))
    });
    let message = refused();
    assert!(message.contains(missing) && message.contains("give floats"), "{message}");
    // The weights are those of 12 positions.
    change_config(folder.path(), "max_position_embeddings", json!(13));
    let message = refused();
    for part in ["position_embeddings", "[12, 8]", "[13, 8]", "config.json"] {
        assert!(message.contains(part), "{message}");
    }
}

fn change_config(folder: &Path, name: &str, value: Value) {
    write_tiny(folder, None);
    let path = folder.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config[name] = value;
    fs::write(path, config.to_string()).unwrap();
}

#[test]
fn what_is_not_supported_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (name, value, parts) in [
        ("hidden_act", json!("gelu_new"), ["hidden_act", "gelu_new"]),
        ("model_type", json!("roberta"), ["model_type", "roberta"]),
        ("position_embedding_type", json!("relative_key"), ["position", "relative_key"]),
        ("relative_attention_num_buckets", json!(64), ["relative_attention_num_buckets", "64"]),
        ("num_attention_heads", json!(3), ["num_attention_heads 3", "hidden_size 8"]),
        ("hidden_size", json!(0), ["hidden_size", "0"]),
        ("num_hidden_layers", json!(1u64 << 40), ["num_hidden_layers", "within"]),
        ("layer_norm_eps", json!(0.0), ["layer_norm_eps", "0"]),
        ("vocab_size", json!("many"), ["config.json", "many"]),
    ] {
        change_config(folder.path(), name, value);
        let message = BertFolder::read(folder.path()).unwrap_err().to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}

#[test]
fn a_tokenizer_with_more_tokens_than_rows_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = write_tiny(folder.path(), None);
    let larger = BertFolder { tokenizer: words(N_TOKENS + 1), ..tiny };
    larger.write(folder.path()).unwrap();
    let message = BertFolder::read(folder.path()).unwrap_err().to_string();
    assert!(message.contains("24 rows") && message.contains("id 24"), "{message}");
}

#[test]
fn a_special_token_without_a_row_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_tiny(folder.path(), None);
    let path = folder.path().join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mut ids = Vec::new();
    for token in tokenizer["post_processor"]["special_tokens"].as_object_mut().unwrap().values_mut()
    {
        ids.push(std::mem::replace(&mut token["ids"], json!([99])));
    }
    assert!(!ids.is_empty());
    fs::write(path, tokenizer.to_string()).unwrap();
    let message = BertFolder::read(folder.path()).unwrap_err().to_string();
    assert!(message.contains("24 rows") && message.contains("id 99"), "{message}");
}

#[test]
fn a_folder_without_a_file_is_told_which() {
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        let folder = tempfile::tempdir().unwrap();
        write_tiny(folder.path(), None);
        fs::remove_file(folder.path().join(file)).unwrap();
        let message = BertFolder::read(folder.path()).unwrap_err().to_string();
        assert!(message.contains(file), "{message}");
    }
}

#[test]
fn another_way_of_pooling_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_tiny(folder.path(), Some(Pooling::Cls));
    let path = folder.path().join("1_Pooling/config.json");
    for (modes, expect) in [
        (json!({"pooling_mode_max_tokens": true}), "pooling_mode_max_tokens"),
        (json!({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}), " and "),
        (json!([]), "1_Pooling"),
    ] {
        fs::write(&path, modes.to_string()).unwrap();
        let message = BertFolder::read(folder.path()).unwrap_err().to_string();
        assert!(message.contains(expect), "{message}");
    }
}
