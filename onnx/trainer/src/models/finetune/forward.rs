use burn::tensor::activation::{gelu, softmax};
use burn::tensor::module::layer_norm;
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::autodiff::{Answer, DeviceWeights, dropout, indices, normalized_rows};
use crate::bert::relative::{RELATIVE_BIAS, bucket};
use crate::bert::{Architecture, BertConfig, Pooling};

/// The layer of scores: [L, H] and [1, L].
pub(super) const OUTPUT: &str = "output";
pub(super) const OUTPUT_BIAS: &str = "output_bias";

/// Added to the attention to padding: its exponential is 0.
const MASKED: f32 = -1e9;

/// A batch of B texts of at most T tokens.
pub(super) struct Batch {
    n_texts: usize,
    length: usize,
    /// [B * T].
    ids: Tensor<1, Int>,
    /// 0 for a text's tokens and [`MASKED`] for what fills the batch: [B, 1, 1, T].
    attention: Tensor<4>,
    /// The weight of each token in its text's mean: [B, 1, T].
    mean: Tensor<3>,
}

impl Batch {
    /// Lays out texts, each with at least one token.
    pub(super) fn new(texts: &[&[u32]], device: &Device) -> Self {
        let n_texts = texts.len();
        let length = texts.iter().map(|text| text.len()).max().unwrap_or_default();
        let n_all = n_texts * length;
        let (mut ids, mut attention, mut mean) =
            (vec![0; n_all], vec![MASKED; n_all], vec![0f32; n_all]);
        for (row, text) in texts.iter().enumerate() {
            let places = row * length..row * length + text.len();
            attention[places.clone()].fill(0.0);
            mean[places.clone()].fill(1.0 / text.len().max(1) as f32);
            ids[places].iter_mut().zip(*text).for_each(|(id, &token)| *id = token as usize);
        }
        Batch {
            n_texts,
            length,
            ids: indices(&ids, device),
            attention: Tensor::from_data(
                TensorData::new(attention, [n_texts, 1, 1, length]),
                device,
            ),
            mean: Tensor::from_data(TensorData::new(mean, [n_texts, 1, length]), device),
        }
    }
}

/// Regularization of a forward pass, in training only.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Regularization {
    /// The share of each layer's outputs.
    pub(super) dropout: f32,
    /// The seed of the dropout masks.
    pub(super) seed: u64,
}

/// The encoder and its layer of scores; the equations are those of [`bert`](crate::bert).
pub(super) struct Network<'a> {
    pub(super) config: &'a BertConfig,
    pub(super) weights: &'a DeviceWeights,
    pub(super) pooling: Pooling,
    pub(super) normalize: bool,
}

impl Network<'_> {
    /// Represents and scores a batch.
    pub(super) fn answer(&self, batch: &Batch, regularization: &Regularization) -> Answer {
        let mut seed = regularization.seed;
        let mut drop = |x: Tensor<2>| {
            seed = seed.wrapping_add(1);
            dropout(x, regularization.dropout, seed)
        };
        let mut x = drop(self.embeddings(batch));
        let bias = self.attention_bias(batch);
        for layer in 0..self.config.num_hidden_layers {
            let name = format!("encoder.layer.{layer}");
            let attended = self.attention(&name, x.clone(), batch, &bias);
            let attended = self.dense(&format!("{name}.attention.output.dense"), attended);
            x = self.normalized(&format!("{name}.attention.output"), drop(attended) + x);
            let inner = gelu(self.dense(&format!("{name}.intermediate.dense"), x.clone()));
            let inner = self.dense(&format!("{name}.output.dense"), inner);
            x = self.normalized(&format!("{name}.output"), drop(inner) + x);
        }
        let pooled = self.pooled(x, batch);
        let output = self.weights.get(OUTPUT).transpose();
        let logits = drop(pooled.clone()).matmul(output) + self.weights.get(OUTPUT_BIAS);
        let representations = if self.normalize { normalized_rows(pooled) } else { pooled };
        Answer { representations, logits }
    }

    /// Sums the rows of word, position and segment, and normalizes: [B * T, H].
    fn embeddings(&self, batch: &Batch) -> Tensor<2> {
        let table = |name: &str| self.weights.get(&format!("embeddings.{name}_embeddings.weight"));
        let words = table("word").select(0, batch.ids.clone());
        let mut places = table("position").narrow(0, self.config.first_position(), batch.length);
        if self.config.model_type == Architecture::Bert {
            places = places + table("token_type").narrow(0, 0, 1);
        }
        let [n_all, n_values] = words.dims();
        let words = words.reshape([batch.n_texts, batch.length, n_values]);
        let sum = words + places.unsqueeze_dim(0);
        self.normalized("embeddings", sum.reshape([n_all, n_values]))
    }

    /// Makes what is added to the attention: [B, 1, 1, T], and for MPNet [B, heads, T, T].
    fn attention_bias(&self, batch: &Batch) -> Tensor<4> {
        let padding = batch.attention.clone();
        if self.config.model_type == Architecture::Bert {
            return padding;
        }
        let length = batch.length;
        let pairs = (0..length).flat_map(|i| (0..length).map(move |j| bucket(i, j)));
        let pairs = indices(&pairs.collect::<Vec<usize>>(), &padding.device());
        let biases = self.weights.get(RELATIVE_BIAS).select(0, pairs);
        let biases = biases.reshape([1, length, length, self.config.num_attention_heads]);
        biases.permute([0, 3, 1, 2]) + padding
    }

    /// Attends with every head: [B * T, H].
    fn attention(&self, layer: &str, x: Tensor<2>, batch: &Batch, bias: &Tensor<4>) -> Tensor<2> {
        let (n_heads, size) = (self.config.num_attention_heads, self.config.head_size());
        let heads = |name: &str| -> Tensor<4> {
            let all = self.dense(&format!("{layer}.attention.self.{name}"), x.clone());
            all.reshape([batch.n_texts, batch.length, n_heads, size]).swap_dims(1, 2)
        };
        let queries = heads("query") / (size as f32).sqrt();
        let scores = queries.matmul(heads("key").swap_dims(2, 3)) + bias.clone();
        let attended = softmax(scores, 3).matmul(heads("value"));
        attended.swap_dims(1, 2).reshape([batch.n_texts * batch.length, n_heads * size])
    }

    fn dense(&self, name: &str, x: Tensor<2>) -> Tensor<2> {
        let weight = self.weights.get(&format!("{name}.weight"));
        x.matmul(weight.transpose()) + self.weights.get(&format!("{name}.bias"))
    }

    fn normalized(&self, part: &str, x: Tensor<2>) -> Tensor<2> {
        let vector = |name: &str| -> Tensor<1> {
            self.weights.get(&format!("{part}.LayerNorm.{name}")).squeeze_dim(0)
        };
        layer_norm(x, vector("weight"), Some(vector("bias")), self.config.layer_norm_eps.into())
    }

    /// Pools a batch's tokens: [B, H].
    fn pooled(&self, x: Tensor<2>, batch: &Batch) -> Tensor<2> {
        let [_, n_values] = x.dims();
        let tokens: Tensor<3> = x.reshape([batch.n_texts, batch.length, n_values]);
        let pooled = match self.pooling {
            Pooling::Cls => tokens.narrow(1, 0, 1),
            Pooling::Mean => batch.mean.clone().matmul(tokens),
        };
        pooled.squeeze_dim(1)
    }
}
