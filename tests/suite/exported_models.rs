//! Exported models, run by ONNX Runtime.

use autotag::{Encoded, Encoder};
use autotag_onnx::{ModelBundle, OnnxEncoder, OnnxOptions};
use autotag_train::models::cnn::{CnnConfig, GraphForm};
use autotag_train::{Dataset, Init, ModelSpec, Preset, TrainingRun};

use crate::tiny;

fn encoder(change: impl Fn(&mut CnnConfig)) -> (tempfile::TempDir, OnnxEncoder) {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path(), change);
    let encoder = OnnxEncoder::open(&bundle, &OnnxOptions::default()).unwrap();
    (folder, encoder)
}

fn bundle(folder: &std::path::Path, change: impl Fn(&mut CnnConfig)) -> ModelBundle {
    let Preset { mut spec, mut config } = tiny::preset().unwrap();
    config.epochs = 2;
    let ModelSpec::Cnn(cnn) = &mut spec else { panic!("{spec:?}") };
    // The widest window is wider than the shortest text.
    cnn.widths = vec![1, 2, 4];
    change(cnn);
    let train = Dataset::new(tiny::documents("train", 60)).unwrap();
    let dev = Dataset::with_vocabulary(tiny::documents("dev", 20), train.vocabulary()).unwrap();
    let options = OnnxOptions::default();
    TrainingRun::new(&train, &dev, &config, &folder.join("bundle"), &options)
        .train(&spec, Init::Random, None, &mut |_| {})
        .unwrap()
        .0
}

/// Texts of 1 to 30 words.
fn texts() -> Vec<String> {
    let words = tiny::text(&[0, 1, 2, 3], 5);
    let words: Vec<&str> = words.split(' ').collect();
    [1, 2, 3, 5, 8, 13, 30].iter().map(|&n| words[..n].join(" ")).collect()
}

fn encode(encoder: &OnnxEncoder, texts: &[String]) -> Vec<Encoded> {
    let tokens: Vec<_> = texts.iter().map(|text| encoder.tokenize(text).unwrap()).collect();
    encoder.encode(&tokens).outcomes().map(Result::unwrap).collect()
}

fn difference(a: &Encoded, b: &Encoded) -> f32 {
    let scores = |encoded: &Encoded| encoded.scores.as_ref().unwrap().values().to_vec();
    let pairs = a.embedding.values().iter().zip(b.embedding.values());
    let (scores_a, scores_b) = (scores(a), scores(b));
    pairs.chain(scores_a.iter().zip(&scores_b)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_text_has_the_same_answer_alone_and_in_a_batch() {
    for form in [GraphForm::Folded, GraphForm::Plain] {
        for normalize in [false, true] {
            let (_folder, encoder) = encoder(|cnn| {
                cnn.form = form;
                cnn.normalize = normalize;
            });
            let together = encode(&encoder, &texts());
            for (text, together) in texts().into_iter().zip(&together) {
                let alone = &encode(&encoder, &[text])[0];
                let difference = difference(alone, together);
                assert!(difference < 1e-5, "{form:?}, normalized {normalize}: {difference}");
            }
        }
    }
}

#[test]
fn the_folded_graph_gives_the_plain_one_s_scores_to_the_precision_of_its_tables() {
    let (_folded_folder, folded) = encoder(|cnn| cnn.form = GraphForm::Folded);
    let (_plain_folder, plain) = encoder(|cnn| cnn.form = GraphForm::Plain);
    for (a, b) in encode(&folded, &texts()).iter().zip(&encode(&plain, &texts())) {
        let difference = difference(a, b);
        assert!(difference < 5e-3, "{difference}");
    }
}

#[test]
fn normalized_representations_have_length_1() {
    let (_folder, encoder) = encoder(|cnn| cnn.normalize = true);
    for encoded in encode(&encoder, &texts()) {
        let norm: f32 = encoded.embedding.values().iter().map(|v| v * v).sum::<f32>().sqrt();
        assert!((norm - 1.0).abs() < 1e-3, "{norm}");
    }
}
