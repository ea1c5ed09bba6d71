//! A tiny model, trained on the spot on made-up texts: seconds, no network.

use std::num::NonZeroUsize;
use std::path::Path;

use autotag::Temperature;
use autotag_onnx::{ModelBundle, OnnxOptions};
use autotag_train::models::cnn::CnnConfig;
use autotag_train::optimizer::AdamConfig;
use autotag_train::{Dataset, Init, LabeledText, ModelSpec, Preset, TrainConfig, TrainingRun};

/// The labels, and words that texts about them use.
pub(crate) const TOPICS: [(&str, &[&str]); 5] = [
    ("science::space", &["rocket", "orbit", "moon", "telescope", "galaxy", "launch", "planet"]),
    ("science::biology", &["cell", "protein", "gene", "enzyme", "bacteria", "tissue", "organism"]),
    ("arts::music", &["guitar", "melody", "concert", "piano", "chorus", "rhythm", "orchestra"]),
    ("sport::football", &["goal", "striker", "match", "penalty", "keeper", "league", "referee"]),
    ("food::cooking", &["recipe", "oven", "garlic", "simmer", "flour", "butter", "spices"]),
];

const FILLER: [&str; 8] = ["the", "a", "was", "very", "with", "again", "people", "today"];

/// Makes up a text about some of the topics; the same number gives the same text.
pub(crate) fn text(topics: &[usize], number: usize) -> String {
    let mut state = number as u64 + 1;
    let mut draw = |n: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let mut words = Vec::new();
    for &topic in topics {
        let vocabulary = TOPICS[topic].1;
        for _ in 0..5 {
            words.push(vocabulary[draw(vocabulary.len())]);
            words.push(FILLER[draw(FILLER.len())]);
        }
    }
    words.join(" ")
}

/// Makes up `n` labeled documents, every third one about two topics.
pub(crate) fn documents(prefix: &str, n: usize) -> Vec<LabeledText> {
    (0..n)
        .map(|i| {
            let (first, second) = (i % TOPICS.len(), (i / TOPICS.len() + 1 + i) % TOPICS.len());
            let topics =
                if i % 3 == 0 && first != second { vec![first, second] } else { vec![first] };
            LabeledText {
                key: format!("{prefix}-{i}"),
                text: text(&topics, i * 31 + prefix.len()),
                labels: topics.iter().map(|&topic| TOPICS[topic].0.to_owned()).collect(),
            }
        })
        .collect()
}

/// Returns a CNN that trains in a second, and its training.
pub(crate) fn preset() -> anyhow::Result<Preset> {
    let Preset { spec, config } = "cnn".parse()?;
    let ModelSpec::Cnn(cnn) = spec else { anyhow::bail!("a CNN is one: {spec:?}") };
    let cnn = CnnConfig {
        embedding_dimensions: 16,
        widths: vec![1, 2],
        filters: 12,
        dropout: 0.1,
        embedding_dropout: 0.0,
        adam: AdamConfig { learning_rate: 1e-2, ..cnn.adam },
        ..cnn
    };
    let mut config = TrainConfig { batch_size: 16, epochs: 12, max_length: 32, ..config };
    config.interpolation.k = NonZeroUsize::new(5).expect("5 is not 0");
    config.interpolation.temperature = Temperature::new(1.0)?;
    Ok(Preset { spec: ModelSpec::Cnn(cnn), config })
}

/// Trains the tiny model and returns its bundle.
pub(crate) fn bundle(folder: &Path) -> anyhow::Result<ModelBundle> {
    let train = Dataset::new(documents("train", 240))?;
    let dev = Dataset::with_vocabulary(documents("dev", 60), train.vocabulary())?;
    let (options, Preset { spec, config }) = (OnnxOptions::default(), preset()?);
    let run = TrainingRun::new(&train, &dev, &config, folder, &options);
    let (bundle, _) = run.train(&spec, Init::Random, None, &mut |_| {})?;
    Ok(bundle)
}
