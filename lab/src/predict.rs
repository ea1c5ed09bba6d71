//! Runs a bundle over a part of the data set.

use std::collections::HashMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use autotag::tune::{MAX_K, Prediction};
use autotag::{
    Datastore, DatastoreReader, EncodeError, Encoded, EncodedBatch, ItemId, Neighbor, SearchMode,
    Tagger,
};
use autotag_onnx::{ModelBundle, OnnxEncoder, OnnxOptions};
use autotag_train::Dataset;
use ndarray::Axis;

use crate::parts::{Part, Parts};
use crate::runs::{Cost, NeighborPoint, Neighborhood};
use crate::{LabError, Result};

/// The neighbors of a text that are drawn: as many as in the paper's figure.
const DRAWN_NEIGHBORS: usize = 80;

/// The texts whose neighbors are searched at once.
const SHARE: usize = 256;

/// A bundle that is loaded, with its neighbors.
pub(crate) struct BundleRun {
    tagger: Tagger<OnnxEncoder>,
    /// Keeps the datastore open as long as its reader is used.
    _datastore: Datastore,
    reader: DatastoreReader,
    /// The training row of each item of the datastore.
    rows: HashMap<u32, u32>,
    datastore_bytes: u64,
    model_bytes: u64,
}

/// A part's predictions, whose items are rows of the training part.
#[derive(Clone)]
pub(crate) struct PredictedPart {
    pub(crate) predictions: Vec<Prediction>,
    /// The representations alone; a text in which the model knows nothing has none.
    encoded: EncodedBatch,
    encode: Duration,
}

impl BundleRun {
    pub(crate) fn open(bundle: &ModelBundle, parts: &Parts, options: &OnnxOptions) -> Result<Self> {
        let datastore = bundle.datastore()?;
        let reader = datastore.reader()?;
        let keys = parts.train.keys().iter().map(String::as_str);
        let rows_by_key: HashMap<&str, u32> = keys.zip(0..).collect();
        let row = |(item, key): (ItemId, &str)| Some((item.0, *rows_by_key.get(key)?));
        let rows = reader.keys().filter_map(row).collect();
        let tagger = Tagger::new(Arc::new(OnnxEncoder::open(bundle, options)?));
        let datastore_bytes = size_of(&bundle.path().join("datastore"))?;
        let model_bytes = size_of(&bundle.path().join("model.onnx"))?;
        Ok(BundleRun { tagger, _datastore: datastore, reader, rows, datastore_bytes, model_bytes })
    }

    /// Predicts every text of a part.
    pub(crate) fn predict(&self, part: Part, texts: &Dataset) -> Result<PredictedPart> {
        let started = Instant::now();
        let threads = NonZeroUsize::new(rayon::current_num_threads()).unwrap_or(NonZeroUsize::MIN);
        let mut shares = self.tagger.encode_on(threads, texts.texts(), |share| share);
        let encode = started.elapsed();
        let mut predictions = Vec::with_capacity(texts.len());
        let outcomes = shares.iter().flat_map(EncodedBatch::outcomes);
        for ((outcome, key), given) in outcomes.zip(texts.keys()).zip(texts.labels()) {
            let model = match outcome {
                Ok(encoded) => encoded.scores,
                Err(EncodeError::Answer(_)) => None,
                Err(source) => {
                    return Err(LabError::Text { part: part.name(), key: key.clone(), source });
                }
            };
            predictions.push(Prediction { given: given.clone(), model, neighbors: vec![] });
        }
        shares.iter_mut().for_each(EncodedBatch::drop_scores);
        let encoded = EncodedBatch::concatenate(self.reader.dimensions(), shares);
        let neighbors = self.nearest(&encoded, MAX_K)?;
        for (prediction, neighbors) in predictions.iter_mut().zip(neighbors) {
            prediction.neighbors = neighbors;
        }
        Ok(PredictedPart { predictions, encoded, encode })
    }

    /// Finds the neighbors of the texts; one without a representation has none.
    fn nearest(&self, encoded: &EncodedBatch, k: usize) -> Result<Vec<Vec<Neighbor>>> {
        let mut found = Vec::with_capacity(encoded.len());
        for share in encoded.embeddings().axis_chunks_iter(Axis(0), SHARE) {
            found.extend(self.reader.nearest(share, k, SearchMode::Auto)?);
        }
        encoded.failures().keys().for_each(|&row| found[row].clear());
        for neighbors in &mut found {
            neighbors.retain_mut(|neighbor| {
                let row = self.rows.get(&neighbor.item.0);
                neighbor.item = ItemId(row.copied().unwrap_or_default());
                row.is_some()
            });
        }
        Ok(found)
    }

