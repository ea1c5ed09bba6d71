//! Encodes labeled documents and finds their neighbors, timing both.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use autotag::tune::Prediction;
use autotag::{
    DatastoreReader, EncodedBatch, LabelFrequencies, LabelId, LabelSet, LabelVocabulary, SearchMode,
};

use crate::args::Common;
use crate::commands::labeled::warn_of_unknown;
use crate::commands::model::Model;
use crate::progress::Progress;
use autotag_documents::Document;

/// Documents with everything that their tags depend on, and what it took to get there.
pub(super) struct Predicted {
    pub(super) predictions: Vec<Prediction>,
    /// The time that tokenizing and encoding took, all threads together.
    pub(super) encode: Duration,
    /// The time that the neighbor search took.
    pub(super) nearest: Duration,
}

/// The labels of the bundle and, behind them, those that only the documents have.
pub(super) struct Labels {
    vocabulary: LabelVocabulary,
    n_known: usize,
    n_told: usize,
    datastore: DatastoreReader,
}

impl Labels {
    pub(super) fn new(model: &Model) -> anyhow::Result<Self> {
        let datastore = model.datastore.reader()?;
        let vocabulary = datastore.labels().clone();
        let n_known = vocabulary.len();
        Ok(Labels { vocabulary, n_known, n_told: n_known, datastore })
    }

    /// Returns the number of labels that the bundle knows.
    pub(super) fn n_known(&self) -> usize {
        self.n_known
    }

    /// Returns how often each label occurs among the neighbors.
    pub(super) fn frequencies(&self) -> &LabelFrequencies {
        self.datastore.frequencies()
    }

    /// Returns the labels that the bundle does not know and that were not returned before.
    pub(super) fn take_unknown(&mut self) -> Vec<String> {
        let unknown = self.vocabulary.names().skip(self.n_told).map(str::to_owned).collect();
        self.n_told = self.vocabulary.len();
        unknown
    }

    fn ids(&mut self, document: &Document) -> autotag::Result<LabelSet> {
        let mut ids: Vec<LabelId> = Vec::with_capacity(document.labels.len());
        for name in &document.labels {
            ids.push(self.vocabulary.insert(name)?);
        }
        Ok(ids.into_iter().collect())
    }
}

/// Predicts a file's documents, and says which labels can only be missed.
pub(super) fn predict_file(
    model: &Model,
    path: &Path,
    documents: &[Document],
    labels: &mut Labels,
    k: usize,
    common: &Common,
) -> anyhow::Result<Predicted> {
    let predicted = predict(model, path, documents, labels, k, common)?;
    warn_of_unknown(path, &labels.take_unknown());
    Ok(predicted)
}

/// Predicts documents; a document that cannot be encoded is an error.
fn predict(
    model: &Model,
    path: &Path,
    documents: &[Document],
    labels: &mut Labels,
    k: usize,
    common: &Common,
) -> anyhow::Result<Predicted> {
    let place = |document: &Document| format!("{}:{}", path.display(), document.line);
    let mut given = Vec::with_capacity(documents.len());
    for document in documents {
        given.push(labels.ids(document).with_context(|| place(document))?);
    }
    let progress = Progress::begin("encode", Some(documents.len() as u64), common.quiet.into());
    let started = Instant::now();
    let texts: Vec<&str> = documents.iter().map(|document| document.text.as_str()).collect();
    let shares = model.engine.tagger().encode_on(model.engine.threads, &texts, |share| {
        progress.add(share.len() as u64);
        share
    });
    let encode = started.elapsed();
    let mut scores = Vec::with_capacity(documents.len());
    let outcomes = shares.iter().flat_map(EncodedBatch::outcomes);
    for (outcome, document) in outcomes.zip(documents) {
        let key = &document.key;
        let context = || format!("{}: document {key:?} cannot be tagged", place(document));
        scores.push(outcome.map_err(|error| anyhow!(error)).with_context(context)?.scores);
    }
    let started = Instant::now();
    let mut neighbors = Vec::with_capacity(documents.len());
    for share in &shares {
        neighbors.extend(labels.datastore.nearest(share.embeddings(), k, SearchMode::Auto)?);
    }
    let nearest = started.elapsed();
    let predictions = given.into_iter().zip(scores).zip(neighbors);
    let predictions = predictions
        .map(|((given, model), neighbors)| Prediction { given, model, neighbors })
        .collect();
    Ok(Predicted { predictions, encode, nearest })
}
