//! Encodes a data set once: batches of texts of similar length, on all threads.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use ndarray::Array2;
use rayon::prelude::*;

use autotag::{EncodeError, EncodedBatch, Encoder};
use autotag_onnx::{ModelInput, OnnxEncoder};

use super::cache::{EmbeddingCache, TextDigest, digest};
use crate::report::Progress;
use crate::rows::RowMajor as _;
use crate::{Dataset, Result, TrainError};

/// The tokens of a batch, padding included: more would spill out of a core's cache.
const BATCH_TOKENS: usize = 2048;

/// The texts per thread between progress reports and cache writes.
const TEXTS_PER_REPORT: usize = 64;

/// The settings of an encoding run.
pub(crate) struct Encoding<'a> {
    pub(crate) encoder: &'a OnnxEncoder,
    /// The tokens that the encoder reads of a text.
    pub(crate) max_length: usize,
    /// The folder of the embedding cache.
    pub(crate) cache: Option<&'a Path>,
    /// Set to stop encoding.
    pub(crate) stop: &'a AtomicBool,
}

impl Encoding<'_> {
    /// Encodes a data set's texts: [texts, D].
    ///
    /// Known embeddings come from the cache, and new ones are appended to it after each chunk, so that an
    /// interruption loses at most one chunk.
    pub(crate) fn encode(
        &self,
        dataset: &Dataset,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Array2<f32>> {
        let (encoder, of) = (self.encoder, dataset.len());
        let mut embeddings = Array2::zeros((of, encoder.dimensions()));
        let texts: Vec<TextDigest> = dataset.texts().par_iter().map(|text| digest(text)).collect();
        let (mut cache, is_known) = self.known(&texts, &mut embeddings)?;
        let mut todo = tokenize(encoder, dataset, &is_known)?;
        self.warn_of_cut(&todo);
        // The longest first: that memory suffices is known early, and the last ones are quick.
        todo.sort_by_key(|(_, input)| std::cmp::Reverse(input.ids().len()));
        let mut done = of - todo.len();
        progress(Progress::Encoded { done, of });
        for todo in todo.chunks(TEXTS_PER_REPORT * rayon::current_num_threads()) {
            let encoded: Vec<EncodedBatch> =
                batches(todo).into_par_iter().map(|batch| run(encoder, batch)).collect();
            let outcomes = encoded.iter().flat_map(EncodedBatch::outcomes);
            for (&(row, _), outcome) in todo.iter().zip(outcomes) {
                let encoded = outcome.map_err(|source| unusable(dataset, row, source))?;
                embeddings.row_slice_mut(row).copy_from_slice(encoded.embedding.values());
            }
            if let Some(cache) = &mut cache {
                cache.add(todo.iter().map(|&(row, _)| (&texts[row], embeddings.row_slice(row))))?;
            }
            done += todo.len();
            progress(Progress::Encoded { done, of });
            if done < of && self.stop.load(Ordering::Relaxed) {
                let cache = self.cache.map(Path::to_path_buf);
                return Err(TrainError::StoppedEncoding { done, of, cache });
            }
        }
        Ok(embeddings)
    }

    /// Opens the cache and fills the rows of cached texts; returns which rows those are.
    fn known(
        &self,
        texts: &[TextDigest],
        embeddings: &mut Array2<f32>,
    ) -> Result<(Option<EmbeddingCache>, Vec<bool>)> {
        let Some(folder) = self.cache else { return Ok((None, vec![false; texts.len()])) };
        let dimensions = embeddings.ncols();
        let mut cache = EmbeddingCache::open(folder, self.encoder.fingerprint(), dimensions)?;
        let is_known = cache.fill(texts, embeddings)?;
        Ok((Some(cache), is_known))
    }

    /// Warns once of texts that are cut.
    fn warn_of_cut(&self, texts: &[(usize, ModelInput)]) {
        let max_length = self.max_length;
        let n_texts = texts.iter().filter(|(_, input)| input.ids().len() >= max_length).count();
        if n_texts > 0 {
            tracing::warn!(
                n_texts,
                max_length,
                "texts fill all tokens that the encoder reads; what comes after them is not read"
            );
        }
    }
}

/// Reads the texts that are not known yet, each with its row.
fn tokenize(
    encoder: &OnnxEncoder,
    dataset: &Dataset,
    is_known: &[bool],
) -> Result<Vec<(usize, ModelInput)>> {
    let rows = (0..dataset.len()).into_par_iter().filter(|&row| !is_known[row]);
    let tokenize = |row: usize| match encoder.tokenize(&dataset.texts()[row]) {
        Ok(input) => Ok((row, input)),
        Err(source) => Err(unusable(dataset, row, source)),
    };
    rows.map(tokenize).collect()
}

/// Splits texts, sorted by descending length, into batches of similar size.
fn batches(texts: &[(usize, ModelInput)]) -> Vec<&[(usize, ModelInput)]> {
    let mut batches = Vec::new();
    let mut rest = texts;
    while let Some((_, longest)) = rest.first() {
        let n_texts = (BATCH_TOKENS / longest.ids().len().max(1)).clamp(1, rest.len());
        let (batch, after) = rest.split_at(n_texts);
        batches.push(batch);
        rest = after;
    }
    batches
}

fn run(encoder: &OnnxEncoder, batch: &[(usize, ModelInput)]) -> EncodedBatch {
    let inputs: Vec<ModelInput> = batch.iter().map(|(_, input)| input.clone()).collect();
    encoder.encode(&inputs)
}

fn unusable(dataset: &Dataset, row: usize, source: EncodeError) -> TrainError {
    TrainError::Text { key: dataset.keys()[row].clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_hold_about_as_many_tokens_and_every_text_once() {
        let text = |n: usize| (n, ModelInput { ids: vec![0; n], ..ModelInput::default() });
        let texts: Vec<(usize, ModelInput)> = [5000, 1024, 1000, 900, 10, 9, 8].map(text).to_vec();
        let sizes: Vec<usize> = batches(&texts).iter().map(|batch| batch.len()).collect();
        assert_eq!(sizes, [1, 2, 2, 2]);
        assert!(batches(&[]).is_empty());
    }
}
