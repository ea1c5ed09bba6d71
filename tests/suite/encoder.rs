//! A pretrained encoder that is not trained further: alone with neighbors, under an adapter, and under
//! one beside the wide model and a CNN.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use autotag::{EncodeError, Encoder, Proportion};
use autotag_onnx::bundle::InputKind;
use autotag_onnx::{Features, ModelBundle, ModelInput, OnnxEncoder, OnnxOptions};
use autotag_train::bert::{Architecture, BertConfig, BertFolder, BertWeights, Pooling};
use autotag_train::frozen::{
    EncoderCard, EncoderReport, EncoderSettings, FirstNeighbors, bundle_encoder,
};
use autotag_train::models::adapter::AdapterConfig;
use autotag_train::models::cnn::CnnConfig;
use autotag_train::models::wide::WideConfig;
use autotag_train::{
    Dataset, Init, Member, ModelSpec, Preset, Progress, Start, TrainConfig, TrainError,
    TrainReport, TrainingRun, Unreadable,
};
use serde_json::{Map, Value, json};
use tantivy::doc;
use tantivy::schema::Schema;
use tantivy_autotag::{
    BundleSource, FieldNames, IndexFolder, InitialNeighbors, TagFields, WriterOptions, tag_path,
};

use crate::tiny;

/// A small random encoder that knows the words of the tiny texts.
fn encoder(seed: u64) -> BertFolder {
    let mut words: Vec<String> = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"].map(str::to_owned).into();
    for document in tiny::documents("train", 240) {
        words.extend(document.text.split(' ').map(str::to_owned));
    }
    words[4..].sort_unstable();
    words.dedup();
    let config = BertConfig {
        model_type: Architecture::Bert,
        hidden_size: 32,
        num_hidden_layers: 1,
        num_attention_heads: 4,
        intermediate_size: 48,
        vocab_size: words.len(),
        max_position_embeddings: 32,
        type_vocab_size: 2,
        layer_norm_eps: 1e-12,
        hidden_act: "gelu".to_owned(),
    };
    // The words matter more than their places, so that texts of like words lie near each other.
    let mut tensors = BertWeights::random(&config, seed).into_tensors();
    let table = tensors.get_mut("embeddings.word_embeddings.weight").unwrap();
    *table *= 6.0;
    let weights = BertWeights::new(&config, tensors);
    let tokenizer = tokenizer(&words).to_string().parse().unwrap();
    BertFolder { tokenizer, config, weights, pooling: None }
}

fn tokenizer(words: &[String]) -> Value {
    let ids: Map<String, Value> = words.iter().cloned().zip((0..).map(Value::from)).collect();
    let part = |token: &str| json!({"SpecialToken": {"id": token, "type_id": 0}});
    let known = |token: &str, id: u32| json!({"id": token, "ids": [id], "tokens": [token]});
    json!({
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
    })
}

fn data() -> (Dataset, Dataset) {
    let train = Dataset::new(tiny::documents("train", 240)).unwrap();
    let dev = Dataset::with_vocabulary(tiny::documents("dev", 60), train.vocabulary()).unwrap();
    (train, dev)
}

