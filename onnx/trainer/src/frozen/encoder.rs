use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

use autotag::{Fingerprint, Interpolation, LabelVocabulary, Proportion, Selection, Temperature};
use autotag_onnx::bundle::{FORMAT_VERSION, InputKind};
use autotag_onnx::graph::{Dim, GraphBuilder, Value};
use autotag_onnx::proto::ElementType;
use autotag_onnx::{BundleConfig, BundleDraft};

use crate::Result;
use crate::bert::{BertConfig, BertFolder, Pooling, write_encoder};
use crate::layers::normalized;

/// The tokens that are read where nothing else is said: what the small sentence encoders are made
/// for, and a bound to what a long text costs.
pub const DEFAULT_LENGTH: usize = 256;

/// A pretrained encoder that represents each text by a vector of length 1.
#[derive(Clone, Debug)]
pub struct FrozenEncoder {
    folder: Arc<BertFolder>,
    pooling: Pooling,
    prefix: String,
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
    /// Makes a frozen encoder; `pooling` overrides the folder's, and the default is the mean. `prefix` is
    /// put before each text.
    pub fn new(folder: Arc<BertFolder>, pooling: Option<Pooling>, prefix: &str) -> Self {
        let pooling = pooling.or(folder.pooling).unwrap_or_default();
        FrozenEncoder { folder, pooling, prefix: prefix.to_owned() }
    }

    /// Returns the text that is put before each text.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.folder.tokenizer
    }

    /// Returns D: the length of a representation.
    pub fn dimensions(&self) -> usize {
        self.folder.config.hidden_size
    }

    /// Returns the encoder's card.
    pub fn card(&self, fingerprint: Fingerprint) -> EncoderCard {
        let (shape, pooling) = (self.folder.config.clone(), self.pooling);
        EncoderCard { shape, pooling, fingerprint }
    }

    /// Writes the encoder with inputs `input_ids` and `attention_mask`, and returns the
    /// representations of length 1, [batch, D].
    pub fn write(&self, graph: &mut GraphBuilder) -> Value {
        let pooled = write_encoder(graph, &self.folder.config, &self.folder.weights, self.pooling);
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
            prefix: self.prefix.clone(),
            max_length: positive(self.bounded(max_length)),
            dimensions: positive(self.dimensions()),
            n_labels: 0,
            normalized: true,
            interpolation: untuned(),
            mix: None,
            selection: Selection::default(),
            training: serde_json::Value::Null,
        };
        let labels = LabelVocabulary::default();
        Ok(BundleDraft::create(out, config, &labels, &self.folder.tokenizer, self.to_onnx())?)
    }

    /// Bounds the length that was asked for by the encoder's positions, and says so.
    fn bounded(&self, max_length: usize) -> usize {
        let positions = self.folder.config.n_positions();
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

/// Returns how neighbors vote where no dev set says it.
///
/// Representations of length 1 are at most 2 apart, so tau is smaller than the paper's. The settings
/// are near those that were tuned for MiniLM on package descriptions with hundreds of labels.
pub(super) fn untuned() -> Interpolation {
    Interpolation {
        k: NonZeroUsize::new(12).expect("12 is not 0"),
        temperature: Temperature::new(0.2).expect("0.2 is greater than 0"),
        proportion: Proportion::NEIGHBORS,
    }
}
