//! Encodes labelled documents and finds their neighbors, timing both.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use autotag::tagger::StageTimes;
use autotag::tune::Prediction;
use autotag::{
    DatastoreReader, Embedding, EncodeError, Encoded, LabelId, LabelSet, LabelVocabulary,
    SearchMode,
};

use crate::args::Common;
use crate::commands::labeled::warn_of_unknown;
use crate::commands::model::{Model, OurTagger};
use crate::documents::Document;
use crate::progress::Progress;

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

/// The texts that a thread encodes at once.
const SHARE: usize = 256;

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
    let outcomes = encode(&model.tagger(&Default::default()), documents, model, &progress);
    let encode = started.elapsed();
    let mut encoded = Vec::with_capacity(documents.len());
    for (outcome, document) in outcomes.into_iter().zip(documents) {
        let key = &document.key;
        let context = || format!("{}: document {key:?} cannot be tagged", place(document));
        encoded.push(outcome.map_err(|error| anyhow!(error)).with_context(context)?);
    }
    let started = Instant::now();
    let neighbors = nearest(&encoded, &labels.datastore, k)?;
    let nearest = started.elapsed();
    let predictions = given.into_iter().zip(encoded).zip(neighbors);
    let predictions = predictions
        .map(|((given, Encoded { scores: model, .. }), neighbors)| Prediction {
            given,
            model,
            neighbors,
        })
        .collect();
    Ok(Predicted { predictions, encode, nearest })
}

/// Encodes on all threads; the outcomes stand in the documents' order.
fn encode(
    tagger: &OurTagger,
    documents: &[Document],
    model: &Model,
    progress: &Progress,
) -> Vec<Result<Encoded, EncodeError>> {
    let shares: Vec<&[Document]> = documents.chunks(SHARE).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(share) = shares.get(number) else { return done };
            let texts: Vec<&str> = share.iter().map(|document| document.text.as_str()).collect();
            done.push((number, tagger.encode(&texts, &mut StageTimes::default())));
            progress.add(share.len() as u64);
        }
    };
    let mut done = thread::scope(|scope| {
        let threads: Vec<_> = (0..model.threads.get()).map(|_| scope.spawn(work)).collect();
        let done =
            threads.into_iter().map(|thread| thread.join().expect("encoding does not panic"));
        done.flatten().collect::<Vec<_>>()
    });
    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().flat_map(|(_, outcomes)| outcomes).collect()
}

fn nearest(
    encoded: &[Encoded],
    datastore: &DatastoreReader,
    k: usize,
) -> anyhow::Result<Vec<Vec<autotag::Neighbor>>> {
    let mut neighbors = Vec::with_capacity(encoded.len());
    for share in encoded.chunks(SHARE) {
        let embeddings: Vec<&Embedding> = share.iter().map(|encoded| &encoded.embedding).collect();
        neighbors.extend(datastore.nearest(&embeddings, k, SearchMode::Auto)?);
    }
    Ok(neighbors)
}