/// Makes a bundle of the encoder alone in `folder`, with what was encoded kept in `folder/cache`.
fn alone(
    folder: &Path,
    neighbors: Option<FirstNeighbors<'_>>,
    stop: &AtomicBool,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<ModelBundle, TrainError> {
    let source = folder.join("encoder");
    encoder(1).write(&source).unwrap();
    let settings =
        EncoderSettings { cache: Some(folder.join("cache")), ..EncoderSettings::default() };
    let (out, options) = (folder.join("bundle"), OnnxOptions::default());
    bundle_encoder(&source, neighbors, &settings, &out, &options, stop, progress)
        .map(|(bundle, _)| bundle)
}

static NEVER: AtomicBool = AtomicBool::new(false);

#[test]
fn an_encoder_alone_tags_by_its_neighbors_and_learns_labels_while_it_indexes() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = alone(folder.path(), None, &NEVER, &mut |_| {}).unwrap();
    assert_eq!(bundle.config().n_labels, 0);
    assert_eq!(bundle.config().interpolation.proportion, Proportion::NEIGHBORS);
    assert!(std::fs::read_to_string(bundle.path().join("card.md")).unwrap().contains("encoder"));
    let mut schema = Schema::builder();
    let fields = TagFields::add_to(&mut schema, &FieldNames::default()).unwrap();
    let source = BundleSource {
        path: bundle.path(),
        fingerprint: bundle.fingerprint(),
        neighbors: InitialNeighbors::TrainingSet(&bundle.datastore().unwrap()),
    };
    let path = folder.path().join("index");
    let index = IndexFolder::create(&path, schema.build(), &fields, &source).unwrap();
    let tagger = bundle.tagger(&OnnxOptions::default()).unwrap();
    let writer = index.writer(tagger, WriterOptions::default()).unwrap();
    let (key, text) = (fields.key, fields.texts[0]);
    let unlabeled = |name: &str| doc!(key => name, text => tiny::text(&[2], 1234));
    writer.add(unlabeled("before")).unwrap();
    for document in tiny::documents("train", 60) {
        let labels: Vec<&str> = document.labels.iter().map(String::as_str).collect();
        writer.add_labeled(doc!(key => document.key, text => document.text), labels).unwrap();
    }
    writer.commit().unwrap();
    writer.add(unlabeled("after")).unwrap();
    writer.commit().unwrap();
    writer.close().unwrap();
    let searcher = index.searcher().unwrap();
    let tags = |name: &str| -> Vec<String> {
        let document = searcher.document(name).unwrap().unwrap();
        document.tags.iter().map(tag_path).collect()
    };
    assert_eq!(tags("before"), [""; 0]);
    assert!(tags("after").contains(&"/arts/music".to_owned()), "{:?}", tags("after"));
    assert!(index.verify().unwrap().is_sound());
}

#[test]
fn what_was_encoded_before_an_interruption_is_not_encoded_again() {
    let folder = tempfile::tempdir().unwrap();
    let (texts, dev) = data();
    let neighbors = Some(FirstNeighbors { texts: &texts, dev: Some(&dev) });
    let stop = AtomicBool::new(false);
    let error = alone(folder.path(), neighbors, &stop, &mut |progress| {
        if let Progress::Encoded { done: 1.., .. } = progress {
            stop.store(true, Ordering::Relaxed);
        }
    });
    let error = error.unwrap_err();
    let TrainError::StoppedEncoding { done, of: 240, cache: Some(_) } = error else {
        panic!("{error}");
    };
    assert!(done > 0 && !folder.path().join("bundle").exists());
    let mut first_told = None;
    let bundle = alone(folder.path(), neighbors, &NEVER, &mut |progress| {
        if let Progress::Encoded { done, .. } = progress {
            first_told.get_or_insert(done);
        }
    });
    assert_eq!(first_told, Some(done));
    assert_eq!(bundle.unwrap().datastore().unwrap().reader().unwrap().len(), 240);
}

#[test]
fn texts_that_the_encoder_cannot_read_are_no_neighbors_and_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut documents = tiny::documents("train", 60);
    documents[3].text = " ".to_owned();
    let texts = Dataset::new(documents).unwrap();
    let neighbors = Some(FirstNeighbors { texts: &texts, dev: Some(&texts) });
    let bundle = alone(folder.path(), neighbors, &NEVER, &mut |_| {}).unwrap();
    assert_eq!(bundle.datastore().unwrap().reader().unwrap().len(), 59);
    let report: EncoderReport = serde_json::from_value(bundle.config().training.clone()).unwrap();
    assert_eq!((report.skipped.train, report.skipped.dev, report.n_dev), (1, 1, 59));
}

fn preset() -> Preset {
    let Preset { mut spec, config } = "adapter".parse().unwrap();
    let adapter = adapter_of(&mut spec);
    (adapter.adam.learning_rate, adapter.hidden) = (1e-2, 24);
    Preset { spec, config: TrainConfig { batch_size: 16, epochs: 10, ..config } }
}

/// Returns the adapter's settings, which are an ensemble's last.
fn adapter_of(spec: &mut ModelSpec) -> &mut AdapterConfig {
    match spec.members_mut().pop() {
        Some(ModelSpec::Adapter(adapter)) => adapter,
        other => panic!("{other:?}"),
    }
}

fn train(
    folder: &Path,
    encoder: BertFolder,
    Preset { spec, config }: &Preset,
) -> Result<(ModelBundle, TrainReport), TrainError> {
    let (train, dev) = data();
    let (out, options) = (folder.join("bundle"), OnnxOptions::default());
    let run = TrainingRun::new(&train, &dev, config, &out, &options);
    run.train(spec, init(encoder), None, &mut |_| {})
}

