//! The linear baseline: TF-IDF of words and pairs of words, one support vector machine per label.

use autotag::tune::Prediction;
use autotag::{LabelId, LabelSet, Scores};
use autotag_onnx::{Features, NgramVocabulary};
use autotag_train::models::wide::{self, WideConfig};
use autotag_train::{Dataset, LinearSvm, SvmConfig, TrainError};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// The linear baseline's settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinearConfig {
    /// C: what an error costs beside the weights' length, greater than 0.
    pub cost: f32,
    /// The training texts in which an n-gram must occur.
    pub min_documents: usize,
    /// The most n-grams.
    pub max_ngrams: usize,
    /// The words of a text that are read.
    pub max_words: usize,
    /// The most passes over the training texts.
    pub passes: usize,
    /// The spread of the projected gradient at which a machine is found.
    pub tolerance: f32,
}

impl Default for LinearConfig {
    fn default() -> Self {
        LinearConfig {
            cost: 1.0,
            min_documents: 2,
            max_ngrams: 500_000,
            max_words: 1000,
            passes: 100,
            tolerance: 0.05,
        }
    }
}

/// The scores that are kept: a margin of -.87 and more.
const LEAST_SCORE: f32 = 0.15;

/// Trains the baseline and lets it score texts; they have no neighbors.
///
/// A margin m becomes the score `1 / (1 + e^(-2 m))`: the threshold .5 is the margin 0.
///
/// # Errors
///
/// [`TrainError::NoNgrams`] when no word occurs in enough training texts.
pub fn linear_baseline(
    train: &Dataset,
    measured: &[&Dataset],
    config: &LinearConfig,
) -> Result<Vec<Vec<Prediction>>, TrainError> {
    let wide = WideConfig {
        min_documents: config.min_documents,
        max_ngrams: config.max_ngrams,
        ..WideConfig::default()
    };
    let ngrams = wide::learn(train.texts(), config.max_words, &wide)?;
    let x = features(&ngrams, train, config);
    let queries: Vec<Vec<Features>> =
        measured.iter().map(|dataset| features(&ngrams, dataset, config)).collect();
    let n_labels = train.vocabulary().len();
    let LinearConfig { cost, passes, tolerance, .. } = *config;
    let svm = SvmConfig { cost, passes, tolerance };
    let label_margins: Vec<Vec<f32>> = (0..n_labels)
        .into_par_iter()
        .map(|label| {
            let y = signs(train.labels(), LabelId(label as u32));
            let machine = LinearSvm::train(&x, &y, ngrams.len(), &svm, label as u64);
            queries.iter().flatten().map(|query| machine.margin(query)).collect()
        })
        .collect();
    let mut first = 0;
    let mut predicted = Vec::with_capacity(measured.len());
    for dataset in measured {
        let predict = |(row, given): (usize, &LabelSet)| {
            let scores = label_margins.iter().map(|margins| score(margins[first + row]));
            let scores =
                Scores::new(scores.collect::<Vec<_>>()).expect("sigmoids are within 0..=1");
            let model = Some(scores.sparsified(LEAST_SCORE));
            Prediction { given: given.clone(), model, neighbors: vec![] }
        };
        predicted.push(dataset.labels().iter().enumerate().map(predict).collect());
        first += dataset.len();
    }
    Ok(predicted)
}

fn score(margin: f32) -> f32 {
    let score = 1.0 / (1.0 + (-2.0 * margin).exp());
    if score.is_finite() { score } else { 0.0 }
}

/// Reads texts; one without a word has no features.
fn features(ngrams: &NgramVocabulary, texts: &Dataset, config: &LinearConfig) -> Vec<Features> {
    let read = |text: &String| ngrams.features(text, config.max_words).unwrap_or_default();
    texts.texts().par_iter().map(read).collect()
}

fn signs(labels: &[LabelSet], label: LabelId) -> Vec<f32> {
    labels.iter().map(|labels| if labels.contains(label) { 1.0 } else { -1.0 }).collect()
}

#[cfg(test)]
mod tests {
    use autotag_train::LabeledText;

    use super::*;

    fn texts(words: &[(&str, &[&str])]) -> Vec<LabeledText> {
        let text = |(key, (text, labels)): (usize, &(&str, &[&str]))| LabeledText {
            key: key.to_string(),
            text: (*text).to_owned(),
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
        };
        words.iter().enumerate().map(text).collect()
    }

    #[test]
    fn texts_get_the_labels_of_their_words() {
        let train: Vec<(&str, &[&str])> = [
            ("red apple pie", &["food"] as &[&str]),
            ("apple pie recipe", &["food"]),
            ("diesel engine oil", &["cars"]),
            ("engine oil change", &["cars"]),
            ("apple engine", &["cars", "food"]),
        ]
        .repeat(3);
        let train = Dataset::new(texts(&train)).unwrap();
        let test =
            texts(&[("an apple pie", &["food"]), ("engine oil", &["cars"]), ("", &["cars"])]);
        let test = Dataset::with_vocabulary(test, train.vocabulary()).unwrap();
        let predicted = linear_baseline(&train, &[&test, &test], &LinearConfig::default()).unwrap();
        assert_eq!(predicted.len(), 2);
        let scores: Vec<&[f32]> =
            predicted[0].iter().map(|p| p.model.as_ref().unwrap().values()).collect();
        assert!(scores[0][1] > 0.5 && scores[0][0] < 0.5, "{scores:?}");
        assert!(scores[1][0] > 0.5 && scores[1][1] < 0.5, "{scores:?}");
        // A text without a word is not an error.
        assert_eq!(scores[2].len(), 2);
        assert_eq!(predicted[0][1].model, predicted[1][1].model);
    }

    #[test]
    fn texts_without_words_are_an_error() {
        let train = Dataset::new(texts(&[("...", &["a"]), ("!", &["b"])])).unwrap();
        let error = linear_baseline(&train, &[], &LinearConfig::default()).unwrap_err();
        assert!(matches!(error, TrainError::NoNgrams { .. }), "{error}");
    }
}
