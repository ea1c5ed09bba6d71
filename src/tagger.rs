//! The path composed, read from top to bottom.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::interpolate::{Interpolation, interpolate_changed, knn_scores, weights};
use crate::select::{Selected, Selection, select};
use crate::{
    DatastoreReader, Embedding, EncodeError, Encoded, Encoder, ItemId, LabelVocabulary, Neighbor,
    Result, SearchMode,
};

/// Tags texts: an encoder, the neighbors of a datastore, and the settings that mix and select.
#[derive(Debug)]
pub struct Tagger<E> {
    encoder: Arc<E>,
    /// How neighbors vote and how much they weigh.
    pub interpolation: Interpolation,
    /// Which scores become tags.
    pub selection: Selection,
    /// How neighbors are searched.
    pub search: SearchMode,
}

impl<E> Clone for Tagger<E> {
    fn clone(&self) -> Self {
        Tagger {
            encoder: self.encoder.clone(),
            interpolation: self.interpolation,
            selection: self.selection.clone(),
            search: self.search,
        }
    }
}

/// A label given to a text, and where its score comes from.
pub type Tag = crate::interpolate::LabelScore;

/// A neighbor and the weight alpha_i of its vote.
#[derive(Clone, Debug, PartialEq)]
pub struct Vote {
    /// The neighbor.
    pub neighbor: Neighbor,
    /// alpha_i, within 0..=1; a text's weights sum to 1.
    pub weight: f32,
}

/// What tagging one text gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Tagging {
    /// The tags, the highest score first.
    pub tags: Vec<Tag>,
    /// The labels between the review threshold and their own, the highest score first; none where
    /// the [`Selection`] has no review threshold.
    pub suggestions: Vec<Tag>,
    /// The neighbors that voted, the nearest first.
    pub neighbors: Vec<Vote>,
    /// The text's representation.
    pub embedding: Embedding,
}

/// How long a batch spent in each stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimes {
    /// Splitting texts into tokens.
    pub tokenize: Duration,
    /// Running the model.
    pub encode: Duration,
    /// Searching neighbors, mixing and selecting.
    pub neighbors: Duration,
}

/// The texts that the model is given at once; more only grows its working memory.
const ENCODE_BATCH: usize = 32;

impl<E: Encoder> Tagger<E> {
    /// Makes a tagger with the default settings: those of the paper.
    pub fn new(encoder: Arc<E>) -> Self {
        Tagger {
            encoder,
            interpolation: Interpolation::default(),
            selection: Selection::default(),
            search: SearchMode::default(),
        }
    }

    /// Returns the encoder.
    pub fn encoder(&self) -> &Arc<E> {
        &self.encoder
    }

    /// Tags texts; the outcomes stand in their order, one for each.
    ///
    /// The datastore's vocabulary names the labels. With an empty datastore the model alone
    /// answers.
    ///
    /// # Errors
    ///
    /// When the datastore cannot be searched. A text that cannot be encoded has its own error among
    /// the outcomes and does not affect the others.
    pub fn tag(
        &self,
        texts: &[&str],
        datastore: &DatastoreReader,
        times: &mut StageTimes,
    ) -> Result<Vec<Result<Tagging, EncodeError>>> {
        let encoded = self.encode(texts, times);
        let started = Instant::now();
        let taggings = self.tag_encoded(encoded, &[], datastore);
        times.neighbors += started.elapsed();
        taggings
    }

    /// Encodes texts; the outcomes stand in their order, one for each.
    ///
    /// Texts of similar length are encoded together, so that little is spent on padding.
    pub fn encode(
        &self,
        texts: &[&str],
        times: &mut StageTimes,
    ) -> Vec<Result<Encoded, EncodeError>> {
        let started = Instant::now();
        let mut outcomes: Vec<Option<Result<Encoded, EncodeError>>> = vec![None; texts.len()];
        let mut tokenized = Vec::with_capacity(texts.len());
        for (position, text) in texts.iter().enumerate() {
            match self.encoder.tokenize(text) {
                Ok(tokens) => tokenized.push((position, tokens)),
                Err(error) => outcomes[position] = Some(Err(error)),
            }
        }
        tokenized.sort_by_key(|(_, tokens)| E::token_count(tokens));
        let (positions, tokens): (Vec<usize>, Vec<E::Tokens>) = tokenized.into_iter().unzip();
        times.tokenize += started.elapsed();

        let started = Instant::now();
        for (positions, batch) in positions.chunks(ENCODE_BATCH).zip(tokens.chunks(ENCODE_BATCH)) {
            for (&position, outcome) in positions.iter().zip(self.encoder.encode(batch)) {
                outcomes[position] = Some(outcome);
            }
        }
        times.encode += started.elapsed();
        outcomes.into_iter().map(|o| o.expect("every text was tokenized or failed")).collect()
    }

    /// Tags texts that are encoded already; the outcomes stand in their order, one for each.
    ///
    /// `earlier` names for each text the item that does not vote on it, if any: an earlier version of
    /// the same document, which is nobody's reason for a tag. It may be shorter than `encoded`.
    ///
    /// # Errors
    ///
    /// As [`Tagger::tag`].
    pub fn tag_encoded(
        &self,
        encoded: Vec<Result<Encoded, EncodeError>>,
        earlier: &[Option<ItemId>],
        datastore: &DatastoreReader,
    ) -> Result<Vec<Result<Tagging, EncodeError>>> {
        let embeddings: Vec<&Embedding> =
            encoded.iter().flatten().map(|encoded| &encoded.embedding).collect();
        let k = self.interpolation.k.get();
        // One more, in the place of the one that does not vote.
        let n_asked = k.saturating_add(usize::from(earlier.iter().any(Option::is_some)));
        let mut neighbors = datastore.nearest(&embeddings, n_asked, self.search)?.into_iter();
        let mut taggings = Vec::with_capacity(encoded.len());
        for (position, encoded) in encoded.into_iter().enumerate() {
            let earlier = earlier.get(position).copied().flatten();
            taggings.push(encoded.map(|encoded| {
                let mut neighbors = neighbors.next().expect("one answer for each embedding");
                neighbors.retain(|neighbor| Some(neighbor.item) != earlier);
                neighbors.truncate(k);
                self.decide(encoded, neighbors, datastore.labels())
            }));
        }
        Ok(taggings)
    }

    /// Mixes one text's model scores with its neighbors' votes and selects its tags.
    fn decide(
        &self,
        encoded: Encoded,
        neighbors: Vec<Neighbor>,
        labels: &LabelVocabulary,
    ) -> Tagging {
        let distances: Vec<f32> = neighbors.iter().map(|neighbor| neighbor.distance).collect();
        let weights = weights(&distances, self.interpolation.temperature);
        let knn = (!neighbors.is_empty()).then(|| knn_scores(&neighbors, &weights));
        let (model, proportion) = (encoded.scores.as_ref(), self.interpolation.proportion);
        let scores = interpolate_changed(model, knn.as_deref(), proportion, labels);
        let Selected { tags, suggestions } = select(scores, &self.selection);
        let neighbors = neighbors
            .into_iter()
            .zip(weights)
            .map(|(neighbor, weight)| Vote { neighbor, weight })
            .collect();
        Tagging { tags, suggestions, neighbors, embedding: encoded.embedding }
    }
}