fn init(encoder: BertFolder) -> Init {
    Init::Encoder(Arc::new(encoder))
}

#[test]
fn an_adapter_learns_and_its_export_says_what_it_says() {
    for (pooling, normalize) in [(Pooling::Mean, true), (Pooling::Cls, false)] {
        let folder = tempfile::tempdir().unwrap();
        let mut preset = preset();
        let adapter = adapter_of(&mut preset.spec);
        (adapter.pooling, adapter.normalize) = (Some(pooling), normalize);
        let (bundle, report) = train(folder.path(), encoder(1), &preset).unwrap();
        assert!(report.export_difference < 1e-4, "{}", report.export_difference);
        let least = if pooling == Pooling::Mean { 0.7 } else { 0.3 };
        assert!(report.dev_micro_f1 > least, "{pooling:?}: {}", report.dev_micro_f1);
        let (told, expected) = (bundle.config(), (32, 24, normalize, true));
        let found = (told.max_length.get(), told.dimensions.get(), told.normalized);
        assert_eq!((found.0, found.1, found.2, told.special_tokens), expected);
        let card: EncoderCard = serde_json::from_value(told.training["encoder"].clone()).unwrap();
        assert_eq!(card.pooling, pooling);
        let told: TrainReport = serde_json::from_value(told.training.clone()).unwrap();
        assert_eq!((told.spec, told.config), (Some(preset.spec), preset.config));
        let model_card = std::fs::read_to_string(bundle.path().join("card.md")).unwrap();
        assert!(model_card.contains("pretrained BERT encoder"), "{model_card}");
    }
}

#[test]
fn a_length_without_room_for_words_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for max_length in [1, 2] {
        let mut preset = preset();
        preset.config.max_length = max_length;
        let error = train(folder.path(), encoder(1), &preset).unwrap_err();
        let told = with_causes(error);
        assert!(told.contains("take a max length of 3 or more"), "{told}");
    }
}

#[test]
fn a_single_text_and_label_are_enough_for_an_adapter() {
    let folder = tempfile::tempdir().unwrap();
    let one = || tiny::documents("train", 1);
    let train = Dataset::new(one()).unwrap();
    let dev = Dataset::with_vocabulary(one(), train.vocabulary()).unwrap();
    let (out, options) = (folder.path().join("out"), OnnxOptions::default());
    let Preset { spec, config } = preset();
    TrainingRun::new(&train, &dev, &config, &out, &options)
        .train(&spec, init(encoder(1)), None, &mut |_| {})
        .unwrap();
}

#[test]
fn steps_that_are_far_too_large_for_an_adapter_end_with_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut preset = preset();
    adapter_of(&mut preset.spec).adam.learning_rate = 1e37;
    let error = train(folder.path(), encoder(1), &preset).map(|_| ()).unwrap_err();
    assert!(matches!(error, TrainError::Diverged { .. }), "{error}");
}

#[test]
fn a_prefix_stands_before_each_text_in_training_and_afterwards() {
    let word = tiny::documents("train", 1)[0].text.split(' ').next().unwrap().to_owned();
    let trained = |prefix: &str| {
        let folder = tempfile::tempdir().unwrap();
        let mut preset = preset();
        preset.config.epochs = 1;
        adapter_of(&mut preset.spec).prefix = prefix.to_owned();
        let (bundle, _) = train(folder.path(), encoder(1), &preset).unwrap();
        (folder, bundle)
    };
    let ((_folder, plain), (_other, prefixed)) = (trained(""), trained(&format!("{word} ")));
    assert_eq!(prefixed.config().prefix, format!("{word} "));
    let card = std::fs::read_to_string(prefixed.path().join("card.md")).unwrap();
    assert!(card.contains(&format!("after the prefix \"{word} \"")), "{card}");
    // These were encoded in training, and are compared with what the bundle says.
    assert_first_neighbors(&prefixed);
    let open = |bundle| OnnxEncoder::open(bundle, &OnnxOptions::default()).unwrap();
    let (plain, prefixed) = (open(&plain), open(&prefixed));
    let text = tiny::text(&[2], 7);
    let expected = plain.tokenize(&format!("{word} {text}")).unwrap();
    assert_eq!(prefixed.tokenize(&text).unwrap(), expected);
    assert_ne!(plain.tokenize(&text).unwrap(), expected);
    assert!(matches!(prefixed.tokenize(" \n"), Err(EncodeError::EmptyText)));
}

