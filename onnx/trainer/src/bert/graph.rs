//! The encoder as an ONNX graph.

use std::f32::consts::FRAC_1_SQRT_2;

use ndarray::{Array2, s};

use autotag_onnx::graph::{Dim, GraphBuilder, Reduced, Value};
use autotag_onnx::proto::ElementType;

use super::relative::{RELATIVE_BIAS, bucket};
use super::{Architecture, BertConfig, BertWeights, Pooling};
use crate::rows::RowMajor as _;

/// Added to the attention to padding: its exponential is 0.
const MASKED: f32 = -1e9;

/// Writes an encoder with inputs `input_ids` and `attention_mask`, both int64 [batch, length], and
/// returns the pooled representation [batch, H].
///
/// The graph is batch-invariant. The length must not exceed
/// the encoder's positions; ONNX Runtime fails where it does.
pub fn write_encoder(
    graph: &mut GraphBuilder,
    config: &BertConfig,
    weights: &BertWeights,
    pooling: Pooling,
) -> Value {
    let shape = [Dim::Symbol("batch"), Dim::Symbol("length")];
    let ids = graph.input("input_ids", ElementType::Int64, &shape);
    let mask = graph.input("attention_mask", ElementType::Int64, &shape);
    let mask = graph.cast(&mask, ElementType::Float);
    let mut writer = Writer { graph, config, weights };
    let length = writer.graph.shape_of(&ids, 1, 2);
    let mut x = writer.embeddings(&ids, &length);
    let bias = writer.attention_bias(&mask, &length);
    for layer in 0..config.num_hidden_layers {
        x = writer.layer(layer, &x, &bias);
    }
    writer.pool(&x, &mask, pooling)
}

struct Writer<'a> {
    graph: &'a mut GraphBuilder,
    config: &'a BertConfig,
    weights: &'a BertWeights,
}

