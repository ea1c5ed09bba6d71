use autotag_onnx::graph::{Dim, GraphBuilder};
use autotag_onnx::proto::ElementType;

use crate::bert::{BertConfig, BertWeights, Pooling, write_encoder};
use crate::layers::normalized;

/// Writes an encoder as a bundle's model: representations of length 1 and no scores.
pub fn to_onnx(config: &BertConfig, weights: &BertWeights, pooling: Pooling) -> Vec<u8> {
    let mut graph = GraphBuilder::new("encoder");
    let pooled = write_encoder(&mut graph, config, weights, pooling);
    let embedding = normalized(&mut graph, &pooled);
    let shape = [Dim::Symbol("batch"), Dim::Fixed(config.hidden_size)];
    graph.output("embedding", &embedding, ElementType::Float, &shape);
    graph.finish()
}