#[test]
fn a_prefix_makes_another_embedding_space_of_the_same_encoder() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("encoder");
    encoder(1).write(&source).unwrap();
    let bundle = |prefix: &str, max_length| {
        let prefix = prefix.to_owned();
        let settings = EncoderSettings { prefix, max_length, ..EncoderSettings::default() };
        let (out, options) = (folder.path().join("bundle"), OnnxOptions::default());
        bundle_encoder(&source, None, &settings, &out, &options, &NEVER, &mut |_| {})
            .map(|(bundle, _)| bundle.encoder_fingerprint())
    };
    let [plain, query, passage] = ["", "query: ", "passage: "].map(|p| bundle(p, 32).unwrap());
    assert!(plain != query && query != passage && plain != passage);
    let error = bundle(&"a".repeat(257), 32).unwrap_err().to_string();
    assert!(error.contains("prefix") && error.contains("at most 256"), "{error}");
    // Two special tokens, and two words of the prefix.
    let error = with_causes(bundle("a b ", 4).unwrap_err());
    assert!(error.contains("take a max length of 5 or more"), "{error}");
}

/// Writes an error with its causes.
fn with_causes(error: TrainError) -> String {
    let told: Vec<String> =
        std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source())
            .map(ToString::to_string)
            .collect();
    told.join(": ")
}

fn ensemble() -> Preset {
    let Preset { spec: mut adapter, config } = preset();
    adapter_of(&mut adapter).normalize = true;
    let AdapterConfig { adam, .. } = *adapter_of(&mut adapter);
    let ModelSpec::Cnn(cnn) = tiny::preset().unwrap().spec else { panic!("{adapter:?}") };
    let cnn = CnnConfig { normalize: true, adam, ..cnn };
    let wide = WideConfig { hidden: 12, lexical: 20, ..WideConfig::default() };
    let models = [(0.3, ModelSpec::Wide(wide)), (0.35, ModelSpec::Cnn(cnn)), (0.35, adapter)];
    let members = models.into_iter().map(|(share, model)| Member { share, model });
    let spec = ModelSpec::Ensemble(members.collect());
    Preset { spec, config: TrainConfig { epochs: 6, ..config } }
}

/// Returns the number of an ensemble's filters.
fn n_filters(preset: &Preset) -> usize {
    let mut spec = preset.spec.clone();
    let filters = |model: &mut ModelSpec| match model {
        ModelSpec::Cnn(cnn) => cnn.n_filters(),
        _ => 0,
    };
    spec.members_mut().into_iter().map(filters).sum()
}

#[test]
fn an_adapter_a_cnn_and_the_wide_model_answer_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let preset = ensemble();
    let (bundle, report) = train(folder.path(), encoder(1), &preset).unwrap();
    assert!(report.dev_micro_f1 > 0.9 && report.export_difference < 1e-4, "{report:?}");
    let told = bundle.config();
    assert_eq!((told.input, told.special_tokens), (InputKind::TokensAndNgrams, true));
    assert_eq!((told.dimensions.get(), told.normalized), (12 + n_filters(&preset) + 24 + 20, true));
    let model_card = std::fs::read_to_string(bundle.path().join("card.md")).unwrap();
    assert!(model_card.contains("pretrained BERT encoder"), "{model_card}");

    // Words that the encoder was never shown tell the labels too, and the other way round.
    let encoder = OnnxEncoder::open(&bundle, &OnnxOptions::default()).unwrap();
    let (_, dev) = data();
    let text = encoder.tokenize(&dev.texts()[0]).unwrap();
    let [no_words, no_tokens] = [
        ModelInput { features: Features::default(), ..text.clone() },
        ModelInput { ids: text.ids[..1].to_vec(), ..text.clone() },
    ];
    let answers = encoder.encode(&[text, no_words, no_tokens]);
    let scores: Vec<Vec<f32>> =
        answers.outcomes().map(|a| a.unwrap().scores.unwrap().values().to_vec()).collect();
    assert!(scores[0] != scores[1] && scores[0] != scores[2], "{scores:?}");
}