impl Writer<'_> {
    /// Sums the rows of word, position and segment, and normalizes: [batch, length, H].
    ///
    /// The positions are the first rows of those in use, as many as the batch is long, rather than rows
    /// gathered by a range, which ONNX Runtime's optimizer breaks. The one segment is added to the
    /// positions beforehand.
    fn embeddings(&mut self, ids: &Value, length: &Value) -> Value {
        let words = self.constant("embeddings.word_embeddings.weight");
        let words = self.graph.gather(&words, ids, 0);
        let name = "embeddings.position_embeddings.weight";
        let in_use = s![self.config.first_position().., ..];
        let mut positions = self.weights.get(name).slice(in_use).to_owned();
        if self.config.model_type == Architecture::Bert {
            positions += &self.weights.get("embeddings.token_type_embeddings.weight").row(0);
        }
        let shape = [positions.nrows(), positions.ncols()];
        let positions = self.graph.constant_f32(name, &shape, positions.values());
        let positions = self.graph.slice_to(&positions, length, 0);
        let sum = self.graph.add(&words, &positions);
        self.normalized(&sum, "embeddings")
    }

    /// Makes what is added to the attention: [`MASKED`] for what fills the batch, [batch, 1, 1, length],
    /// and for MPNet the bias of each pair of tokens, [batch, heads, length, length].
    fn attention_bias(&mut self, mask: &Value, length: &Value) -> Value {
        let graph = &mut *self.graph;
        let one = graph.scalar(1.0);
        let masked = graph.scalar(MASKED);
        let filling = graph.sub(&one, mask);
        let bias = graph.mul(&filling, &masked);
        let bias = graph.unsqueeze(&bias, &[1, 2]);
        match self.config.model_type {
            Architecture::Bert => bias,
            Architecture::Mpnet => {
                let relative = self.relative_bias(length);
                self.graph.add(&bias, &relative)
            }
        }
    }

    /// Makes the bias of each pair of tokens: [heads, length, length].
    ///
    /// The table has a row for each distance j - i between two of the n positions, from 1 - n on.
    fn relative_bias(&mut self, length: &Value) -> Value {
        let n = self.config.n_positions();
        let biases = self.weights.get(RELATIVE_BIAS);
        let before = (1..n).rev().map(|distance| bucket(distance, 0));
        let rows = before.chain((0..n).map(|distance| bucket(0, distance)));
        let values: Vec<f32> = rows.flat_map(|row| biases.row_slice(row).to_vec()).collect();
        let graph = &mut *self.graph;
        let table = graph.constant_f32(RELATIVE_BIAS, &[2 * n - 1, biases.ncols()], &values);
        let numbers = |first: usize| (first..first + n).map(|i| i as i64).collect::<Vec<i64>>();
        let keys = graph.constant_i64("keys", &[n], &numbers(n - 1));
        let queries = graph.constant_i64("queries", &[n], &numbers(0));
        let keys = graph.slice_to(&keys, length, 0);
        let queries = graph.slice_to(&queries, length, 0);
        let queries = graph.unsqueeze(&queries, &[1]);
        let distances = graph.sub(&keys, &queries);
        let biases = graph.gather(&table, &distances, 0);
        graph.transpose(&biases, &[2, 0, 1])
    }

    fn layer(&mut self, layer: usize, x: &Value, bias: &Value) -> Value {
        let name = format!("encoder.layer.{layer}");
        let attended = self.attention(&name, x, bias);
        let attended = self.dense(&format!("{name}.attention.output.dense"), &attended, 1.0);
        let sum = self.graph.add(&attended, x);
        let x = self.normalized(&sum, &format!("{name}.attention.output"));
        let inner = self.feed_forward(&name, &x);
        let sum = self.graph.add(&inner, &x);
        self.normalized(&sum, &format!("{name}.output"))
    }

    /// Attends with every head: [batch, length, H]. The queries carry 1 / sqrt(d).
    fn attention(&mut self, layer: &str, x: &Value, bias: &Value) -> Value {
        let (n_heads, size) = (self.config.num_attention_heads, self.config.head_size());
        let scale = 1.0 / (size as f32).sqrt();
        let mut heads = |name: &str, scale: f32, order: [i64; 4]| {
            let all = self.dense(&format!("{layer}.attention.self.{name}"), x, scale);
            let split = self.graph.reshape(&all, &[0, 0, n_heads as i64, size as i64]);
            self.graph.transpose(&split, &order)
        };
        let queries = heads("query", scale, [0, 2, 1, 3]);
        let keys = heads("key", 1.0, [0, 2, 3, 1]);
        let values = heads("value", 1.0, [0, 2, 1, 3]);
        let graph = &mut *self.graph;
        let scores = graph.matmul(&queries, &keys);
        let scores = graph.add(&scores, bias);
        let shares = graph.softmax(&scores, -1);
        let attended = graph.matmul(&shares, &values);
        let attended = graph.transpose(&attended, &[0, 2, 1, 3]);
        graph.reshape(&attended, &[0, 0, self.config.hidden_size as i64])
    }

    /// Computes `B gelu(A x)`, where gelu(y) = y / 2 (1 + erf(y / sqrt 2)).
    ///
    /// With u = y / sqrt 2 that is u (1 + erf u) / sqrt 2; both factors are multiplied into A and B,
    /// so that three operations go over the widest layer rather than five.
    fn feed_forward(&mut self, layer: &str, x: &Value) -> Value {
        let u = self.dense(&format!("{layer}.intermediate.dense"), x, FRAC_1_SQRT_2);
        let erf = self.graph.erf(&u);
        let product = self.graph.mul(&u, &erf);
        let gelu = self.graph.add(&product, &u);
        self.scaled_dense(&format!("{layer}.output.dense"), &gelu, FRAC_1_SQRT_2, 1.0)
    }

    /// Computes `scale (W x + b)`.
    fn dense(&mut self, name: &str, x: &Value, scale: f32) -> Value {
        self.scaled_dense(name, x, scale, scale)
    }

    fn scaled_dense(&mut self, name: &str, x: &Value, scale: f32, bias_scale: f32) -> Value {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let weights = self.weights.get(&weight);
        let shape = [weights.ncols(), weights.nrows()];
        let weights = self.graph.constant_f32(&weight, &shape, &turned(weights, scale));
        let biases = self.weights.get(&bias).values();
        let biases: Vec<f32> = biases.iter().map(|value| bias_scale * value).collect();
        let biases = self.graph.constant_f32(&bias, &[biases.len()], &biases);
        let product = self.graph.matmul(x, &weights);
        self.graph.add(&product, &biases)
    }

    /// Normalizes each token's values.
    fn normalized(&mut self, x: &Value, part: &str) -> Value {
        let scale = self.vector(&format!("{part}.LayerNorm.weight"));
        let bias = self.vector(&format!("{part}.LayerNorm.bias"));
        self.graph.layer_normalization(x, &scale, &bias, self.config.layer_norm_eps)
    }

    fn pool(&mut self, x: &Value, mask: &Value, pooling: Pooling) -> Value {
        let graph = &mut *self.graph;
        match pooling {
            Pooling::Cls => {
                let first = graph.constant_i64("first", &[], &[0]);
                graph.gather(x, &first, 1)
            }
            Pooling::Mean => {
                let weights = graph.unsqueeze(mask, &[2]);
                let kept = graph.mul(x, &weights);
                let sum = graph.reduce_sum(&kept, &[1], Reduced::Dropped);
                let n_tokens = graph.reduce_sum(mask, &[1], Reduced::Kept);
                graph.div(&sum, &n_tokens)
            }
        }
    }

    fn constant(&mut self, name: &str) -> Value {
        let matrix = self.weights.get(name);
        self.graph.constant_f32(name, &[matrix.nrows(), matrix.ncols()], matrix.values())
    }

    fn vector(&mut self, name: &str) -> Value {
        let values = self.weights.get(name).values();
        self.graph.constant_f32(name, &[values.len()], values)
    }
}

/// Returns the transposed matrix, scaled.
fn turned(matrix: &Array2<f32>, scale: f32) -> Vec<f32> {
    let (n_rows, n_cols) = (matrix.nrows(), matrix.ncols());
    let mut turned = vec![0.0; n_rows * n_cols];
    for row in 0..n_rows {
        for (col, value) in matrix.row_slice(row).iter().enumerate() {
            turned[col * n_rows + row] = scale * value;
        }
    }
    turned
}
