use std::collections::BTreeMap;

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::autodiff::indices;

/// A batch of B texts of at most T tokens, U of them distinct, laid out for the LSTM.
///
/// Both directions read a text from their own first token on, so that padding always comes last and
/// no step before it can notice it.
pub(super) struct Batch {
    /// B.
    pub(super) n_texts: usize,
    /// T.
    pub(super) length: usize,
    /// The distinct tokens: [U].
    pub(super) tokens: Tensor<1, Int>,
    /// Step by step, direction by direction, text by text, which token is read; those of the second
    /// direction are counted from U on: [T * 2 * B].
    pub(super) read: Tensor<1, Int>,
    /// For each text and token, the row of the first direction's state after reading it, where
    /// states are ordered as `read` is: [B * T].
    pub(super) forward: Tensor<1, Int>,
    /// The same for the second direction.
    pub(super) backward: Tensor<1, Int>,
    /// 0 at tokens, [`MASKED`] at padding: [B, T, 1].
    pub(super) padding: Tensor<3>,
}

/// Added to the attention that padding would get: its exponential is 0.
pub(super) const MASKED: f32 = -1e9;

impl Batch {
    /// Lays out texts, each with at least one token.
    pub(super) fn new(texts: &[&[u32]], device: &Device) -> Self {
        let n_texts = texts.len();
        let length = texts.iter().map(|text| text.len()).max().unwrap_or_default();
        let mut positions: BTreeMap<u32, usize> =
            texts.iter().flat_map(|text| text.iter()).map(|&token| (token, 0)).collect();
        positions.values_mut().enumerate().for_each(|(number, position)| *position = number);
        let n_tokens = positions.len();
        let tokens: Vec<usize> = positions.keys().map(|&token| token as usize).collect();

        let mut read = Vec::with_capacity(2 * n_texts * length);
        for step in 0..length {
            // Which token is read at padding does not matter.
            let token = |text: &[u32], step: usize| text.get(step).map_or(0, |id| positions[id]);
            read.extend(texts.iter().map(|text| token(text, step)));
            let from_end = |text: &[u32]| token(text, mirrored(step, text.len()));
            read.extend(texts.iter().map(|text| n_tokens + from_end(text)));
        }
        let mut forward = Vec::with_capacity(n_texts * length);
        let mut backward = Vec::with_capacity(n_texts * length);
        let mut padding = Vec::with_capacity(n_texts * length);
        for (row, text) in texts.iter().enumerate() {
            for step in 0..length {
                forward.push(2 * step * n_texts + row);
                backward.push((2 * mirrored(step, text.len()) + 1) * n_texts + row);
                padding.push(if step < text.len() { 0.0 } else { MASKED });
            }
        }
        Batch {
            n_texts,
            length,
            tokens: indices(&tokens, device),
            read: indices(&read, device),
            forward: indices(&forward, device),
            backward: indices(&backward, device),
            padding: Tensor::from_data(TensorData::new(padding, [n_texts, length, 1]), device),
        }
    }
}

/// Counts a step from a text's end; padding stays where it is.
fn mirrored(step: usize, length: usize) -> usize {
    if step < length { length - 1 - step } else { step }
}
