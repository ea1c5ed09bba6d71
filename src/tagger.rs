//! The path composed, read from top to bottom.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ndarray::{Array2, ArrayView1};

use crate::interpolate::{Interpolation, changed_scores, interpolate_changed, votes, weights};
use crate::mix::{LearnedMix, N_NEIGHBORS};
use crate::select::{Margin, Selected, Selection, least_certain, select};
use crate::{
    DatastoreReader, EncodeError, Encoded, EncodedBatch, Encoder, Error, ItemId, Neighbor, Result,
    Scores, SearchMode, guarded,
};

/// Tags texts: an encoder, the neighbors of a datastore, and the settings that mix and select.
#[derive(Debug)]
pub struct Tagger<E> {
    encoder: Arc<E>,
    /// The vote of the neighbors and its weight: k, tau, lambda.
    pub interpolation: Interpolation,
    /// The mix that scores labels in the place of the interpolation, where one was fitted.
    pub mix: Option<Arc<LearnedMix>>,
    /// The thresholds and caps that select tags.
    pub selection: Selection,
    /// The kind of neighbor search.
    pub search: SearchMode,
}

impl<E> Clone for Tagger<E> {
    fn clone(&self) -> Self {
        Tagger {
            encoder: self.encoder.clone(),
            interpolation: self.interpolation,
            mix: self.mix.clone(),
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

/// The tags, suggestions and votes of one text.
#[derive(Clone, Debug, PartialEq)]
pub struct Tagging {
    /// The tags, the highest score first.
    pub tags: Vec<Tag>,
    /// The labels between the review threshold and their own, the highest score first; none where
    /// the [`Selection`] has no review threshold.
    pub suggestions: Vec<Tag>,
    /// The labels that were decided with the least certainty, tags or not, the least certain first;
    /// 64 at most.
    pub margins: Vec<Margin>,
    /// The neighbors that voted, the nearest first.
    pub neighbors: Vec<Vote>,
}

/// The time that a batch spent in each stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimes {
    /// Splitting texts into tokens.
    pub tokenize: Duration,
    /// Running the model.
    pub encode: Duration,
    /// Searching neighbors, mixing and selecting.
    pub neighbors: Duration,
}

/// The texts that a thread encodes before it takes up others.
const SHARE: usize = 256;

/// The texts that the model is given at once; more only grows its working memory.
const ENCODE_BATCH: usize = 32;

/// The margins that are kept of a text: enough that some are left when people decided over several of
/// the labels.
const KEPT_MARGINS: usize = 64;

impl<E: Encoder> Tagger<E> {
    /// Makes a tagger with the default settings: those of the paper.
    pub fn new(encoder: Arc<E>) -> Self {
        Tagger {
            encoder,
            interpolation: Interpolation::default(),
            mix: None,
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
        let neighbors = datastore.nearest(encoded.embeddings(), self.n_neighbors(), self.search)?;
        let mut taggings = Vec::with_capacity(texts.len());
        for (row, neighbors) in neighbors.into_iter().enumerate() {
            taggings.push(match encoded.failures().get(&row) {
                Some(error) => Err(error.clone()),
                None => Ok(self.decide(encoded.scores_of(row).as_ref(), neighbors, datastore)),
            });
        }
        times.neighbors += started.elapsed();
        Ok(taggings)
    }

    /// Tags texts on several threads, as [`Tagger::tag`] does on one.
    ///
    /// # Errors
    ///
    /// As [`Tagger::tag`].
    pub fn tag_on(
        &self,
        n_threads: NonZeroUsize,
        texts: &[&str],
        datastore: &DatastoreReader,
    ) -> Result<Vec<Result<Tagging, EncodeError>>> {
        let share = texts.len().div_ceil(n_threads.get());
        let tag = |texts: &[&str]| self.tag(texts, datastore, &mut StageTimes::default());
        let taggings: Result<Vec<_>> =
            in_shares(n_threads, texts, share, tag).into_iter().collect();
        Ok(taggings?.into_iter().flatten().collect())
    }

    /// Encodes texts, with a row for each in their order.
    ///
    /// Texts of similar length are encoded together, so that little is spent on padding. A text on
    /// which the encoder panics, or whose answer has another shape, fails alone: its batch is halved
    /// until it is found, in about 2 log2(batch) more calls.
    pub fn encode(&self, texts: &[&str], times: &mut StageTimes) -> EncodedBatch {
        let started = Instant::now();
        let (dimensions, n_labels) = (self.encoder.dimensions(), self.encoder.labels().len());
        let mut encoded = EncodedBatch::zeros(texts.len(), dimensions, n_labels);
        let mut tokenized = Vec::with_capacity(texts.len());
        for (row, text) in texts.iter().enumerate() {
            match self.tokenize(text) {
                Ok((count, tokens)) => tokenized.push((count, row, tokens)),
                Err(error) => encoded.fail(row, error),
            }
        }
        tokenized.sort_by_key(|(count, ..)| *count);
        let (rows, tokens): (Vec<usize>, Vec<E::Tokens>) =
            tokenized.into_iter().map(|(_, row, tokens)| (row, tokens)).unzip();
        times.tokenize += started.elapsed();

        let started = Instant::now();
        for (rows, batch) in rows.chunks(ENCODE_BATCH).zip(tokens.chunks(ENCODE_BATCH)) {
            self.encode_batch(rows, batch, &mut encoded);
        }
        times.encode += started.elapsed();
        encoded
    }

    /// Splits a text into tokens and counts them; a panic is the text's failure.
    fn tokenize(&self, text: &str) -> Result<(usize, E::Tokens), EncodeError> {
        let outcome = guarded(|| {
            let tokens = self.encoder.tokenize(text)?;
            Ok((E::token_count(&tokens), tokens))
        });
        outcome.unwrap_or_else(|message| Err(EncodeError::Panicked { message }))
    }

    /// Encodes a batch into its rows. A batch that cannot be encoded is halved, until the texts at
    /// fault are alone.
    fn encode_batch(&self, rows: &[usize], batch: &[E::Tokens], encoded: &mut EncodedBatch) {
        match self.answer(batch) {
            Ok(answer) => encoded.put(rows.iter().copied(), answer),
            Err(error) if batch.len() == 1 => encoded.fail(rows[0], error),
            Err(error) => {
                tracing::debug!(%error, n_texts = batch.len(), "a batch failed");
                let middle = batch.len() / 2;
                self.encode_batch(&rows[..middle], &batch[..middle], encoded);
                self.encode_batch(&rows[middle..], &batch[middle..], encoded);
            }
        }
    }

    /// Returns the encoder's answer to a batch; a panic and another shape are errors.
    fn answer(&self, batch: &[E::Tokens]) -> Result<EncodedBatch, EncodeError> {
        let answer = guarded(|| self.encoder.encode(batch));
        let answer = answer.map_err(|message| EncodeError::Panicked { message })?;
        let (dimensions, n_labels) = (self.encoder.dimensions(), self.encoder.labels().len());
        if answer.fits(batch.len(), dimensions, n_labels) {
            Ok(answer)
        } else {
            Err(answer.shape_error(batch.len(), dimensions, n_labels))
        }
    }

    /// Encodes texts on several threads, a share of them at a time, and returns what `take` keeps of
    /// each share, in the texts' order.
    pub fn encode_on<T: AsRef<str> + Sync, R: Send>(
        &self,
        n_threads: NonZeroUsize,
        texts: &[T],
        take: impl Fn(EncodedBatch) -> R + Sync,
    ) -> Vec<R> {
        in_shares(n_threads, texts, SHARE, |texts| {
            let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
            take(self.encode(&texts, &mut StageTimes::default()))
        })
    }

    /// Tags texts that are encoded already, in their order.
    ///
    /// `earlier` names for each text the item that does not vote on it, if any: an earlier version of
    /// the same document, which is nobody's reason for a tag. It may be shorter than `encoded`.
    ///
    /// # Errors
    ///
    /// As [`Tagger::tag`].
    pub fn tag_encoded(
        &self,
        encoded: &[&Encoded],
        earlier: &[Option<ItemId>],
        datastore: &DatastoreReader,
    ) -> Result<Vec<Tagging>> {
        let expected = datastore.dimensions();
        let mut embeddings = Array2::zeros((encoded.len(), expected));
        for (mut row, encoded) in embeddings.rows_mut().into_iter().zip(encoded) {
            let embedding = ArrayView1::from(encoded.embedding.values());
            if embedding.len() != expected {
                return Err(Error::Dimensions { expected, found: embedding.len() });
            }
            row.assign(&embedding);
        }
        let k = self.n_neighbors();
        // One more, in the place of the one that does not vote.
        let n_asked = k.saturating_add(usize::from(earlier.iter().any(Option::is_some)));
        let neighbors = datastore.nearest(embeddings.view(), n_asked, self.search)?;
        let mut taggings = Vec::with_capacity(encoded.len());
        for (position, (encoded, mut neighbors)) in encoded.iter().zip(neighbors).enumerate() {
            let earlier = earlier.get(position).copied().flatten();
            neighbors.retain(|neighbor| Some(neighbor.item) != earlier);
            neighbors.truncate(k);
            taggings.push(self.decide(encoded.scores.as_ref(), neighbors, datastore));
        }
        Ok(taggings)
    }

    /// Returns the number of neighbors that a text's scores depend on.
    fn n_neighbors(&self) -> usize {
        self.mix.as_ref().map_or(self.interpolation.k, |_| N_NEIGHBORS).get()
    }

    /// Mixes one text's model scores with its neighbors' votes and selects its tags; without neighbors the
    /// model answers alone.
    fn decide(
        &self,
        model: Option<&Scores>,
        neighbors: Vec<Neighbor>,
        datastore: &DatastoreReader,
    ) -> Tagging {
        let labels = datastore.labels();
        let mix = self.mix.as_deref().filter(|_| !neighbors.is_empty());
        let (scores, weights, selection) = match mix {
            Some(mix) => {
                let model = changed_scores(model, labels);
                let scores = mix.scores(&model, &neighbors, datastore.frequencies());
                let selection = Cow::Owned(mix.selection(&self.selection));
                (scores, mix.weights(&neighbors), selection)
            }
            None => {
                let Interpolation { temperature, proportion, .. } = self.interpolation;
                let distances: Vec<f32> =
                    neighbors.iter().map(|neighbor| neighbor.distance).collect();
                let weights = weights(&distances, temperature);
                let knn = (!neighbors.is_empty()).then(|| votes(&neighbors, &weights));
                let scores = interpolate_changed(model, knn.as_ref(), proportion, labels);
                (scores, weights, Cow::Borrowed(&self.selection))
            }
        };
        let margins = least_certain(&scores, &selection, KEPT_MARGINS);
        let Selected { tags, suggestions } = select(scores, &selection);
        let votes = neighbors.into_iter().zip(weights);
        let neighbors = votes.map(|(neighbor, weight)| Vote { neighbor, weight }).collect();
        Tagging { tags, suggestions, margins, neighbors }
    }
}

/// Lets several threads work through shares of items; the answers stand in the shares' order.
fn in_shares<T: Sync, R: Send>(
    n_threads: NonZeroUsize,
    items: &[T],
    share: usize,
    work: impl Fn(&[T]) -> R + Sync,
) -> Vec<R> {
    let shares: Vec<&[T]> = items.chunks(share.max(1)).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(share) = shares.get(number) else { return done };
            done.push((number, work(share)));
        }
    };
    let mut done: Vec<(usize, R)> = thread::scope(|scope| {
        let n_threads = n_threads.get().min(shares.len());
        let threads: Vec<_> = (0..n_threads).map(|_| scope.spawn(work)).collect();
        let done = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        done.flatten().collect()
    });
    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests {
    use ndarray::Axis;

    use super::*;
    use crate::{Fingerprint, LabelVocabulary};

    /// Reads numbers: the embedding of a text is (number, 1, .., 1), its score 1 / number.
    struct Numbers {
        labels: LabelVocabulary,
        /// Spoils an answer.
        spoil: fn(Array2<f32>, Option<Array2<f32>>) -> EncodedBatch,
    }

    impl Encoder for Numbers {
        type Tokens = f32;

        fn labels(&self) -> &LabelVocabulary {
            &self.labels
        }

        fn dimensions(&self) -> usize {
            3
        }

        fn fingerprint(&self) -> Fingerprint {
            Fingerprint([0; 32])
        }

        fn tokenize(&self, text: &str) -> Result<f32, EncodeError> {
            text.parse().map_err(|_| EncodeError::EmptyText)
        }

        fn token_count(number: &f32) -> usize {
            1000 - *number as usize
        }

        fn encode(&self, batch: &[f32]) -> EncodedBatch {
            let mut embeddings = Array2::ones((batch.len(), 3));
            let mut scores = Array2::zeros((batch.len(), 1));
            for (row, &number) in batch.iter().enumerate() {
                embeddings[[row, 0]] = number;
                scores[[row, 0]] = 1.0 / number;
            }
            (self.spoil)(embeddings, Some(scores))
        }
    }

    fn tagger(spoil: fn(Array2<f32>, Option<Array2<f32>>) -> EncodedBatch) -> Tagger<Numbers> {
        Tagger::new(Arc::new(Numbers { labels: LabelVocabulary::new(["a"]).unwrap(), spoil }))
    }

    #[test]
    fn texts_keep_their_order_over_batches_and_threads() {
        let mut texts: Vec<String> = (1..=500).map(|number| number.to_string()).collect();
        texts[100] = "none".to_owned();
        let refs: Vec<&str> = texts.iter().map(String::as_str).collect();
        let tagger = tagger(EncodedBatch::new);
        let one = tagger.encode(&refs, &mut StageTimes::default());
        let threads = NonZeroUsize::new(3).unwrap();
        let shares = tagger.encode_on(threads, &texts, |share| share);
        for batch in [one, EncodedBatch::concatenate(3, shares)] {
            assert_eq!(batch.failures().keys().collect::<Vec<_>>(), [&100]);
            for (row, outcome) in batch.outcomes().enumerate().filter(|(row, _)| *row != 100) {
                let number = row as f32 + 1.0;
                let Encoded { embedding, scores } = outcome.unwrap();
                assert_eq!(embedding.values(), [number, 1.0, 1.0]);
                assert_eq!(scores.unwrap().values(), [1.0 / number]);
            }
        }
    }

    #[test]
    fn answers_of_another_shape_are_failures_of_their_texts() {
        let check = |spoil, expect: &str| {
            let encoded = tagger(spoil).encode(&["1", "2"], &mut StageTimes::default());
            assert_eq!((encoded.len(), encoded.failures().len()), (2, 2), "{expect}");
            let EncodeError::Answer(error) = &encoded.failures()[&0] else { panic!("{expect}") };
            let message = error.to_string();
            assert!(message.contains(expect), "{message}");
        };
        check(
            |embeddings, scores| {
                let all = [embeddings.view(), embeddings.view()];
                EncodedBatch::new(ndarray::concatenate(Axis(1), &all).unwrap(), scores)
            },
            "1 text with embeddings of 6 and scores of 1 values where",
        );
        check(
            |embeddings, _| EncodedBatch::new(embeddings.slice_move(ndarray::s![..0, ..]), None),
            "0 texts with embeddings of 3 values where",
        );
        check(
            |embeddings, _| EncodedBatch::new(embeddings, None),
            "ask for 1 text with embeddings of 3 and scores of 1 values",
        );
        check(
            |embeddings, _| {
                let scores = Array2::zeros((embeddings.nrows(), 7));
                EncodedBatch::new(embeddings, Some(scores))
            },
            "scores of 7 values",
        );
    }
}