    /// Measures what the answers cost; the neighbors are searched once more, with k as configured.
    pub(crate) fn cost(&self, predicted: &PredictedPart, k: NonZeroUsize) -> Result<Cost> {
        let started = Instant::now();
        self.nearest(&predicted.encoded, k.get())?;
        let nearest = started.elapsed();
        let n_texts = predicted.predictions.len().max(1) as f64;
        Ok(Cost {
            datastore_bytes: self.datastore_bytes,
            model_bytes: self.model_bytes,
            n_items: self.reader.len(),
            dimensions: self.reader.dimensions(),
            model_ms: 1e3 * predicted.encode.as_secs_f64() / n_texts,
            neighbors_ms: 1e3 * nearest.as_secs_f64() / n_texts,
            threads: rayon::current_num_threads(),
        })
    }

    /// Returns some texts among their neighbors: the same texts for every model of the data set.
    pub(crate) fn neighborhoods(
        &self,
        train: &Dataset,
        texts: &Dataset,
        predicted: &PredictedPart,
    ) -> Result<Vec<Neighborhood>> {
        let mut neighborhoods = Vec::new();
        for row in drawn_texts(train, texts) {
            let Ok(Encoded { embedding, .. }) = predicted.encoded.row(row) else { continue };
            let found =
                self.reader.nearest(embedding.as_row(), DRAWN_NEIGHBORS, SearchMode::Exact)?;
            let mut neighbors = Vec::new();
            for Neighbor { item, labels, .. } in found.into_iter().flatten() {
                let Some(&row_of_item) = self.rows.get(&item.0) else { continue };
                let key = &train.keys()[row_of_item as usize];
                let Some(stored) = self.reader.get(key)? else { continue };
                neighbors.push(NeighborPoint {
                    row: row_of_item,
                    shared: labels.shared(&texts.labels()[row]),
                    embedding: stored.embedding.values().to_vec(),
                });
            }
            let embedding = embedding.values().to_vec();
            neighborhoods.push(Neighborhood { row, embedding, neighbors });
        }
        Ok(neighborhoods)
    }
}

/// Chooses texts with several labels, three where there are such, whose rarest label is neither the
/// rarest nor the most frequent: so that some neighbors can share labels, and not all do.
fn drawn_texts(train: &Dataset, texts: &Dataset) -> Vec<usize> {
    let mut counts = vec![0usize; texts.vocabulary().len()];
    for label in train.labels().iter().flat_map(|labels| labels.ids()) {
        counts[label.index()] += 1;
    }
    let far = |row: usize| texts.labels()[row].len().abs_diff(3);
    let Some(nearest) = (0..texts.len()).map(far).min() else { return vec![] };
    let rarest = |row: usize| texts.labels()[row].ids().iter().map(|l| counts[l.index()]).min();
    let mut rows: Vec<usize> = (0..texts.len()).filter(|&row| far(row) == nearest).collect();
    rows.sort_by_key(|&row| (rarest(row), row));
    let mut drawn: Vec<usize> = [3, 2, 1].map(|quarters| rows[quarters * rows.len() / 4]).to_vec();
    drawn.dedup();
    drawn
}

/// Returns the size of a file, or of a folder's files.
fn size_of(path: &Path) -> Result<u64> {
    let fail = || LabError::io("measure", path);
    let data = fs::metadata(path).map_err(fail())?;
    if data.is_file() {
        return Ok(data.len());
    }
    let mut size = 0;
    for entry in fs::read_dir(path).map_err(fail())? {
        size += size_of(&entry.map_err(fail())?.path())?;
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use autotag_train::LabeledText;

    use super::*;

    #[test]
    fn the_texts_that_are_drawn_have_several_labels() {
        let text = |key: usize| LabeledText {
            key: key.to_string(),
            text: "text".to_owned(),
            labels: (0..1 + key % 4).map(|label| format!("label {label}")).collect(),
        };
        let texts = Dataset::new((0..30).map(text)).unwrap();
        let drawn = drawn_texts(&texts, &texts);
        assert_eq!(drawn.len(), 3);
        assert!(drawn.iter().all(|&row| texts.labels()[row].len() == 3), "{drawn:?}");
        let few = Dataset::new((0..2).map(text)).unwrap();
        assert_eq!(drawn_texts(&few, &few), [1]);
    }

    #[test]
    fn a_folders_size_is_that_of_its_files() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("a"), [0; 5]).unwrap();
        fs::write(folder.path().join("inner/b"), [0; 7]).unwrap();
        assert_eq!(size_of(folder.path()).unwrap(), 12);
        assert!(size_of(&folder.path().join("none")).is_err());
    }
}