#[test]
fn ensembles_have_representations_of_length_1() {
    let folder = tempfile::tempdir().unwrap();
    for position in [1, 2] {
        let mut preset = ensemble();
        match &mut *preset.spec.members_mut()[position] {
            ModelSpec::Cnn(cnn) => cnn.normalize = false,
            ModelSpec::Adapter(adapter) => adapter.normalize = false,
            other => panic!("{other:?}"),
        }
        let error = train(folder.path(), encoder(1), &preset).unwrap_err().to_string();
        assert!(error.contains("normalize = false"), "{error}");
    }
}

#[test]
fn a_text_without_words_is_told_before_the_encoder_runs() {
    let folder = tempfile::tempdir().unwrap();
    let mut documents = tiny::documents("train", 240);
    documents[7].text = "? !".to_owned();
    let (train, (_, dev)) = (Dataset::new(documents).unwrap(), data());
    let (out, options) = (folder.path().join("out"), OnnxOptions::default());
    let Preset { spec, config } = ensemble();
    let run =
        TrainingRun::new(&train, &dev, &config, &out, &options).unreadable(Unreadable::Refuse);
    let mut has_encoded = false;
    let progress = &mut |progress: Progress| {
        has_encoded |= matches!(progress, Progress::Encoded { .. });
    };
    let error = run.train(&spec, init(encoder(1)), None, progress).unwrap_err();
    assert!(matches!(&error, TrainError::Text { .. }), "{error}");
    assert!(error.to_string().contains(&train.keys()[7]), "{error}");
    assert!(!has_encoded);
}

/// The first neighbors are the trainer's own representations; they must be the exported model's.
#[test]
fn the_first_neighbors_lie_where_the_exported_model_puts_them() {
    let folder = tempfile::tempdir().unwrap();
    let (bundle, _) = train(folder.path(), encoder(1), &preset()).unwrap();
    assert_first_neighbors(&bundle);
    let (bundle, _) = train(folder.path(), encoder(1), &ensemble()).unwrap();
    assert_first_neighbors(&bundle);
}

fn assert_first_neighbors(bundle: &ModelBundle) {
    let encoder = OnnxEncoder::open(bundle, &OnnxOptions::default()).unwrap();
    let documents = tiny::documents("train", 240);
    let tokens: Vec<_> =
        documents[..20].iter().map(|d| encoder.tokenize(&d.text).unwrap()).collect();
    let encoded = encoder.encode(&tokens);
    assert!(encoded.failures().is_empty());
    let datastore = bundle.datastore().unwrap();
    let found = datastore.reader().unwrap();
    let found = found.nearest(encoded.embeddings(), 1, autotag::SearchMode::Exact).unwrap();
    for neighbors in found {
        assert!(neighbors[0].distance < 1e-3, "{}", neighbors[0].distance);
    }
}

#[test]
fn an_interrupted_adapter_goes_on_with_the_same_encoder_only() {
    let folder = tempfile::tempdir().unwrap();
    let (train, dev) = data();
    let (options, run) = (OnnxOptions::default(), folder.path().join("run"));
    let go = |Preset { spec, config }: &Preset, name: &str, seed, start, n_batches| {
        let stop = AtomicBool::new(false);
        let mut n_done = 0;
        let progress = &mut |progress: Progress| {
            if let Progress::Batches { .. } = progress {
                n_done += 1;
                stop.store(n_done >= n_batches, Ordering::Relaxed);
            }
        };
        let out = folder.path().join(name);
        let training = TrainingRun::new(&train, &dev, config, &out, &options)
            .checkpoints(&run, start)
            .stopped_by(&stop);
        let trained = training.train(spec, init(encoder(seed)), None, progress);
        trained.map(|(bundle, _)| bundle.encoder_fingerprint())
    };
    let mut alone = preset();
    alone.config.epochs = 6;
    for preset in [alone, ensemble()] {
        let whole = go(&preset, "whole", 1, Start::Anew, usize::MAX).unwrap();
        let error = go(&preset, "parts", 1, Start::Anew, 37).unwrap_err();
        assert!(matches!(error, TrainError::Stopped { epoch: 3, .. }), "{error}");
        let error = go(&preset, "parts", 2, Start::Resume, usize::MAX).unwrap_err().to_string();
        assert!(error.contains("encoder.fingerprint"), "{error}");
        assert_eq!(
            go(&preset, "parts", 1, Start::Resume, usize::MAX).unwrap(),
            whole,
            "{preset:?}"
        );
    }
}
