//! Texts through an ONNX model.

mod options;
mod pool;
mod session;
mod weights;

use std::path::Path;
use std::sync::Arc;

use autotag::{EncodeError, EncodedBatch, Encoder, Fingerprint, LabelVocabulary};

use crate::bundle::files::MODEL;
use crate::bundle::opened::{Contents, ModelBundle};
use crate::{DeviceInUse, ModelInput, Result, TextReader};
pub use options::OnnxOptions;
use pool::Pool;
use session::{Answer, Model};

impl OnnxOptions {
    /// Checks that the device asked for can be used, without loading a model.
    ///
    /// It is for whoever has long work to do before the model is there, as training has.
    ///
    /// # Errors
    ///
    /// [`RuntimeMissing`](crate::OnnxError::RuntimeMissing) and
    /// [`RuntimeUnusable`](crate::OnnxError::RuntimeUnusable) without ONNX Runtime,
    /// [`DeviceUnavailable`](crate::OnnxError::DeviceUnavailable) for a CUDA device that cannot be
    /// used.
    pub fn check_device(&self) -> Result<()> {
        session::check(self.device)
    }
}

/// A bundle's model, loaded; shared between threads.
#[derive(Debug)]
pub struct OnnxEncoder {
    reader: TextReader,
    labels: LabelVocabulary,
    fingerprint: Fingerprint,
    dimensions: usize,
    device: DeviceInUse,
    sessions: Pool<Model>,
}

impl OnnxEncoder {
    /// Loads a bundle's model and runs a test text through it.
    ///
    /// # Errors
    ///
    /// [`RuntimeMissing`](crate::OnnxError::RuntimeMissing) and
    /// [`RuntimeUnusable`](crate::OnnxError::RuntimeUnusable) without ONNX Runtime,
    /// [`DeviceUnavailable`](crate::OnnxError::DeviceUnavailable) for a CUDA device that cannot be
    /// used, [`FileChanged`](crate::OnnxError::FileChanged) when the model was changed since the
    /// bundle was opened, [`Tokenizer`](crate::OnnxError::Tokenizer) and
    /// [`Ngrams`](crate::OnnxError::Ngrams) for vocabularies that cannot be used,
    /// [`Session`](crate::OnnxError::Session) when ONNX Runtime refuses the model,
    /// [`TestRunTooLong`](crate::OnnxError::TestRunTooLong) when it does not answer, and
    /// [`OutputShape`](crate::OnnxError::OutputShape) when its answer to the test text has another
    /// shape than the bundle says.
    pub fn open(bundle: &ModelBundle, options: &OnnxOptions) -> Result<Self> {
        OnnxEncoder::load(bundle.path(), &bundle.contents, options)
    }

    /// Loads the model in a folder that has the files of a bundle.
    pub(crate) fn load(folder: &Path, contents: &Contents, options: &OnnxOptions) -> Result<Self> {
        let config = &contents.config;
        let reader = TextReader::open(folder, config)?;
        let path = folder.join(MODEL);
        let proto = contents.model.read(&path, config)?;
        let test = reader.test_inputs();
        let (sessions, device) = session::load(path, proto, config, options, &test)?;
        tracing::info!(%device, sessions = sessions.len(), "loaded the model");
        Ok(OnnxEncoder {
            reader,
            labels: contents.labels.clone(),
            fingerprint: contents.encoder,
            dimensions: config.dimensions.get(),
            device,
            sessions: Pool::new(sessions),
        })
    }

    /// Returns the device that the model runs on.
    pub fn device(&self) -> &DeviceInUse {
        &self.device
    }

    /// Returns a short text as every model should be able to read it.
    pub(crate) fn test_input(&self) -> ModelInput {
        let [_, longer] = self.reader.test_inputs();
        longer
    }

    /// Runs a batch, and where that fails each text alone, so that one text cannot fail the others.
    fn run(&self, batch: &[ModelInput]) -> EncodedBatch {
        // The session is free again before its answer is looked at.
        let answer = self.sessions.take().run(batch);
        match answer {
            Ok(Answer { embeddings, mut scores }) => {
                scores.iter_mut().for_each(|scores| scores.mapv_inplace(without_rounding));
                return EncodedBatch::new(embeddings, scores);
            }
            Err(error) if batch.len() == 1 => {
                let error = EncodeError::Run(Arc::new(error));
                return EncodedBatch::failed(1, self.dimensions, &error);
            }
            Err(error) => tracing::debug!(%error, n_texts = batch.len(), "a batch failed"),
        }
        let alone = batch.iter().map(|text| self.run(std::slice::from_ref(text)));
        EncodedBatch::concatenate(self.dimensions, alone.collect())
    }
}

impl Encoder for OnnxEncoder {
    type Tokens = ModelInput;

    fn labels(&self) -> &LabelVocabulary {
        &self.labels
    }

    fn dimensions(&self) -> usize {
        self.dimensions
    }

    fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    fn tokenize(&self, text: &str) -> Result<ModelInput, EncodeError> {
        self.reader.read(text)
    }

    fn token_count(tokens: &ModelInput) -> usize {
        tokens.length()
    }

    fn encode(&self, batch: &[ModelInput]) -> EncodedBatch {
        let _span = tracing::debug_span!("encode", n_texts = batch.len()).entered();
        let runs = bounded_runs(batch).into_iter().map(|texts| self.run(texts));
        EncodedBatch::concatenate(self.dimensions, runs.collect())
    }
}

/// The n-grams that are given to the model at once, padding included, where one text has not more:
/// the model's working memory is a row of its hidden layer for each.
const NGRAMS_AT_ONCE: usize = 1 << 14;

/// Cuts a batch into runs of texts so that n-grams take a bounded memory.
fn bounded_runs(batch: &[ModelInput]) -> Vec<&[ModelInput]> {
    let longest = batch.iter().map(|text| text.features.ids.len()).max().unwrap_or_default();
    batch.chunks((NGRAMS_AT_ONCE / longest.max(1)).max(1)).collect()
}

/// Takes away a rounding error beyond 0 or 1; anything farther off is the model's fault.
fn without_rounding(score: f32) -> f32 {
    const ROUNDING: f32 = 1e-6;
    match score {
        _ if (-ROUNDING..0.0).contains(&score) => 0.0,
        _ if score > 1.0 && score <= 1.0 + ROUNDING => 1.0,
        _ => score,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rounding_errors_are_taken_away() {
        for (score, expect) in
            [(-1e-7, 0.0), (1.000_000_1, 1.0), (0.5, 0.5), (1.1, 1.1), (-0.1, -0.1)]
        {
            assert_eq!(without_rounding(score), expect);
        }
        assert!(without_rounding(f32::NAN).is_nan());
    }
}
