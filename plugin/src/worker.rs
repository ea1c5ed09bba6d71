//! The state that the tagging threads share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use autotag::{EncodeError, EncodedBatch, Encoder, Tagger};

use crate::job::TagSettings;
use crate::segments::SegmentChecks;
use crate::{Clock, Error, OnFailure, Result, TagFields};

/// The taggers and settings of the tagging threads.
pub(crate) struct Worker<E> {
    tagger: RwLock<Tagger<E>>,
    /// The settings of the last job, where that was begun with some of its own.
    job_settings: RwLock<Option<TagSettings>>,
    pub(crate) encoder_health: EncoderHealth,
    pub(crate) fields: TagFields,
    pub(crate) checks: SegmentChecks,
    pub(crate) on_failure: OnFailure,
    pub(crate) clock: Clock,
}

impl<E: Encoder> Worker<E> {
    pub(crate) fn new(
        tagger: Tagger<E>,
        fields: TagFields,
        checks: SegmentChecks,
        on_failure: OnFailure,
        clock: Clock,
    ) -> Self {
        let (tagger, job_settings) = (RwLock::new(tagger), RwLock::default());
        let encoder_health = EncoderHealth::default();
        Worker { tagger, job_settings, encoder_health, fields, checks, on_failure, clock }
    }

    /// Returns the current tagger.
    pub(crate) fn tagger(&self) -> Tagger<E> {
        self.tagger.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the tagger from the next chunk on.
    pub(crate) fn set_tagger(&self, tagger: Tagger<E>) {
        *self.tagger.write().unwrap_or_else(PoisonError::into_inner) = tagger;
    }

    /// Sets the settings by which a job's documents are tagged; `None` for the tagger's own.
    pub(crate) fn set_job_settings(&self, settings: Option<TagSettings>) {
        *self.job_settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// Returns a tagger with the settings of the last job, where that has some of its own.
    pub(crate) fn with_job_settings(&self, tagger: &Tagger<E>) -> Tagger<E> {
        let settings = self.job_settings.read().unwrap_or_else(PoisonError::into_inner).clone();
        match settings {
            Some(settings) => settings.put_into(tagger.clone()),
            None => tagger.clone(),
        }
    }

    /// Estimates the memory that one text takes until it is applied: its representation and its
    /// scores.
    pub(crate) fn bytes_of_text(&self) -> usize {
        let tagger = self.tagger.read().unwrap_or_else(PoisonError::into_inner);
        let encoder = tagger.encoder();
        // Once as it was encoded, and once as the datastore is to keep it.
        2 * size_of::<f32>() * (encoder.dimensions() + encoder.labels().len())
    }
}

/// The number of texts in a row on which an encoder may fail before the writer stops.
///
/// Why a limit? Finding the texts at fault costs up to two calls per text. And an encoder that fails on
/// everything, such as one whose device is lost, would leave out every document.
const MAX_FAILED_IN_A_ROW: usize = 128;

/// Tells a text that an encoder cannot read from an encoder that reads no text any more.
#[derive(Debug, Default)]
pub(crate) struct EncoderHealth {
    /// The number of texts on which it has failed since its last answer, over all threads.
    failed_in_a_row: AtomicUsize,
}

impl EncoderHealth {
    /// Records the outcomes of texts; an empty text says nothing of the encoder.
    ///
    /// # Errors
    ///
    /// [`Error::EncoderFailed`] after too many failures in a row.
    pub(crate) fn record(&self, batch: &EncodedBatch) -> Result<()> {
        for row in 0..batch.len() {
            match batch.failures().get(&row) {
                None => self.failed_in_a_row.store(0, Ordering::Relaxed),
                Some(EncodeError::EmptyText) => {}
                Some(cause) => {
                    let n_texts = self.failed_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
                    if n_texts >= MAX_FAILED_IN_A_ROW {
                        return Err(Error::EncoderFailed { n_texts, source: cause.clone() });
                    }
                }
            }
        }
        Ok(())
    }
}
