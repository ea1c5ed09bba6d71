//! From a trained model to the one that is exported: rounded, projected, stacked.

use std::num::NonZeroUsize;

use autotag::tune;
use autotag_onnx::{BundleConfig, Features};

use crate::fit::{Fitted, predict_all, with_neighbors};
use crate::linear::{LinearLayer, MAX_LABELS};
use crate::model::{TextInput, TokenizedTexts};
use crate::projection::Projected;
use crate::report::Progress;
use crate::stacked::Stacked;

/// Rounds a trained model to the precision of its export, and projects its representations to a number of
/// dimensions where they have more; 0 leaves them as they are.
pub(super) fn rounded_and_projected(
    fitted: Fitted,
    n_dimensions: usize,
    bundle: &mut BundleConfig,
    train: &TokenizedTexts,
    dev: &TokenizedTexts,
) -> Fitted {
    let Fitted { mut network, predictions, report } = fitted;
    let is_changed = network.round();
    let is_projected = (1..bundle.dimensions.get()).contains(&n_dimensions);
    if !is_changed && !is_projected {
        return Fitted { network, predictions, report };
    }
    let (mut learned, mut predicted) = (predict_all(&*network, train), predict_all(&*network, dev));
    if is_projected {
        let projected = Projected::fit(network, &learned.embeddings, n_dimensions);
        network = match NonZeroUsize::new(projected.n_dimensions()) {
            Some(n_dimensions) => {
                (learned, predicted) = (projected.project(learned), projected.project(predicted));
                bundle.dimensions = n_dimensions;
                bundle.normalized = false;
                Box::new(projected)
            }
            None => {
                tracing::warn!("the representations do not vary: they are not projected");
                projected.into_network()
            }
        };
    }
    let predictions = with_neighbors(&learned, train, &predicted, dev).unwrap_or(predictions);
    Fitted { network, predictions, report }
}

/// Stacks a trained model of V n-grams and L labels with linear classifiers on its `n_linear` most frequent
/// n-grams. Where one of these numbers is 0 it stays as it is, and so it does with fewer dev texts than weights
/// are fitted to, and with more labels than [`MAX_LABELS`].
pub(super) fn stacked(
    fitted: Fitted,
    n_linear: usize,
    [n_ngrams, n_labels]: [usize; 2],
    train: &TokenizedTexts,
    dev: &TokenizedTexts,
    progress: &mut dyn FnMut(Progress),
) -> Fitted {
    let is_within = (1..=MAX_LABELS).contains(&n_labels) && dev.texts.len() >= tune::MIN_TEXTS;
    if n_linear == 0 || n_ngrams == 0 || !is_within {
        return fitted;
    }
    progress(Progress::Stage("linear classifiers"));
    let Fitted { network, mut predictions, mut report } = fitted;
    let texts: Vec<&Features> = train.texts.iter().map(|text| &text.read.features).collect();
    let linear = LinearLayer::train(&texts, &train.labels, n_labels, n_ngrams, n_linear);
    let texts: Vec<&TextInput> = dev.texts.iter().collect();
    let (network, weights) = Stacked::fit(network, linear, &texts, &mut predictions);
    report.stacking = weights;
    Fitted { network, predictions, report }
}
