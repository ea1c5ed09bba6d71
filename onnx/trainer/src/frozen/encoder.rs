use std::num::NonZeroUsize;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

use autotag::{Fingerprint, LabelVocabulary, Selection};
use autotag_onnx::bundle::{FORMAT_VERSION, InputKind};
use autotag_onnx::graph::{Dim, GraphBuilder, Value};
use autotag_onnx::proto::ElementType;
use autotag_onnx::{BundleConfig, BundleDraft};

use super::untuned;
use crate::Result;
use crate::bert::{BertConfig, BertFolder, BertWeights, Pooling, write_encoder};
use crate::layers::normalized;

/// A pretrained encoder that represents each text by a vector of length 1.
#[derive(Clone, Debug)]
pub struct FrozenEncoder {
    tokenizer: Tokenizer,
    config: BertConfig,
    weights: BertWeights,
    pooling: Pooling,
}

/// A bundle's description of the pretrained encoder inside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncoderCard {
    /// Its shape.
    pub shape: BertConfig,
    /// Its pooling.
    pub pooling: Pooling,
    /// Identifies its embedding space.
    pub fingerprint: Fingerprint,
}

impl FrozenEncoder {
    /// Makes a frozen encoder; `pooling` overrides the folder's, and the default is the mean.
    pub fn new(folder: BertFolder, pooling: Option<Pooling>) -> Self {
        let BertFolder { tokenizer, config, weights, pooling: own } = folder;
        let pooling = pooling.or(own).unwrap_or_default();
        FrozenEncoder { tokenizer, config, weights, pooling }
    }

    /// Returns the tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Returns D: the length of a representation.
    pub fn dimensions(&self) -> usize {
        self.config.hidden_size
    }

    /// Returns the encoder's card.
    pub fn card(&self, fingerprint: Fingerprint) -> EncoderCard {
        let (shape, pooling) = (self.config.clone(), self.pooling);
        EncoderCard { shape, pooling, fingerprint }
    }

    /// Writes the encoder with inputs `input_ids` and `attention_mask`, and returns the
    /// representations of length 1, [batch, D].
    pub fn write(&self, graph: &mut GraphBuilder) -> Value {
        let pooled = write_encoder(graph, &self.config, &self.weights, self.pooling);
        normalized(graph, &pooled)
    }

    /// Writes the encoder as a bundle's model, without scores.
    pub fn to_onnx(&self) -> Vec<u8> {
        let mut graph = GraphBuilder::new("encoder");
        let embedding = self.write(&mut graph);
        let shape = [Dim::Symbol("batch"), Dim::Fixed(self.dimensions())];
        graph.output("embedding", &embedding, ElementType::Float, &shape);
        graph.finish()
    }

    /// Begins a bundle of the encoder alone.
    pub(crate) fn draft(&self, max_length: usize, out: &Path) -> Result<BundleDraft> {
        let positive = |n: usize| NonZeroUsize::new(n).expect("it was checked to be at least 1");
        let config = BundleConfig {
            format_version: FORMAT_VERSION,
            architecture: "encoder".to_owned(),
            input: InputKind::TokenIds,
            special_tokens: true,
            max_length: positive(self.bounded(max_length)),
            dimensions: positive(self.dimensions()),
            n_labels: 0,
            normalized: true,
            interpolation: untuned(),
            selection: Selection::default(),
            training: serde_json::Value::Null,
        };
        let labels = LabelVocabulary::default();
        Ok(BundleDraft::create(out, config, &labels, &self.tokenizer, self.to_onnx())?)
    }

    /// Bounds the length that was asked for by the encoder's positions, and says so.
    fn bounded(&self, max_length: usize) -> usize {
        let positions = self.config.max_position_embeddings;
        if max_length > positions {
            tracing::warn!(
                max_length,
                positions,
                "the encoder has fewer positions: it reads as many"
            );
        }
        max_length.min(positions)
    }
}
