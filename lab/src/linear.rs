//! The linear baseline: TF-IDF of words and pairs of words, one support vector machine per label.
//!
//! Each label's machine minimizes `|w|^2 / 2 + C sum_i max(0, 1 - y_i w.x_i)^2`, with y_i = 1 where
//! text i has the label and -1 elsewhere. It is found by dual coordinate descent (Hsieh et al., "A
//! Dual Coordinate Descent Method for Large-scale Linear SVM", ICML 2008).

use autotag::tune::Prediction;
use autotag::{LabelId, LabelSet, Scores};
use autotag_onnx::{Features, NgramVocabulary};
use autotag_train::models::wide::{self, WideConfig};
use autotag_train::{Dataset, TrainError};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
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
    let label_margins: Vec<Vec<f32>> = (0..n_labels)
        .into_par_iter()
        .map(|label| {
            let y = signs(train.labels(), LabelId(label as u32));
            let machine = Machine::train(&x, &y, ngrams.len(), config, label as u64);
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

/// A label's weights, with that of a feature that is 1 in every text.
#[derive(Debug)]
struct Machine {
    weights: Vec<f32>,
    bias: f32,
}

impl Machine {
    /// Finds the weights: each step makes the dual as large as it can become by one text's alpha.
    fn train(
        x: &[Features],
        y: &[f32],
        n_features: usize,
        config: &LinearConfig,
        seed: u64,
    ) -> Self {
        let mut machine = Machine { weights: vec![0.0; n_features], bias: 0.0 };
        let diagonal = 0.5 / config.cost;
        let lengths: Vec<f32> = x.iter().map(|x| 1.0 + diagonal + squared_length(x)).collect();
        let mut alpha = vec![0.0f32; x.len()];
        let mut rows: Vec<usize> = (0..x.len()).collect();
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        // Texts far on the right side are set aside until the others are settled.
        let (mut n_active, mut bound) = (x.len(), f32::INFINITY);
        for _ in 0..config.passes {
            rows[..n_active].shuffle(&mut rng);
            let (mut largest, mut smallest) = (f32::NEG_INFINITY, f32::INFINITY);
            let mut position = 0;
            while position < n_active {
                let row = rows[position];
                let gradient = y[row] * machine.margin(&x[row]) - 1.0 + alpha[row] * diagonal;
                if alpha[row] == 0.0 && gradient > bound {
                    n_active -= 1;
                    rows.swap(position, n_active);
                    continue;
                }
                position += 1;
                let projected = if alpha[row] == 0.0 { gradient.min(0.0) } else { gradient };
                (largest, smallest) = (largest.max(projected), smallest.min(projected));
                if projected != 0.0 {
                    let new = (alpha[row] - gradient / lengths[row]).max(0.0);
                    machine.add(&x[row], (new - alpha[row]) * y[row]);
                    alpha[row] = new;
                }
            }
            if largest - smallest <= config.tolerance || n_active == 0 {
                if n_active == x.len() {
                    break;
                }
                (n_active, bound) = (x.len(), f32::INFINITY);
                continue;
            }
            bound = if largest > 0.0 { largest } else { f32::INFINITY };
        }
        machine
    }

    fn margin(&self, x: &Features) -> f32 {
        let products = x.ids.iter().zip(&x.weights);
        self.bias + products.map(|(&id, weight)| self.weights[id as usize] * weight).sum::<f32>()
    }

    fn add(&mut self, x: &Features, step: f32) {
        for (&id, weight) in x.ids.iter().zip(&x.weights) {
            self.weights[id as usize] += step * weight;
        }
        self.bias += step;
    }
}

fn squared_length(x: &Features) -> f32 {
    x.weights.iter().map(|weight| weight * weight).sum()
}

#[cfg(test)]
mod tests {
    use autotag_train::LabeledText;

    use super::*;

    fn point(values: [f32; 2]) -> Features {
        Features { ids: vec![0, 1], weights: values.to_vec() }
    }

    fn objective(machine: &Machine, x: &[Features], y: &[f32], cost: f32) -> f32 {
        let weights = machine.weights.iter().chain([&machine.bias]);
        let length: f32 = weights.map(|weight| weight * weight).sum();
        let miss = |(x, y): (&Features, &f32)| (1.0 - y * machine.margin(x)).max(0.0).powi(2);
        length / 2.0 + cost * x.iter().zip(y).map(miss).sum::<f32>()
    }

    #[test]
    fn no_weights_near_the_machines_are_better() {
        let x: Vec<Features> =
            [[1.0, 0.2], [0.8, 0.5], [0.6, 0.6], [0.1, 0.9], [0.3, 1.0], [0.9, 0.4]]
                .map(point)
                .to_vec();
        let y = [1.0, 1.0, -1.0, -1.0, -1.0, -1.0];
        let config = LinearConfig { tolerance: 1e-6, passes: 10_000, ..LinearConfig::default() };
        let machine = Machine::train(&x, &y, 2, &config, 0);
        let best = objective(&machine, &x, &y, config.cost);
        for (weight, step) in [(0, 0.01), (0, -0.01), (1, 0.01), (1, -0.01), (2, 0.01), (2, -0.01)]
        {
            let mut moved = Machine { weights: machine.weights.clone(), bias: machine.bias };
            match weight {
                2 => moved.bias += step,
                _ => moved.weights[weight] += step,
            }
            assert!(objective(&moved, &x, &y, config.cost) > best, "{weight} {step}");
        }
    }

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
