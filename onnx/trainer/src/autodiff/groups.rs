//! Batches in groups of texts of similar length, so that little is padding; the groups share the
//! processor's cores.

use std::collections::BTreeMap;

use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor};
use ndarray::Array2;
use rayon::prelude::*;

use autotag::LabelSet;

use super::loss::Answer;
use super::{DeviceWeights, Weights, losses, matrix_of};
use crate::loss::ContrastiveConfig;
use crate::model::{Predicted, StepLoss};
use crate::rows::RowMajor as _;

/// The gradient of a loss with respect to each of the weights that it depends on, by name.
pub(crate) type Gradients = BTreeMap<String, Tensor<2>>;

/// Computes a batch's losses and the gradient of `bce + gamma contrastive`.
///
/// `answer` is given the weights, a group of at most `group_size` texts, and the group's number.
///
/// Each group has a graph of operations of its own, and so a core of its own. The losses compare the
/// texts of all groups: they are differentiated with respect to the answers, and the result goes back
/// through each group's graph. Gradients are added in the order of the groups, so that the number of
/// threads changes nothing.
///
/// The graphs must not share a tracked tensor: Burn locks a graph while it goes back through it, and a
/// thread that waits for others within may begin with another group meanwhile.
pub(crate) fn gradients(
    weights: &DeviceWeights,
    texts: &[&[u32]],
    labels: &[&LabelSet],
    group_size: usize,
    contrastive: &ContrastiveConfig,
    answer: impl Fn(&DeviceWeights, &[&[u32]], u64) -> Answer + Sync,
) -> (StepLoss, Gradients) {
    let order = by_length(texts);
    let labels: Vec<&LabelSet> = order.iter().map(|&row| labels[row]).collect();
    let device = weights.device();
    let groups: Vec<(u64, Vec<&[u32]>)> = (0..).zip(grouped(texts, &order, group_size)).collect();
    let answered = each(&device, groups, |(number, group)| {
        let tracked = weights.tracked();
        let answer = answer(&tracked, &group, number);
        (tracked, answer)
    });

    let (loss, by_answer) =
        by_answer(answered.iter().map(|(_, answer)| answer), &labels, contrastive);
    let mut left: Vec<_> = answered.into_iter().zip(by_answer).rev().collect();
    let mut sum = Gradients::new();
    // As many at a time as there are threads: each holds a gradient as large as the model.
    while !left.is_empty() {
        let now = left.len().saturating_sub(rayon::current_num_threads());
        let now = left.drain(now..).rev().collect();
        let found = each(&device, now, |((tracked, answer), by_answer)| {
            tracked.gradients(&answer, &by_answer)
        });
        found.into_iter().for_each(|gradients| add(&device, &mut sum, gradients));
    }
    (loss, sum)
}

/// Computes a batch's losses, and the gradient with respect to each group's answer.
fn by_answer<'a>(
    answers: impl Iterator<Item = &'a Answer> + Clone,
    labels: &[&LabelSet],
    config: &ContrastiveConfig,
) -> (StepLoss, Vec<Answer>) {
    let whole = |part: fn(&Answer) -> &Tensor<2>| {
        let parts = answers.clone().map(|answer| part(answer).clone().inner()).collect();
        Tensor::cat(parts, 0).autodiff().require_grad()
    };
    let representations = whole(|answer| &answer.representations);
    let logits = whole(|answer| &answer.logits);
    let answer = Answer { representations: representations.clone(), logits: logits.clone() };
    let losses = losses(answer, labels, config);
    let mut gradients = losses.whole(config.gamma).backward();
    // A part that no loss depends on has none.
    let mut gradient = |part: &Tensor<2>| {
        part.grad_remove(&mut gradients).unwrap_or_else(|| part.clone().inner().zeros_like())
    };
    let figures = losses.figures(representations.clone(), labels, config);
    let (representations, logits) = (gradient(&representations), gradient(&logits));
    let mut first = 0;
    let by_answer = answers.map(|answer| {
        let n = answer.logits.dims()[0];
        let rows = |whole: &Tensor<2>| whole.clone().narrow(0, first, n);
        let part = Answer { representations: rows(&representations), logits: rows(&logits) };
        first += n;
        part
    });
    let by_answer = by_answer.collect();
    (figures, by_answer)
}

impl DeviceWeights {
    /// Backpropagates the gradient with respect to an answer to these weights.
    fn gradients(&self, answer: &Answer, by_answer: &Answer) -> Gradients {
        let product = |part: fn(&Answer) -> &Tensor<2>| {
            (part(answer).clone() * part(by_answer).clone()).sum()
        };
        let sum = product(|answer| &answer.representations) + product(|answer| &answer.logits);
        let mut gradients = sum.backward();
        let weights = self.iter().filter_map(|(name, weight)| {
            weight.grad_remove(&mut gradients).map(|gradient| (name.clone(), gradient))
        });
        weights.collect()
    }
}

fn add(device: &Device, sum: &mut Gradients, gradients: Gradients) {
    let pairs = gradients.into_iter().map(|(name, gradient)| {
        let before = sum.remove(&name);
        (name, before, gradient)
    });
    let added = each(device, pairs.collect(), |(name, before, gradient)| match before {
        Some(before) => (name, before + gradient),
        None => (name, gradient),
    });
    sum.extend(added);
}

/// Predicts texts in groups of similar length; the answers stand in the texts' order.
pub(crate) fn predict_by_length(
    weights: &Weights,
    device: &Device,
    texts: &[&[u32]],
    group_size: usize,
    answer: impl Fn(&DeviceWeights, &[&[u32]]) -> Answer + Sync,
) -> Predicted {
    let weights = weights.to_device(device);
    let order = by_length(texts);
    let groups = grouped(texts, &order, group_size).collect();
    let predicted = each(device, groups, |group: Vec<&[u32]>| {
        let Answer { representations, logits } = answer(&weights, &group);
        let scores = matrix_of(sigmoid(logits));
        Predicted { embeddings: matrix_of(representations), scores }
    });
    let mut all = Predicted::default();
    for (Predicted { embeddings, scores }, rows) in predicted.iter().zip(order.chunks(group_size)) {
        put_rows(&mut all.embeddings, embeddings, rows, texts.len());
        put_rows(&mut all.scores, scores, rows, texts.len());
    }
    all
}

/// Does work for each item, on all threads where the device is the processor; what comes out stands in
/// the items' order.
///
/// Why not on other devices? They take one operation after another.
pub(super) fn each<T: Send, U: Send>(
    device: &Device,
    items: Vec<T>,
    work: impl Fn(T) -> U + Sync + Send,
) -> Vec<U> {
    if *device == Device::flex() {
        items.into_par_iter().map(work).collect()
    } else {
        items.into_iter().map(work).collect()
    }
}

/// Returns texts' positions, the shortest text's first.
fn by_length(texts: &[&[u32]]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&row| texts[row].len());
    order
}

fn grouped<'t>(
    texts: &'t [&[u32]],
    order: &'t [usize],
    group_size: usize,
) -> impl Iterator<Item = Vec<&'t [u32]>> {
    order.chunks(group_size).map(|rows| rows.iter().map(|&row| texts[row]).collect())
}

/// Copies a group's rows to where they belong among all `n_rows`.
fn put_rows(all: &mut Array2<f32>, group: &Array2<f32>, rows: &[usize], n_rows: usize) {
    if all.nrows() != n_rows {
        *all = Array2::zeros((n_rows, group.ncols()));
    }
    rows.iter()
        .enumerate()
        .for_each(|(i, &row)| all.row_slice_mut(row).copy_from_slice(group.row_slice(i)));
}
